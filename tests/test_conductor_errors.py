"""Retry, Catch, timeouts, and errors as Lambda and Step Functions name them."""

from __future__ import annotations

import json
import random
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from legato.conductor import Conductor, Execution

FUNCTION = "arn:aws:lambda:eu-west-1:123456789012:function:f"
INVOKE = "arn:aws:states:::lambda:invoke"


class PatientClock:
    """A clock that notes how long it should sleep, and moves on at once."""

    def __init__(self) -> None:
        self.now = 1_600_000_000.0
        self.slept: list[float] = []

    def time(self) -> float:
        return self.now

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float, stopped: threading.Event) -> None:
        assert not stopped.is_set()
        self.slept.append(seconds)
        self.now += seconds


class ErrorA(Exception):  # noqa: N818 - the name in the specification
    pass


class ErrorB(Exception):  # noqa: N818 - the name in the specification
    pass


class ErrorC(Exception):  # noqa: N818 - the name in the specification
    pass


def failing(*errors: type[BaseException] | None) -> Callable[[Any, Any], Any]:
    """Return a handler that raises one error after the other; None stands for success."""
    queue = list(errors)

    def handler(_event: object, _context: object) -> str:
        error = queue.pop(0) if queue else None
        if error is not None:
            raise error
        return "done"

    return handler


def run(
    handler: Callable[[Any, Any], Any], clock: PatientClock | None = None, **state: Any
) -> Execution:
    states = {
        "T": {"Type": "Task", "Resource": FUNCTION, "End": True, **state},
        "Caught": {"Type": "Pass", "End": True},
    }
    if "Catch" not in state:
        del states["Caught"]
    conductor = Conductor(
        {"StartAt": "T", "States": states},
        functions={FUNCTION: handler},
        buckets={},
        clock=clock,
        rng=random.Random(7),
    )
    return conductor.run({"input": 1}, name="r")


def retrier(*errors: str, **values: Any) -> dict[str, Any]:
    return {"ErrorEquals": list(errors), **values}


def test_the_example_of_the_specification() -> None:
    clock = PatientClock()
    execution = run(
        failing(ErrorA, ErrorB, ErrorC, ErrorB),
        clock,
        Retry=[
            retrier("ErrorA", "ErrorB", IntervalSeconds=1, BackoffRate=2.0, MaxAttempts=2),
            retrier("ErrorC", IntervalSeconds=5),
        ],
        Catch=[{"ErrorEquals": ["States.ALL"], "Next": "Caught"}],
    )
    assert clock.slept == [1, 2, 5]
    assert execution.status == "SUCCEEDED"
    assert execution.output["Error"] == "ErrorB"


def test_defaults_are_three_attempts_after_1_2_and_4_seconds() -> None:
    clock = PatientClock()
    execution = run(failing(*[ErrorA] * 9), clock, Retry=[retrier("ErrorA")])
    assert clock.slept == [1, 2, 4]
    assert (execution.status, execution.error) == ("FAILED", "ErrorA")


@pytest.mark.parametrize(
    ("values", "slept"),
    [
        ({"MaxAttempts": 0}, []),
        ({"IntervalSeconds": 3, "BackoffRate": 1}, [3, 3, 3]),
        ({"IntervalSeconds": 2, "BackoffRate": 1.5, "MaxAttempts": 4}, [2, 3, 4.5, 6.75]),
        ({"IntervalSeconds": 2, "MaxDelaySeconds": 5, "MaxAttempts": 5}, [2, 4, 5, 5, 5]),
        ({"BackoffRate": 1e7, "MaxDelaySeconds": 9, "MaxAttempts": 60}, [1] + [9] * 59),
    ],
)
def test_backoff(values: dict[str, Any], slept: list[float]) -> None:
    clock = PatientClock()
    run(failing(*[ErrorA] * 99), clock, Retry=[retrier("States.ALL", **values)])
    assert clock.slept == slept


def test_full_jitter_spreads_each_delay_from_zero() -> None:
    clock = PatientClock()
    values = {"IntervalSeconds": 10, "BackoffRate": 1, "MaxAttempts": 200}
    run(failing(*[ErrorA] * 999), clock, Retry=[retrier("ErrorA", JitterStrategy="FULL", **values)])
    assert len(clock.slept) == 200
    assert all(0 <= delay <= 10 for delay in clock.slept)
    assert min(clock.slept) < 1
    assert max(clock.slept) > 9


def test_a_retry_sees_its_count_and_the_same_input() -> None:
    seen: list[Any] = []

    def handler(event: dict[str, Any], _context: object) -> None:
        seen.append(json.loads(json.dumps(event)))
        event.clear()
        raise ErrorA

    run(
        handler,
        PatientClock(),
        Parameters={"in.$": "$.input", "count.$": "$$.State.RetryCount"},
        Retry=[retrier("ErrorA", MaxAttempts=2)],
    )
    assert seen == [{"in": 1, "count": n} for n in range(3)]


def test_counters_start_anew_when_a_state_is_entered_again() -> None:
    clock = PatientClock()
    states = {
        "T": {
            "Type": "Task",
            "Resource": FUNCTION,
            "Retry": [retrier("ErrorA", MaxAttempts=1)],
            "Catch": [{"ErrorEquals": ["ErrorB"], "ResultPath": None, "Next": "Again"}],
            "End": True,
        },
        "Again": {"Type": "Pass", "Next": "T"},
    }
    handler = failing(ErrorA, ErrorB, ErrorA)
    conductor = Conductor(
        {"StartAt": "T", "States": states}, functions={FUNCTION: handler}, buckets={}, clock=clock
    )
    assert conductor.run({}, name="r").output == "done"
    assert clock.slept == [1, 1]


@pytest.mark.parametrize(
    ("pattern", "error", "caught"),
    [
        ("ErrorA", ErrorA, True),
        ("Error", ErrorA, False),
        ("errora", ErrorA, False),
        ("Exception", ErrorA, False),
        ("States.ALL", ErrorA, True),
        ("States.TaskFailed", ErrorA, True),
        ("States.Timeout", ErrorA, False),
        ("States.Runtime", ErrorA, False),
    ],
)
def test_error_names_are_compared_exactly(
    pattern: str,
    error: type[Exception],
    caught: bool,
) -> None:
    execution = run(failing(error), Catch=[{"ErrorEquals": [pattern], "Next": "Caught"}])
    assert (execution.status == "SUCCEEDED") is caught


@pytest.mark.parametrize(
    ("pattern", "caught"),
    [
        ("States.ALL", False),
        ("States.TaskFailed", False),
        ("States.Runtime", False),
        ("States.DataLimitExceeded", True),
    ],
)
def test_wildcards_do_not_catch_the_data_limit(pattern: str, caught: bool) -> None:
    execution = run(
        lambda *_: "x" * 262_144,
        PatientClock(),
        Retry=[retrier("States.ALL")],
        Catch=[{"ErrorEquals": [pattern], "Next": "Caught"}],
    )
    assert (execution.status == "SUCCEEDED") is caught
    if not caught:
        assert execution.error == "States.DataLimitExceeded"
        assert len([e for e in execution.history if e.type == "LambdaFunctionScheduled"]) == 1


@pytest.mark.parametrize("pattern", ["States.ALL", "States.TaskFailed", "States.Runtime"])
def test_nothing_catches_or_retries_a_runtime_error(pattern: str) -> None:
    calls: list[int] = []
    execution = run(
        lambda *_: calls.append(1),
        PatientClock(),
        OutputPath="$.no.such.path",
        Retry=[retrier(pattern)],
        Catch=[{"ErrorEquals": [pattern], "Next": "Caught"}],
    )
    assert (execution.status, execution.error, len(calls)) == ("FAILED", "States.Runtime", 1)


def test_catch_takes_the_first_match_and_puts_the_error_beside_the_input() -> None:
    catch = [
        {"ErrorEquals": ["ErrorB"], "Next": "T"},
        {"ErrorEquals": ["ErrorA"], "ResultPath": "$.failure", "Next": "Caught"},
        {"ErrorEquals": ["States.ALL"], "Next": "T"},
    ]
    # ResultPath and OutputPath of the state itself do not touch a caught error.
    execution = run(failing(ErrorA), Catch=catch, ResultPath="$.r", OutputPath="$.r")
    assert execution.output["input"] == 1
    assert set(execution.output["failure"]) == {"Error", "Cause"}


def test_catch_may_discard_the_error() -> None:
    catch = [{"ErrorEquals": ["States.ALL"], "ResultPath": None, "Next": "Caught"}]
    assert run(failing(ErrorA), Catch=catch).output == {"input": 1}


def test_the_cause_is_what_lambda_reports() -> None:
    def handler(_event: object, _context: object) -> None:
        message = "object is gone"
        raise ErrorA(message)

    execution = run(handler)
    assert execution.error == "ErrorA"
    cause = json.loads(execution.cause or "")
    assert cause["errorMessage"] == "object is gone"
    assert cause["errorType"] == "ErrorA"
    assert cause["requestId"]
    assert "raise ErrorA(message)" in cause["stackTrace"][-1]
    assert len(cause["stackTrace"]) == 1


def test_long_errors_and_causes_are_cut_to_the_limits() -> None:
    def handler(_event: object, _context: object) -> None:
        raise type("E" * 300, (Exception,), {})("é" * 40_000)

    execution = run(handler)
    assert execution.error == "E" * 256
    assert execution.cause is not None
    assert len(execution.cause) == 32_768


def test_a_long_stack_does_not_cost_the_message() -> None:
    def handler(_event: object, _context: object) -> None:
        def nest(level: int) -> None:
            if level == 0:
                raise ErrorA("kept")
            # Calls from different lines are not folded into one by traceback.
            source = "\n" * level + "nest(level - 1)"
            eval(compile(source, "f" * 300, "eval"), {"nest": nest, "level": level})

        nest(150)

    cause = json.loads(run(handler).cause or "")
    assert cause["errorMessage"] == "kept"


class BrokenText(Exception):  # noqa: N818
    def __str__(self) -> str:
        raise ErrorB


def test_an_error_that_cannot_be_printed_keeps_its_name() -> None:
    assert run(failing(BrokenText)).error == "BrokenText"


def test_a_lone_surrogate_in_a_message_is_escaped() -> None:
    def handler(_event: object, _context: object) -> None:
        raise ErrorA("a\ud800b")

    assert json.loads(run(handler).cause or "")["errorMessage"] == "a\\ud800b"


@pytest.mark.parametrize(
    "value",
    [
        float("nan"),
        float("inf"),
        {"x": [float("-inf")]},
        b"bytes",
        {"x": object()},
        "\ud800",
        {"\udfff": 1},
        {1, 2},
        {(1, 2): 3},
        (n for n in range(3)),
    ],
    ids=repr,
)
def test_what_is_not_json_is_a_marshal_error(value: object) -> None:
    execution = run(lambda *_: value)
    assert (execution.status, execution.error) == ("FAILED", "Runtime.MarshalError")


def test_cycles_and_deep_nesting_are_marshal_errors() -> None:
    cycle: list[Any] = []
    cycle.append(cycle)
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]
    assert run(lambda *_: cycle).error == "Runtime.MarshalError"
    assert run(lambda *_: deep).error == "Runtime.MarshalError"


def test_a_marshal_error_does_not_quote_the_value() -> None:
    assert "secret" not in (run(lambda *_: {"secret\ud800": 1}).cause or "")


@pytest.mark.parametrize("code", [0, 3, "text", None])
def test_exit_is_a_crash_of_the_runtime(code: object) -> None:
    def handler(_event: object, _context: object) -> None:
        sys.exit(code)  # type: ignore[arg-type]

    assert run(handler).error == "Runtime.ExitError"


def test_a_task_that_takes_too_long() -> None:
    release = threading.Event()
    started = time.monotonic()
    execution = run(lambda *_: release.wait(30), TimeoutSeconds=1)
    release.set()
    assert (execution.status, execution.error) == ("FAILED", "States.Timeout")
    assert time.monotonic() - started < 10
    assert [e.type for e in execution.history][-2:] == ["LambdaFunctionTimedOut", "ExecutionFailed"]


@pytest.mark.parametrize(
    ("pattern", "caught"),
    [("States.Timeout", True), ("States.ALL", True), ("States.TaskFailed", False)],
)
def test_who_catches_a_timeout(pattern: str, caught: bool) -> None:
    release = threading.Event()
    catch = [{"ErrorEquals": [pattern], "Next": "Caught"}]
    execution = run(lambda *_: release.wait(30), TimeoutSeconds=1, Catch=catch)
    release.set()
    assert (execution.status == "SUCCEEDED") is caught


def test_timeout_seconds_path() -> None:
    release = threading.Event()
    execution = run(lambda *_: release.wait(30), TimeoutSecondsPath="$.input")
    release.set()
    assert execution.error == "States.Timeout"
    assert run(lambda *_: 1, TimeoutSecondsPath="$.missing").error == "States.Runtime"
    assert run(lambda *_: 1, TimeoutSecondsPath="$$.State.Name").error == "States.Runtime"


def test_the_late_result_of_a_timed_out_function_is_dropped() -> None:
    release = threading.Event()
    calls: list[int] = []

    def handler(_event: object, _context: object) -> int:
        calls.append(1)
        if len(calls) == 1:
            release.wait(30)
        return len(calls)

    clock = PatientClock()
    execution = run(handler, clock, TimeoutSeconds=1, Retry=[retrier("States.Timeout")])
    release.set()
    assert execution.output == 2


def test_the_machine_has_a_limit_of_its_own_that_nothing_catches() -> None:
    clock = PatientClock()
    states = {
        "T": {
            "Type": "Task",
            "Resource": FUNCTION,
            "Retry": [retrier("States.ALL", MaxAttempts=99)],
            "Catch": [{"ErrorEquals": ["States.ALL"], "Next": "Caught"}],
            "End": True,
        },
        "Caught": {"Type": "Pass", "End": True},
    }
    document = {"StartAt": "T", "TimeoutSeconds": 10, "States": states}
    conductor = Conductor(
        document, functions={FUNCTION: failing(*[ErrorA] * 99)}, buckets={}, clock=clock
    )
    execution = conductor.run({}, name="r")
    assert (execution.status, execution.error) == ("TIMED_OUT", "States.Timeout")
    assert clock.slept == [1, 2, 4, 3]
    assert execution.history[-1].type == "ExecutionTimedOut"


def test_the_machine_limit_ends_a_running_task() -> None:
    release = threading.Event()
    document = {
        "StartAt": "T",
        "TimeoutSeconds": 1,
        "States": {"T": {"Type": "Task", "Resource": FUNCTION, "End": True}},
    }
    conductor = Conductor(document, functions={FUNCTION: lambda *_: release.wait(30)}, buckets={})
    started = time.monotonic()
    execution = conductor.run({}, name="r")
    release.set()
    assert execution.status == "TIMED_OUT"
    assert time.monotonic() - started < 10


def test_a_function_that_is_named_at_run_time_may_be_missing() -> None:
    execution = run(
        lambda *_: 1, Resource=INVOKE, Parameters={"FunctionName.$": "$$.Execution.Name"}
    )
    assert execution.error == "Lambda.ResourceNotFoundException"


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"Error": "E", "Cause": "C"}, ("E", "C")),
        ({}, ("", "")),
        ({"ErrorPath": "$.e", "CausePath": "$$.State.Name"}, ("from data", "F")),
    ],
)
def test_fail(fields: dict[str, Any], expected: tuple[str, str]) -> None:
    document = {"StartAt": "F", "States": {"F": {"Type": "Fail", **fields}}}
    execution = Conductor(document, functions={}, buckets={}).run({"e": "from data"}, name="r")
    assert execution.status == "FAILED"
    assert (execution.error, execution.cause) == expected


@pytest.mark.parametrize("path", ["$.missing", "$.number"])
def test_fail_with_a_path_that_gives_no_text(path: str) -> None:
    document = {"StartAt": "F", "States": {"F": {"Type": "Fail", "ErrorPath": path}}}
    execution = Conductor(document, functions={}, buckets={}).run({"number": 1}, name="r")
    assert execution.error == "States.Runtime"


@pytest.mark.parametrize(
    ("fields", "data", "slept"),
    [
        ({"Seconds": 30}, {}, 30),
        ({"Seconds": 0}, {}, 0),
        ({"SecondsPath": "$.s"}, {"s": 12}, 12),
        ({"Timestamp": "2020-09-13T12:27:40Z"}, {}, 60),
        ({"TimestampPath": "$.t"}, {"t": "2020-09-13T14:27:40.500+02:00"}, 60.5),
        ({"Timestamp": "2001-01-01T00:00:00Z"}, {}, 0),
    ],
)
def test_wait(fields: dict[str, Any], data: object, slept: float) -> None:
    clock = PatientClock()
    document = {"StartAt": "W", "States": {"W": {"Type": "Wait", "End": True, **fields}}}
    execution = Conductor(document, functions={}, buckets={}, clock=clock).run(data, name="r")
    assert execution.output == data
    assert clock.slept == [slept]


@pytest.mark.parametrize(
    ("fields", "value"),
    [
        ({"SecondsPath": "$.v"}, -1),
        ({"SecondsPath": "$.v"}, 1.5),
        ({"SecondsPath": "$.v"}, "1"),
        ({"SecondsPath": "$.v"}, True),
        ({"TimestampPath": "$.v"}, "2016-12-05 21:29:29Z"),
        ({"TimestampPath": "$.v"}, 5),
        ({"SecondsPath": "$.missing"}, 1),
    ],
)
def test_wait_with_a_path_that_gives_no_time(fields: dict[str, Any], value: object) -> None:
    document = {"StartAt": "W", "States": {"W": {"Type": "Wait", "End": True, **fields}}}
    execution = Conductor(document, functions={}, buckets={}).run({"v": value}, name="r")
    assert execution.error == "States.Runtime"
