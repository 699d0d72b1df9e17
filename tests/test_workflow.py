"""The document that a workflow compiles to, and the environment of its functions."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from legato.conductor import Conductor
from legato.errors import WorkflowError, permanent_names, retryable_names
from legato.workflow import STAGES, STORE_BUCKET, Workflow, function_placeholder
from legato.workflow._limits import check_limits


def workflow(**changes: Any) -> Workflow:
    values: dict[str, Any] = {"name": "stdlib", "task": "feature-extraction", "model": "/models/m"}
    return Workflow(**{**values, **changes})


def states_of(document: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return all states by name, those inside the Map included."""
    found = dict(document["States"])
    for state in document["States"].values():
        if "ItemProcessor" in state:
            found.update(state["ItemProcessor"]["States"])
    return found


def substitutions() -> dict[str, str]:
    return {
        STORE_BUCKET: "bucket",
        **{function_placeholder(stage): f"arn:{stage}" for stage in STAGES},
    }


class Bucket:
    """A store with one manifest."""

    def __init__(self, lines: list[Any]) -> None:
        self.data = b"\n".join(json.dumps(line).encode() for line in lines)
        self.written: dict[str, bytes] = {}

    def put(self, value: bytes, key: str) -> None:
        self.written[key] = value

    def get(self, key: str) -> bytes:
        assert key == "runs/r/manifest.jsonl"
        return self.data

    def list(self, prefix: str) -> list[str]:
        raise AssertionError(prefix)


def conductor(
    document: dict[str, Any],
    shards: int,
    calls: list[tuple[str, Any]],
    bucket: Bucket | None = None,
) -> Conductor:
    def stage(name: str) -> Any:
        def handler(event: dict[str, Any], _context: object) -> dict[str, Any]:
            calls.append((name, event))
            if name == "Ingestion":
                event["run"]["manifest_key"] = "runs/r/manifest.jsonl"
                event["run"]["results_prefix"] = "p/runs/r/map"
                if event["run"]["mode"] == "prompt":
                    event["shard"] = {"n": 0}
            return event

        return handler

    return Conductor(
        document,
        functions={f"arn:{name}": stage(name) for name in STAGES},
        buckets={"bucket": bucket or Bucket([{"n": n} for n in range(shards)])},
        substitutions=substitutions(),
    )


def test_twins_differ_only_in_where_they_lead_and_how_long_they_may_take() -> None:
    states = states_of(workflow().document())
    for stage in ("Preprocessing", "Inference", "Validation"):
        inside, outside = states[stage], states[f"Prompt{stage}"]
        differing = {key for key in {*inside, *outside} if inside.get(key) != outside.get(key)}
        assert differing == {"Next", "TimeoutSeconds"}


@pytest.mark.parametrize(("children", "shard_s"), [("EXPRESS", 240), ("STANDARD", 900)])
def test_every_task_has_retry_and_a_timeout_and_no_catch(children: str, shard_s: int) -> None:
    document = workflow(children=children).document()
    config = document["States"]["Shards"]["ItemProcessor"]["ProcessorConfig"]
    assert config == {"Mode": "DISTRIBUTED", "ExecutionType": children}
    tasks = {name: s for name, s in states_of(document).items() if s["Type"] == "Task"}
    assert len(tasks) == 8
    for name, task in tasks.items():
        inside = name in document["States"]["Shards"]["ItemProcessor"]["States"]
        assert task["TimeoutSeconds"] == (shard_s if inside else 900)
        assert task["Retry"]
        assert "Catch" not in task


def test_retry_names_every_transient_class_once_and_no_permanent_one() -> None:
    retry = workflow().document()["States"]["Ingestion"]["Retry"]
    names = [name for retrier in retry for name in retrier["ErrorEquals"]]
    assert len(names) == len(set(names))
    assert set(retryable_names()) <= set(names)
    assert not set(permanent_names()) & set(names)
    assert not {"States.ALL", "States.TaskFailed"} & set(names)
    assert retry[-1]["ErrorEquals"] == ["Lambda.Unknown"]
    assert retry[-1]["MaxAttempts"] == 2
    for retrier in retry:
        assert retrier["JitterStrategy"] == "FULL"
        assert retrier["MaxDelaySeconds"] > retrier["IntervalSeconds"]


def test_the_map_does_not_depend_on_the_execution_that_holds_it() -> None:
    shards = workflow(fleet=7, tolerated_failure_percentage=2.5).document()["States"]["Shards"]
    assert "$$.Execution" not in json.dumps(shards)
    assert shards["MaxConcurrency"] == 7
    assert shards["ToleratedFailurePercentage"] == 2.5
    assert shards["ResultPath"] is None


def test_document_is_deterministic_and_free_of_the_machine() -> None:
    first, second = (json.dumps(workflow().document()) for _ in range(2))
    assert first == second
    assert "/models/m" not in first
    assert json.loads(first) == workflow().document()


def test_document_shares_nothing_between_calls() -> None:
    one = workflow()
    one.document()["States"]["Ingestion"]["Retry"].clear()
    assert one.document()["States"]["Ingestion"]["Retry"]


def test_every_state_and_the_document_have_a_comment() -> None:
    document = workflow().document()
    assert document["Comment"]
    assert document["TimeoutSeconds"] == 604_800
    assert all(state["Comment"] for state in states_of(document).values())


def test_dataset_run_passes_each_shard_through_three_stages() -> None:
    calls: list[tuple[str, Any]] = []
    run = {"run": {"mode": "dataset"}, "input": {"uri": "u"}}
    execution = conductor(workflow().document(), 5, calls).run(run, name="r")
    assert execution.status == "SUCCEEDED", execution.cause
    for stage in ("Preprocessing", "Inference", "Validation"):
        events = [event for name, event in calls if name == stage]
        assert sorted(event["shard"]["n"] for event in events) == [0, 1, 2, 3, 4]
        assert all(event["run"]["id"] == "r" for event in events)
    assert [name for name, _ in calls].count("Storage") == 1
    assert "shard" not in calls[-1][1]


def test_prompt_run_uses_the_twins_outside_the_map() -> None:
    calls: list[tuple[str, Any]] = []
    execution = conductor(workflow().document(), 5, calls).run(
        {"run": {"mode": "prompt"}, "input": {}}, name="r"
    )
    assert execution.status == "SUCCEEDED", execution.cause
    assert [name for name, _ in calls] == list(STAGES)
    entered = [e.state for e in execution.history if e.type == "TaskStateEntered"]
    assert entered[1:4] == ["PromptPreprocessing", "PromptInference", "PromptValidation"]


def test_the_run_id_is_the_name_of_the_execution() -> None:
    calls: list[tuple[str, Any]] = []
    forged = {"run": {"id": "another", "mode": "dataset", "workflow": "w"}, "input": {}}
    execution = conductor(workflow().document(), 2, calls).run(forged, name="nightly-7")
    assert execution.status == "SUCCEEDED", execution.cause
    assert {event["run"]["id"] for _, event in calls} == {"nightly-7"}
    first = calls[0][1]["run"]
    assert (first["mode"], first["workflow"]) == ("dataset", "w")


def test_how_each_shard_ended_is_written_below_the_runs_records() -> None:
    bucket = Bucket([{"n": n} for n in range(3)])
    calls: list[tuple[str, Any]] = []
    run = {"run": {"mode": "dataset"}}
    execution = conductor(workflow().document(), 3, calls, bucket).run(run, name="r")
    assert execution.status == "SUCCEEDED", execution.cause
    names = sorted(key.rpartition("/")[2] for key in bucket.written)
    assert names == ["SUCCEEDED_0.json", "manifest.json"]
    assert all(key.startswith("p/runs/r/map/") for key in bucket.written)


def test_a_document_over_the_limits_is_refused() -> None:
    document = workflow().document()
    check_limits(document)
    tasks = document["States"]["Shards"]["ItemProcessor"]["States"]
    for change in ({"Label": "L" * 41}, {"Comment": "x" * 1_048_576}):
        wrong = {**document["States"], "Shards": {**document["States"]["Shards"], **change}}
        with pytest.raises(WorkflowError, match="Step Functions takes"):
            check_limits({**document, "States": wrong})
    tasks["S" * 81] = tasks["Inference"]
    with pytest.raises(WorkflowError, match="81 characters"):
        check_limits(document)


def test_thousands_of_shards_stay_within_the_limit_of_the_map_result() -> None:
    document = workflow().document()
    shards = document["States"]["Shards"]
    for name in ("Preprocessing", "Inference", "Validation"):
        del shards["ItemProcessor"]["States"][name]
    shards["ItemProcessor"]["StartAt"] = "ShardDone"
    calls: list[tuple[str, Any]] = []
    run = {"run": {"mode": "dataset"}}
    execution = conductor(document, 2000, calls).run(run, name="r")
    assert execution.status == "SUCCEEDED", execution.cause


def test_every_placeholder_is_asked_for_by_name() -> None:
    with pytest.raises(WorkflowError) as caught:
        Conductor(workflow().document(), functions={}, buckets={})
    for name in substitutions():
        assert f"${{{name}}}" in str(caught.value)


def test_environment_has_exactly_the_documented_variables() -> None:
    environment = workflow(max_length=128, model=Path("/models/m")).environment(
        store="file:///s", model_revision="abc", dataset_id="d", dataset_version="1"
    )
    assert environment == {
        "LEGATO_WORKFLOW": "stdlib",
        "LEGATO_TASK": "feature-extraction",
        "LEGATO_MODEL_ID": "/models/m",
        "LEGATO_MODEL_REVISION": "abc",
        "LEGATO_DATASET_ID": "d",
        "LEGATO_DATASET_VERSION": "1",
        "LEGATO_STORE": "file:///s",
        "LEGATO_DEVICE": "auto",
        "LEGATO_DTYPE": "float32",
        "LEGATO_MAX_LENGTH": "128",
        "LEGATO_SHARD_TOKENS": "32768",
        "LEGATO_SHARD_RECORDS": "512",
        "LEGATO_TEXT_FIELD": "text",
        "LEGATO_ID_FIELD": "id",
    }


def test_children_follow_compute() -> None:
    assert workflow().children == "EXPRESS"
    assert workflow(children="STANDARD").children == "STANDARD"
    for compute in ("batch", "ecs"):
        assert workflow(compute=compute).children == "STANDARD"
        with pytest.raises(WorkflowError, match="needs 'STANDARD'"):
            workflow(compute=compute, children="EXPRESS")


def test_a_schedule_needs_an_object_of_s3() -> None:
    made = workflow(schedule="cron(0 6 * * ? *)", dataset="s3://bucket/data.jsonl")
    assert made.schedule == "cron(0 6 * * ? *)"


@pytest.mark.parametrize("value", ["", "a\0b", "a\ud800", "x" * 4096])
def test_environment_refuses_what_lambda_refuses(value: str) -> None:
    with pytest.raises(WorkflowError):
        workflow().environment(
            store=value, model_revision="abc", dataset_id="d", dataset_version="1"
        )


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", ""),
        ("name", "a b"),
        ("name", "ä"),
        ("name", "x" * 81),
        ("name", "x\n"),
        ("name", None),
        ("task", "text-generation"),
        ("task", ["feature-extraction"]),
        ("parameters", {"top_k": 2}),
        ("parameters", None),
        ("model", ""),
        ("model", b"/m"),
        ("model", None),
        ("model_revision", ""),
        ("dataset", 7),
        ("dataset", ""),
        ("dataset_version", " "),
        ("store", "/data"),
        ("store", ""),
        ("shard_tokens", 0),
        ("compute", "gpu"),
        ("children", "express"),
        ("memory_mb", 64),
        ("trigger", "incoming"),
        ("trigger", "/"),
        ("schedule", "daily"),
        ("schedule", "rate(1 day)"),
        ("fleet", 0),
        ("fleet", 10_001),
        ("fleet", True),
        ("fleet", 2.0),
        ("shard_records", 0),
        ("max_length", 0),
        ("device", "gpu"),
        ("device", "cuda:"),
        ("dtype", "float64"),
        ("text_field", ""),
        ("id_field", "text"),
        ("tolerated_failure_percentage", -1),
        ("tolerated_failure_percentage", 100.5),
        ("tolerated_failure_percentage", float("nan")),
        ("tolerated_failure_percentage", "5"),
    ],
)
def test_a_wrong_value_is_refused_with_its_field(field: str, value: object) -> None:
    with pytest.raises(WorkflowError, match=field):
        workflow(**{field: value})


def test_queries_are_texts_and_never_quoted() -> None:
    assert workflow(queries=["a", "b"]).queries == ("a", "b")
    with pytest.raises(WorkflowError, match="queries"):
        workflow(queries="parse a date")
    with pytest.raises(WorkflowError, match=r"queries\[1\]") as caught:
        workflow(queries=["secret", " "])
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("task", "parameters"),
    [
        ("text-classification", {"top_p": 1}),
        ("text-classification", {"top_k": {1, 2}}),
        ("text-classification", {"top_k": float("nan")}),
        ("zero-shot-classification", {}),
        ("zero-shot-classification", {"candidate_labels": []}),
        ("text-ranking", {"activation_fn": "sigmoid"}),
        ("text-ranking", {"query": "secret \ud800"}),
    ],
)
def test_parameters_are_the_tasks_own(task: str, parameters: dict[str, Any]) -> None:
    with pytest.raises(WorkflowError, match="parameters") as caught:
        workflow(task=task, parameters=parameters)
    assert "secret" not in str(caught.value)


def test_parameters_travel_in_the_environment() -> None:
    given = workflow(task="text-classification", parameters={"top_k": None})
    environment = given.environment(
        store="file:///s", model_revision="abc", dataset_id="d", dataset_version="1"
    )
    assert environment["LEGATO_PARAMETERS"] == '{"top_k": null}'
    with pytest.raises(WorkflowError, match="no vectors to search"):
        workflow(task="text-classification", queries=["a"])


def test_a_callable_dataset_is_not_called() -> None:
    def dataset() -> str:
        raise AssertionError

    workflow(dataset=dataset).document()
