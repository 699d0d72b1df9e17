"""Map states: order, concurrency, tolerance, readers, and children with executions of their own."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from legato.conductor import Conductor, Execution, HistoryEvent
from legato.errors import ObjectNotFoundError, WorkflowError

FUNCTION = "arn:aws:lambda:eu-west-1:123456789012:function:f"
GET = "arn:aws:states:::s3:getObject"
LIST = "arn:aws:states:::s3:listObjectsV2"
TASK: dict[str, Any] = {"Type": "Task", "Resource": FUNCTION, "End": True}
DISTRIBUTED = {"Mode": "DISTRIBUTED", "ExecutionType": "EXPRESS"}


class Bucket:
    """A bucket in memory."""

    def __init__(self, objects: dict[str, bytes]) -> None:
        self.objects = objects

    def get(self, key: str) -> bytes:
        if key not in self.objects:
            raise ObjectNotFoundError(f"nothing is stored under {key}")
        return self.objects[key]

    def put(self, value: bytes, key: str) -> None:
        self.objects[key] = value

    def list(self, prefix: str) -> list[str]:
        return sorted(key for key in self.objects if key.startswith(prefix))


class Gauge:
    """Counts how many calls are under way at the same time.

    The first calls wait for one another until as many as expected are there.
    """

    def __init__(self, expected: int = 1) -> None:
        self.lock = threading.Lock()
        self.full = threading.Event()
        self.expected = expected
        self.now = self.most = self.calls = 0

    def __call__(self, event: object, _context: object) -> object:
        with self.lock:
            self.now += 1
            self.calls += 1
            self.most = max(self.most, self.now)
            if self.now >= self.expected:
                self.full.set()
        self.full.wait(10)
        time.sleep(0.005)
        with self.lock:
            self.now -= 1
        return event


def same(event: object, _context: object) -> object:
    return event


def run(
    data: object,
    handler: Callable[[Any, Any], Any] = same,
    *,
    distributed: bool,
    state: dict[str, Any] | None = None,
    inner: dict[str, Any] | None = None,
    objects: dict[str, bytes] | None = None,
    **options: Any,
) -> Execution:
    processor: dict[str, Any] = {"StartAt": "T", "States": inner or {"T": TASK}}
    if distributed:
        processor["ProcessorConfig"] = DISTRIBUTED
    states = {"M": {"Type": "Map", "ItemProcessor": processor, "End": True, **(state or {})}}
    if "Catch" in states["M"]:
        states["Caught"] = {"Type": "Pass", "End": True}
    conductor = Conductor(
        {"StartAt": "M", "States": states},
        functions={FUNCTION: handler},
        buckets={"b": Bucket(objects or {})},
        **options,
    )
    return conductor.run(data, name="r")


def read(data: bytes, config: dict[str, Any], *, key: str = "k", handler: Any = same) -> Execution:
    reader = {
        "Resource": GET,
        "ReaderConfig": config,
        "Parameters": {"Bucket": "b", "Key.$": "$.key"},
    }
    return run(
        {"key": key},
        handler,
        distributed=True,
        state={"ItemReader": reader},
        objects={"k": data},
    )


@pytest.mark.parametrize("distributed", [False, True])
def test_outputs_keep_the_order_of_the_items(distributed: bool) -> None:
    def handler(event: int, _context: object) -> int:
        time.sleep(0.02 if event % 3 == 0 else 0)
        return event * 2

    items = list(range(20))
    execution = run(items, handler, distributed=distributed, max_concurrency=4)
    assert execution.output == [item * 2 for item in items]


@pytest.mark.parametrize("distributed", [False, True])
@pytest.mark.parametrize(
    ("wanted", "allowed", "most"), [(0, 3, 3), (2, 5, 2), (5, 2, 2), (1, 4, 1), (9, 1, 1)]
)
def test_concurrency_is_bounded_and_used(
    distributed: bool,
    wanted: int,
    allowed: int,
    most: int,
) -> None:
    gauge = Gauge(most)
    run(
        list(range(15)),
        gauge,
        distributed=distributed,
        state={"MaxConcurrency": wanted},
        max_concurrency=allowed,
    )
    assert (gauge.most, gauge.calls) == (most, 15)


def test_a_long_manifest_is_read_as_threads_become_free() -> None:
    alive: list[int] = []
    before = threading.active_count()
    lines = b"\n".join(b"%d" % n for n in range(3000))
    reader = {
        "Resource": GET,
        "ReaderConfig": {"InputType": "JSONL"},
        "Parameters": {"Bucket": "b", "Key": "k"},
    }
    execution = run(
        {},
        same,
        distributed=True,
        state={"ItemReader": reader, "MaxConcurrency": 2},
        inner={"T": {"Type": "Pass", "End": True}},
        objects={"k": lines},
        max_concurrency=2,
        listener=lambda _: alive.append(threading.active_count()),
    )
    assert execution.output == list(range(3000))
    assert max(alive) <= before + 2


@pytest.mark.parametrize("distributed", [False, True])
def test_no_items_is_an_empty_result(distributed: bool) -> None:
    assert run([], distributed=distributed).output == []


def test_the_example_of_the_specification_for_item_selector() -> None:
    data = {
        "ship-date": "2016-03-14T01:59:00Z",
        "detail": {
            "delivery-partner": "UQS",
            "shipped": [{"prod": "R31", "dest-code": 9511}, {"prod": "S39", "dest-code": 9511}],
        },
    }
    state = {
        "InputPath": "$.detail",
        "ItemsPath": "$.shipped",
        "ItemSelector": {
            "parcel.$": "$$.Map.Item.Value",
            "index.$": "$$.Map.Item.Index",
            "courier.$": "$.delivery-partner",
        },
        "ResultPath": "$.detail.shipped",
    }
    output = run(data, distributed=False, state=state).output
    assert output["ship-date"] == data["ship-date"]
    assert output["detail"]["shipped"] == [
        {"parcel": {"prod": "R31", "dest-code": 9511}, "index": 0, "courier": "UQS"},
        {"parcel": {"prod": "S39", "dest-code": 9511}, "index": 1, "courier": "UQS"},
    ]


def test_legacy_iterator_and_parameters() -> None:
    state = {
        "Type": "Map",
        "Iterator": {"StartAt": "T", "States": {"T": TASK}},
        "Parameters": {"v.$": "$$.Map.Item.Value"},
        "End": True,
    }
    conductor = Conductor(
        {"StartAt": "M", "States": {"M": state}}, functions={FUNCTION: same}, buckets={}
    )
    assert conductor.run([1, 2], name="r").output == [{"v": 1}, {"v": 2}]


def test_an_inline_iteration_belongs_to_the_execution() -> None:
    inner = {"T": {"Type": "Pass", "InputPath": "$$", "End": True}}
    first = run([7], distributed=False, inner=inner).output[0]
    assert first["Execution"]["Name"] == "r"
    assert first["Map"]["Item"] == {"Index": 0, "Value": 7}


def test_a_distributed_child_is_an_execution_of_its_own() -> None:
    inner = {"T": {"Type": "Pass", "InputPath": "$$", "End": True}}
    first = run([7], distributed=True, inner=inner).output[0]
    assert first["Execution"]["Name"] == "r/M:0"
    assert first["Execution"]["Input"] == 7
    assert first["StateMachine"]["Name"] == "legato/M"
    assert "Map" not in first


def test_nested_maps() -> None:
    inner = {
        "N": {
            "Type": "Map",
            "ItemProcessor": {
                "StartAt": "T",
                "States": {"T": {"Type": "Pass", "InputPath": "$$.Map.Item", "End": True}},
            },
            "End": True,
        }
    }
    state = {"ItemProcessor": {"StartAt": "N", "States": inner}}
    output = run([[1, 2], [3]], distributed=False, state=state).output
    assert [[item["Value"] for item in row] for row in output] == [[1, 2], [3]]


@pytest.mark.parametrize("items", [{"a": 1}, "text", None, 5, True])
def test_items_must_be_an_array(items: object) -> None:
    assert run(items, distributed=False).error == "States.Runtime"
    assert run(items, distributed=True).error == "States.Runtime"


def test_an_inline_map_fails_with_the_error_of_its_iteration() -> None:
    def handler(event: int, _context: object) -> int:
        if event == 1:
            raise KeyError(event)
        return event

    execution = run([0, 1, 2], handler, distributed=False, max_concurrency=1)
    assert execution.error == "KeyError"
    iterations = [e.type for e in execution.history if e.type.startswith("MapIteration")]
    assert iterations[-1] == "MapIterationFailed"
    assert "MapIterationStarted" in iterations


def fails_for(*bad: int) -> Callable[[Any, Any], Any]:
    def handler(event: int, _context: object) -> int:
        if event in bad:
            raise ValueError(event)
        return event

    return handler


@pytest.mark.parametrize(
    ("tolerance", "bad", "status"),
    [
        ({}, 1, "FAILED"),
        ({"ToleratedFailureCount": 0}, 1, "FAILED"),
        ({"ToleratedFailureCount": 2}, 2, "SUCCEEDED"),
        ({"ToleratedFailureCount": 2}, 3, "FAILED"),
        ({"ToleratedFailurePercentage": 0}, 1, "FAILED"),
        ({"ToleratedFailurePercentage": 30}, 3, "SUCCEEDED"),
        ({"ToleratedFailurePercentage": 29.9}, 3, "FAILED"),
        ({"ToleratedFailurePercentage": 100}, 10, "SUCCEEDED"),
        ({"ToleratedFailureCount": 9, "ToleratedFailurePercentage": 10}, 2, "FAILED"),
        ({"ToleratedFailureCount": 1, "ToleratedFailurePercentage": 50}, 2, "FAILED"),
    ],
)
def test_tolerated_failures(tolerance: dict[str, Any], bad: int, status: str) -> None:
    execution = run(list(range(10)), fails_for(*range(bad)), distributed=True, state=tolerance)
    assert execution.status == status
    if status == "SUCCEEDED":
        assert execution.output == list(range(bad, 10))
    else:
        assert execution.error == "States.ExceedToleratedFailureThreshold"


def test_over_the_threshold_no_further_child_starts() -> None:
    calls: list[int] = []

    def handler(event: int, _context: object) -> None:
        calls.append(event)
        raise ValueError(event)

    execution = run(
        list(range(1000)),
        handler,
        distributed=True,
        state={"ToleratedFailureCount": 4},
        max_concurrency=1,
    )
    assert execution.error == "States.ExceedToleratedFailureThreshold"
    assert calls == [0, 1, 2, 3, 4]


def test_a_failed_map_can_be_retried_and_caught() -> None:
    calls: list[int] = []

    def handler(event: int, _context: object) -> None:
        calls.append(event)
        raise ValueError(event)

    name = "States.ExceedToleratedFailureThreshold"
    retry = [{"ErrorEquals": [name], "MaxAttempts": 1, "IntervalSeconds": 1}]
    catch = [{"ErrorEquals": ["States.TaskFailed"], "Next": "Caught"}]
    execution = run([1], handler, distributed=True, state={"Retry": retry, "Catch": catch})
    assert execution.output["Error"] == name
    assert calls == [1, 1]


def test_events_of_children_carry_their_name() -> None:
    events: list[HistoryEvent] = []
    run([5], distributed=True, listener=events.append)
    child = [event.type for event in events if event.execution == "r/M:0"]
    assert child[0] == "ExecutionStarted"
    assert child[-1] == "ExecutionSucceeded"
    own = [event.type for event in events if event.execution == "r"]
    assert own == [
        "ExecutionStarted",
        "MapStateEntered",
        "MapStateStarted",
        "MapRunStarted",
        "MapIterationStarted",
        "MapIterationSucceeded",
        "MapRunSucceeded",
        "MapStateSucceeded",
        "MapStateExited",
        "ExecutionSucceeded",
    ]
    assert next(e for e in events if e.type == "MapRunStarted").details["item_count"] == 1


def test_the_results_together_are_limited() -> None:
    execution = run([0] * 10, lambda *_: "x" * 30_000, distributed=True)
    assert execution.error == "States.DataLimitExceeded"
    execution = run([0] * 10, lambda *_: "x" * 26_000, distributed=True)
    assert execution.status == "SUCCEEDED"


def test_an_item_over_the_limit_fails_its_child() -> None:
    state = {"ItemSelector": {"a.$": "$", "b.$": "$"}, "ToleratedFailureCount": 0}
    execution = run(["x" * 140_000], distributed=True, state=state)
    assert execution.error == "States.ExceedToleratedFailureThreshold"
    failed = [e for e in execution.history if e.type == "MapIterationFailed"]
    assert failed[0].details["error"] == "States.DataLimitExceeded"


def test_jsonl() -> None:
    data = b'{"a":1}\r\n\n  \n"\xc3\xa9"\n[1]\nnull'
    assert read(data, {"InputType": "JSONL"}).output == [{"a": 1}, "é", [1], None]
    assert read(b"", {"InputType": "JSONL"}).output == []
    assert read(b"1\n2\n3", {"InputType": "JSONL", "MaxItems": 2}).output == [1, 2]
    assert read(b"1\n2\n3", {"InputType": "JSONL", "MaxItems": 0}).output == [1, 2, 3]


@pytest.mark.parametrize(
    "line", [b"{", b"\xff", b"NaN", b"'a'", b"\xef\xbb\xbf1", b"1 2", b"secret"]
)
def test_a_broken_line_is_found_before_any_child_runs(line: bytes) -> None:
    gauge = Gauge()
    execution = read(b"1\n2\n" + line + b"\n4", {"InputType": "JSONL"}, handler=gauge)
    assert execution.error == "States.ItemReaderFailed"
    assert "line 3" in (execution.cause or "")
    assert "secret" not in (execution.cause or "")
    assert gauge.calls == 0


def test_json() -> None:
    assert read(b'[1, {"a": 2}]', {"InputType": "JSON"}).output == [1, {"a": 2}]
    for broken in (b"{}", b"1", b"[1", b"\xff", b""):
        assert read(broken, {"InputType": "JSON"}).error == "States.ItemReaderFailed"


def test_csv_with_headers_in_the_first_row() -> None:
    config = {"InputType": "CSV", "CSVHeaderLocation": "FIRST_ROW"}
    data = b'Col1,Col2\nValue1,"two, ""2""\nlines"\n,\n   \nx,y,extra\n\n'
    assert read(data, config).output == [
        {"Col1": "Value1", "Col2": 'two, "2"\nlines'},
        {"Col1": "", "Col2": ""},
        {"Col1": "   ", "Col2": ""},
        {"Col1": "x", "Col2": "y"},
    ]
    assert read(b"", config).output == []
    assert read(b"a,b\n", config).output == []


def test_csv_with_given_headers_and_delimiter() -> None:
    config = {
        "InputType": "CSV",
        "CSVHeaderLocation": "GIVEN",
        "CSVHeaders": ["H1", "H2"],
        "CSVDelimiter": "PIPE",
    }
    assert read(b"a|b,c\n", config).output == [{"H1": "a", "H2": "b,c"}]


@pytest.mark.parametrize("data", [b"a,a\n1,2", b'a,b\n"open', b"a\xff,b\n", b'a,b\n"x"y,2\n'])
def test_broken_csv(data: bytes) -> None:
    config = {"InputType": "CSV", "CSVHeaderLocation": "FIRST_ROW"}
    assert read(data, config).error == "States.ItemReaderFailed"


def test_listed_objects() -> None:
    reader = {
        "Resource": LIST,
        "Parameters": {"Bucket": "b", "Prefix.$": "$.p"},
        "ReaderConfig": {"MaxItems": 2},
    }
    objects = {"a/1": b"", "a/2": b"", "a/3": b"", "b/1": b""}
    execution = run({"p": "a/"}, distributed=True, state={"ItemReader": reader}, objects=objects)
    assert execution.output == [{"Key": "a/1"}, {"Key": "a/2"}]


def test_a_missing_object_names_bucket_and_key_and_can_be_caught() -> None:
    execution = read(b"", {"InputType": "JSONL"}, key="gone")
    assert execution.error == "States.ItemReaderFailed"
    assert "'gone' of bucket 'b'" in (execution.cause or "")
    reader = {"Resource": LIST, "Parameters": {"Bucket.$": "$.bucket"}}
    catch = [{"ErrorEquals": ["States.ItemReaderFailed"], "Next": "Caught"}]
    execution = run(
        {"bucket": "unbound"}, distributed=True, state={"ItemReader": reader, "Catch": catch}
    )
    assert "'unbound' is not bound" in execution.output["Cause"]


def test_a_fixed_bucket_must_be_bound() -> None:
    reader = {"Resource": LIST, "Parameters": {"Bucket": "other"}}
    with pytest.raises(WorkflowError, match="'other'"):
        run({}, distributed=True, state={"ItemReader": reader})


def test_an_express_child_has_five_minutes() -> None:
    class Clock:
        now = 0.0

        def time(self) -> float:
            return self.now

        def monotonic(self) -> float:
            return self.now

        def sleep(self, seconds: float, stopped: threading.Event) -> None:
            assert not stopped.is_set()
            self.now += seconds

    inner = {"W": {"Type": "Wait", "Seconds": 301, "End": True}}
    state = {
        "ItemProcessor": {"StartAt": "W", "States": inner, "ProcessorConfig": DISTRIBUTED},
    }
    execution = run([1], distributed=True, state=state, clock=Clock())
    assert execution.error == "States.ExceedToleratedFailureThreshold"
    assert "ExecutionTimedOut" in [event.type for event in execution.history]


def test_a_result_is_json_for_the_next_state() -> None:
    output = run([(1, 2)], distributed=False).output
    assert json.dumps(output) == "[[1, 2]]"
