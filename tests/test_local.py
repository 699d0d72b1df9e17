"""``legato.run``: every kind of input, runs that find their work done, and runs that fail."""

from __future__ import annotations

import json
import logging
import os
import re
import shutil
import threading
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import legato
from legato._scope import bucket_key
from legato.conductor import HistoryEvent
from legato.errors import (
    AccessDeniedError,
    CorruptObjectError,
    DeviceError,
    InputError,
    LegatoError,
    ModelError,
    SettingsError,
    WorkflowError,
)

SECRET = "hunter2 hunted"
TEXTS = [f"{SECRET} {t}" for t in ("river", "rain and wind", "an old man", "the sea", "lake")]
IDS = [f"id-{i}" for i in range(len(TEXTS))]
STAGES = ("ingestion", "preprocessing", "inference", "validation", "storage")


@pytest.fixture
def url(tmp_path: Path) -> str:
    return (tmp_path / "store").as_uri()


@pytest.fixture
def make(tiny_bert: Path) -> Callable[..., legato.Workflow]:
    def make(**changes: Any) -> legato.Workflow:
        values = {"name": "w", "task": "feature-extraction", "model": tiny_bert, "shard_records": 2}
        return legato.Workflow(**{**values, **changes})  # type: ignore[arg-type]

    return make


@pytest.fixture
def expected(tiny_bert: Path) -> np.ndarray[Any, Any]:
    return legato.pipeline("feature-extraction", model=tiny_bert)(TEXTS)


def write(folder: Path, name: str, texts: list[str] | None = None) -> Path:
    """Write the records as a file of the kind that its name says."""
    path, texts = folder / name, TEXTS if texts is None else texts
    rows = list(zip(IDS, texts, strict=False))
    if path.suffix in (".jsonl", ".ndjson"):
        path.write_text("".join(json.dumps({"id": i, "text": t}) + "\n" for i, t in rows))
    elif path.suffix in (".csv", ".tsv"):
        cells = [("id", "text"), *rows]
        path.write_text(
            "".join(("," if path.suffix == ".csv" else "\t").join(r) + "\n" for r in cells)
        )
    elif path.suffix == ".zst":
        records = [{"id": i, "text": t} for i, t in rows]
        ref = legato.Store.open("memory://zst").put(records, media_type="application/jsonl+zstd")
        path.write_bytes(legato.Store.open("memory://zst").get(ref))
    elif path.suffix == ".txt":
        path.write_text("\n".join(texts))
    else:
        pq.write_table(pa.table({"id": IDS, "text": texts}), path)
    return path


def objects(store: legato.Store) -> dict[str, bytes]:
    return {key: store.get(key) for key in store.list()}


# Inputs


@pytest.mark.parametrize(
    "name", ["a.jsonl", "a.ndjson", "a.csv", "a.tsv", "a.TXT", "a.parquet", "a.jsonl.zst"]
)
def test_every_kind_of_input_gives_the_models_vectors(
    name: str, make: Any, url: str, tmp_path: Path, expected: Any
) -> None:
    run = legato.run(make(), store=url, input=write(tmp_path, name.lower()).rename(tmp_path / name))
    results = run.results()
    assert run.status == "complete"
    assert run.missing == []
    assert results.ids == ([f"line-{i}" for i in range(1, 6)] if name == "a.TXT" else IDS)
    np.testing.assert_allclose(results.vectors, expected, atol=1e-6)
    assert [run.counts[stage]["out"] for stage in STAGES] == [5] * 5
    assert run.rejections() == {}


def test_the_default_dataset_may_be_a_path_or_a_callable_that_is_called_once_needed(
    make: Any, url: str, tmp_path: Path, expected: Any
) -> None:
    calls = []

    def dataset() -> Path:
        calls.append(1)
        return write(tmp_path, "made.jsonl")

    workflow = make(dataset=dataset)
    assert calls == []
    legato.run(workflow, store=url, text="river")
    legato.run(workflow, store=url, input=write(tmp_path, "other.csv"))
    assert calls == []
    run = legato.run(workflow, store=url)
    assert calls == [1]
    np.testing.assert_allclose(run.results().vectors, expected, atol=1e-6)
    path = legato.run(make(dataset=str(tmp_path / "made.jsonl")), store=url)
    assert path.result.sha256 == run.result.sha256


def test_a_datasets_version_is_its_own_and_not_that_of_another_input(
    make: Any, url: str, tmp_path: Path
) -> None:
    import hashlib

    own, other = write(tmp_path, "own.jsonl"), write(tmp_path, "other.jsonl", TEXTS[:2])
    workflow = make(dataset=own, dataset_version="2024-01")

    def dataset(**given: Any) -> Any:
        return legato.run(workflow, store=url, **given).results().manifest["dataset"]

    assert dataset() == {"id": str(own), "version": "2024-01"}
    digest = hashlib.sha256(other.read_bytes()).hexdigest()
    assert dataset(input=other) == {"id": str(other), "version": f"sha256:{digest}"}
    assert dataset(text="x")["id"] == "prompt"
    assert dataset(text="x")["version"].startswith("sha256:")


def test_a_prompt_gives_one_vector_whatever_the_fields_are_called(
    make: Any, tiny_bert: Path
) -> None:
    expected = legato.pipeline("feature-extraction", model=tiny_bert)("the sea at night")
    for fields in ({}, {"text_field": "body", "id_field": "key"}):
        run = legato.run(make(**fields), store="memory://prompts", text="the sea at night")
        np.testing.assert_allclose(run.results().vectors, expected[None], atol=1e-6)
        assert run.results().ids == ["prompt"]


def test_other_fields_are_read(make: Any, url: str, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("body,key\nriver,k1\nrain,k2\n")
    workflow = make(text_field="body", id_field="key")
    assert legato.run(workflow, store=url, input=tmp_path / "a.csv").results().ids == ["k1", "k2"]


def test_max_length_is_the_workflows_and_never_the_processs(
    make: Any, url: str, tmp_path: Path, tiny_bert: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LEGATO_MAX_LENGTH", "3")
    path = write(tmp_path, "a.jsonl")
    model = legato.pipeline("feature-extraction", model=tiny_bert)
    for length in (None, 4):
        run = legato.run(make(max_length=length), store=url, input=path)
        expected = model(TEXTS, max_length=length)
        np.testing.assert_allclose(run.results().vectors, expected, atol=1e-6)


# Done is done


def test_a_second_run_finds_everything_and_adds_only_its_own_record(
    make: Any, url: str, tmp_path: Path
) -> None:
    path = write(tmp_path, "a.jsonl")
    first = legato.run(make(), store=url, input=path)
    before = objects(first.store)
    second = legato.run(make(), store=url, input=path)
    assert second.result == first.result
    assert {stage: c["cached"] for stage, c in second.counts.items()} == {
        "ingestion": 1, "preprocessing": 3, "inference": 3, "validation": 3, "storage": 1,
    }  # fmt: skip
    assert {stage: c["cached"] for stage, c in first.counts.items()} == dict.fromkeys(STAGES, 0)
    after = objects(first.store)
    assert {key: after[key] for key in before} == before
    assert {key.split("/")[1] for key in set(after) - set(before)} == {second.id}


def test_new_records_cost_only_their_own_shards(make: Any, url: str, tmp_path: Path) -> None:
    legato.run(make(), store=url, input=write(tmp_path, "a.jsonl", TEXTS[:4]))
    run = legato.run(make(), store=url, input=write(tmp_path, "b.jsonl", TEXTS))
    assert run.counts["inference"]["tasks"] == 3
    assert run.counts["inference"]["cached"] == 2


def test_two_runs_at_once_in_one_process_agree(make: Any, url: str, tmp_path: Path) -> None:
    path = write(tmp_path, "a.jsonl", [f"text {i}" for i in range(5)])
    runs: list[legato.Run] = []

    def work() -> None:
        runs.append(legato.run(make(shard_records=1), store=url, input=path))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(runs) == 4
    assert len({run.result for run in runs}) == 1
    assert len({run.id for run in runs}) == 4


# Records


def test_every_bad_record_is_counted_by_reason_and_the_good_ones_stay(
    make: Any, url: str, tmp_path: Path
) -> None:
    good = b'{"id": "%d", "text": "good"}'
    bad = [
        b"{broken " + SECRET.encode(),
        b'{"id": "b1"}',
        b'{"id": "b2", "text": 7}',
        b'{"id": "b3", "text": "' + b"x" * (10 << 20) + b'"}',
        b'{"id": "b4", "text": "\xff\xfe"}',
        b'{"id": "b5", "text": "a\\u0000b"}',
        b'{"id": "b6", "text": "a\\ud800b"}',
        b'{"id": "b7", "text": " "}',
        b'{"id": "0", "text": "again"}',
        b'{"id": "", "text": "x"}',
        b"[1]",
    ]
    lines = [line for i, b in enumerate(bad) for line in (good % i, b)]
    (tmp_path / "a.jsonl").write_bytes(b"\xef\xbb\xbf" + b"\r\n".join(lines))
    run = legato.run(make(), store=url, input=tmp_path / "a.jsonl")
    assert run.results().ids == [str(i) for i in range(len(bad))]
    assert run.rejections() == dict.fromkeys(
        ["invalid_json", "missing_text", "text_not_a_string", "too_long", "not_utf8",
         "nul_character", "lone_surrogate", "empty_text", "duplicate_id", "bad_id",
         "not_an_object"], 1,
    )  # fmt: skip
    assert run.counts["ingestion"]["rejected"] == len(bad)
    rejected = Path(run.rejected_uri.removeprefix("file://")).read_text()
    assert [json.loads(line)["position"] for line in rejected.splitlines()] == list(range(2, 23, 2))
    assert "hunter2" not in rejected


@pytest.mark.parametrize("name", ["a.jsonl", "a.csv", "a.txt"])
def test_an_empty_input_is_refused_and_named(
    name: str, make: Any, url: str, tmp_path: Path
) -> None:
    (tmp_path / name).write_bytes(b"")
    with pytest.raises(InputError, match=r"failed in Ingestion: input .* is empty"):
        legato.run(make(), store=url, input=tmp_path / name)


def test_an_input_of_which_nothing_can_be_used_is_refused_with_the_first_reason(
    make: Any, url: str, tmp_path: Path
) -> None:
    (tmp_path / "a.jsonl").write_text(f'{{"no": "{SECRET}"}}\n' * 3)
    with pytest.raises(InputError, match=r"none of the 3 records .*missing_text") as caught:
        legato.run(make(), store=url, input=tmp_path / "a.jsonl")
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize("text", ["", " \n", "a\0b", "x" * (2 << 20)])
def test_a_prompt_that_cannot_be_used_is_refused(text: str, make: Any) -> None:
    with pytest.raises(InputError, match=r"none of the 1 records .*(empty_text|nul_char|too_long)"):
        legato.run(make(), store=f"memory://{uuid.uuid4().hex}", text=text)


def test_a_prompt_that_is_not_unicode_is_refused_unquoted(make: Any) -> None:
    with pytest.raises(InputError, match="surrogate") as caught:
        legato.run(make(), store="memory://x", text=SECRET + "\udcff")
    assert SECRET not in str(caught.value)


# What is refused before anything runs


def test_text_and_input_together_are_refused(make: Any) -> None:
    with pytest.raises(InputError, match="not both"):
        legato.run(make(), store="memory://x", text="a", input="b.csv")


def test_no_input_at_all_is_refused_with_the_remedy(make: Any) -> None:
    with pytest.raises(InputError, match="workflow w has no dataset; give --input"):
        legato.run(make(), store="memory://x")


@pytest.mark.parametrize("returned", [None, 7, ["a.csv"]])
def test_a_dataset_that_returns_no_path_is_refused(returned: Any, make: Any) -> None:
    with pytest.raises(WorkflowError, match="dataset of workflow w returned a"):
        legato.run(make(dataset=lambda: returned), store="memory://x")


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("missing.csv", "missing.csv cannot be read .No such file"),
        ("folder.csv", "folder.csv is no regular file"),
        ("a.pdf", "ending '.pdf' is unknown; supported are .jsonl"),
        ("a", "no ending"),
    ],
)
def test_an_input_that_is_none_is_refused_and_not_copied(
    name: str, reason: str, make: Any, url: str, tmp_path: Path
) -> None:
    (tmp_path / "folder.csv").mkdir()
    for file in ("a.pdf", "a"):
        (tmp_path / file).write_text("text")
    with pytest.raises(InputError, match=reason):
        legato.run(make(), store=url, input=tmp_path / name)
    assert legato.Store.open(url).list() == []


def test_a_pipe_is_refused_at_once(make: Any, url: str, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.txt")
    with pytest.raises(InputError, match=r"pipe\.txt is no regular file; save it to one"):
        legato.run(make(), store=url, input=tmp_path / "pipe.txt")
    assert legato.Store.open(url).list() == []


def test_a_file_that_is_being_written_is_refused_and_nothing_of_it_stays(
    make: Any, url: str, tmp_path: Path
) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(b"river\n" * (1 << 20))
    done = threading.Event()

    def grow() -> None:
        with path.open("ab", buffering=0) as file:
            while not done.is_set():
                file.write(b"rain\n")

    thread = threading.Thread(target=grow)
    thread.start()
    try:
        with pytest.raises(InputError, match=r"a\.txt changed while it was read"):
            legato.run(make(shard_records=1_000_000), store=url, input=path)
    finally:
        done.set()
        thread.join()
    assert legato.Store.open(url).list() == []


@pytest.mark.parametrize("store", ["ftp://x", "file://relative", "memory://a/b", "://"])
def test_a_store_that_is_none_is_refused(store: str, make: Any) -> None:
    with pytest.raises(InputError, match="store"):
        legato.run(make(), store=store, text="x")


def test_a_store_that_is_a_file_is_refused(make: Any, tmp_path: Path) -> None:
    (tmp_path / "f").write_text("")
    with pytest.raises(InputError, match="is a file; name a folder"):
        legato.run(make(), store=(tmp_path / "f").as_uri(), text="x")


def test_the_store_is_the_one_asked_for_else_the_workflows_else_the_environments_else_here(
    make: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("LEGATO_STORE", raising=False)
    here = tmp_path.as_uri()
    assert legato.run(make(), text="x").store.url == f"{here}/.legato"
    monkeypatch.setenv("LEGATO_STORE", f"{here}/env")
    assert legato.run(make(), text="x").store.url == f"{here}/env"
    assert legato.run(make(store=f"{here}/own"), text="x").store.url == f"{here}/own"
    for store in (f"{here}/asked/", "asked", "./x/../asked/", str(tmp_path / "asked")):
        asked = legato.run(make(store=f"{here}/own"), store=store, text="x")
        assert asked.store.url == f"{here}/asked"
        assert asked.result.uri.startswith(f"{here}/asked/storage/")
    # However it was spelt, it was one store: all but the first run found their work done.
    assert {count["cached"] for count in asked.counts.values()} == {1}


def test_a_setting_that_is_none_is_refused_before_anything_runs(
    make: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LEGATO_NUM_THREADS", "many")
    store = f"memory://{uuid.uuid4().hex}"
    with pytest.raises(SettingsError, match="LEGATO_NUM_THREADS is 'many'"):
        legato.run(make(), store=store, text="x")


# Models


def break_model(model: Path, how: str) -> None:
    weights = model / "model.safetensors"
    data = weights.read_bytes()
    if how == "no weights":
        weights.unlink()
    elif how == "pickle only":
        weights.rename(model / "pytorch_model.bin")
    elif how == "truncated":
        weights.write_bytes(data[: len(data) // 2])
    elif how == "empty":
        weights.write_bytes(b"")
    elif how == "header":
        weights.write_bytes(data[:4])
    elif how == "no tokenizer":
        (model / "tokenizer.json").unlink()
    elif how == "no config":
        (model / "config.json").unlink()
    elif how == "config":
        (model / "config.json").write_text(f'{{"model_type": "{SECRET}"')
    else:
        config = json.loads((model / "config.json").read_text())
        (model / "config.json").write_text(json.dumps({**config, "model_type": "t5"}))


@pytest.mark.parametrize(
    ("how", "reason"),
    [
        ("no weights", "model.safetensors"),
        ("pickle only", "pytorch_model.bin"),
        ("truncated", "model.safetensors"),
        ("empty", "model.safetensors"),
        ("header", "model.safetensors"),
        ("no tokenizer", "tokenizer.json"),
        ("no config", "config.json"),
        ("config", "config.json"),
        ("other type", "t5"),
    ],
)
def test_a_broken_model_is_a_model_error_that_names_the_file(
    how: str, reason: str, make: Any, tmp_path: Path, tiny_bert: Path
) -> None:
    model = Path(shutil.copytree(tiny_bert, tmp_path / "model"))
    break_model(model, how)
    with pytest.raises(ModelError, match=re.escape(reason)) as caught:
        legato.run(make(model=model), store=f"memory://{uuid.uuid4().hex}", text="x")
    assert str(model) in str(caught.value)


def test_a_missing_model_folder_is_named(make: Any, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="nowhere"):
        legato.run(make(model=tmp_path / "nowhere"), store="memory://x", text="x")


def test_a_model_of_another_revision_is_refused_with_both(make: Any, tiny_bert: Path) -> None:
    digest = legato.ModelFiles.from_dir(tiny_bert).digest
    with pytest.raises(ModelError, match=f"{digest}, workflow w says sha256:1; install"):
        legato.run(make(model_revision="sha256:1"), store="memory://x", text="x")
    assert (
        legato.run(make(model_revision=digest), store="memory://x", text="x").status == "complete"
    )


# Failures inside the state machine


def test_a_failure_in_the_fleet_has_its_class_its_state_and_its_reason(
    make: Any, url: str, tmp_path: Path
) -> None:
    workflow = make(dtype="bfloat16")  # not on a CPU
    path = write(tmp_path, "a.jsonl")
    with pytest.raises(DeviceError, match=r"run run-\S+ failed in Inference: .*bfloat16"):
        legato.run(workflow, store=url, input=path)
    with pytest.raises(DeviceError, match=r"run run-\S+ failed in PromptInference: .*bfloat16"):
        legato.run(workflow, store=url, text="x")
    store = legato.Store.open(url)
    histories = [k for k in store.list("runs/") if k.endswith("history.jsonl")]
    assert len(histories) == 2
    records = [k for k in store.list("runs/") if "/failures/inference-" in k]
    assert records
    assert json.loads(store.get(records[0]))["error"] == "DeviceError"


def block(store: legato.Store, root: Path, stage: str) -> Path:
    """Make the stage's output of one shard impossible: a folder lies where its file belongs."""
    ref = next(k for k in store.list(f"{stage}/") if k.endswith("s.safetensors.ref"))
    path = root / ref.removesuffix(".ref")
    (root / ref).unlink()
    path.unlink()
    path.mkdir()
    return path


def test_a_tolerated_failure_makes_the_result_incomplete_and_a_rerun_completes_it(
    make: Any, url: str, tmp_path: Path
) -> None:
    path = write(tmp_path, "a.jsonl")
    whole = legato.run(make(), store=url, input=path)
    blocked = block(whole.store, tmp_path / "store", "inference")
    with pytest.raises(LegatoError, match="failed in Inference: "):
        legato.run(make(), store=url, input=path)
    tolerant = make(tolerated_failure_percentage=40)
    partial = legato.run(tolerant, store=url, input=path)
    assert partial.status == "incomplete"
    assert len(partial.missing) == 1
    assert len(partial.results().ids) in (3, 4)
    assert partial.results().manifest["status"] == "incomplete"
    blocked.rmdir()
    again = legato.run(tolerant, store=url, input=path)
    assert again.status == "complete"
    assert again.result == whole.result


def test_a_damaged_object_of_any_stage_is_made_again_by_the_next_run(
    make: Any, url: str, tmp_path: Path
) -> None:
    path = write(tmp_path, "a.jsonl")
    first = legato.run(make(), store=url, input=path)
    root = tmp_path / "store"
    for area, name in {
        "inputs": "data.jsonl",
        "ingestion": "shard-00001.jsonl",
        "preprocessing": "tokens.safetensors",
        "inference": "vectors.safetensors",
        "validation": "part.parquet",
        "storage": "manifest.json",
    }.items():
        damaged = next(root.glob(f"{area}/*/{name}"))
        damaged.write_bytes(damaged.read_bytes()[:-1] + b"\0")
        run = legato.run(make(), store=url, input=path)
        assert run.result == first.result, area
        np.testing.assert_array_equal(run.results().vectors, first.results().vectors)
    # Between runs a reader says so.
    part = next(root.glob("validation/*/part.parquet"))
    part.write_bytes(part.read_bytes()[:-1])
    with pytest.raises(CorruptObjectError, match=r"part\.parquet"):
        first.results()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere; see test_crash")
def test_a_folder_without_write_permission_is_denied(make: Any, tmp_path: Path) -> None:
    (tmp_path / "store").mkdir(mode=0o500)
    with pytest.raises(AccessDeniedError):
        legato.run(make(), store=(tmp_path / "store").as_uri(), text="x")


# What is told, and what is not


def test_the_listener_sees_every_event_of_the_history_and_the_log_every_task(
    make: Any, url: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="legato.step")
    events: list[HistoryEvent] = []
    run = legato.run(make(), store=url, input=write(tmp_path, "a.jsonl"), listener=events.append)
    history = run.store.get(f"runs/{run.id}/history.jsonl").splitlines()
    assert [json.loads(line) for line in history] == [event.to_dict() for event in events]
    states = [event.state for event in events if event.type == "TaskSucceeded"]
    assert sorted(map(str, states)) == sorted(
        ["Ingestion", *["Preprocessing", "Inference", "Validation"] * 3, "Storage"]
    )
    logged = [json.loads(r.getMessage()) for r in caplog.records if r.name == "legato.step"]
    assert len(logged) == len(states)
    assert {line["run_id"] for line in logged} == {run.id}


@pytest.mark.parametrize("kind", ["text", "input"])
def test_user_text_lies_in_inputs_and_shards_and_nowhere_else(
    kind: str, make: Any, url: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    outputs: list[str] = []

    def listen(event: HistoryEvent) -> None:
        # What a state returned is what the next one, and AWS's history, would get.
        outputs.append(json.dumps([event.to_dict(), event.output]))

    given = {"text": TEXTS[0]} if kind == "text" else {"input": write(tmp_path, "a.jsonl")}
    run = legato.run(make(), store=url, listener=listen, **given)
    areas = {
        key.partition("/")[0] for key, data in objects(run.store).items() if b"hunter2" in data
    }
    assert areas == {"inputs", "ingestion"}
    assert not any("hunter2" in key for key in run.store.list())
    assert all("hunter2" not in output for output in outputs)
    assert "hunter2" not in caplog.text
    assert len(outputs) > 20
    assert len(caplog.records) >= 5


def test_run_ids_are_different_and_sort_by_time() -> None:
    from legato.local import new_run_id

    ids = [new_run_id() for _ in range(100)]
    assert len(set(ids)) == 100
    assert [i[:19] for i in sorted(ids)] == [i[:19] for i in ids]
    assert all(re.fullmatch(r"run-\d{8}T\d{6}-[0-9a-f]{8}", i) for i in ids)


# Results


def test_nearest_finds_the_record_itself_first(make: Any, url: str, tmp_path: Path) -> None:
    results = legato.run(make(), store=url, input=write(tmp_path, "a.jsonl")).results()
    for row, id_ in enumerate(results.ids):
        hits = results.nearest(results.vectors[row], 3)
        assert hits[0].id == id_
        assert hits[0].score == pytest.approx(1.0, abs=1e-5)
        assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)
        assert len(hits) == 3
    assert len(results.nearest(results.vectors[0], 100)) == 5


def test_a_query_of_another_size_is_refused(make: Any, url: str, tmp_path: Path) -> None:
    results = legato.run(make(), store=url, input=write(tmp_path, "a.jsonl")).results()
    for query in (np.ones(31, np.float32), np.ones((1, 32), np.float32)):
        with pytest.raises(InputError, match=r"the query has shape .*, the vectors have \(32,\)"):
            results.nearest(query)


def test_a_result_is_read_by_the_uri_of_the_report_also_from_a_store_that_was_moved(
    make: Any, url: str, tmp_path: Path
) -> None:
    run = legato.run(make(), store=url, input=write(tmp_path, "in.jsonl"))
    vectors = run.results().vectors
    np.testing.assert_array_equal(legato.Results.load(run.store, run.result.uri).vectors, vectors)
    (tmp_path / "store").rename(tmp_path / "moved")
    moved = legato.Store.open((tmp_path / "moved").as_uri())
    key = run.store.key_of(run.result)
    np.testing.assert_array_equal(legato.Results.load(moved, key).vectors, vectors)
    with pytest.raises(InputError, match="nothing is stored at"):
        legato.Results.load(moved, "storage/none/manifest.json")


def test_a_limit_above_the_models_is_refused_before_anything_runs(
    make: Any, url: str, tmp_path: Path
) -> None:
    source = write(tmp_path, "in.jsonl")
    with pytest.raises(SettingsError, match="max_length is 65, the model takes 64 tokens"):
        legato.run(make(max_length=65), store=url, input=source)
    assert not (tmp_path / "store").exists()
    legato.run(make(max_length=64), store=url, input=source)


def test_a_store_may_be_a_path(make: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = write(tmp_path, "in.jsonl")
    monkeypatch.setenv("HOME", str(tmp_path))
    for store in (tmp_path / "a b", "~/home", str(tmp_path / "plain")):
        run = legato.run(make(), store=store, input=source)
        assert run.store.url.startswith(tmp_path.as_uri())
    for store in ("memory:x", "a\0b", ""):
        with pytest.raises(InputError, match="neither a folder nor a URL"):
            legato.run(make(), store=store, input=source)


def test_more_shards_than_a_map_can_return_are_refused(
    make: Any, url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("legato.stages.ingestion.MAX_SHARDS", 2)
    source = write(tmp_path, "in.jsonl")
    with pytest.raises(InputError, match="more than 2 shards of 32,768 tokens or 2 records; raise"):
        legato.run(make(), store=url, input=source)
    assert legato.run(make(shard_records=3), store=url, input=source).status == "complete"


@pytest.mark.parametrize(
    ("url", "key"),
    [
        ("s3://bucket/a/b", "a/b/ingestion/x"),
        ("s3://bucket", "ingestion/x"),
        ("file:///folder/a", "ingestion/x"),
        ("memory://name", "ingestion/x"),
    ],
)
def test_the_item_reader_gets_the_key_in_the_bucket(url: str, key: str) -> None:
    assert bucket_key(url, "ingestion/x") == key


def test_a_step_is_called_in_a_notebook_without_a_context() -> None:
    store = legato.Store.open("memory://notebook")
    twice = legato.step(name="twice")(lambda event, task: {"twice": 2 * event["n"]})
    handler = twice.bind(legato.Settings(), store)
    assert handler({"n": 2}) == {"twice": 4}
