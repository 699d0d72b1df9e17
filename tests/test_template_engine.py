"""The template on an engine: updates make versions, and one object starts one run."""

from __future__ import annotations

import io
import json
import time
import zipfile
from collections.abc import Iterator
from typing import Any

import pytest

from legato.workflow import synth
from tests.servers.ministack import AwsServer
from tests.servers.seaweedfs import REGION
from tests.template_variants import workflow

STACK = "synthesized"
FOLDER = "incoming/"


class Deployed:
    """A stack of code that does nothing: what starts it is what is looked at."""

    def __init__(self, server: AwsServer) -> None:
        self.server = server
        self.code = server.bucket()
        archive = io.BytesIO()
        with zipfile.ZipFile(archive, "w") as made:
            made.writestr("nothing.py", "")
        self.s3 = server.client("s3")
        for key in ("a.zip", "b.zip"):
            self.s3.put_object(Bucket=self.code, Key=key, Body=archive.getvalue())
        text = synth(workflow(trigger=FOLDER))["template.yaml"]
        self.s3.put_object(Bucket=self.code, Key="template.yaml", Body=text.encode())
        self.cloudformation = server.client("cloudformation")
        self.outputs = self.deploy("create")

    def deploy(self, verb: str, **parameters: str) -> dict[str, str]:
        given = {"CodeBucket": self.code, "CodeKey": "a.zip", **parameters}
        getattr(self.cloudformation, f"{verb}_stack")(
            StackName=STACK,
            TemplateURL=f"{self.server.endpoint}/{self.code}/template.yaml",
            Parameters=[{"ParameterKey": k, "ParameterValue": v} for k, v in given.items()],
            # Enough: no role has a name of ours.
            Capabilities=["CAPABILITY_IAM"],
        )
        end = time.monotonic() + 60
        while time.monotonic() < end:
            (stack,) = self.cloudformation.describe_stacks(StackName=STACK)["Stacks"]
            if not stack["StackStatus"].endswith("_IN_PROGRESS"):
                break
            time.sleep(0.1)
        assert stack["StackStatus"] == f"{verb.upper()}_COMPLETE", stack.get("StackStatusReason")
        return {output["OutputKey"]: output["OutputValue"] for output in stack["Outputs"]}

    def live(self) -> str:
        alias = self.server.client("lambda").get_alias(
            FunctionName=f"{STACK}-ingestion", Name="live"
        )
        version: str = alias["FunctionVersion"]
        return version


@pytest.fixture(scope="module")
def deployed(aws_server: AwsServer) -> Iterator[Deployed]:
    stack = Deployed(aws_server)
    yield stack
    stack.cloudformation.delete_stack(StackName=STACK)


def executions(deployed: Deployed, arn: str, count: int) -> list[dict[str, Any]]:
    client = deployed.server.client("stepfunctions")
    end = time.monotonic() + 20
    while True:
        found: list[dict[str, Any]] = client.list_executions(stateMachineArn=arn)["executions"]
        if len(found) >= count or time.monotonic() > end:
            return found
        time.sleep(0.1)


def test_outputs(deployed: Deployed) -> None:
    outputs = deployed.outputs
    assert outputs["StoreUrl"] == f"s3://{outputs['BucketName']}/legato"
    assert outputs["StateMachineArn"].endswith(f":stateMachine:{STACK}")
    assert outputs["DashboardUrl"].endswith(f"dashboards/dashboard/{STACK}-{REGION}")
    assert outputs["ConsoleUrl"].endswith(outputs["StateMachineArn"])


def test_an_update_moves_the_alias_to_a_new_version(deployed: Deployed) -> None:
    first = deployed.live()
    deployed.deploy("update", CodeKey="b.zip")
    second = deployed.live()
    assert second != first
    deployed.deploy("update", CodeKey="b.zip", Release="2", IngestionMemory="2048")
    assert deployed.live() not in {first, second}


def test_one_object_starts_one_run_and_others_none(deployed: Deployed) -> None:
    outputs = deployed.outputs
    bucket, arn = outputs["BucketName"], outputs["StateMachineArn"]
    key = f"legato/inputs/{FOLDER}some folder/data ü.jsonl"
    for beside in ("legato/inputs/other/data.jsonl", f"legato/{FOLDER}data.jsonl"):
        deployed.s3.put_object(Bucket=bucket, Key=beside, Body=b"{}")
    deployed.s3.put_object(Bucket=bucket, Key=key, Body=b"{}")
    (first,) = executions(deployed, arn, 1)
    client = deployed.server.client("stepfunctions")
    given = json.loads(client.describe_execution(executionArn=first["executionArn"])["input"])
    assert given["run"] == {"mode": "dataset"}
    assert given["input"]["uri"] == f"s3://{bucket}/{key}"
    assert given["input"]["version"]
    # The same event once more, as EventBridge may deliver it.
    starter = f"{arn}-trigger"
    (cause,) = executions(deployed, starter, 1)
    event = client.describe_execution(executionArn=cause["executionArn"])["input"]
    client.start_execution(stateMachineArn=starter, input=event)
    again = executions(deployed, starter, 2)
    end = time.monotonic() + 20
    while time.monotonic() < end and any(e["status"] == "RUNNING" for e in again):
        again = executions(deployed, starter, 2)
    assert [e["status"] for e in again] == ["SUCCEEDED", "SUCCEEDED"]
    assert len(executions(deployed, arn, 1)) == 1
    # A folder that a console makes is no input.
    deployed.s3.put_object(Bucket=bucket, Key=f"legato/inputs/{FOLDER}new folder/", Body=b"")
    folder = executions(deployed, starter, 3)
    end = time.monotonic() + 20
    while time.monotonic() < end and any(e["status"] == "RUNNING" for e in folder):
        folder = executions(deployed, starter, 3)
    assert [e["status"] for e in folder] == ["SUCCEEDED"] * 3
    assert len(executions(deployed, arn, 1)) == 1
    # Another version of the object is another run.
    deployed.s3.put_object(Bucket=bucket, Key=key, Body=b"{} {}")
    assert len(executions(deployed, arn, 2)) == 2


def test_a_time_of_the_schedule_starts_one_run(deployed: Deployed) -> None:
    outputs = deployed.outputs
    arn = outputs["StateMachineArn"]
    before = len(executions(deployed, arn, 0))
    client = deployed.server.client("stepfunctions")
    event = json.dumps({"scheduled": "2026-11-23T06:00:00Z", "uri": "s3://data-bucket/b.jsonl"})
    for _ in range(2):
        client.start_execution(stateMachineArn=f"{arn}-trigger", input=event)
    found = executions(deployed, arn, before + 1)
    time.sleep(0.5)
    assert len(executions(deployed, arn, before + 1)) == before + 1
    texts = [client.describe_execution(executionArn=e["executionArn"])["input"] for e in found]
    assert {"uri": "s3://data-bucket/b.jsonl"} in [json.loads(text)["input"] for text in texts]
