"""What starts a run by itself: an object that is put below inputs/, once."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import numpy as np

import legato
from legato.cli._load import load_workflow
from legato.results import Results
from tests import aws_stack
from tests.aws_stack import Stack

EVENT = "Object Created"


def runs(stack: Stack) -> set[str]:
    found = stack.client("stepfunctions").list_executions(stateMachineArn=stack.machine)
    return {each["name"] for each in found["executions"]}


def starts(stack: Stack) -> list[dict[str, Any]]:
    """The executions of the machine that the rule starts."""
    states = stack.client("stepfunctions")
    listed = states.list_executions(stateMachineArn=f"{stack.machine}-trigger")["executions"]
    return [dict(states.describe_execution(executionArn=e["executionArn"])) for e in listed]


def wait_for(what: Any, timeout_s: float = 20) -> Any:
    end = time.monotonic() + timeout_s
    while not (found := what()):
        assert time.monotonic() < end
        time.sleep(0.05)
    return found


def put(stack: Stack, key: str, data: bytes) -> None:
    stack.client("s3").put_object(Bucket=stack.outputs["BucketName"], Key=key, Body=data)


def test_an_object_starts_one_run(fleet: Stack, tmp_path: Path) -> None:
    texts = aws_stack.write_texts(tmp_path / "texts.jsonl", 12, about="what came in")
    before, began = runs(fleet), len(starts(fleet))
    # A key that is written otherwise in URLs.
    put(fleet, "legato/inputs/incoming/of today/50% ü.jsonl", texts.read_bytes())
    (name,) = wait_for(lambda: runs(fleet) - before)
    execution = fleet.wait(name)
    assert execution["status"] == "SUCCEEDED", execution
    found = Results.load(fleet.store, aws_stack.result_of(execution))
    here = legato.run(
        load_workflow(fleet.definition), store=f"memory://{time.time_ns()}", input=texts
    ).results()
    assert found.ids == here.ids
    assert np.array_equal(found.vectors, here.vectors)
    # EventBridge delivers at least once.
    (event,) = [json.loads(e["input"]) for e in starts(fleet) if name in (e["output"] or "")]
    assert event["detail-type"] == EVENT
    fleet.client("stepfunctions").start_execution(
        stateMachineArn=f"{fleet.machine}-trigger", input=json.dumps(event)
    )
    wait_for(lambda: len(starts(fleet)) == began + 2)
    wait_for(lambda: all(e["status"] != "RUNNING" for e in starts(fleet)))
    assert {e["status"] for e in starts(fleet)} == {"SUCCEEDED"}
    assert runs(fleet) - before == {name}


def test_another_object_starts_none(fleet: Stack) -> None:
    before, began = runs(fleet), len(starts(fleet))
    put(fleet, "legato/inputs/other.jsonl", b'{"id": "1", "text": "x"}\n')
    put(fleet, "legato/elsewhere/incoming/other.jsonl", b'{"id": "1", "text": "x"}\n')
    time.sleep(0.5)
    assert runs(fleet) == before
    assert len(starts(fleet)) == began


def test_the_same_object_again_starts_another(fleet: Stack) -> None:
    for text in ("one", "two"):
        before = runs(fleet)
        line = json.dumps({"id": "1", "text": text})
        put(fleet, "legato/inputs/incoming/again.jsonl", f"{line}\n".encode())
        (name,) = wait_for(lambda seen=before: runs(fleet) - seen)
        # Only then the next: this engine's events name no version, and what was replaced is refused.
        assert fleet.wait(name)["status"] == "SUCCEEDED"
