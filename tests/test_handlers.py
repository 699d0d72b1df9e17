"""The five stages under the real Lambda runtime client, as Step Functions meets them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import legato
from lambda_runtime import FUNCTION_NAME, Result, Runtime, invoke, start
from legato.conductor import Conductor
from legato.workflow import STAGES, STORE_BUCKET, function_placeholder

pytest.importorskip("awslambdaric")

TEXTS = ["a river in the city", "the quick old man", "light and wind over the lake"]
SECRET = "hunter2"
ERRORS = "arn:aws:lambda:::function:"


def handler(stage: str) -> str:
    return f"legato.stages.{stage.lower()}.handler"


@pytest.fixture
def store(tmp_path: Path) -> legato.Store:
    return legato.Store.open((tmp_path / "store").as_uri())


@pytest.fixture
def workflow(tiny_bert: Path) -> legato.Workflow:
    return legato.Workflow(
        name="w", task="feature-extraction", model=tiny_bert, shard_records=2, max_length=20
    )


@pytest.fixture
def env(workflow: legato.Workflow, store: legato.Store, tiny_bert: Path) -> dict[str, str]:
    """What a deployed function has: the workflow's environment, and where Python finds legato."""
    environment = workflow.environment(
        store=store.url,
        model_revision=legato.ModelFiles.from_dir(tiny_bert).digest,
        dataset_id="d",
        dataset_version="v",
    )
    return {**environment, "PYTHONPATH": str(Path(legato.__file__).parents[1])}


@pytest.fixture
def event(store: legato.Store) -> dict[str, Any]:
    lines = [json.dumps({"id": f"id-{i}", "text": f"{t} {SECRET}"}) for i, t in enumerate(TEXTS)]
    source = store.put("\n".join(lines).encode(), "inputs/x/data.jsonl")
    return {"run": {"id": "r1", "mode": "dataset"}, "input": source.to_dict()}


def lines(result: Result) -> list[dict[str, Any]]:
    """Return the JSON lines that a task wrote to its log."""
    return [json.loads(line) for line in result.stdout.splitlines() if line.startswith("{")]


class Fleet:
    """The functions of a workflow, each a process; the conductor calls them as AWS does."""

    def __init__(self, runtimes: dict[str, Runtime]) -> None:
        self.runtimes = runtimes
        self.results: dict[str, list[Result]] = {stage: [] for stage in runtimes}

    def function(self, stage: str) -> Any:
        def call(event: Any, _context: object) -> Any:
            result = self.runtimes[stage].invoke(event)
            self.results[stage].append(result)
            if result.error is not None:
                raise type(result.error["errorType"], (Exception,), {})(
                    result.error["errorMessage"]
                )
            return result.payload

        return call

    def run(self, workflow: legato.Workflow, store: legato.Store, event: Any) -> Any:
        conductor = Conductor(
            workflow.document(),
            functions={ERRORS + stage: self.function(stage) for stage in STAGES},
            buckets={"bucket": store},
            substitutions={
                STORE_BUCKET: "bucket",
                **{function_placeholder(stage): ERRORS + stage for stage in STAGES},
            },
            max_concurrency=1,  # a function here has one environment
        )
        return conductor.run(event, name="r1")


@pytest.fixture
def fleet(env: dict[str, str], tmp_path: Path) -> Iterator[Fleet]:
    with ExitStack() as stack:
        yield Fleet(
            {
                stage: stack.enter_context(start(handler(stage), env, folder=tmp_path))
                for stage in STAGES
            }
        )


def test_the_state_machine_runs_over_real_functions(
    fleet: Fleet,
    workflow: legato.Workflow,
    store: legato.Store,
    event: dict[str, Any],
    tiny_bert: Path,
) -> None:
    execution = fleet.run(workflow, store, event)
    assert execution.status == "SUCCEEDED", execution.cause
    found = legato.Results.load(store, legato.Ref.from_dict(execution.output["result"]))
    assert found.ids == ["id-0", "id-1", "id-2"]
    texts = [f"{text} {SECRET}" for text in TEXTS]
    expected = legato.pipeline("feature-extraction", model=tiny_bert)(texts, max_length=20)
    np.testing.assert_allclose(found.vectors, expected, atol=1e-6)
    assert {stage: len(results) for stage, results in fleet.results.items()} == {
        "Ingestion": 1, "Preprocessing": 2, "Inference": 2, "Validation": 2, "Storage": 1,
    }  # fmt: skip
    for stage, results in fleet.results.items():
        for result in results:
            (line,) = lines(result)
            assert line["state"] == stage.lower()
            assert line["level"] == "INFO"
            assert line["run_id"] == "r1"
            assert line["function_name"] == FUNCTION_NAME
            assert len(line["function_request_id"]) == 36
            assert line["in"] == line["out"] > 0
            assert SECRET not in result.stdout + result.stderr

    # A warm function, the same event: nothing is done again, and nothing else comes out.
    again = fleet.run(workflow, store, event)
    assert again.output["result"] == execution.output["result"]
    assert {c["cached"] for c in again.output["counts"].values()} == {1, 2}
    assert all(lines(results[-1])[0]["cached"] == 1 for results in fleet.results.values())


def test_a_prompt_runs_over_real_functions(
    fleet: Fleet, workflow: legato.Workflow, store: legato.Store, event: dict[str, Any]
) -> None:
    source = store.put(json.dumps({"id": "p", "text": SECRET}).encode(), "inputs/y/data.jsonl")
    prompt = {"run": {"id": "r2", "mode": "prompt"}, "input": source.to_dict()}
    execution = fleet.run(workflow, store, prompt)
    assert execution.status == "SUCCEEDED", execution.cause
    assert legato.Results.load(store, legato.Ref.from_dict(execution.output["result"])).ids == ["p"]
    assert SECRET not in json.dumps(execution.output)
    assert all(SECRET not in r.stdout + r.stderr for rs in fleet.results.values() for r in rs)


@pytest.mark.parametrize("name", ["LEGATO_STORE", "LEGATO_MODEL_ID"])
def test_a_missing_setting_is_a_settings_error(
    name: str, env: dict[str, str], event: dict[str, Any], store: legato.Store
) -> None:
    del env[name]
    shard = {"index": 0, "ref": event["input"]}
    (result,) = invoke(handler("Preprocessing"), [{**event, "shard": shard}], env)
    assert result.error_type == "SettingsError"
    assert result.error is not None
    assert f"{name} is not set" in result.error["errorMessage"]
    (line,) = lines(result)
    assert (line["level"], line["error"], line["run_id"]) == ("ERROR", "SettingsError", "r1")
    assert name in line["reason"]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("LEGATO_STORE", "s3//bucket"),
        ("LEGATO_STORE", "gopher://bucket"),
        ("LEGATO_DTYPE", "int4"),
        ("LEGATO_SHARDS", "3"),
    ],
)
def test_a_malformed_setting_is_a_settings_error(
    name: str, value: str, env: dict[str, str], event: dict[str, Any]
) -> None:
    results = invoke(handler("Ingestion"), [event, event], {**env, name: value})
    # The second one too: what is remembered of the first must not hide it.
    assert [result.error_type for result in results] == ["SettingsError"] * 2
    assert results[0].error is not None
    assert name in results[0].error["errorMessage"]


def test_each_error_arrives_under_its_class_name_and_the_function_goes_on(
    env: dict[str, str], event: dict[str, Any], store: legato.Store, tmp_path: Path
) -> None:
    broken = {**event, "input": {**event["input"], "sha256": SECRET}}
    nothing = {**event, "input": {**event["input"], "uri": f"{store.url}/inputs/none/data.jsonl"}}
    foreign = {**event, "input": {**event["input"], "uri": f"{store.url}/runs/x/data.jsonl"}}
    corrupt = {**event, "input": {**event["input"], "crc64nvme": "0" * 16}}
    expected = {
        "InputError": broken,
        "ObjectNotFoundError": nothing,
        "AccessDeniedError": foreign,
        "CorruptObjectError": corrupt,
    }
    results = invoke(handler("Ingestion"), [*expected.values(), {}, event], env)
    assert [result.error_type for result in results] == [*expected, "InputError", None]
    for name, result in zip(expected, results, strict=False):
        (line,) = lines(result)
        assert (line["level"], line["error"], line["run_id"]) == ("ERROR", name, "r1")
        assert result.error is not None
        assert line["reason"] == result.error["errorMessage"]
        assert SECRET not in result.stdout + result.stderr + json.dumps(result.error)
    assert store.list("runs/") == ["runs/r1/failures/ingestion-00000.json"]


def test_a_wrong_revision_is_a_model_error(env: dict[str, str], event: dict[str, Any]) -> None:
    env["LEGATO_MODEL_REVISION"] = "sha256:" + "0" * 64
    shard = {"index": 4, "ref": event["input"]}
    (result,) = invoke(handler("Preprocessing"), [{**event, "shard": shard}], env)
    assert result.error_type == "ModelError"
    assert result.error is not None
    assert "has revision sha256:246d4abf" in result.error["errorMessage"]


def test_a_damaged_shard_is_a_corrupt_object_error_with_a_record(
    env: dict[str, str], event: dict[str, Any], store: legato.Store, tmp_path: Path
) -> None:
    (ingested,) = invoke(handler("Ingestion"), [event], env)
    run = ingested.payload["run"]
    manifest = store.get(run["manifest_key"]).splitlines()
    shard = json.loads(manifest[1])
    path = tmp_path / "store" / store.key_of(legato.Ref.from_dict(shard["ref"]))
    path.write_bytes(path.read_bytes().replace(b"light", b"night"))
    (result,) = invoke(handler("Preprocessing"), [{"run": run, "shard": shard}], env)
    assert result.error_type == "CorruptObjectError"
    record = json.loads(store.get("runs/r1/failures/preprocessing-00001.json"))
    assert record["error"] == "CorruptObjectError"
    assert SECRET not in json.dumps(record)


OWN = f"""
import legato

@legato.step(reads=["validation"])
def largest(event, task):
    part = task.load(event["result"])
    return {{"largest": part["vector"].max(), "ids": part["id"]}}

@legato.step
def fails(event, task):
    raise ValueError("{SECRET}")
"""


def test_a_users_own_step_is_a_function_too(
    env: dict[str, str], event: dict[str, Any], store: legato.Store, tmp_path: Path
) -> None:
    import legato._native as native

    (tmp_path / "code").mkdir()
    (tmp_path / "code/own.py").write_text(OWN)
    data = native.write_parquet({"id": ["a"], "vector": np.full((1, 2), 0.5, np.float32)})
    part = store.put(data, "validation/x", media_type="application/vnd.apache.parquet")
    sent = {"run": event["run"], "result": part.to_dict()}
    (result,) = invoke("own.largest", [sent], env, folder=tmp_path / "code")
    assert result.payload == {"run": event["run"], "largest": 0.5, "ids": ["a"]}
    (result,) = invoke("own.fails", [sent], env, folder=tmp_path / "code")
    assert result.error_type == "ValueError"
    (line,) = lines(result)
    assert SECRET not in json.dumps(line)
    assert b"hunter2" not in store.get("runs/r1/failures/fails-00000.json")
