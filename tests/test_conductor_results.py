"""ResultWriter: what a distributed Map exports, in the files and shapes of Step Functions."""

from __future__ import annotations

import json
import threading
from typing import Any

import pytest

from legato.conductor import Conductor, Execution, _results
from legato.errors import AccessDeniedError, WorkflowError

FUNCTION = "arn:aws:lambda:eu-west-1:123456789012:function:f"
PUT = "arn:aws:states:::s3:putObject"


class Bucket:
    """A bucket in memory, which may refuse to be written."""

    def __init__(self, refused: str | None = None) -> None:
        self.objects: dict[str, bytes] = {}
        self.refused = refused

    def get(self, key: str) -> bytes:
        return self.objects[key]

    def list(self, prefix: str) -> list[str]:
        raise AssertionError(prefix)

    def put(self, value: bytes, key: str) -> None:
        if self.refused is not None and self.refused in key:
            raise AccessDeniedError("the bucket refuses")
        self.objects[key] = value

    def named(self, name: str) -> Any:
        (key,) = [key for key in self.objects if key.endswith(f"/{name}")]
        return json.loads(self.objects[key])


def writer(**parameters: Any) -> dict[str, Any]:
    return {"Resource": PUT, "Parameters": parameters or {"Bucket": "b", "Prefix": "results/x"}}


def run(
    items: list[Any],
    bucket: Bucket,
    *,
    children: str = "EXPRESS",
    handler: Any = lambda event, _: event,
    state: dict[str, Any] | None = None,
    max_concurrency: int = 1,
) -> Execution:
    task = {"Type": "Task", "Resource": FUNCTION, "End": True}
    config = {"Mode": "DISTRIBUTED", "ExecutionType": children}
    processor = {"ProcessorConfig": config, "StartAt": "T", "States": {"T": task}}
    shards = {"Type": "Map", "ItemProcessor": processor, "ResultWriter": writer(), "End": True}
    conductor = Conductor(
        {"StartAt": "M", "States": {"M": {**shards, "Label": "shards", **(state or {})}}},
        functions={FUNCTION: handler},
        buckets={"b": bucket},
        max_concurrency=max_concurrency,
        name="machine",
    )
    return conductor.run(items, name="r")


def picky(event: Any, _context: object) -> Any:
    if event == "bad":
        raise ValueError("of the shard")
    return {"got": event}


def test_the_result_is_where_the_manifest_lies() -> None:
    bucket = Bucket()
    output = run([1, 2, 3], bucket).output
    arn = output["MapRunArn"]
    assert arn.startswith("arn:aws:states:local:000000000000:mapRun:machine/shards:")
    key = output["ResultWriterDetails"]["Key"]
    run_id = arn.rpartition(":")[2]
    assert output == {"MapRunArn": arn, "ResultWriterDetails": {"Bucket": "b", "Key": key}}
    assert key == f"results/x/{run_id}/manifest.json"
    succeeded = f"results/x/{run_id}/SUCCEEDED_0.json"
    assert json.loads(bucket.objects[key]) == {
        "DestinationBucket": "b",
        "MapRunArn": arn,
        "ResultFiles": {
            "FAILED": [],
            "PENDING": [],
            "SUCCEEDED": [{"Key": succeeded, "Size": len(bucket.objects[succeeded])}],
        },
    }


def test_a_child_that_succeeded_has_the_documented_fields() -> None:
    bucket = Bucket()
    run(["ü"], bucket, handler=picky)
    (entry,) = bucket.named("SUCCEEDED_0.json")
    dates = entry.pop("StartDate"), entry.pop("StopDate")
    assert dates[0] <= dates[1]
    assert entry == {
        "ExecutionArn": "arn:aws:states:local:000000000000:execution:machine/shards:r/shards:0",
        "Input": '"ü"',
        "InputDetails": {"Included": True},
        "Name": "r/shards:0",
        "Output": '{"got":"ü"}',
        "OutputDetails": {"Included": True},
        "RedriveCount": 0,
        "RedriveStatus": "NOT_REDRIVABLE",
        "StateMachineArn": "arn:aws:states:local:000000000000:stateMachine:machine/shards",
        "Status": "SUCCEEDED",
    }


@pytest.mark.parametrize(
    ("children", "status"), [("EXPRESS", "REDRIVABLE_BY_MAP_RUN"), ("STANDARD", "REDRIVABLE")]
)
def test_tolerated_failures_are_told_with_error_and_cause(children: str, status: str) -> None:
    bucket = Bucket()
    tolerant = {"ToleratedFailurePercentage": 50}
    items = [1, "bad", 2]
    execution = run(items, bucket, children=children, handler=picky, state=tolerant)
    assert execution.status == "SUCCEEDED"
    (failed,) = bucket.named("FAILED_0.json")
    assert (failed["Status"], failed["Error"]) == ("FAILED", "ValueError")
    assert json.loads(failed["Cause"])["errorMessage"] == "of the shard"
    assert failed["RedriveStatus"] == status
    assert failed["Input"] == '"bad"'
    assert not {"Output", "OutputDetails"} & set(failed)
    assert len(bucket.named("SUCCEEDED_0.json")) == 2


def test_over_the_threshold_the_rest_is_pending_and_all_of_it_is_written() -> None:
    bucket = Bucket()
    execution = run(["good", "bad", 3, 4], bucket, handler=picky)
    assert execution.error == "States.ExceedToleratedFailureThreshold"
    assert [entry["Input"] for entry in bucket.named("SUCCEEDED_0.json")] == ['"good"']
    assert [entry["Input"] for entry in bucket.named("FAILED_0.json")] == ['"bad"']
    pending = bucket.named("PENDING_0.json")
    assert [(entry["Input"], entry["Status"]) for entry in pending] == [
        ("3", "PENDING"),
        ("4", "PENDING"),
    ]


def test_children_that_were_stopped_count_as_failed() -> None:
    bucket, entered, leave = Bucket(), threading.Event(), threading.Event()

    def handler(event: Any, _context: object) -> None:
        if event == "slow":
            entered.set()
            leave.wait(10)
        entered.wait(10)
        raise ValueError

    execution = run(["slow", "bad"], bucket, handler=handler, max_concurrency=2)
    leave.set()
    assert execution.error == "States.ExceedToleratedFailureThreshold"
    entries = {entry["Input"]: entry["Status"] for entry in bucket.named("FAILED_0.json")}
    assert entries == {'"slow"': "ABORTED", '"bad"': "FAILED"}


def test_files_are_split_below_a_size(monkeypatch: pytest.MonkeyPatch) -> None:
    bucket = Bucket()
    monkeypatch.setattr(_results, "FILE_BYTES", 2_000)
    run(list(range(20)), bucket)
    files = bucket.named("manifest.json")["ResultFiles"]["SUCCEEDED"]
    assert len(files) > 1
    names = [file["Key"].rpartition("/")[2] for file in files]
    assert names == [f"SUCCEEDED_{n}.json" for n in range(len(files))]
    assert all(file["Size"] == len(bucket.objects[file["Key"]]) <= 2_000 for file in files)
    entries = [entry for file in files for entry in json.loads(bucket.objects[file["Key"]])]
    assert sorted(int(entry["Input"]) for entry in entries) == list(range(20))


def test_exported_outputs_have_no_limit_together() -> None:
    bucket = Bucket()
    execution = run(list(range(4)), bucket, handler=lambda *_: "x" * 100_000)
    assert execution.status == "SUCCEEDED", execution.cause
    assert len(bucket.named("SUCCEEDED_0.json")) == 4


@pytest.mark.parametrize("refused", ["SUCCEEDED_0", "manifest"])
def test_a_bucket_that_refuses_fails_the_map_by_name(refused: str) -> None:
    bucket = Bucket(refused)
    execution = run([1], bucket)
    assert execution.error == "States.ResultWriterFailed"
    assert "the bucket refuses" in str(execution.cause)
    assert f"{refused}" in str(execution.cause)
    assert not any("manifest" in key for key in bucket.objects)


def test_what_failed_first_is_what_a_map_tells() -> None:
    execution = run(["bad"], Bucket("FAILED"), handler=picky)
    assert execution.error == "States.ExceedToleratedFailureThreshold"


def test_each_map_run_has_a_place_of_its_own_also_without_a_prefix() -> None:
    bucket = Bucket()
    for _ in range(2):
        run([1], bucket, state={"ResultWriter": writer(Bucket="b")})
    assert len({key.partition("/")[0] for key in bucket.objects}) == 2


@pytest.mark.parametrize(
    ("result_writer", "named"),
    [
        ({}, "Resource"),
        ({**writer(), "Resource": "arn:aws:states:::s3:getObject"}, "Resource"),
        ({"Resource": PUT}, "Parameters"),
        (writer(Prefix="x"), "Bucket"),
        (writer(Bucket="b", Key="x"), "Key"),
        (writer(Bucket="another"), "another"),
        ({**writer(), "WriterConfig": {"OutputType": "JSONL"}}, "WriterConfig"),
    ],
)
def test_what_cannot_be_written_is_refused_before_anything_runs(
    result_writer: dict[str, Any], named: str
) -> None:
    with pytest.raises(WorkflowError, match=named):
        run([1], Bucket(), state={"ResultWriter": result_writer})


@pytest.mark.parametrize("parameters", [{"Bucket.$": "$[0]"}, {"Bucket": "b", "Prefix.$": "$[1]"}])
def test_places_from_the_data_are_checked_when_they_are_known(parameters: dict[str, Any]) -> None:
    execution = run(["elsewhere", 7], Bucket(), state={"ResultWriter": writer(**parameters)})
    assert execution.error == "States.ResultWriterFailed"
