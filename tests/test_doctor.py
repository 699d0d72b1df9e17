"""legato doctor: each part that can be broken is named, and what to do."""

from __future__ import annotations

import email.utils
import http.client
import json
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from botocore.stub import Stubber

import legato
from legato import Store, Workflow
from legato._aws import Aws
from legato.cli import main
from legato.deploy import Check, Stack, destroy, examine
from legato.deploy._changes import prepare
from legato.deploy._doctor_aws import look_at_store
from legato.deploy._doctor_stack import _simulated
from legato.errors import LegatoError
from tests import aws_stack
from tests.aws_grants import Grant
from tests.servers import ministack

SECRET = "hunter2"


def by_name(checks: Iterator[Check]) -> dict[str, Check]:
    """The checks by name; of several of a name the worst."""
    found: dict[str, Check] = {}
    rank = {"ok": 0, "warn": 1, "fail": 2}
    for check in checks:
        if check.name not in found or rank[check.level] > rank[found[check.name].level]:
            found[check.name] = check
    return found


@contextmanager
def front(endpoint: str, *, skew_s: float = 0, drop: str | None = None) -> Iterator[str]:
    """A door before the emulator: its clock is wrong, or a header does not pass."""

    class Door(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def handle_one_request(self) -> None:
            self.raw_requestline = self.rfile.readline(65537)
            if not self.raw_requestline or not self.parse_request():
                self.close_connection = True
                return
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            upstream = http.client.HTTPConnection(urlsplit(endpoint).netloc, timeout=30)
            kept = {k: v for k, v in self.headers.items() if k.lower() != drop}
            upstream.request(self.command, self.path, body, kept)
            answer = upstream.getresponse()
            data = answer.read()
            skip = {"date", "transfer-encoding", "content-length", "connection"}
            self.send_response_only(answer.status)
            for name, value in answer.getheaders():
                if name.lower() not in skip:
                    self.send_header(name, value)
            self.send_header("Date", email.utils.formatdate(time.time() + skew_s, usegmt=True))
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(data)
            upstream.close()

    server = ThreadingHTTPServer(("127.0.0.1", 0), Door)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def test_all_is_well(fleet: aws_stack.Stack) -> None:
    done = fleet.legato("doctor")
    assert done.status == 0, done.out
    assert "fail" not in done.out
    for said in (
        "ok    credentials   arn:aws:iam::",
        "ok    clock         agrees",
        "ok    functions     5 of 5 are ready",
        f"ok    store         {fleet.outputs['StoreUrl']}: read, written, conditional writes are",
    ):
        assert said in done.out
    assert done.out.count("may do what its stage does") == 5
    assert not [key for key in fleet.store.list("runs/") if "doctor" in key]


def test_as_json(fleet: aws_stack.Stack) -> None:
    done = fleet.legato("doctor", "--json", "--local")
    found = json.loads(done.out)
    assert {"python", "disk", "memory", "package", "model"} == {each["name"] for each in found}
    assert {"name", "level", "found", "fix"} == set(found[0])


class TestCredentials:
    def test_none(self, fleet: aws_stack.Stack, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("AWS_ACCESS_KEY_ID")
        monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
        done = fleet.legato("doctor")
        assert done.status == 1
        assert "fail  credentials   SettingsError: no AWS credentials were found" in done.out
        # What rests on them is left out.
        assert "store " not in done.out.replace("--store", "")

    def test_wrong_ones(self, fleet: aws_stack.Stack, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAIOSFODNN7EXAMPLE")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
        done = fleet.legato("doctor")
        assert done.status == 1
        assert "fail  credentials" in done.out
        assert SECRET not in done.out + done.err

    def test_another_region(self, fleet: aws_stack.Stack) -> None:
        found = by_name(
            examine(stack_name=fleet.name, region="us-east-2", endpoint_url=fleet.server.endpoint)
        )
        assert found["stack"].level == "warn"
        assert "give --stack-name or --region" in found["stack"].fix

    def test_no_region(self, fleet: aws_stack.Stack, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("AWS_REGION")
        found = by_name(examine(endpoint_url=fleet.server.endpoint))
        assert found["region"].level == "fail"
        assert "give --region, or set AWS_REGION" in found["region"].found

    def test_nobody_there(self, fleet: aws_stack.Stack) -> None:
        aws = Aws.connect(endpoint_url="http://127.0.0.1:9")
        assert aws.endpoint_url == "http://127.0.0.1:9"
        found = by_name(examine(endpoint_url="http://127.0.0.1:9"))
        assert found["credentials"].level == "fail"
        assert "check --region and --endpoint-url" in found["credentials"].found

    def test_no_boto3(self) -> None:
        code = (
            "import sys; sys.modules['boto3'] = None; from legato.cli import main; sys.exit(main())"
        )
        done = subprocess.run(
            [sys.executable, "-c", code, "doctor"],
            capture_output=True, text=True, timeout=60, check=False,
            env={"PYTHONPATH": str(Path(legato.__file__).parents[1]), "PATH": ""},
        )  # fmt: skip
        assert done.returncode == 1, done.stderr
        assert "fail  boto3" in done.stdout
        assert "pip install 'legato[aws]'" in done.stdout


class TestClock:
    @pytest.mark.parametrize(
        ("skew_s", "level", "said"),
        [(0, "ok", "agrees"), (-120, "warn", "ahead of AWS"), (900, "fail", "behind AWS")],
    )
    def test_it_is_compared(
        self, fleet: aws_stack.Stack, skew_s: float, level: str, said: str
    ) -> None:
        with front(fleet.server.endpoint, skew_s=skew_s) as door:
            found = by_name(examine(endpoint_url=door))
        assert found["clock"].level == level
        assert said in found["clock"].found
        assert ("NTP" in found["clock"].fix) == (level != "ok")


class TestStore:
    def test_no_writing(self, fleet: aws_stack.Stack, monkeypatch: pytest.MonkeyPatch) -> None:
        bucket = fleet.outputs["BucketName"]
        _, keys = fleet.server.user(
            ministack.allow("s3:GetObject", f"arn:aws:s3:::{bucket}/*"),
            ministack.allow(
                ["cloudformation:*", "lambda:*", "states:*", "sts:GetCallerIdentity"], "*"
            ),
        )
        for name, value in fleet.server.environ(keys).items():
            monkeypatch.setenv(name, value)
        done = fleet.legato("doctor")
        assert done.status == 1
        assert "fail  store" in done.out
        assert "s3:PutObject" in done.out
        assert f"arn:aws:s3:::{bucket}/legato/runs/doctor-" in done.out
        # What could not be looked at is said, and no failure.
        assert "warn  role          Ingestion was not looked at" in done.out
        assert keys.secret not in done.out

    def test_a_store_that_ignores_conditions(self, fleet: aws_stack.Stack) -> None:
        with front(fleet.server.endpoint, drop="if-none-match") as door:
            aws = Aws.connect(endpoint_url=door)
            (check,) = look_at_store(aws, Store.open(fleet.outputs["StoreUrl"]))
        assert check.level == "fail"
        assert "ignores conditions" in check.found

    def test_a_bucket_that_is_gone(self, fleet: aws_stack.Stack, aws: Aws) -> None:
        with pytest.raises(LegatoError, match="there is no bucket"):
            list(look_at_store(aws, Store.open("s3://no-such-bucket-at-all/legato")))

    def test_a_workflow_that_is_not_deployed(
        self, fleet: aws_stack.Stack, aws: Aws, tiny_bert: Path
    ) -> None:
        bucket = fleet.server.bucket()
        workflow = Workflow(
            name=f"none-{uuid.uuid4().hex[:8]}", task="feature-extraction", model=tiny_bert,
            store=f"s3://{bucket}/there",
        )  # fmt: skip
        found = by_name(examine(workflow, endpoint_url=fleet.server.endpoint))
        assert found["stack"].level == "warn"
        assert found["store"].level == "ok"
        assert f"s3://{bucket}/there" in found["store"].found


@pytest.fixture
def aws(fleet: aws_stack.Stack) -> Aws:
    return Aws.connect(endpoint_url=fleet.server.endpoint)


class TestStack:
    @pytest.mark.parametrize("stage", ["Ingestion", "Inference", "Validation"])
    def test_a_grant_that_is_gone(self, fleet: aws_stack.Stack, stage: str) -> None:
        with fleet.without(Grant(stage, "WriteObjects", "s3:PutObject", f"{stage.lower()}/*")):
            done = fleet.legato("doctor")
        assert done.status == 1
        (line,) = [line for line in done.out.splitlines() if line.startswith("fail")]
        assert f"{fleet.role(stage)} of {stage} lacks WriteObjects: s3:AbortMulti" in line
        added = json.loads(line.partition("add to it: ")[2])
        bucket = fleet.outputs["StoreUrl"].removeprefix("s3://")
        assert added["Resource"] == [f"arn:aws:s3:::{bucket}/{stage.lower()}/*"]

    def test_conditions_are_asked_of_aws(self, aws: Aws) -> None:
        made = {
            "Action": ["s3:ListBucket"],
            "Resource": ["arn:aws:s3:::b"],
            "Condition": {"StringLike": {"s3:prefix": ["p/storage/*"]}},
        }
        assert _simulated(aws, "arn:aws:iam::1:role/r", made) == []
        real = Aws(aws.region, None, aws.session)
        result = {"EvalActionName": "s3:ListBucket", "EvalDecision": "allowed"}
        with Stubber(real.client("iam")) as iam:
            entry = {
                "ContextKeyName": "s3:prefix",
                "ContextKeyType": "string",
                "ContextKeyValues": ["p/storage/doctor"],
            }
            iam.add_response(
                "simulate_principal_policy",
                {"EvaluationResults": [result]},
                {
                    "PolicySourceArn": "arn:aws:iam::1:role/r",
                    "ActionNames": ["s3:ListBucket"],
                    "ResourceArns": ["arn:aws:s3:::b"],
                    "ContextEntries": [entry],
                },
            )
            assert _simulated(real, "arn:aws:iam::1:role/r", made) == [result]

    def test_a_stack_that_failed(self, fleet: aws_stack.Stack, aws: Aws) -> None:
        broken = {
            "Type": "AWS::Lambda::Alias",
            "Properties": {
                "FunctionName": fleet.function("Ingestion"),
                "FunctionVersion": "1",
                "Name": "live",
            },
        }
        stack = Stack(aws, f"broken-{uuid.uuid4().hex[:8]}", between_s=0.05)
        text = json.dumps({"Resources": {"Broken": broken}})
        with pytest.raises(LegatoError):
            prepare(stack, stack.body(text), {}).execute()
        found = by_name(examine(stack_name=stack.name, endpoint_url=aws.endpoint_url))
        assert found["stack"].level == "fail"
        assert "ROLLBACK_COMPLETE" in found["stack"].found
        destroy(stack)

    def test_a_fleet_above_the_quota(
        self, fleet: aws_stack.Stack, aws: Aws, tiny_bert: Path
    ) -> None:
        free = aws.client("lambda").get_account_settings()["AccountLimit"]
        for size, level in ((free["UnreservedConcurrentExecutions"] + 1, "warn"), (1, "ok")):
            workflow = Workflow(
                name=fleet.name, task="feature-extraction", model=tiny_bert, fleet=size
            )
            found = by_name(examine(workflow, endpoint_url=aws.endpoint_url))
            assert found["concurrency"].level == level
        assert "Service Quotas" not in found["concurrency"].fix


class TestHere:
    def test_no_model(self, tmp_path: Path) -> None:
        workflow = Workflow(name="x", task="feature-extraction", model=tmp_path / "none")
        found = by_name(examine(workflow, local=True))
        assert found["model"].level == "fail"
        assert "ModelError" in found["model"].found

    def test_too_little_memory(self, tiny_bert: Path) -> None:
        workflow = Workflow(name="x", task="feature-extraction", model=tiny_bert, memory_mb=128)
        found = by_name(examine(workflow, local=True))
        assert found["model"].level == "warn"
        assert "set memory_mb to 150 or more" in found["model"].fix

    def test_the_command(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["doctor", "--local"]) == 0
        out = capsys.readouterr().out
        assert out.startswith("ok    python")
        assert "boto3" not in out


def test_a_check_is_one_line() -> None:
    check: Any = Check("store", "fail", "it is gone", "make it")
    assert str(check) == "fail  store         it is gone; make it"
    assert str(Check("store", "ok", "there")) == "ok    store         there"
