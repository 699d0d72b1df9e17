"""A run as a whole: limits, isolation, interruption, history, context, bindings."""

from __future__ import annotations

import json
import logging
import os
import re
import signal
import subprocess
import sys
import textwrap
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import pytest

from legato.conductor import (
    MAX_PAYLOAD_BYTES,
    Conductor,
    Execution,
    HistoryEvent,
    TaskContext,
)
from legato.conductor._failure import Stopped
from legato.conductor._fleet import Fleet
from legato.conductor._region import Region
from legato.errors import InputError, WorkflowError

ARN = "arn:aws:lambda:eu-west-1:123456789012:function:embed:live"
INVOKE = "arn:aws:states:::lambda:invoke"
TASK: dict[str, Any] = {"Type": "Task", "Resource": ARN, "End": True}


def conductor(
    handler: Callable[[Any, Any], Any], states: dict[str, Any] | None = None, **options: Any
) -> Conductor:
    states = states or {"T": TASK}
    document = {"StartAt": next(iter(states)), "States": states}
    return Conductor(document, functions={ARN: handler}, buckets={}, **options)


def run(handler: Callable[[Any, Any], Any], data: object = None, **options: Any) -> Execution:
    return conductor(handler, **options).run(data, name="r")


def test_lambda_invoke_returns_the_shape_of_aws() -> None:
    task = {**TASK, "Resource": INVOKE, "Parameters": {"FunctionName": ARN, "Payload.$": "$.a"}}
    execution = run(lambda event, _: [event], {"a": 1}, states={"T": task})
    assert execution.output == {"ExecutedVersion": "$LATEST", "Payload": [1], "StatusCode": 200}


def test_lambda_invoke_without_payload_sends_an_empty_object() -> None:
    task = {**TASK, "Resource": INVOKE, "Parameters": {"FunctionName": ARN}}
    assert run(lambda event, _: event, {"a": 1}, states={"T": task}).output["Payload"] == {}


def test_a_function_gets_a_copy() -> None:
    def handler(event: dict[str, Any], _context: object) -> None:
        event["list"].append(9)
        event["new"] = 1

    data = {"list": [1]}
    states = {"T": {**TASK, "ResultPath": None}}
    assert run(handler, data, states=states).output == {"list": [1]}
    assert data == {"list": [1]}


def test_a_function_cannot_change_what_it_returned() -> None:
    kept: list[Any] = [1]
    states = {"A": {**TASK, "End": False}, "B": {"Type": "Pass", "End": True}}
    del states["A"]["End"]
    states["A"]["Next"] = "B"

    def listener(event: HistoryEvent) -> None:
        if event.type == "TaskStateExited":
            kept.append(2)
            event.output.append(3)

    assert run(lambda *_: kept, states=states, listener=listener).output == [1]


def test_results_become_what_json_makes_of_them() -> None:
    assert run(lambda *_: {1: (1, 2), None: True}).output == {"1": [1, 2], "null": True}


@pytest.mark.parametrize("data", [None, 0, "", [], {}, {"ü": "\U0001f600"}, 1e300, -0.0])
def test_any_json_value_is_an_input(data: object) -> None:
    assert run(lambda event, _: event, data).output == data


@pytest.mark.parametrize("data", [float("nan"), b"x", {"a": object()}, "\ud800", {1, 2}])
def test_other_inputs_are_refused(data: object) -> None:
    with pytest.raises(InputError, match="not JSON"):
        run(lambda *_: None, data)


@pytest.mark.parametrize("name", ["", "a b", "x" * 81, "a/b", "a:b", "ä", "a\n"])
def test_names_of_executions(name: str) -> None:
    with pytest.raises(InputError, match="name"):
        conductor(lambda *_: None).run({}, name=name)


def test_the_limit_is_in_bytes_of_utf8() -> None:
    exact = "é" * ((MAX_PAYLOAD_BYTES - 2) // 2)
    states = {"P": {"Type": "Pass", "End": True}}
    assert run(lambda *_: None, exact, states=states).status == "SUCCEEDED"
    assert run(lambda *_: None, exact + "a", states=states).error == "States.DataLimitExceeded"


def test_the_limit_holds_for_results_outputs_and_payloads() -> None:
    half = "x" * 140_000
    over = "States.DataLimitExceeded"
    assert run(lambda *_: "x" * (MAX_PAYLOAD_BYTES - 2)).status == "SUCCEEDED"
    assert run(lambda *_: "x" * (MAX_PAYLOAD_BYTES - 1)).error == over
    # Each half fits, both together do not.
    task = {**TASK, "ResultPath": "$.b"}
    assert run(lambda *_: half, {"a": half}, states={"T": task}).error == over
    task = {**TASK, "Parameters": {"a.$": "$", "b.$": "$"}}
    calls: list[int] = []
    assert run(lambda *_: calls.append(1), half, states={"T": task}).error == over
    assert calls == []
    task = {**TASK, "Resource": INVOKE, "Parameters": {"FunctionName": ARN, "Payload.$": "$"}}
    assert run(lambda *_: "x" * 262_130, states={"T": task}).error == over


def test_the_cause_of_a_limit_says_how_much_and_not_what() -> None:
    cause = run(lambda *_: "secret" * 50_000).cause or ""
    assert "300,002 bytes" in cause
    assert "262,144" in cause
    assert "secret" not in cause


def test_the_context_is_that_of_lambda() -> None:
    seen: list[TaskContext] = []
    run(lambda _, context: seen.append(context), states={"T": {**TASK, "TimeoutSeconds": 7}})
    (context,) = seen
    assert context.function_name == "embed"
    assert context.function_version == "$LATEST"
    assert context.invoked_function_arn == ARN
    assert context.memory_limit_in_mb == "10240"
    assert context.log_group_name == "/aws/lambda/embed"
    assert context.log_stream_name
    assert uuid.UUID(context.aws_request_id).version == 4
    assert 0 <= context.get_remaining_time_in_millis() <= 7000


def test_without_a_timeout_a_function_has_lambdas_fifteen_minutes() -> None:
    left: list[int] = []
    run(lambda _, context: left.append(context.get_remaining_time_in_millis()))
    assert 890_000 < left[0] <= 900_000


def test_context_variables_reach_the_function() -> None:
    variable: ContextVar[str] = ContextVar("variable")
    token = variable.set("seen")
    assert run(lambda *_: variable.get()).output == "seen"
    variable.reset(token)


def test_history_has_the_names_of_aws_and_no_data() -> None:
    states = {
        "P": {"Type": "Pass", "Next": "T"},
        "T": {
            **TASK,
            "Resource": INVOKE,
            "Parameters": {"FunctionName": ARN, "Payload.$": "$"},
        },
    }
    execution = run(lambda *_: {"answer": "secret"}, {"text": "secret"}, states=states)
    assert [(event.type, event.state) for event in execution.history] == [
        ("ExecutionStarted", None),
        ("PassStateEntered", "P"),
        ("PassStateExited", "P"),
        ("TaskStateEntered", "T"),
        ("TaskScheduled", "T"),
        ("TaskStarted", "T"),
        ("TaskSucceeded", "T"),
        ("TaskStateExited", "T"),
        ("ExecutionSucceeded", None),
    ]
    assert [event.id for event in execution.history] == list(range(1, 10))
    plain = json.dumps([event.to_dict() for event in execution.history])
    assert "secret" not in plain
    assert "output" not in plain
    assert all(event.output is None for event in execution.history)
    for event in execution.history:
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", event.timestamp)
        assert event.execution == "r"


def test_the_listener_gets_outputs_and_failures() -> None:
    events: list[HistoryEvent] = []

    def handler(event: str, _context: object) -> str:
        raise ValueError(event)

    run(lambda *_: {"n": 1}, listener=events.append)
    outputs = {event.type: event.output for event in events}
    assert outputs["TaskStateExited"] == outputs["ExecutionSucceeded"] == {"n": 1}
    events.clear()
    run(handler, "why", listener=events.append)
    failed = next(event for event in events if event.type == "LambdaFunctionFailed")
    assert failed.details["error"] == "ValueError"
    assert json.loads(failed.output["Cause"])["errorMessage"] == "why"


def test_the_listener_is_never_called_twice_at_once() -> None:
    busy = threading.Lock()
    count = 0

    def listener(_event: HistoryEvent) -> None:
        nonlocal count
        assert busy.acquire(blocking=False)
        time.sleep(0.0005)
        count += 1
        busy.release()

    states = {
        "M": {
            "Type": "Map",
            "ItemProcessor": {"StartAt": "T", "States": {"T": TASK}},
            "End": True,
        }
    }
    execution = run(lambda *_: 1, [0] * 20, states=states, listener=listener, max_concurrency=8)
    assert count == len(execution.history)


def test_a_listener_that_raises_is_left_out_and_its_message_is_not_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    calls: list[str] = []

    def listener(event: HistoryEvent) -> None:
        calls.append(event.type)
        raise ValueError("secret")

    with caplog.at_level(logging.WARNING):
        execution = run(lambda *_: 1, listener=listener)
    assert execution.status == "SUCCEEDED"
    assert len(execution.history) > 3
    assert calls == ["ExecutionStarted"]
    assert "ValueError" in caplog.text
    assert "secret" not in caplog.text


def test_an_endless_loop_ends_at_the_limit_of_the_history() -> None:
    states = {
        "C": {
            "Type": "Choice",
            "Choices": [{"Variable": "$.stop", "IsPresent": True, "Next": "End"}],
            "Default": "C",
        },
        "End": {"Type": "Succeed"},
    }
    execution = run(lambda *_: None, {}, states=states)
    assert (execution.status, execution.error) == ("FAILED", "States.Runtime")
    assert "25,000" in (execution.cause or "")
    assert len(execution.history) == 25_000


def test_a_conductor_can_run_again_and_from_several_threads() -> None:
    engine = conductor(lambda event, _: event)
    found: dict[int, Any] = {}
    threads = [
        threading.Thread(target=lambda n=n: found.update({n: engine.run(n, name=f"r{n}").output}))
        for n in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {n: n for n in range(8)}


def test_the_document_is_read_once() -> None:
    document: dict[str, Any] = {"StartAt": "T", "States": {"T": dict(TASK)}}
    functions: dict[str, Any] = {ARN: lambda *_: 1}
    engine = Conductor(document, functions=functions, buckets={})
    document["States"]["T"]["Resource"] = "nonsense"
    functions.clear()
    assert engine.run({}, name="r").output == 1


def interrupt_main() -> None:
    os.kill(os.getpid(), signal.SIGINT)


MAP_STATES: dict[str, Any] = {
    "M": {
        "Type": "Map",
        "ItemProcessor": {
            "ProcessorConfig": {"Mode": "DISTRIBUTED", "ExecutionType": "STANDARD"},
            "StartAt": "T",
            "States": {"T": {**TASK, "TimeoutSeconds": 60}},
        },
        "Next": "After",
    },
    "After": TASK,
}


@pytest.mark.parametrize("states", [{"T": TASK}, MAP_STATES], ids=["task", "map"])
def test_an_interrupt_stops_everything_and_goes_on(states: dict[str, Any]) -> None:
    release, calls = threading.Event(), []
    events: list[HistoryEvent] = []

    def handler(event: object, _context: object) -> None:
        calls.append(event)
        if len(calls) == 1:
            interrupt_main()
        release.wait(30)

    engine = conductor(handler, states, max_concurrency=2, listener=events.append)
    started = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        engine.run(list(range(50)), name="r")
    assert time.monotonic() - started < 10
    heard = len(events)
    release.set()
    time.sleep(0.1)
    assert len(calls) <= 2
    assert len(events) == heard
    aborted = [e.execution for e in events if e.type == "ExecutionAborted"]
    assert "r" in aborted


def test_functions_that_run_get_a_moment_to_finish(tmp_path: Path) -> None:
    def handler(_event: object, _context: object) -> None:
        interrupt_main()
        time.sleep(0.5)
        (tmp_path / "done").write_text("whole")

    with pytest.raises(KeyboardInterrupt):
        run(handler)
    assert (tmp_path / "done").read_text() == "whole"


def test_an_interrupt_ends_a_wait() -> None:
    timer = threading.Timer(0.3, interrupt_main)
    states = {"W": {"Type": "Wait", "Seconds": 60, "End": True}}
    timer.start()
    started = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        run(lambda *_: None, states=states)
    assert time.monotonic() - started < 10
    timer.join()


def test_an_interrupt_ends_a_run_at_whatever_moment_it_comes() -> None:
    states = {**MAP_STATES, "After": {"Type": "Wait", "Seconds": 60, "End": True}}
    engine = conductor(lambda *_: None, states, max_concurrency=2)

    def run_and_interrupt(after_s: float) -> None:
        threading.Timer(after_s, interrupt_main).start()
        engine.run([1, 2, 3], name="r")

    for number in range(40):
        # From before the first state to the wait: where locks are taken all the time.
        started = time.monotonic()
        with pytest.raises(KeyboardInterrupt):
            run_and_interrupt(number / 4000)
        assert time.monotonic() - started < 10


def test_an_interrupt_ends_the_wait_for_a_retry_in_a_child() -> None:
    def handler(_event: object, _context: object) -> None:
        raise ValueError

    task = {**TASK, "Retry": [{"ErrorEquals": ["States.ALL"], "IntervalSeconds": 60}]}
    processor = {"StartAt": "T", "States": {"T": task}}
    states = {"M": {"Type": "Map", "ItemProcessor": processor, "End": True}}
    timer = threading.Timer(0.3, interrupt_main)
    timer.start()
    started = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        run(handler, [1, 2], states=states, max_concurrency=2)
    assert time.monotonic() - started < 10
    timer.join()


def test_an_interrupt_that_a_function_raises_stops_the_run() -> None:
    def handler(_event: object, _context: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(handler, [1, 2, 3], states=MAP_STATES)


@pytest.fixture
def eager_threads() -> Iterator[None]:
    """Threads that run as soon as they are started, so that a job ends while others begin."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(interval)


@pytest.mark.usefixtures("eager_threads")
@pytest.mark.parametrize("distributed", [False, True])
def test_a_job_that_ends_the_fleet_while_it_starts_is_what_the_run_tells(
    distributed: bool,
) -> None:
    def interrupt(_event: object, _context: object) -> None:
        raise KeyboardInterrupt

    def fail(_event: object, _context: object) -> None:
        raise ValueError

    config = {"Mode": "DISTRIBUTED", "ExecutionType": "EXPRESS"} if distributed else {}
    processor = {"ProcessorConfig": config, "StartAt": "T", "States": {"T": TASK}}
    states = {"M": {"Type": "Map", "ItemProcessor": processor, "End": True}}
    error = "States.ExceedToleratedFailureThreshold" if distributed else "ValueError"
    for _ in range(30):
        with pytest.raises(KeyboardInterrupt):
            run(interrupt, list(range(8)), states=states, max_concurrency=8)
        assert run(fail, list(range(8)), states=states, max_concurrency=8).error == error


def test_a_fleet_does_not_start_in_a_region_that_is_stopped() -> None:
    region = Region()
    region.stop()
    jobs: list[int] = []
    with pytest.raises(Stopped):
        Fleet(region, iter([1, 2]), jobs.append).run(2, "fleet", lambda: None)
    assert jobs == []


def test_a_function_that_hangs_does_not_keep_the_process() -> None:
    program = textwrap.dedent(
        """
        import time
        from legato.conductor import Conductor
        arn = "arn:aws:lambda:eu-west-1:123456789012:function:f"
        task = {"Type": "Task", "Resource": arn, "TimeoutSeconds": 1, "End": True}
        machine = {"StartAt": "T", "States": {"T": task}}
        engine = Conductor(machine, functions={arn: lambda *_: time.sleep(600)}, buckets={})
        print(engine.run({}, name="r").error)
        """
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert done.stdout.strip() == "States.Timeout"


def test_placeholders_are_replaced_once_and_missing_ones_named() -> None:
    task = {**TASK, "Resource": INVOKE, "Parameters": {"FunctionName": "${Fn}", "Payload": "${A}"}}
    engine = conductor(
        lambda event, _: event,
        {"T": task},
        substitutions={"Fn": ARN, "A": "x ${B}", "Unused": ""},
    )
    assert engine.run({}, name="r").output["Payload"] == "x ${B}"
    with pytest.raises(WorkflowError, match=r"\$\{A\}, \$\{Fn\}"):
        conductor(lambda *_: None, {"T": task})


def test_a_function_without_handler_is_refused_before_anything_runs() -> None:
    document = {"StartAt": "T", "States": {"T": TASK}}
    with pytest.raises(WorkflowError, match="state T: no handler is bound to function"):
        Conductor(document, functions={}, buckets={})


@pytest.mark.parametrize("value", [0, -1])
def test_max_concurrency_is_positive(value: int) -> None:
    with pytest.raises(WorkflowError, match="max_concurrency"):
        conductor(lambda *_: None, max_concurrency=value)
