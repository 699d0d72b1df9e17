"""Task tokens of a real engine: a worker with a live one, with a stale one, and two of them with one."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests import aws_stack
from tests.aws_stack import Stack

# As `ecs:runTask.waitForTaskToken` of the document, which needs containers: the queue takes the place of the task.
ASKING = {
    "StartAt": "Inference",
    "States": {
        "Inference": {
            "Type": "Task",
            "Resource": "arn:aws:states:::sqs:sendMessage.waitForTaskToken",
            "Parameters": {
                "QueueUrl.$": "$.queue",
                "MessageBody": {"event.$": "$.event", "token.$": "$$.Task.Token"},
            },
            "TimeoutSeconds": 2,
            "End": True,
        }
    },
}


@pytest.fixture
def event(fleet: Stack, request: pytest.FixtureRequest) -> dict[str, Any]:
    """What the state Inference of a prompt was given, and has not done."""
    with fleet.throttled("Inference", 0):
        done = fleet.run("--text", f"a prompt of {request.node.name}")
    assert done.status == 1
    entered = [
        e["stateEnteredEventDetails"]
        for e in fleet.events(aws_stack.run_id(done))
        if e["type"] == "TaskStateEntered"
    ]
    assert entered[-1]["name"] == "PromptInference"
    found: dict[str, Any] = json.loads(entered[-1]["input"])
    return found


class Asking:
    """A machine that hands its task to a queue, and waits for the token."""

    def __init__(self, stack: Stack) -> None:
        self.states, self.queues = stack.client("stepfunctions"), stack.client("sqs")
        role = self.states.describe_state_machine(stateMachineArn=stack.machine)["roleArn"]
        self.arn = self.states.create_state_machine(
            name="asking", definition=json.dumps(ASKING), roleArn=role
        )["stateMachineArn"]
        self.queue = self.queues.create_queue(QueueName="asking")["QueueUrl"]

    def start(self, event: dict[str, Any]) -> str:
        given = json.dumps({"queue": self.queue, "event": event})
        started = self.states.start_execution(stateMachineArn=self.arn, input=given)
        return str(started["executionArn"])

    def take(self) -> str:
        """The token of the task that waits."""
        while not (
            found := self.queues.receive_message(QueueUrl=self.queue, WaitTimeSeconds=1).get(
                "Messages"
            )
        ):
            continue
        return str(json.loads(found[0]["Body"])["token"])

    def wait(self, arn: str) -> dict[str, Any]:
        while (found := self.states.describe_execution(executionArn=arn))["status"] == "RUNNING":
            continue
        del found["ResponseMetadata"]
        return dict(found)


@pytest.fixture
def asking(fleet: Stack) -> Iterator[Asking]:
    made = Asking(fleet)
    yield made
    made.states.delete_state_machine(stateMachineArn=made.arn)
    made.queues.delete_queue(QueueUrl=made.queue)


def work(stack: Stack, event: dict[str, Any], token: str, folder: Path) -> tuple[int, list[str]]:
    """Run the container's entry point as ECS would; return its exit status and the levels of its log."""
    function = stack.client("lambda").get_function_configuration(
        FunctionName=stack.function("Inference")
    )
    variables = function["Environment"]["Variables"]
    environ = {
        **{name: value for name, value in variables.items() if name.startswith("LEGATO_")},
        **stack.environ,
        "LEGATO_MODEL_ID": str(folder),
        "LEGATO_EVENT": json.dumps(event),
        "LEGATO_TASK_TOKEN": token,
        "PYTHONPATH": ":".join(sys.path),
    }
    done = subprocess.run(
        [sys.executable, "-m", "legato.worker"],
        env=environ, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert not done.stderr, done.stderr
    return done.returncode, [json.loads(line)["level"] for line in done.stdout.splitlines()]


def test_tokens(fleet: Stack, event: dict[str, Any], asking: Asking, tiny_bert: Path) -> None:
    # Nobody does the task in time; who comes late fails nothing.
    late = asking.start(event)
    stale = asking.take()
    assert asking.wait(late)["error"] == "States.Timeout"
    status, levels = work(fleet, event, stale, tiny_bert)
    assert status == 0
    assert "WARNING" in levels

    again = asking.start(event)
    token = asking.take()
    assert work(fleet, event, token, tiny_bert) == (0, ["INFO"])
    ended = asking.wait(again)
    assert ended["status"] == "SUCCEEDED"
    output = json.loads(ended["output"])
    made = {key: fleet.store.get(key) for key in fleet.store.list("inference/")}

    # Delivered twice: the second one's token is used up, and all is as it was.
    status, levels = work(fleet, event, token, tiny_bert)
    assert status == 0
    assert "WARNING" in levels
    assert asking.wait(again) == ended
    assert {key: fleet.store.get(key) for key in fleet.store.list("inference/")} == made

    # The machine goes on with what the worker has made.
    found = fleet.invoke("Inference", event)
    assert found.pop("counts")["inference"]["cached"] == 1
    assert found == {name: value for name, value in output.items() if name != "counts"}
