"""Settings: what each variable accepts, what is said of the others, and the table in the docs."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from legato.errors import SettingsError
from legato.settings import VARIABLES, Settings
from legato.workflow import Workflow

DOCS = Path(__file__).parents[1] / "docs" / "settings.md"

VALID = {
    "LEGATO_WORKFLOW": ("stdlib-search", "stdlib-search"),
    "LEGATO_TASK": ("text-classification", "text-classification"),
    "LEGATO_PARAMETERS": ('{"top_k": 2}', {"top_k": 2}),
    "LEGATO_MODEL_ID": ("/opt/model", "/opt/model"),
    "LEGATO_MODEL_REVISION": ("sha256:ab", "sha256:ab"),
    "LEGATO_DATASET_ID": ("docs", "docs"),
    "LEGATO_DATASET_VERSION": ("3", "3"),
    "LEGATO_STORE": ("file:///data/legato/", "file:///data/legato/"),
    "LEGATO_ALLOWED_STORES": ("s3://a/b, memory://c", ("s3://a/b", "memory://c")),
    "LEGATO_BUCKET_OWNER": ("012345678901", "012345678901"),
    "LEGATO_KMS_KEY": ("alias/data", "alias/data"),
    "LEGATO_REQUEST_PAYER": ("requester", "requester"),
    "LEGATO_S3_ADDRESSING": ("path", "path"),
    "LEGATO_STORE_TIMEOUT_S": ("7.5", 7.5),
    "LEGATO_DEVICE": ("cuda:1", "cuda:1"),
    "LEGATO_DTYPE": ("bfloat16", "bfloat16"),
    "LEGATO_MAX_LENGTH": ("0128", 128),
    "LEGATO_SHARD_TOKENS": ("65536", 65_536),
    "LEGATO_SHARD_RECORDS": ("1000000", 1_000_000),
    "LEGATO_TEXT_FIELD": ("body", "body"),
    "LEGATO_ID_FIELD": ("key", "key"),
    "LEGATO_MAX_RECORD_BYTES": ("67108864", 64 << 20),
    "LEGATO_NUM_THREADS": ("2", 2),
    "LEGATO_ENDPOINT": ("https://tei.example/a", "https://tei.example/a"),
    "LEGATO_ENDPOINT_SERVER": ("tei", "tei"),
    "LEGATO_ENDPOINT_REVISION": (
        "0123456789abcdef" * 2 + "01234567",
        "0123456789abcdef" * 2 + "01234567",
    ),
    "LEGATO_ENDPOINT_CONCURRENCY": ("64", 64),
    "LEGATO_ENDPOINT_TIMEOUT_S": ("2.5", 2.5),
    "LEGATO_ENDPOINT_SCALE_UP_S": ("20", 20),
    "LEGATO_ALLOWED_HOSTS": (
        "http://tei.internal:8080, 10.1.0.0/16",
        ("http://tei.internal:8080", "10.1.0.0/16"),
    ),
    "LEGATO_HF_CREDENTIALS": ("env", "env"),
    "LEGATO_EVENT": ('{"run": {}}', '{"run": {}}'),
    "LEGATO_TASK_TOKEN": ("AQB8", "AQB8"),
    "LEGATO_STEP": ("my.step", "my.step"),
    "LEGATO_HEARTBEAT_S": ("0.5", 0.5),
    "LEGATO_ROTATION": ("staged", "staged"),
    "LEGATO_ROTATION_FILE": (
        f"datasets/a/b@{'0f' * 20}/c/d.json",
        f"datasets/a/b@{'0f' * 20}/c/d.json",
    ),
    "LEGATO_ROTATION_GRACE_S": ("3600", 3600.0),
    "LEGATO_ROTATION_CLIENT": ("arn:aws:x", "arn:aws:x"),
    "LEGATO_ROTATION_SUBJECT": ("robot@acme.example", "robot@acme.example"),
}

MALFORMED = [
    ("LEGATO_TASK", "translation", "feature-extraction"),
    ("LEGATO_PARAMETERS", "top_k=2", "a JSON object"),
    ("LEGATO_PARAMETERS", "[1]", "a JSON object"),
    ("LEGATO_STORE", "/data", "file:///data/legato or memory://name"),
    ("LEGATO_STORE", "memory://", "a URL"),
    ("LEGATO_STORE", " file:///x", "a URL"),
    ("LEGATO_ALLOWED_STORES", "s3://a/b,,", "with commas between them"),
    ("LEGATO_ALLOWED_STORES", "/data", "with commas between them"),
    ("LEGATO_BUCKET_OWNER", "12345678901", "an account id, 12 digits"),
    ("LEGATO_REQUEST_PAYER", "true", "requester"),
    ("LEGATO_S3_ADDRESSING", "dns", "auto or path or virtual"),
    ("LEGATO_STORE_TIMEOUT_S", "0", "a number of seconds above 0"),
    ("LEGATO_STORE_TIMEOUT_S", "nan", "a number of seconds above 0"),
    ("LEGATO_STORE_TIMEOUT_S", "1e9", "a number of seconds above 0"),
    ("LEGATO_DEVICE", "gpu", "auto, cpu, cuda, cuda:N or metal"),
    ("LEGATO_DEVICE", "cuda:", "auto, cpu, cuda, cuda:N or metal"),
    ("LEGATO_DEVICE", "cpu\n", "auto, cpu, cuda, cuda:N or metal"),
    ("LEGATO_DTYPE", "float64", "float32 or float16 or bfloat16"),
    ("LEGATO_MAX_LENGTH", "0", "a whole number from 1 to 1,000,000"),
    ("LEGATO_MAX_LENGTH", "-1", "a whole number"),
    ("LEGATO_MAX_LENGTH", "1e3", "a whole number"),
    ("LEGATO_MAX_LENGTH", "٣", "a whole number"),
    ("LEGATO_MAX_LENGTH", "9" * 5000, "a whole number"),
    ("LEGATO_SHARD_RECORDS", "1000001", "a whole number from 1 to 1,000,000"),
    ("LEGATO_SHARD_RECORDS", "512 ", "a whole number"),
    ("LEGATO_MAX_RECORD_BYTES", "67108865", "a whole number from 1 to 67,108,864"),
    ("LEGATO_NUM_THREADS", "1025", "a whole number from 1 to 1,024"),
    ("LEGATO_ENDPOINT", "https://user:x@tei.example", "without user, query and fragment"),
    ("LEGATO_ENDPOINT", "tei.example", "https://host/path"),
    ("LEGATO_ENDPOINT_SERVER", "vllm", "tei or pipeline"),
    ("LEGATO_ENDPOINT_REVISION", "main", "a commit, 40 hexadecimal digits"),
    ("LEGATO_ENDPOINT_SCALE_UP_S", "21", "a whole number from 0 to 20"),
    ("LEGATO_ALLOWED_HOSTS", "0.0.0.0/0", "networks such as 10.1.0.0/16"),
    ("LEGATO_ALLOWED_HOSTS", "a b", "hosts such as tei.example.com"),
    ("LEGATO_HF_CREDENTIALS", "hf_x", "none or env"),
    ("LEGATO_MODEL_ID", "/models/\udcff", "not UTF-8"),
]


def test_every_variable_has_a_case_here_and_a_field() -> None:
    names = [variable.name for variable in VARIABLES]
    assert sorted(names) == sorted(VALID)
    assert [v.field for v in VARIABLES] == list(Settings.__dataclass_fields__)


@pytest.mark.parametrize("name", VALID)
def test_a_variable_sets_its_field_and_no_other(name: str) -> None:
    raw, value = VALID[name]
    before, after = Settings.from_env({}), Settings.from_env({name: raw})
    changed = {f for f in Settings.__dataclass_fields__ if getattr(before, f) != getattr(after, f)}
    field = name.removeprefix("LEGATO_").lower()
    assert getattr(after, field) == value
    assert changed <= {field}


def test_defaults_are_the_same_with_and_without_an_environment() -> None:
    assert Settings.from_env({"PATH": "/bin"}) == Settings()


@pytest.mark.parametrize(("name", "value", "remedy"), MALFORMED)
def test_a_malformed_value_is_named_with_its_remedy(name: str, value: str, remedy: str) -> None:
    with pytest.raises(SettingsError) as caught:
        Settings.from_env({name: value})
    message = str(caught.value)
    assert message.startswith(f"{name} is ")
    assert remedy in message
    assert len(message) < 400
    message.encode()  # what is printed must be printable


@pytest.mark.parametrize("name", VALID)
def test_an_empty_variable_counts_as_not_set(name: str) -> None:
    assert Settings.from_env({name: ""}) == Settings()


def test_an_unknown_name_is_refused_and_the_known_ones_are_listed() -> None:
    with pytest.raises(SettingsError) as caught:
        Settings.from_env({"LEGATO_MODEL": "x", "LEGATO_STORE": "memory://s"})
    assert "LEGATO_MODEL is not a setting" in str(caught.value)
    assert "LEGATO_MODEL_ID" in str(caught.value)


def test_names_of_others_are_ignored() -> None:
    assert Settings.from_env({"LEGATOS_STORE": "x", "legato_store": "y"}) == Settings()


def test_the_processs_environment_is_read_at_each_call(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [n for n in os.environ if n.startswith("LEGATO_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("LEGATO_SHARD_RECORDS", "7")
    assert Settings.from_env().shard_records == 7
    monkeypatch.setenv("LEGATO_SHARD_RECORDS", "8")
    assert Settings.from_env().shard_records == 8
    assert Settings.from_env(over={"LEGATO_SHARD_RECORDS": "9"}).shard_records == 9


@pytest.mark.parametrize("field", ["model_id", "store", "dataset_id"])
def test_a_required_setting_that_is_missing_is_named(field: str) -> None:
    with pytest.raises(SettingsError, match=f"LEGATO_{field.upper()} is not set; set it"):
        Settings().require(field)
    assert Settings(**{field: "x"}).require(field) == "x"  # type: ignore[arg-type]


def test_what_a_workflow_gives_its_functions_is_what_they_read() -> None:
    workflow = Workflow(
        name="w",
        task="feature-extraction",
        model="/m",
        shard_records=9,
        max_length=17,
        device="cpu",
        text_field="body",
        id_field="key",
    )
    environment = workflow.environment(
        store="memory://s", model_revision="sha256:1", dataset_id="d", dataset_version="v"
    )
    settings = Settings.from_env(environment)
    assert settings == Settings(
        workflow="w",
        model_id="/m",
        model_revision="sha256:1",
        dataset_id="d",
        dataset_version="v",
        store="memory://s",
        device="cpu",
        max_length=17,
        shard_records=9,
        text_field="body",
        id_field="key",
    )


def test_how_stores_are_opened_is_passed_on_to_functions() -> None:
    names = ["ALLOWED_STORES", "BUCKET_OWNER", "KMS_KEY", "REQUEST_PAYER", "S3_ADDRESSING"]
    names = [f"LEGATO_{name}" for name in (*names, "STORE_TIMEOUT_S")]
    here = Settings.from_env({name: VALID[name][0] for name in names})
    workflow = Workflow(name="w", task="feature-extraction", model="/m")
    about = {"store": "memory://s", "model_revision": "1", "dataset_id": "d"}
    given = workflow.environment(**about, dataset_version="v", settings=here)
    assert set(names) <= set(given)
    there = Settings.from_env(given)
    for name in names:
        field = name.removeprefix("LEGATO_").lower()
        assert getattr(there, field) == getattr(here, field) != getattr(Settings(), field)
    assert Settings().of_stores() == {}


@given(st.sampled_from([v.name for v in VARIABLES]), st.text(min_size=1, max_size=30))
def test_any_text_is_either_read_or_refused_by_name(name: str, value: str) -> None:
    try:
        Settings.from_env({name: value})
    except SettingsError as error:
        assert str(error).startswith(f"{name} is ")  # noqa: PT017 - nothing may be raised too


def table() -> str:
    rows = ["| variable | meaning | default |", "|---|---|---|"]
    for variable in VARIABLES:
        default = f"`{variable.default}`" if variable.default is not None else ""
        rows.append(f"| `{variable.name}` | {variable.meaning} | {default} |")
    return "\n".join(rows)


def test_the_documented_table_is_the_real_one() -> None:
    written = DOCS.read_text(encoding="utf-8")
    start = written.find("| variable |")
    shown = written[start:].partition("\n\n")[0].strip()
    assert shown == table(), f"put this table into {DOCS}:\n\n{table()}\n"
