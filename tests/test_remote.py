"""Runs on AWS: followed, left, looked at, stopped and redriven."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError, NoCredentialsError
from botocore.stub import Stubber

import legato
import legato.remote
from legato import errors
from legato._aws import Aws
from legato._aws_errors import translated
from legato._failures import EXCEED_TOLERATED_FAILURE_THRESHOLD, Failures
from legato.cli._load import load_workflow
from legato.cli._remote import follow_here
from legato.conductor import Execution, HistoryEvent
from legato.deploy._granted import Place
from legato.errors import AccessDeniedError, InputError, LegatoError, WorkflowError
from legato.remote import Target
from legato.remote._follow import MOST_MISSED, Follower
from legato.remote._history import History
from legato.remote._redrive import refusal
from legato.remote._shards import Shards
from legato.remote._why import Reasons, with_advice
from tests import aws_stack
from tests.aws_grants import Grant

ARN = "arn:aws:states:eu-central-1:000000000000:execution:fleet:r"
STARTED = datetime(2026, 1, 1, tzinfo=timezone.utc)


@pytest.fixture
def aws(fleet: aws_stack.Stack) -> Aws:
    return Aws.connect(endpoint_url=fleet.server.endpoint)


@pytest.fixture
def target(aws: Aws, fleet: aws_stack.Stack) -> Target:
    return Target.of_stack(aws, fleet.name)


@pytest.fixture
def texts(tmp_path: Path) -> Path:
    return aws_stack.write_texts(tmp_path / "texts.jsonl", 12, about=tmp_path.name)


def workflow(fleet: aws_stack.Stack) -> legato.Workflow:
    return load_workflow(fleet.definition)


def failing(fleet: aws_stack.Stack, target: Target, texts: Path) -> str:
    """A run whose shards all fail of a denial; its id."""
    with fleet.without(Grant("Inference", "WriteObjects", "s3:PutObject", "inference/*")):
        run = legato.remote.start(workflow(fleet), target, input=texts)
        assert fleet.wait(run)["status"] == "FAILED"
    return run


class TestRun:
    def test_from_python(self, fleet: aws_stack.Stack, aws: Aws, texts: Path) -> None:
        seen: list[HistoryEvent] = []
        run = legato.remote.run(
            workflow(fleet),
            input=texts,
            stack_name=fleet.name,
            endpoint_url=aws.endpoint_url,
            listener=seen.append,
            between_s=0.1,
        )
        here = legato.run(workflow(fleet), input=texts, store=f"memory://{time.time_ns()}")
        assert run.results().vectors.tolist() == here.results().vectors.tolist()
        assert run.status == "complete"
        assert set(run.counts) == set(here.counts)
        done = [e.state for e in seen if e.type == "TaskSucceeded"]
        assert done.count("Ingestion") == done.count("Storage") == 1
        assert done.count("Inference") == run.counts["inference"]["tasks"] == 3
        records = sum(
            e.output["Payload"]["counts"]["inference"]["in"]
            for e in seen
            if e.type == "TaskSucceeded" and e.state == "Inference"
        )
        assert records == 12
        # The shards are told before what follows them.
        assert max(i for i, state in enumerate(done) if state == "Inference") < done.index(
            "Storage"
        )

    def test_a_broken_listener_breaks_nothing(self, fleet: aws_stack.Stack, aws: Aws) -> None:
        calls = []

        def broken(event: HistoryEvent) -> None:
            calls.append(event)
            raise RuntimeError

        run = legato.remote.run(
            workflow(fleet), text="x", stack_name=fleet.name,
            endpoint_url=aws.endpoint_url, listener=broken, between_s=0.1,
        )  # fmt: skip
        assert run.status == "complete"
        assert len(calls) == 1

    def test_an_object_is_read_where_it_lies(self, fleet: aws_stack.Stack, texts: Path) -> None:
        key = f"inputs/incoming-by-hand/{texts.parent.name}.jsonl"
        ref = fleet.store.put_file(texts, key)
        done = fleet.run("--input", ref.uri)
        assert done.status == 0, done.err
        assert "12 records" in done.out
        event = json.loads(fleet.execution(done)["input"])
        assert event["input"] == {"uri": ref.uri}

    def test_detached_and_found_again(self, fleet: aws_stack.Stack, texts: Path) -> None:
        # Without --aws: where and how are of AWS alone.
        done = fleet.legato("run", "--input", str(texts), "--detach")
        assert done.status == 0
        run = done.out.strip()
        assert re.fullmatch(r"run-\d{8}T\d{6}-[0-9a-f]{8}", run)
        assert f"legato status {run} --stack-name {fleet.name}" in done.err
        followed = command("status", run, "--follow", *where(fleet))
        assert followed.returncode == 0, followed.stderr
        assert "fleet: complete, 12 records" in followed.stdout
        shown = command("status", run, *where(fleet))
        assert "SUCCEEDED" in shown.stdout
        assert "shards    3 total, 3 done, 0 failed, 0 running" in shown.stdout
        as_json = json.loads(command("status", run, "--json", *where(fleet)).stdout)
        assert as_json["status"] == "SUCCEEDED"
        assert as_json["complete"] is True
        assert as_json["shards"]["done"] == 3
        names = [state["name"] for state in as_json["states"]]
        assert names == ["Begin", "Ingestion", "Route", "Shards", "Storage"]
        # An ARN says by itself which stack it is of.
        short = command(
            "status", as_json["execution"], "--endpoint-url", fleet.server.endpoint, "--json"
        )
        assert json.loads(short.stdout)["run"] == run
        of_file = command("status", str(fleet.definition), *where(fleet))
        assert of_file.returncode == 0
        assert run in of_file.stdout
        listed = command("status", *where(fleet))
        assert run in listed.stdout
        assert fleet.machine in listed.stdout

    def test_ctrl_c_leaves_the_run_alone(self, fleet: aws_stack.Stack, texts: Path) -> None:
        process = subprocess.Popen(
            [*COMMAND, "run", str(fleet.definition), "--aws", "--input", str(texts), *where(fleet)],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environ(),
        )  # fmt: skip
        assert process.stderr is not None
        started = process.stderr.readline()
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
        assert process.returncode == 130, err
        run = started.split()[1]
        assert f"look: legato status {run}" in err
        assert f"stop: legato status {run}" in err
        assert "--stop" in err
        assert "Traceback" not in err
        assert fleet.wait(run)["status"] == "SUCCEEDED"

    def test_stopped(self, fleet: aws_stack.Stack, target: Target, tmp_path: Path) -> None:
        many = aws_stack.write_texts(tmp_path / "many.jsonl", 400, about=tmp_path.name)
        run = legato.remote.start(workflow(fleet), target, input=many)
        legato.remote.stop(target, run)
        with pytest.raises(WorkflowError, match=f"run {run} was stopped"):
            legato.remote.follow(target, run, between_s=0.1)
        with pytest.raises(errors.InputError, match=r"has ended \(ABORTED\); there is nothing"):
            legato.remote.stop(target, run)

    @pytest.mark.parametrize(
        ("arguments", "said"),
        [
            (["--aws", "--store", "memory://x"], "--store is for runs here"),
            (["--region", "eu-west-1", "--store", "memory://x"], "--store is for runs here"),
            (["--region", "eu-west-1", "--stack-name", "fleet"], "no stack fleet in eu-west-1"),
            (["--aws", "--stack-name", "none"], "there is no stack none in eu-central-1"),
            (["--aws", "--input", "s3://b/x.docx"], "ending '.docx' is unknown"),
        ],
    )
    def test_what_does_not_go_together(
        self, fleet: aws_stack.Stack, arguments: list[str], said: str
    ) -> None:
        at = where(fleet) if "--aws" in arguments and "--stack-name" not in arguments else []
        if "--stack-name" in arguments:
            at = ["--endpoint-url", fleet.server.endpoint]
        done = command("run", str(fleet.definition), *arguments, *at)
        assert done.returncode == 1
        assert said in done.stderr

    def test_a_stack_of_somebody_else(self, aws: Aws) -> None:
        template = json.dumps({"Resources": {"B": {"Type": "AWS::SNS::Topic"}}})
        aws.client("cloudformation").create_stack(StackName="other", TemplateBody=template)
        time.sleep(0.5)
        with pytest.raises(InputError, match="has no output StateMachineArn"):
            Target.of_stack(aws, "other")


class TestFailure:
    def test_a_denial_names_action_resource_and_role(
        self, fleet: aws_stack.Stack, target: Target, texts: Path
    ) -> None:
        run = failing(fleet, target, texts)
        with pytest.raises(AccessDeniedError) as e:
            legato.remote.follow(target, run, between_s=0.1)
        said = str(e.value)
        bucket = target.store.url.removeprefix("s3://")
        assert f"run {run} failed in Inference: s3:PutObject {target.store.url}/inference/" in said
        role = fleet.role("Inference")
        said, _, added = said.partition(
            f"statement WriteObjects is missing in the policy of role {role}: "
        )
        assert json.loads(added.removeprefix("deploy again, or add it: ")) == {
            "Sid": "WriteObjects",
            "Effect": "Allow",
            "Action": ["s3:AbortMultipartUpload", "s3:PutObject"],
            "Resource": [f"arn:aws:s3:::{bucket}/inference/*"],
        }
        shown = command("status", run, *where(fleet))
        assert shown.returncode == 1
        assert re.search(r"Shards +failed", shown.stdout)
        assert "inference, shard" in shown.stdout
        assert f"why       run {run} failed in Inference" in shown.stdout
        assert f"legato redrive {run}" in shown.stdout

    def test_each_source_of_reasons(
        self, fleet: aws_stack.Stack, target: Target, texts: Path
    ) -> None:
        run = failing(fleet, target, texts)
        execution = Execution(
            name=run, status="FAILED", output=None, error=EXCEED_TOLERATED_FAILURE_THRESHOLD,
            cause="", started="", stopped="", history=(),
        )  # fmt: skip
        reasons = Reasons(target, execution)
        record = reasons.first()
        assert record is not None
        assert (record.error, record.state) == ("AccessDeniedError", "inference")
        assert record.when
        for key in target.store.list(f"runs/{run}/failures/"):
            target.store.delete(key)
        # What the Map's ResultWriter writes on AWS, as its documentation shows it.
        written = f"runs/{run}/map/0c0f8a1e/FAILED_0.json"
        child = {
            "ExecutionArn": f"{ARN}-child",
            "Input": json.dumps({"shard": {"index": 2}}),
            "InputDetails": {"Included": True},
            "Name": "child",
            "Status": "FAILED",
            "Error": "CorruptObjectError",
            "Cause": json.dumps({"errorMessage": "object x has crc", "errorType": "..."}),
        }
        target.store.put(json.dumps([child]).encode(), written, media_type="application/json")
        second = reasons.first()
        assert second is not None
        assert (second.error, second.reason, second.shard) == (
            "CorruptObjectError",
            "object x has crc",
            2,
        )
        error = reasons.error(Failures(None))
        assert type(error) is errors.CorruptObjectError
        assert "object x has crc" in str(error)
        target.store.delete(written)
        third = reasons.first()
        assert third is not None
        assert third.error == "AccessDeniedError"
        assert "s3:PutObject" in third.reason

    def test_a_permanent_failure_is_told_before_a_transient_one(self) -> None:
        from legato.remote._why import Failure

        transient = Failure("StoreUnavailableError", "", when="1")
        permanent = Failure("InputError", "", when="2")
        assert transient.retryable
        assert not permanent.retryable
        assert min((transient, permanent), key=lambda f: (f.retryable, f.when)) is permanent

    @pytest.mark.parametrize(
        ("said", "told"),
        [
            (
                (
                    "User: arn:aws:sts::1:assumed-role/machine/x is not authorized to perform: "
                    'lambda:InvokeFunction on resource: "arn:aws:lambda:r:1:function:s-inference:live" because'
                ),
                (
                    'InvokeStages is missing in the policy of role machine: deploy again, or add it: {"Sid": '
                    '"InvokeStages", "Effect": "Allow", "Action": ["lambda:InvokeFunction"], "Resource": '
                ),
            ),
            (
                (
                    "run x failed in PromptPreprocessing: s3:GetObject s3://b/p/ingestion/x was refused "
                    "(to arn:aws:sts::1:assumed-role/r/f, resource arn:aws:s3:::b/p/ingestion/x: AccessDenied: "
                    "no); grant the permission"
                ),
                (
                    'ReadReferences is missing in the policy of role r: deploy again, or add it: {"Sid": '
                    '"ReadReferences", "Effect": "Allow", "Action": ["s3:GetObjectVersion"], "Resource": '
                    '["arn:aws:s3:::b/p/ingestion/*"]}'
                ),
            ),
            (
                (
                    "run x failed in Validation: s3:PutObject s3://b/p/runs/x/shards/00001.json was refused (to "
                    "arn:aws:sts::1:assumed-role/r/f, resource arn:aws:s3:::b/p/runs/x/shards/00001.json: no)"
                ),
                '["arn:aws:s3:::b/p/runs/*/failures/validation-*.json", "arn:aws:s3:::b/p/runs/*/shards/*.json"]',
            ),
            (
                (
                    "run x failed in Storage: s3:ListBucket s3://b/p/storage/ was refused (to "
                    "arn:aws:sts::1:assumed-role/r/f, resource arn:aws:s3:::b: no)"
                ),
                '"Condition": {"StringLike": {"s3:prefix": ["p/storage/*", "p/runs/*/shards/"]}}',
            ),
            (
                (
                    "run x failed in Ingestion: s3:GetObject s3://other/x.jsonl was refused (to "
                    "arn:aws:sts::1:assumed-role/r/f, resource arn:aws:s3:::other/x.jsonl: no)"
                ),
                (
                    'add to the policy of role r: {"Effect": "Allow", "Action": "s3:GetObject", '
                    '"Resource": "arn:aws:s3:::other/x.jsonl"}'
                ),
            ),
            (
                (
                    "User: arn:aws:sts::1:assumed-role/r/f is not authorized to perform: s3:PutObject on "
                    "resource: arn:aws:s3:::b/x with an explicit deny in a resource-based policy"
                ),
                "a statement denies s3:PutObject to role r: change that one",
            ),
        ],
    )
    def test_advice(self, said: str, told: str) -> None:
        error = with_advice(WorkflowError(said), Place("s3://b/p", "r", "1", "s"))
        assert type(error) is AccessDeniedError
        assert str(error).startswith(said)
        assert told in str(error)

    def test_a_role_tells_its_stage(self) -> None:
        said = (
            "run x failed: s3:PutObject s3://b/p/validation/x was refused (to arn:aws:sts::1:assumed-role/"
            "fleet-ValidationRole-12/f, resource arn:aws:s3:::b/p/validation/x: no)"
        )
        told = str(with_advice(AccessDeniedError(said), Place("s3://b/p")))
        assert (
            "statement WriteObjects is missing in the policy of role fleet-ValidationRole-12"
            in told
        )

    def test_no_advice_where_there_is_none(self) -> None:
        error = InputError("x")
        assert with_advice(error, Place("s3://b/p")) is error


class TestRedrive:
    def test_the_emulator_has_none(
        self, fleet: aws_stack.Stack, target: Target, texts: Path
    ) -> None:
        run = failing(fleet, target, texts)
        with pytest.raises(
            WorkflowError, match="no redrive; run it again: finished shards are kept"
        ):
            legato.remote.redrive(target, run)
        done = command("redrive", run, *where(fleet))
        assert done.returncode == 1

    def test_the_request(self, target: Target) -> None:
        found = {**DESCRIBED, "status": "FAILED", "stopDate": datetime.now(timezone.utc)}
        redriven = {"redriveDate": STARTED}
        with Stubber(target.aws.client("stepfunctions")) as states:
            states.add_response(
                "describe_execution", found, {"executionArn": target.execution("r")}
            )
            states.add_response(
                "redrive_execution", redriven, {"executionArn": target.execution("r")}
            )
            legato.remote.redrive(target, "r")
            states.assert_no_pending_responses()

    def test_it_is_followed_to_its_end(self, target: Target) -> None:
        """After a redrive the history goes on where it was, and the run ends as AWS says."""
        failed = {**DESCRIBED, "status": "RUNNING", "redriveCount": 1}
        history = {
            "events": [
                event(1, "ExecutionStarted"),
                event(2, "TaskStateEntered", stateEnteredEventDetails={"name": "Storage"}),
                event(3, "TaskFailed", taskFailedEventDetails=task(error="InputError")),
                event(4, "ExecutionFailed", executionFailedEventDetails={"error": "InputError"}),
                event(5, "ExecutionRedriven", executionRedrivenEventDetails={"redriveCount": 1}),
            ]
        }
        ended = {
            **DESCRIBED,
            "status": "ABORTED",
            "stopDate": STARTED + timedelta(seconds=5),
        }
        seen: list[HistoryEvent] = []
        with Stubber(target.aws.client("stepfunctions")) as states:
            for each in (failed, ended):
                states.add_response("describe_execution", each)
                states.add_response("get_execution_history", history)
            with pytest.raises(WorkflowError, match="was stopped"):
                legato.remote.follow(target, "r", listener=seen.append, between_s=0)
            states.assert_no_pending_responses()
        assert [e.type for e in seen][-1] == "ExecutionRedriven"
        assert len(seen) == 5

    @pytest.mark.parametrize(
        ("found", "reason"),
        [
            ({"status": "SUCCEEDED"}, "it succeeded"),
            ({"status": "RUNNING"}, "it is RUNNING; wait"),
            ({"status": "PENDING_REDRIVE"}, "it is PENDING_REDRIVE"),
            ({"status": "FAILED", "stopDate": STARTED}, "more than 14 days ago"),
            (
                {
                    "status": "FAILED",
                    "redriveStatus": "NOT_REDRIVABLE",
                    "redriveStatusReason": "why",
                },
                "why; run it again",
            ),
            (
                {"status": "FAILED", "redriveStatus": "REDRIVABLE_BY_MAP_RUN"},
                "it is a shard of a fleet",
            ),
        ],
    )
    def test_what_cannot_be_redriven(self, found: dict[str, Any], reason: str) -> None:
        assert reason in (refusal(found) or "")

    def test_what_can(self) -> None:
        now = datetime.now(timezone.utc)
        found = {"status": "TIMED_OUT", "stopDate": now, "redriveStatus": "REDRIVABLE"}
        assert refusal(found) is None
        assert refusal({**found, "status": "ABORTED"}) is None

    def test_express(self, target: Target) -> None:
        with pytest.raises(InputError, match="is EXPRESS"):
            legato.remote.redrive(target, "arn:aws:states:r:1:express:fleet:r:1")

    def test_aws_has_the_last_word(self, target: Target) -> None:
        found = {**DESCRIBED, "status": "FAILED", "stopDate": datetime.now(timezone.utc)}
        with Stubber(target.aws.client("stepfunctions")) as states:
            states.add_response("describe_execution", found)
            states.add_client_error(
                "redrive_execution", "ExecutionNotRedrivable", "too many events"
            )
            with pytest.raises(InputError, match="cannot be redriven: too many events"):
                legato.remote.redrive(target, "r")


DESCRIBED: dict[str, Any] = {
    "executionArn": ARN,
    "stateMachineArn": ARN.replace("execution", "stateMachine"),
    "status": "RUNNING",
    "startDate": STARTED,
}


def event(number: int, kind: str, **details: Any) -> dict[str, Any]:
    return {
        "id": number,
        "type": kind,
        "timestamp": STARTED,
        "previousEventId": number - 1,
        **details,
    }


class TestFollowing:
    def test_few_requests(self, target: Target, monkeypatch: pytest.MonkeyPatch) -> None:
        """Pauses grow to the one that was asked for, and longer where a list takes many requests."""
        pauses: list[float] = []
        monkeypatch.setattr("legato.remote._follow.time.sleep", pauses.append)
        follower = Follower(target, "r", between_s=1.0)
        ended = {**DESCRIBED, "status": "ABORTED", "stopDate": STARTED}
        with Stubber(target.aws.client("stepfunctions")) as states:
            for number in range(6):
                states.add_response("describe_execution", DESCRIBED if number < 5 else ended)
                states.add_response("get_execution_history", {"events": []})
            follower.follow()
            states.assert_no_pending_responses()
        assert pauses == [0.25, 0.5, 1.0, 1.0, 1.0]
        shards = Shards(target.store, "r")
        assert shards.requests == 1
        shards._done.update(range(10_000))
        assert shards.requests == 11

    def test_a_lost_connection_is_not_the_end(
        self, target: Target, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("legato.remote._follow.time.sleep", lambda _seconds: None)
        ended = {**DESCRIBED, "status": "ABORTED", "stopDate": STARTED}
        client = target.aws.client("stepfunctions")
        with Stubber(client) as states:
            for _ in range(MOST_MISSED):
                states.add_client_error("describe_execution", "ThrottlingException")
            states.add_response("describe_execution", ended)
            states.add_response("get_execution_history", {"events": []})
            assert Follower(target, "r").follow().execution.status == "ABORTED"
            for _ in range(MOST_MISSED + 1):
                states.add_client_error("describe_execution", "ThrottlingException")
            with pytest.raises(errors.StoreUnavailableError, match="is busy"):
                Follower(target, "r").follow()

    def test_credentials_that_expire_meanwhile(
        self, target: Target, capsys: pytest.CaptureFixture[str]
    ) -> None:
        with Stubber(target.aws.client("stepfunctions")) as states:
            states.add_client_error("describe_execution", "ExpiredTokenException")
            with pytest.raises(errors.SettingsError, match="have expired"):
                follow_here(target, "r")
        assert "look: legato status r --stack-name fleet" in capsys.readouterr().err


class TestHistory:
    def test_pages_are_read_and_nothing_is_told_twice(self, aws: Aws) -> None:
        first = [
            event(1, "ExecutionStarted", executionStartedEventDetails={"input": "{}"}),
            event(2, "TaskStateEntered", stateEnteredEventDetails={"name": "Ingestion"}),
        ]
        output = json.dumps({"Payload": {"counts": {}}})
        done = event(3, "TaskSucceeded", taskSucceededEventDetails=task(output=output))
        history = History(aws, ARN)
        with Stubber(aws.client("stepfunctions")) as states:
            at = {"executionArn": ARN, "maxResults": 1000}
            states.add_response("get_execution_history", {"events": first, "nextToken": "more"}, at)
            states.add_response(
                "get_execution_history", {"events": [done]}, {**at, "nextToken": "more"}
            )
            states.add_response("get_execution_history", {"events": [*first, done]}, at)
            found = list(history.fresh())
            assert list(history.fresh()) == []
        assert [(e.id, e.type, e.state) for e in found] == [
            (1, "ExecutionStarted", None),
            (2, "TaskStateEntered", "Ingestion"),
            (3, "TaskSucceeded", "Ingestion"),
        ]
        assert found[2].output == {"Payload": {"counts": {}}}
        assert found[0].timestamp == "2026-01-01T00:00:00.000Z"
        # As of a local run, no data is in what is kept.
        assert "counts" not in str(found[2].to_dict())

    def test_failures_and_map_runs(self, aws: Aws) -> None:
        events = [
            event(1, "MapStateEntered", stateEnteredEventDetails={"name": "Shards"}),
            event(2, "MapRunStarted", mapRunStartedEventDetails={"mapRunArn": "arn:map"}),
            event(3, "TaskFailed", taskFailedEventDetails=task(error="X", cause="Y")),
            event(4, "TaskTimedOut", taskTimedOutEventDetails=task(error="States.Timeout")),
        ]
        with Stubber(aws.client("stepfunctions")) as states:
            states.add_response("get_execution_history", {"events": events})
            found = list(History(aws, ARN).fresh())
        assert found[1].details["mapRunArn"] == "arn:map"
        assert found[2].output == {"Error": "X", "Cause": "Y"}
        assert found[3].output == {"Error": "States.Timeout", "Cause": ""}


def task(**about: str) -> dict[str, str]:
    return {"resourceType": "lambda", "resource": "invoke", **about}


class TestErrors:
    @pytest.mark.parametrize(
        ("code", "kind", "said"),
        [
            ("AccessDeniedException", AccessDeniedError, '"Action": "states:X"'),
            ("ExpiredToken", errors.SettingsError, "have expired"),
            ("InvalidClientTokenId", errors.SettingsError, "does not know the credentials"),
            ("RequestTimeTooSkewed", errors.SettingsError, "clock"),
            ("ThrottlingException", errors.StoreUnavailableError, "is busy"),
            ("ValidationError", InputError, "states:X of it failed"),
            ("Whatever", WorkflowError, "Whatever: told"),
        ],
    )
    def test_codes(self, code: str, kind: type[LegatoError], said: str) -> None:
        error = ClientError({"Error": {"Code": code, "Message": "told"}}, "X")
        found = translated(error, "states:X", "it")
        assert type(found) is kind
        assert said in str(found)

    def test_what_is_no_answer(self) -> None:
        gone = EndpointConnectionError(endpoint_url="http://x")
        assert type(translated(gone, "a:B", "c")) is errors.StoreUnavailableError
        none = translated(NoCredentialsError(), "a:B", "c")  # type: ignore[no-untyped-call]
        assert type(none) is errors.SettingsError
        old = ClientError(
            {"Error": {"Code": "InvalidSignatureException", "Message": "Signature expired: 1"}}, "X"
        )
        assert "clock" in str(translated(old, "a:B", "c"))

    def test_no_boto3(self, fleet: aws_stack.Stack) -> None:
        code = (
            "import sys; sys.modules['boto3'] = None; from legato.cli import main; sys.exit(main())"
        )
        done = subprocess.run(
            [sys.executable, "-c", code, "run", str(fleet.definition), "--aws"],
            capture_output=True, text=True, env=environ(), timeout=60, check=False,
        )  # fmt: skip
        assert done.returncode == 1
        assert "SettingsError: boto3 is not installed" in done.stderr
        assert "pip install 'legato[aws]'" in done.stderr

    @pytest.mark.parametrize(
        "url", ["foo", "foo:8080", "http://", "ftp://h", "http://[1", "http://h:x"]
    )
    def test_an_endpoint_that_is_none(self, url: str) -> None:
        with pytest.raises(errors.SettingsError, match="the endpoint is no URL"):
            Aws.connect(endpoint_url=url)

    def test_an_input_that_the_stack_cannot_read(self, fleet: aws_stack.Stack, aws: Aws) -> None:
        had = len(legato.remote.recent(Target.of_stack(aws, fleet.name)))
        done = command(
            "run", str(fleet.definition), "--input", "s3://elsewhere/x.jsonl", *where(fleet)
        )
        assert done.returncode == 1
        assert "InputError: the stack cannot read s3://elsewhere/x.jsonl" in done.stderr
        # Before anything was started.
        assert len(legato.remote.recent(Target.of_stack(aws, fleet.name))) == had

    @pytest.mark.parametrize("verb", ["status", "redrive"])
    def test_a_run_that_is_not_there(self, fleet: aws_stack.Stack, verb: str) -> None:
        at = ["--stack-name", fleet.name, "--endpoint-url", fleet.server.endpoint]
        done = command(verb, "nope", *at)
        assert done.returncode == 1
        assert f"there is no run nope of stack {fleet.name}" in done.stderr
        assert "legato status --stack-name" in done.stderr

    def test_no_region(self, fleet: aws_stack.Stack, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("AWS_REGION")
        with pytest.raises(errors.SettingsError, match="no AWS region is set; give --region"):
            Aws.connect()
        monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-west-3")
        assert Aws.connect().region == "eu-west-3"
        with pytest.raises(errors.SettingsError, match="no such AWS profile"):
            Aws.connect(profile="nobody")
        # What is refused is not left in the environment.
        assert "AWS_PROFILE" not in os.environ

    def test_the_native_store_hears_of_it(
        self, fleet: aws_stack.Stack, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.delenv("AWS_ENDPOINT_URL")
        Aws.connect(region="eu-central-1", endpoint_url=fleet.server.endpoint)
        assert os.environ["AWS_ENDPOINT_URL"] == fleet.server.endpoint
        assert legato.Store.open(fleet.outputs["StoreUrl"]).list("nothing/") == []


COMMAND = [sys.executable, "-m", "legato.cli"]


def environ() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(Path(legato.__file__).parents[1])}


def where(fleet: aws_stack.Stack) -> list[str]:
    return ["--stack-name", fleet.name, "--endpoint-url", fleet.server.endpoint]


def command(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *arguments],
        capture_output=True,
        text=True,
        env=environ(),
        timeout=120,
        check=False,
    )
