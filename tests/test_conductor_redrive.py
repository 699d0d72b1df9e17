"""Redrive: an execution goes on where it stopped, and keeps what had succeeded."""

from __future__ import annotations

import doctest
import json
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import legato
from legato.conductor import Conductor, Execution, _conductor
from legato.errors import InputError, ObjectNotFoundError
from legato.local import bind
from legato.settings import Settings
from legato.stages import validation
from legato.workflow import Workflow

ARN = "arn:aws:lambda:eu-west-1:123456789012:function:"
GET = "arn:aws:states:::s3:getObject"
PUT = "arn:aws:states:::s3:putObject"


class Lab:
    """Functions that return what they get, until one is broken; it counts what is called."""

    def __init__(self) -> None:
        self.broken: Callable[[str, Any], bool] = lambda _name, _event: False
        self.calls: list[tuple[str, Any]] = []
        self.objects: dict[str, bytes] = {}
        self.closed = False
        self.lock = threading.Lock()

    def function(self, name: str) -> Callable[[Any, Any], Any]:
        def call(event: Any, _context: object) -> Any:
            with self.lock:
                self.calls.append((name, event))
            if self.broken(name, event):
                raise ValueError(name)
            return event

        return call

    def get(self, key: str) -> bytes:
        if key not in self.objects:
            raise ObjectNotFoundError(key)
        return self.objects[key]

    def list(self, prefix: str) -> list[str]:
        raise AssertionError(prefix)

    def put(self, value: bytes, key: str) -> None:
        if self.closed:
            raise OSError
        self.objects[key] = value

    def conductor(self, states: dict[str, Any], **options: Any) -> Conductor:
        top = options.pop("top", {})
        return Conductor(
            {"StartAt": next(iter(states)), "States": states, **top},
            functions={f"{ARN}{name}": self.function(name) for name in "ABC"},
            buckets={"b": self},
            max_concurrency=options.pop("max_concurrency", 1),
            **options,
        )

    def counts(self) -> dict[str, int]:
        return dict(Counter(name for name, _ in self.calls))


@pytest.fixture
def lab() -> Lab:
    return Lab()


def task(name: str, following: str | None = None, **fields: Any) -> dict[str, Any]:
    end = {"End": True} if following is None else {"Next": following}
    return {"Type": "Task", "Resource": f"{ARN}{name}", **end, **fields}


def mapped(kind: str, **fields: Any) -> dict[str, Any]:
    config = {"Mode": "INLINE"}
    if kind != "INLINE":
        config = {"Mode": "DISTRIBUTED", "ExecutionType": kind}
    states = {"A": task("A", "B"), "B": task("B")}
    processor = {"ProcessorConfig": config, "StartAt": "A", "States": states}
    return {"Type": "Map", "ItemProcessor": processor, "End": True, **fields}


def types(execution: Execution) -> list[str]:
    return [event.type for event in execution.history]


def test_it_goes_on_at_the_state_that_failed_with_its_input(lab: Lab) -> None:
    first = {"Type": "Pass", "Result": 7, "ResultPath": "$.made", "Next": "A"}
    conductor = lab.conductor(
        {"P": first, "A": task("A", "B"), "B": task("B", "C"), "C": task("C")}
    )
    lab.broken = lambda name, _: name == "B"
    failed = conductor.run({"x": 1}, name="r")
    assert (failed.status, failed.error, failed.redrives) == ("FAILED", "ValueError", 0)
    lab.broken = lambda *_: False
    done = conductor.redrive(failed)
    assert (done.status, done.name, done.redrives) == ("SUCCEEDED", "r", 1)
    assert done.output == {"x": 1, "made": 7}
    assert [name for name, _ in lab.calls] == ["A", "B", "B", "C"]
    assert all(event == {"x": 1, "made": 7} for _, event in lab.calls)
    assert done.started == failed.started


def test_the_example_of_the_documentation_runs() -> None:
    found = doctest.testmod(_conductor, extraglobs={"ARN": f"{ARN}load"})
    assert (found.failed, found.attempted > 5) == (0, True)


def test_the_history_goes_on(lab: Lab) -> None:
    conductor = lab.conductor({"A": task("A", "B"), "B": task("B")})
    lab.broken = lambda name, _: name == "B"
    failed = conductor.run({}, name="r")
    lab.broken = lambda *_: False
    done = conductor.redrive(failed)
    assert done.history[: len(failed.history)] == failed.history
    assert [event.id for event in done.history] == list(range(1, len(done.history) + 1))
    assert types(done)[len(failed.history) :] == [
        "ExecutionRedriven",
        "LambdaFunctionScheduled",
        "LambdaFunctionStarted",
        "LambdaFunctionSucceeded",
        "TaskStateExited",
        "ExecutionSucceeded",
    ]


def test_it_can_fail_and_be_redriven_again(lab: Lab) -> None:
    counts: list[int] = []
    state = task("A", Parameters={"count.$": "$$.Execution.RedriveCount"})
    conductor = lab.conductor({"A": state})
    lab.broken = lambda _name, event: event["count"] < 3
    execution = conductor.run({}, name="r")
    while execution.status != "SUCCEEDED":
        counts.append(execution.redrives)
        execution = conductor.redrive(execution)
    assert counts == [0, 1, 2]
    assert execution.output == {"count": 3}


def test_what_succeeded_cannot_be_redriven(lab: Lab) -> None:
    conductor = lab.conductor({"A": task("A")})
    with pytest.raises(InputError, match="execution r is SUCCEEDED and cannot be redriven"):
        conductor.redrive(conductor.run({}, name="r"))


def test_the_definition_must_be_the_same(lab: Lab) -> None:
    lab.broken = lambda *_: True
    failed = lab.conductor({"A": task("A")}).run({}, name="r")
    with pytest.raises(InputError, match="another definition"):
        lab.conductor({"A": task("A", Comment="changed")}).redrive(failed)
    lab.broken = lambda *_: False
    # Other handlers under the same names are what a repair is.
    assert lab.conductor({"A": task("A")}).redrive(failed).status == "SUCCEEDED"


def test_a_full_history_cannot_go_on(lab: Lab) -> None:
    loop = {"P": {"Type": "Pass", "Next": "Q"}, "Q": {"Type": "Pass", "Next": "P"}}
    loop["E"] = {"Type": "Pass", "End": True}
    states = {
        "C": {
            "Type": "Choice",
            "Choices": [{"Variable": "$.e", "IsPresent": True, "Next": "E"}],
            "Default": "P",
        },
        **loop,
    }
    conductor = lab.conductor(states)
    failed = conductor.run({}, name="r")
    assert failed.error == "States.Runtime"
    with pytest.raises(InputError, match="history of execution r is full"):
        conductor.redrive(failed)


def test_the_events_of_all_attempts_count_together(lab: Lab) -> None:
    conductor = lab.conductor({"A": task("A", "B"), "B": task("B")})
    lab.broken = lambda name, _: name == "B"
    execution = conductor.run({}, name="r")
    left = []
    for _ in range(3):
        assert execution.resumption is not None
        left.append(execution.resumption.events_left)
        execution = conductor.redrive(execution)
    assert left == sorted(left, reverse=True)
    assert len(set(left)) == 3


def test_a_state_whose_error_was_caught_has_exited(lab: Lab) -> None:
    catch = {"Catch": [{"ErrorEquals": ["States.ALL"], "Next": "F"}]}
    states = {"A": task("A", **catch), "F": {"Type": "Fail", "Error": "Named", "Cause": "c"}}
    conductor = lab.conductor(states)
    lab.broken = lambda *_: True
    failed = conductor.run({}, name="r")
    lab.broken = lambda *_: False
    again = conductor.redrive(failed)
    assert (again.status, again.error) == ("FAILED", "Named")
    assert lab.counts() == {"A": 1}


def test_retries_begin_anew(lab: Lab) -> None:
    retry = {"Retry": [{"ErrorEquals": ["ValueError"], "MaxAttempts": 2, "IntervalSeconds": 1}]}
    conductor = lab.conductor({"A": task("A", **retry)}, clock=Quick())
    lab.broken = lambda *_: True
    failed = conductor.run({}, name="r")
    assert lab.counts() == {"A": 3}
    assert conductor.redrive(failed).status == "FAILED"
    assert lab.counts() == {"A": 6}


class Quick:
    """A clock whose waits take no time."""

    def __init__(self) -> None:
        self.now = 1.7e9

    def time(self) -> float:
        return self.now

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float, _stopped: threading.Event) -> None:
        self.now += seconds


def test_the_machines_time_begins_anew(lab: Lab) -> None:
    states = {
        "W": {"Type": "Wait", "Seconds": 6, "Next": "V"},
        "V": {"Type": "Wait", "Seconds": 6, "Next": "A"},
        "A": task("A"),
    }
    conductor = lab.conductor(states, top={"TimeoutSeconds": 10}, clock=Quick())
    late = conductor.run({}, name="r")
    assert late.status == "TIMED_OUT"
    done = conductor.redrive(late)
    assert done.status == "SUCCEEDED"
    waits = [e.state for e in done.history if e.type == "WaitStateEntered"]
    assert waits == ["W", "V"]


@pytest.mark.parametrize(
    ("kind", "a_calls"),
    # STANDARD children and inline iterations go on at B; EXPRESS children begin again.
    [("INLINE", 4), ("STANDARD", 4), ("EXPRESS", 5)],
)
def test_a_map_keeps_what_succeeded(lab: Lab, kind: str, a_calls: int) -> None:
    conductor = lab.conductor({"M": mapped(kind)})
    lab.broken = lambda name, event: name == "B" and event == 2
    failed = conductor.run([0, 1, 2, 3], name="r")
    assert failed.status == "FAILED"
    # The fourth was never started, as the third had failed.
    assert lab.counts() == {"A": 3, "B": 3}
    lab.broken = lambda *_: False
    done = conductor.redrive(failed)
    assert done.output == [0, 1, 2, 3]
    assert lab.counts() == {"A": a_calls, "B": 5}
    assert Counter(event for name, event in lab.calls if name == "B") == {0: 1, 1: 1, 2: 2, 3: 1}


def test_an_execution_keeps_where_it_stopped_whatever_a_redrive_does(lab: Lab) -> None:
    conductor = lab.conductor({"M": mapped("STANDARD", ResultWriter=WRITER)})
    lab.broken = lambda name, event: name == "B" and event == 1
    failed = conductor.run([0, 1], name="r")
    lab.broken = lambda *_: False
    for _ in range(2):
        lab.calls.clear()
        done = conductor.redrive(failed)
        assert lab.calls == [("B", 1)]
        assert exported(lab, done)["SUCCEEDED"] == [0, 1]


def test_outputs_of_all_attempts_are_limited_together(lab: Lab) -> None:
    items = {"M": mapped("EXPRESS", ItemSelector={"v.$": "$$.Map.Item.Value"})}
    large = "x" * 90_000
    items["M"]["ItemProcessor"]["States"]["B"] = {
        "Type": "Pass",
        "Parameters": {"large": large},
        "End": True,
    }
    conductor = lab.conductor(items)
    lab.broken = lambda _name, event: event["v"] == 2
    failed = conductor.run([0, 1, 2], name="r")
    assert failed.error == "States.ExceedToleratedFailureThreshold"
    lab.broken = lambda *_: False
    again = conductor.redrive(failed)
    assert again.error == "States.DataLimitExceeded"
    assert "the result of state M has 270," in str(again.cause)


def test_a_map_run_is_redriven_and_not_started_twice(lab: Lab) -> None:
    conductor = lab.conductor({"M": mapped("STANDARD")})
    lab.broken = lambda name, _: name == "B"
    failed = conductor.run([0], name="r")
    lab.broken = lambda *_: False
    done = conductor.redrive(failed)
    own = [event.type for event in done.history if event.execution == "r"]
    assert own.count("MapRunStarted") == own.count("MapRunRedriven") == 1
    assert own.count("MapStateEntered") == own.count("MapStateExited") == 1
    child = [event.type for event in done.history if event.execution == "r/M:0"]
    assert child.count("ExecutionStarted") == child.count("ExecutionRedriven") == 1


@pytest.mark.parametrize(("kind", "count"), [("STANDARD", 1), ("EXPRESS", 0)])
def test_children_know_how_often_they_were_redriven(lab: Lab, kind: str, count: int) -> None:
    seen = {"Parameters": {"v.$": "$", "count.$": "$$.Execution.RedriveCount"}}
    state = mapped(kind)
    state["ItemProcessor"]["States"] = {"A": task("A", "B"), "B": task("B", **seen)}
    conductor = lab.conductor({"M": state})
    lab.broken = lambda name, event: name == "B" and event["v"] == 1
    failed = conductor.run([0, 1], name="r")
    lab.broken = lambda *_: False
    done = conductor.redrive(failed)
    assert [entry["count"] for entry in done.output] == [0, count]


def test_children_that_were_stopped_run_again(lab: Lab) -> None:
    entered, leave = threading.Event(), threading.Event()

    def broken(name: str, event: Any) -> bool:
        if name == "B" and event == "slow":
            entered.set()
            leave.wait(10)
            return False
        entered.wait(10)
        return name == "B" and event == "bad"

    conductor = lab.conductor({"M": mapped("STANDARD")}, max_concurrency=2)
    lab.broken = broken
    failed = conductor.run(["slow", "bad"], name="r")
    assert failed.error == "States.ExceedToleratedFailureThreshold"
    lab.broken = lambda *_: False
    leave.set()
    before = lab.counts()
    done = conductor.redrive(failed)
    assert done.output == ["slow", "bad"]
    # Both stopped at B: one had failed there, the other was told to stop.
    assert {name: n - before[name] for name, n in lab.counts().items()} == {"A": 0, "B": 2}


def test_tolerated_failures_have_exited_with_their_map(lab: Lab) -> None:
    state = {**mapped("EXPRESS", ToleratedFailurePercentage=50), "Next": "C"}
    del state["End"]
    conductor = lab.conductor({"M": state, "C": task("C")})
    lab.broken = lambda name, event: name == "C" or event == 1
    failed = conductor.run([0, 1], name="r")
    assert failed.error == "ValueError"
    lab.calls.clear()
    lab.broken = lambda *_: False
    assert conductor.redrive(failed).output == [0]
    assert lab.counts() == {"C": 1}


def test_maps_in_maps(lab: Lab) -> None:
    inner = mapped("INLINE")
    outer = mapped("STANDARD")
    outer["ItemProcessor"] = {
        **outer["ItemProcessor"],
        "StartAt": "N",
        "States": {"N": inner},
    }
    conductor = lab.conductor({"M": outer})
    lab.broken = lambda name, event: name == "B" and event == 3
    failed = conductor.run([[0, 1], [2, 3]], name="r")
    assert failed.status == "FAILED"
    lab.calls.clear()
    lab.broken = lambda *_: False
    assert conductor.redrive(failed).output == [[0, 1], [2, 3]]
    assert lab.calls == [("B", 3)]


def test_a_retry_of_a_map_is_another_map_run(lab: Lab) -> None:
    retry = [{"ErrorEquals": ["States.ALL"], "IntervalSeconds": 1, "MaxAttempts": 1}]
    conductor = lab.conductor({"M": mapped("STANDARD", Retry=retry)}, clock=Quick())
    lab.broken = lambda name, event: name == "B" and event == 1
    failed = conductor.run([0, 1], name="r")
    assert Counter(event for name, event in lab.calls if name == "B") == {0: 2, 1: 2}
    lab.calls.clear()
    lab.broken = lambda *_: False
    assert conductor.redrive(failed).output == [0, 1]
    assert lab.calls == [("B", 1)]


def test_a_map_whose_items_could_not_be_read_starts_when_it_is_redriven(lab: Lab) -> None:
    reader = {
        "Resource": GET,
        "ReaderConfig": {"InputType": "JSONL"},
        "Parameters": {"Bucket": "b", "Key": "k"},
    }
    conductor = lab.conductor({"M": mapped("EXPRESS", ItemReader=reader)})
    failed = conductor.run({}, name="r")
    assert failed.error == "States.ItemReaderFailed"
    lab.objects["k"] = b"1\n2\n"
    done = conductor.redrive(failed)
    assert done.output == [1, 2]
    assert types(done).count("MapRunStarted") == 1


WRITER = {"Resource": PUT, "Parameters": {"Bucket": "b", "Prefix": "p"}}


def exported(lab: Lab, execution: Execution) -> dict[str, list[Any]]:
    manifest = json.loads(lab.objects[execution.output["ResultWriterDetails"]["Key"]])
    return {
        kind: [json.loads(entry["Input"]) for f in files for entry in json.loads(lab.get(f["Key"]))]
        for kind, files in manifest["ResultFiles"].items()
    }


def test_the_files_of_a_map_run_hold_both_attempts(lab: Lab) -> None:
    conductor = lab.conductor({"M": mapped("EXPRESS", ResultWriter=WRITER)})
    lab.broken = lambda name, event: name == "B" and event == 1
    failed = conductor.run([0, 1, 2], name="r")
    lab.broken = lambda *_: False
    done = conductor.redrive(failed)
    assert exported(lab, done) == {"SUCCEEDED": [0, 1, 2], "FAILED": [], "PENDING": []}
    assert len({key.split("/")[1] for key in lab.objects}) == 1


def test_results_that_could_not_be_written_are_written_and_no_child_runs_again(lab: Lab) -> None:
    conductor = lab.conductor({"M": mapped("EXPRESS", ResultWriter=WRITER)})
    lab.closed = True
    failed = conductor.run([0, 1], name="r")
    assert failed.error == "States.ResultWriterFailed"
    lab.closed = False
    lab.calls.clear()
    done = conductor.redrive(failed)
    assert exported(lab, done) == {"SUCCEEDED": [0, 1], "FAILED": [], "PENDING": []}
    assert lab.calls == []


def test_late_functions_of_the_first_attempt_change_nothing(lab: Lab) -> None:
    late, gone = threading.Event(), threading.Event()

    def broken(name: str, event: Any) -> bool:
        if name == "A" and event == "hangs" and not gone.is_set():
            late.wait(20)
            return False
        return name == "A" and event == "bad" and not gone.is_set()

    conductor = lab.conductor({"M": mapped("STANDARD")}, max_concurrency=2)
    lab.broken = broken
    failed = conductor.run(["hangs", "bad"], name="r")
    assert failed.status == "FAILED"
    gone.set()
    done = conductor.redrive(failed)
    late.set()
    time.sleep(0.1)
    assert done.output == ["hangs", "bad"]


@pytest.mark.parametrize("compute", ["lambda", "batch", "ecs"])
def test_a_workflow_whose_shard_failed_for_good_is_redriven_once_it_is_repaired(
    compute: str, tiny_bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    workflow = Workflow(
        name="w", task="feature-extraction", model=tiny_bert, shard_records=2, compute=compute
    )
    store = legato.Store.open((tmp_path / "store").as_uri())
    rows = [json.dumps({"id": f"id-{n}", "text": f"text {n}"}) for n in range(8)]
    source = store.put("\n".join(rows).encode(), "inputs/x/data.jsonl")
    environment = workflow.environment(
        store=store.url,
        model_revision=legato.ModelFiles.from_dir(tiny_bert).digest,
        dataset_id="d",
        dataset_version="v",
    )
    calls: Counter[str] = Counter()
    engine = bind(
        workflow,
        Settings.from_env(over=environment),
        store,
        max_concurrency=1,
        listener=lambda e: calls.update([str(e.state)] * e.type.endswith("Scheduled")),
    )
    check = validation.ref_of

    def poisoned(event: Any, *path: str) -> Any:
        if event["shard"]["index"] == 2:
            raise InputError("the record is wrong")
        return check(event, *path)

    monkeypatch.setattr(validation, "ref_of", poisoned)
    event = {"run": {"mode": "dataset"}, "input": source.to_dict()}
    failed = engine.run(event, name="nightly")
    assert failed.error == "States.ExceedToleratedFailureThreshold"
    monkeypatch.setattr(validation, "ref_of", check)
    calls.clear()
    done = engine.redrive(failed)
    assert (done.status, done.output["status"]) == ("SUCCEEDED", "complete"), done.cause
    # Two shards were missing: the third, and the fourth that was not started. What children of the
    # type STANDARD had done before they failed is not done again.
    again = (
        {"Preprocessing": 2, "Inference": 2}
        if compute == "lambda"
        else dict.fromkeys(("Preprocessing", "Inference"), 1)
    )
    assert calls == {**again, "Validation": 2, "Storage": 1}
    found = legato.Results.load(store, legato.Ref.from_dict(done.output["result"]))
    assert found.ids == [f"id-{n}" for n in range(8)]
    expected = legato.pipeline("feature-extraction", model=tiny_bert)(
        [f"text {n}" for n in range(8)]
    )
    np.testing.assert_allclose(found.vectors, expected, atol=1e-6)
