"""The worker against a state machine that waits for its token, on an engine."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import uuid
from pathlib import Path
from typing import Any

import pytest

import legato
from legato import errors
from legato.workflow import Workflow
from tests.conftest import use
from tests.servers.ministack import AwsServer, allow
from tests.test_stages import Chain
from tests.test_worker import ROOT


class Machine:
    """A state `Inference` that hands event and token to a queue, as ECS's takes them from a task."""

    def __init__(self, server: AwsServer, retry: list[dict[str, Any]]) -> None:
        self.sqs, self.states = server.client("sqs"), server.client("stepfunctions")
        name = f"m-{uuid.uuid4().hex[:8]}"
        self.queue = self.sqs.create_queue(QueueName=name)["QueueUrl"]
        body = {"event.$": "States.JsonToString($)", "token.$": "$$.Task.Token"}
        definition = {
            "StartAt": "Inference",
            "States": {
                "Inference": {
                    "Type": "Task",
                    "Resource": "arn:aws:states:::sqs:sendMessage.waitForTaskToken",
                    "Parameters": {"QueueUrl": self.queue, "MessageBody": body},
                    "TimeoutSeconds": 120,
                    "Retry": retry,
                    "End": True,
                }
            },
        }
        self.arn = self.states.create_state_machine(
            name=name,
            definition=json.dumps(definition),
            roleArn=server.role(allow("sqs:SendMessage", "*")).arn,
        )["stateMachineArn"]
        self.execution = ""

    def start(self, event: dict[str, Any]) -> None:
        found = self.states.start_execution(stateMachineArn=self.arn, input=json.dumps(event))
        self.execution = found["executionArn"]

    def task(self) -> tuple[str, str]:
        """The next task: its event and its token."""
        end = time.monotonic() + 30
        while time.monotonic() < end:
            got = self.sqs.receive_message(QueueUrl=self.queue).get("Messages", [])
            if got:
                self.sqs.delete_message(QueueUrl=self.queue, ReceiptHandle=got[0]["ReceiptHandle"])
                body = json.loads(got[0]["Body"])
                return body["event"], body["token"]
            time.sleep(0.05)
        raise AssertionError("no task came")

    def ended(self) -> dict[str, Any]:
        end = time.monotonic() + 30
        while time.monotonic() < end:
            found: dict[str, Any] = self.states.describe_execution(executionArn=self.execution)
            if found["status"] != "RUNNING":
                return found
            time.sleep(0.05)
        raise AssertionError("the execution goes on")


@pytest.fixture
def machine(aws_server: AwsServer) -> Machine:
    retry = {"ErrorEquals": errors.retryable_names(), "IntervalSeconds": 1, "MaxAttempts": 2}
    return Machine(aws_server, [retry])


@pytest.fixture
def chain(aws_server: AwsServer, tiny_bert: Path, monkeypatch: pytest.MonkeyPatch) -> Chain:
    use(aws_server.environ(), monkeypatch)
    return Chain(legato.Store.open(f"s3://{aws_server.bucket()}/legato"), tiny_bert)


def worker(chain: Chain, event: str, token: str, **environ: str) -> subprocess.Popen[str]:
    """Start a worker as a container of the workflow would."""
    workflow = Workflow(name="w", task="feature-extraction", model=str(chain.settings.model_id))
    variables = workflow.environment(
        store=chain.store.url,
        model_revision=legato.ModelFiles.from_dir(workflow.model).digest,
        dataset_id="d",
        dataset_version="v",
    )
    aws = {name: value for name, value in os.environ.items() if name.startswith("AWS_")}
    return subprocess.Popen(
        [sys.executable, "-m", "legato.worker"],
        stdout=subprocess.PIPE,
        text=True,
        env={
            "PATH": os.environ["PATH"],
            "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path]),
            **aws,
            **variables,
            "LEGATO_EVENT": event,
            "LEGATO_TASK_TOKEN": token,
            **environ,
        },
    )


def test_inference_in_a_container_goes_on_to_the_next_state(chain: Chain, machine: Machine) -> None:
    event = chain.until("Inference")
    machine.start(event)
    process = worker(chain, *machine.task())
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 0, out
    found = machine.ended()
    assert found["status"] == "SUCCEEDED"
    output = json.loads(found["output"])
    direct = chain.call("Inference", event)
    assert output["vectors"] == direct["vectors"]
    assert direct["counts"]["inference"]["cached"] == 1
    assert chain.call("Validation", output)["counts"]["validation"]["out"] == 2


def test_a_stopped_worker_is_replaced_and_a_late_one_does_no_harm(
    chain: Chain, machine: Machine
) -> None:
    event = chain.until("Inference")
    machine.start(event)
    # The first one is told to stop, as on a Spot instance, and hands its task back.
    text, first = machine.task()
    process = worker(chain, text, first, LEGATO_STEP="tests.worker_steps.endless")
    assert process.stdout is not None
    assert process.stdout.readline() == "endless\n"
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60)
    assert process.returncode == 75
    # The second one gets a token of its own; this engine gives the first one again.
    text, second = machine.task()
    process = worker(chain, text, second)
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 0, out
    assert machine.ended()["status"] == "SUCCEEDED"
    # And one that was thought dead comes with the first token: it ends at once, as its task has.
    process = worker(chain, text, first)
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    assert "ended without this worker" in out


def test_a_permanent_error_fails_the_execution_by_its_name(chain: Chain, machine: Machine) -> None:
    event = chain.until("Inference")
    machine.start({**event, "tokens": "nothing"})
    process = worker(chain, *machine.task())
    process.communicate(timeout=60)
    assert process.returncode == 1
    found = machine.ended()
    assert (found["status"], found["error"]) == ("FAILED", "InputError")
    assert "no reference at tokens" in json.loads(found["cause"])["errorMessage"]
