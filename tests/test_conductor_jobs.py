"""Containers: a Batch job that is waited for, and an ECS task that answers a token."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from legato.conductor import Conductor, Execution, JobContext
from legato.errors import InputError, WorkflowError

BATCH = "arn:aws:states:::batch:submitJob.sync"
ECS = "arn:aws:states:::ecs:runTask.waitForTaskToken"
EVENT = {"Name": "EVENT", "Value.$": "States.JsonToString($)"}
TOKEN = {"Name": "TOKEN", "Value.$": "$$.Task.Token"}
SUBMIT: dict[str, Any] = {
    "JobName": "n-1",
    "JobDefinition": "definition",
    "JobQueue": "queue",
    "ContainerOverrides": {"Environment": [EVENT]},
}
RUN: dict[str, Any] = {
    "Cluster": "cluster",
    "TaskDefinition": "definition",
    "Overrides": {"ContainerOverrides": [{"Name": "c", "Environment": [EVENT, TOKEN]}]},
}
Job = Callable[[Mapping[str, str], JobContext], Any]


def batch(**changes: Any) -> dict[str, Any]:
    return {"Type": "Task", "Resource": BATCH, "Parameters": {**SUBMIT, **changes}, "End": True}


def ecs(**changes: Any) -> dict[str, Any]:
    return {"Type": "Task", "Resource": ECS, "Parameters": {**RUN, **changes}, "End": True}


def run(state: dict[str, Any], job: Job, data: Any = None, **options: Any) -> Execution:
    conductor = Conductor(
        {"StartAt": "J", "States": {"J": state}},
        functions={},
        buckets={},
        jobs={"definition": job},
        **options,
    )
    return conductor.run({} if data is None else data, name="r")


def test_a_job_gets_its_environment_and_batch_tells_nothing_of_its_output() -> None:
    seen: list[Any] = []

    def job(environment: Mapping[str, str], context: JobContext) -> str:
        seen.append((dict(environment), context.token, context.definition))
        return "the output"

    execution = run(batch(), job, {"a": "ü"})
    assert seen == [({"EVENT": '{"a":"ü"}'}, None, "definition")]
    told = execution.output
    assert told.pop("JobId")
    assert told == {
        "JobDefinition": "definition",
        "JobName": "n-1",
        "JobQueue": "queue",
        "Status": "SUCCEEDED",
    }


def test_whatever_a_job_raises_batch_says_that_it_failed() -> None:
    def job(*_: object) -> None:
        raise InputError("the record is wrong")

    execution = run(batch(), job)
    assert execution.error == "States.TaskFailed"
    told = json.loads(str(execution.cause))
    assert told["Status"] == "FAILED"
    assert told["Container"] == {"ExitCode": 1, "Reason": "InputError: the record is wrong"}


def test_a_class_name_in_retry_does_not_match_a_failed_job() -> None:
    calls: list[int] = []

    def job(*_: object) -> None:
        calls.append(1)
        raise InputError

    retry = {"Retry": [{"ErrorEquals": ["InputError"], "IntervalSeconds": 1}]}
    assert run({**batch(), **retry}, job).error == "States.TaskFailed"
    assert len(calls) == 1


def test_a_task_answers_its_token() -> None:
    tokens: list[str] = []

    def job(environment: Mapping[str, str], context: JobContext) -> Any:
        tokens.append(environment["TOKEN"])
        assert context.token == environment["TOKEN"]
        return {"got": json.loads(environment["EVENT"])}

    assert run(ecs(), job, {"a": 1}).output == {"got": {"a": 1}}
    run(ecs(), job)
    assert len(set(tokens)) == 2
    assert {len(token) for token in tokens} == {2_048}


def test_a_task_reports_errors_by_their_names() -> None:
    calls: list[int] = []

    def job(*_: object) -> str:
        calls.append(1)
        if len(calls) == 1:
            raise InputError("the record is wrong")
        return "done"

    execution = run(ecs(), job)
    assert execution.error == "InputError"
    assert json.loads(str(execution.cause))["errorMessage"] == "the record is wrong"
    calls.clear()
    retry = {"Retry": [{"ErrorEquals": ["InputError"], "IntervalSeconds": 1}]}
    assert run({**ecs(), **retry}, job).output == "done"


def test_a_task_that_falls_silent_has_missed_its_heartbeat() -> None:
    leave = threading.Event()
    started = time.monotonic()
    execution = run(
        {**ecs(), "HeartbeatSeconds": 1, "TimeoutSeconds": 60}, lambda *_: leave.wait(30)
    )
    leave.set()
    assert execution.error == "States.HeartbeatTimeout"
    assert time.monotonic() - started < 10
    assert [e.type for e in execution.history if e.type.startswith("Task")] == [
        "TaskStateEntered",
        "TaskScheduled",
        "TaskStarted",
        "TaskSubmitted",
        "TaskTimedOut",
    ]


def test_a_task_that_is_heard_of_may_take_longer_than_a_heartbeat() -> None:
    def job(_environment: object, context: JobContext) -> str:
        for _ in range(25):
            time.sleep(0.1)
            context.heartbeat()
        return "done"

    execution = run({**ecs(), "HeartbeatSeconds": 2, "TimeoutSeconds": 60}, job)
    assert execution.output == "done", execution.error


def test_heartbeats_do_not_prolong_the_timeout() -> None:
    leave = threading.Event()

    def job(_environment: object, context: JobContext) -> None:
        while not leave.wait(0.1):
            context.heartbeat()

    execution = run({**ecs(), "HeartbeatSeconds": 2, "TimeoutSeconds": 3}, job)
    leave.set()
    assert execution.error == "States.Timeout"


def test_a_task_that_exits_says_nothing_any_more() -> None:
    def job(*_: object) -> None:
        raise SystemExit(1)

    assert run({**ecs(), "HeartbeatSeconds": 600}, job).error == "States.HeartbeatTimeout"
    assert run(ecs(), job).error == "States.Timeout"
    assert run(batch(), job).error == "States.TaskFailed"


def test_a_heartbeat_timeout_can_be_retried_and_any_task_failure_covers_it() -> None:
    calls: list[int] = []

    def job(*_: object) -> int:
        calls.append(1)
        if len(calls) < 3:
            raise SystemExit(1)
        return len(calls)

    retry = {
        "HeartbeatSeconds": 9,
        "Retry": [
            {"ErrorEquals": ["States.HeartbeatTimeout"], "MaxAttempts": 1, "IntervalSeconds": 1},
            {"ErrorEquals": ["States.ALL"], "MaxAttempts": 1, "IntervalSeconds": 1},
        ],
    }
    assert run({**ecs(), **retry}, job).error == "States.HeartbeatTimeout"


@pytest.mark.parametrize(
    ("state", "error"),
    [(batch, "Batch.ClientException"), (ecs, "ECS.InvalidParameterException")],
)
def test_overrides_have_the_limit_of_ecs(state: Callable[[], Any], error: str) -> None:
    assert run(state(), lambda *_: None, {"a": "x" * 5_000}).status == "SUCCEEDED"
    execution = run(state(), lambda *_: None, {"a": "x" * 8_192})
    assert execution.error == error
    assert "8,192" in str(execution.cause)


@pytest.mark.parametrize("name", ["", "-a", "a b", "a.b", "x" * 129])
def test_a_jobs_name_is_checked(name: str) -> None:
    state = batch(**{"JobName.$": "$.name"})
    del state["Parameters"]["JobName"]
    assert run(state, lambda *_: None, {"name": name}).error == "Batch.ClientException"


def test_an_environment_holds_texts() -> None:
    number = [{"Name": "N", "Value.$": "$.n"}]
    state = batch(ContainerOverrides={"Environment": number})
    assert run(state, lambda *_: None, {"n": 5}).error == "States.Runtime"


def test_a_definition_that_is_named_at_run_time_may_be_missing() -> None:
    state = batch(**{"JobDefinition.$": "$.d"})
    del state["Parameters"]["JobDefinition"]
    assert run(state, lambda *_: None, {"d": "other"}).error == "Batch.ClientException"


@pytest.mark.parametrize(
    ("state", "named"),
    [
        (batch(JobDefinition="other"), "no job is bound to 'other'"),
        (ecs(TaskDefinition="other"), "no job is bound to 'other'"),
        ({**batch(), "HeartbeatSeconds": 5}, "HeartbeatSeconds"),
        ({**ecs(), "HeartbeatSeconds": 5, "TimeoutSeconds": 5}, "must be below TimeoutSeconds"),
        ({**ecs(), "HeartbeatSeconds": 0}, "HeartbeatSeconds"),
        ({**batch(), "Parameters": {"JobName": "n"}}, "JobDefinition"),
        ({**batch(), "Parameters": 1}, "Parameters"),
        (batch(ArrayProperties={"Size": 2}), "ArrayProperties"),
        (batch(ContainerOverrides={"Environment": [{"Name": "A"}]}), "Value"),
        (batch(ContainerOverrides={"Command": ["a"]}), "Command"),
        (ecs(Overrides={"ContainerOverrides": []}), "one container"),
        (ecs(Overrides={"ContainerOverrides": [{"Name": "c"}]}), r"\$\$\.Task\.Token"),
        (ecs(Count=2), "Count"),
    ],
)
def test_a_job_is_refused_by_name_before_anything_runs(state: dict[str, Any], named: str) -> None:
    with pytest.raises(WorkflowError, match=named):
        run(state, lambda *_: None)


def test_only_a_task_with_a_token_has_one() -> None:
    environment = [{"Name": "T", "Value.$": "$$.Task.Token"}]
    state = batch(ContainerOverrides={"Environment": environment})
    assert run(state, lambda *_: None).error == "States.Runtime"
