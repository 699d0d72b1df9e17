"""Deploy and destroy on the emulator: change sets, artifacts, mirrors, and what is said of failures."""

from __future__ import annotations

import io
import json
import re
import uuid
from pathlib import Path
from typing import Any

import pytest
from botocore.stub import Stubber

from legato import Workflow
from legato._aws import Aws
from legato.cli import main
from legato.deploy import Options, Stack, build, deploy, destroy, stack_name
from legato.deploy._artifacts import open_artifacts
from legato.deploy._changes import prepare
from legato.deploy._events import failures, line
from legato.deploy._package import Entry, Package, model_bytes
from legato.deploy._platform import Needs
from legato.deploy._stack import TAG
from legato.errors import InputError, WorkflowError
from legato.remote import Target
from tests import aws_stack
from tests.servers import ministack

BUCKET: dict[str, Any] = {"Type": "AWS::S3::Bucket", "DeletionPolicy": "Retain"}


def template(*, second: dict[str, Any] | None = None, comment: str = "") -> str:
    """A bucket, and perhaps something beside it."""
    resources: dict[str, Any] = {"Bucket": BUCKET}
    if second is not None:
        resources["Second"] = second
    return json.dumps(
        {
            "AWSTemplateFormatVersion": "2010-09-09",
            "Description": comment or "a test",
            "Parameters": {"Color": {"Type": "String", "Default": "red"}},
            "Resources": resources,
            "Outputs": {
                "BucketName": {"Value": {"Ref": "Bucket"}},
                "Color": {"Value": {"Ref": "Color"}},
            },
        }
    )


@pytest.fixture
def aws(fleet: aws_stack.Stack) -> Aws:
    return Aws.connect(endpoint_url=fleet.server.endpoint)


@pytest.fixture
def stack(aws: Aws) -> Stack:
    return Stack(aws, f"test-{uuid.uuid4().hex[:8]}", between_s=0.05)


def apply(stack: Stack, text: str, *, of: str | None = None, **parameters: str) -> list[str]:
    """Create or update, as of a workflow; return the lines of progress."""
    said: list[str] = []
    tags = {TAG: of} if of is not None else {}
    changes = prepare(stack, stack.body(text, open_artifacts(stack.aws)), parameters, tags=tags)
    if changes.changes:
        changes.execute(said.append)
    return said


class TestStack:
    def test_it_is_created_updated_and_left_alone(self, stack: Stack) -> None:
        assert stack.describe() is None
        assert "create complete" in " ".join(apply(stack, template(), Color="blue"))
        assert stack.outputs()["Color"] == "blue"
        # A parameter that is not given keeps its value.
        topic = {"Type": "AWS::SNS::Topic"}
        changes = prepare(stack, stack.body(template(second=topic)), {})
        assert [str(change) for change in changes.changes] == ["+ Second (AWS::SNS::Topic)"]
        changes.execute()
        assert stack.outputs()["Color"] == "blue"
        again = prepare(stack, stack.body(template(second=topic)), {})
        assert again.changes == ()
        pending = stack.aws.client("cloudformation").list_change_sets(StackName=stack.name)
        assert not [s for s in pending["Summaries"] if s["Status"] == "FAILED"]

    def test_a_long_template_goes_through_the_artifacts(self, stack: Stack) -> None:
        text = template(comment="x" * 900)[:-1] + " " * 60_000 + "}"
        body = stack.body(text, open_artifacts(stack.aws))
        assert set(body) == {"TemplateURL"}
        with pytest.raises(InputError, match="give it artifacts"):
            stack.body(text)
        apply(stack, text)
        assert stack.outputs()["Color"] == "red"

    def test_a_resource_that_fails_is_named_with_its_reason(
        self, stack: Stack, fleet: aws_stack.Stack
    ) -> None:
        broken = {
            "Type": "AWS::Lambda::Alias",
            "Properties": {
                "FunctionName": fleet.function("Ingestion"),
                "FunctionVersion": "1",
                "Name": "live",
            },
        }
        said: list[str] = []
        changes = prepare(stack, stack.body(template(second=broken)), {})
        with pytest.raises(WorkflowError, match=r"creation of stack .* Second \(AWS::Lambda") as e:
            changes.execute(said.append)
        assert "give another --stack-name" in str(e.value)
        assert "create failed" in " ".join(said)
        assert (stack.describe() or {})["StackStatus"] == "ROLLBACK_COMPLETE"
        with pytest.raises(InputError, match=r"is ROLLBACK_COMPLETE .*legato destroy, then deploy"):
            Target.of_stack(stack.aws, stack.name)
        with pytest.raises(WorkflowError, match=r"can only delete.*legato destroy"):
            prepare(stack, stack.body(template()), {})
        destroy(stack, delete_data=True)
        assert stack.describe() is None

    def test_a_change_set_that_is_not_applied_leaves_nothing(self, stack: Stack) -> None:
        changes = prepare(stack, stack.body(template()), {})
        assert len(changes.changes) == 1
        changes.delete()
        assert stack.describe() is None

    def test_a_stack_that_is_not_there(self, stack: Stack) -> None:
        with pytest.raises(InputError, match=r"there is no stack test-.*legato deploy"):
            stack.outputs()


class TestName:
    @pytest.mark.parametrize(
        ("workflow", "stack"), [("tickets", "tickets"), ("a_b-c", "a-b-c"), ("3_x", "legato-3-x")]
    )
    def test_it_is_like_the_workflow(self, workflow: str, stack: str, tiny_bert: Path) -> None:
        made = Workflow(name=workflow, task="feature-extraction", model=tiny_bert)
        assert stack_name(made) == stack
        assert stack_name(made, "other") == "other"

    @pytest.mark.parametrize("name", ["a" * 51, "a_b", "1a", "-", "a b"])
    def test_what_aws_would_refuse(self, name: str, tiny_bert: Path) -> None:
        made = Workflow(name="w" * 60, task="feature-extraction", model=tiny_bert)
        with pytest.raises(InputError, match="give another one with --stack-name"):
            stack_name(made, name)
        with pytest.raises(InputError, match="up to 50 letters"):
            stack_name(made)


class TestDestroy:
    def test_data_is_kept(self, stack: Stack, fleet: aws_stack.Stack) -> None:
        apply(stack, template())
        bucket = stack.outputs()["BucketName"]
        fleet.client("s3").put_object(Bucket=bucket, Key="k", Body=b"x")
        left = destroy(stack)
        assert left.buckets == (bucket,)
        assert fleet.client("s3").get_object(Bucket=bucket, Key="k")["Body"].read() == b"x"

    def test_data_is_deleted_with_all_versions(self, stack: Stack, fleet: aws_stack.Stack) -> None:
        apply(stack, template())
        s3, bucket = fleet.client("s3"), stack.outputs()["BucketName"]
        s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
        for _ in range(2):
            s3.put_object(Bucket=bucket, Key="k", Body=b"x")
        s3.delete_object(Bucket=bucket, Key="k")
        s3.create_multipart_upload(Bucket=bucket, Key="parts")
        left = destroy(stack, delete_data=True)
        assert (left.buckets, left.deleted) == ((), 3)
        assert bucket not in [b["Name"] for b in s3.list_buckets()["Buckets"]]

    def test_a_stack_of_somebody_else_is_kept(
        self, stack: Stack, capsys: pytest.CaptureFixture[str]
    ) -> None:
        apply(stack, template(), of=None)
        where = ["--stack-name", stack.name, "--endpoint-url", str(stack.aws.endpoint_url)]
        assert main(["destroy", *where, "--yes", "--delete-data"]) == 1
        assert "is not of legato" in capsys.readouterr().err
        assert stack.describe() is not None

    def test_nothing_to_destroy(self, stack: Stack) -> None:
        assert destroy(stack).buckets == ()

    def test_the_command_asks(
        self, stack: Stack, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        apply(stack, template(), of="test")
        where = ["--stack-name", stack.name, "--endpoint-url", str(stack.aws.endpoint_url)]
        monkeypatch.setattr("sys.stdin", io.StringIO())
        assert main(["destroy", *where]) == 1
        assert "give --yes" in capsys.readouterr().err
        assert stack.describe() is not None
        assert main(["destroy", *where, "--yes"]) == 0
        assert "left      s3://" in capsys.readouterr().out
        assert main(["destroy", *where, "--yes"]) == 0
        assert "nothing to do" in capsys.readouterr().out


class TestArtifacts:
    def test_the_bucket_is_private_and_encrypted(self, aws: Aws) -> None:
        made = open_artifacts(aws)
        assert made.bucket == f"legato-artifacts-{aws.account}-{aws.region}"
        s3 = aws.client("s3")
        blocked = s3.get_public_access_block(Bucket=made.bucket)["PublicAccessBlockConfiguration"]
        assert set(blocked.values()) == {True}
        assert s3.get_bucket_encryption(Bucket=made.bucket)
        rules = s3.get_bucket_lifecycle_configuration(Bucket=made.bucket)["Rules"]
        assert rules[0]["AbortIncompleteMultipartUpload"]["DaysAfterInitiation"] == 7
        assert open_artifacts(aws) == made

    def test_what_is_there_is_not_uploaded_again(
        self, aws: Aws, fleet: aws_stack.Stack, tmp_path: Path
    ) -> None:
        (tmp_path / "a.py").write_text("a = 1\n")
        entry = Entry("a.py", tmp_path / "a.py")
        package = Package((entry,), uuid.uuid4().hex, {"a": 6}, Needs("x86_64", None, 0, ""))
        bucket = fleet.server.bucket()
        made = open_artifacts(aws, f"s3://{bucket}/some/where/")
        key, fresh = made.put_package(package)
        assert (key, fresh) == (f"some/where/functions/{package.digest}.zip", True)
        before = aws.client("s3").head_object(Bucket=bucket, Key=key)["LastModified"]
        assert made.put_package(package) == (key, False)
        assert aws.client("s3").head_object(Bucket=bucket, Key=key)["LastModified"] == before

    def test_a_place_that_is_none(self, aws: Aws) -> None:
        with pytest.raises(InputError, match="use s3://bucket/prefix"):
            open_artifacts(aws, "/tmp/x")
        with pytest.raises(InputError, match="there is no bucket no-such-bucket-at-all"):
            open_artifacts(aws, "s3://no-such-bucket-at-all/x")

    def test_a_bucket_is_made_where_it_belongs(self, aws: Aws) -> None:
        for region, where in (
            ("us-east-1", None),
            ("eu-west-3", {"LocationConstraint": "eu-west-3"}),
        ):
            here = Aws(region, None, aws.session)
            here.__dict__["identity"] = {"Account": "1" * 12, "Arn": "arn:aws:iam::1:user/x"}
            name = f"legato-artifacts-{'1' * 12}-{region}"
            with Stubber(here.client("s3")) as s3:
                s3.add_client_error("head_bucket", "404", http_status_code=404)
                expected: dict[str, Any] = {"Bucket": name}
                if where:
                    expected["CreateBucketConfiguration"] = where
                s3.add_response("create_bucket", {}, expected)
                for call in ("put_public_access_block", "put_bucket_encryption"):
                    s3.add_response(call, {})
                s3.add_response("put_bucket_policy", {})
                s3.add_response("put_bucket_lifecycle_configuration", {})
                assert open_artifacts(here).bucket == name
                s3.assert_no_pending_responses()


class TestWorkflow:
    def test_deploying_again_changes_nothing(
        self, fleet: aws_stack.Stack, aws: Aws, tmp_path: Path
    ) -> None:
        done = fleet.legato("deploy", "--bootstrap", str(fleet.definition.with_name("bootstrap")))
        assert done.status == 0, done.err
        assert "already there: s3://legato-artifacts-" in done.err
        assert f"stack {fleet.name} in {aws.region}: no changes" in done.err
        assert f"StateMachineArn   {fleet.machine}" in done.out
        # A parameter publishes new versions of what it is of, and says so before.
        shown = fleet.legato(
            "deploy", "--dry-run", "--parameter", "InferenceMemory=1024",
            "--bootstrap", str(fleet.definition.with_name("bootstrap")),
        )  # fmt: skip
        assert "~ InferenceFunction (AWS::Lambda::Function)" in shown.err
        assert fleet.legato("status").status in {0, 1}

    @pytest.mark.parametrize(
        ("of", "said"), [(None, "is not of legato"), ("other", "is of workflow other")]
    )
    def test_a_stack_of_something_else_is_not_changed(
        self, fleet: aws_stack.Stack, stack: Stack, of: str | None, said: str
    ) -> None:
        apply(stack, template(), of=of)
        had = stack.resources()
        done = fleet.legato("deploy", "--stack-name", stack.name)
        assert done.status == 1
        assert said in done.err
        assert stack.resources() == had

    @pytest.mark.parametrize("verb", ["deploy", "destroy"])
    def test_ctrl_c(
        self, fleet: aws_stack.Stack, monkeypatch: pytest.MonkeyPatch, verb: str
    ) -> None:
        def pressed(*_arguments: object, **_options: object) -> None:
            raise KeyboardInterrupt

        monkeypatch.setattr(f"legato.deploy.{verb}", pressed)
        done = fleet.legato(verb, *(["--yes"] if verb == "destroy" else []))
        assert done.status == 130
        assert "what CloudFormation has begun goes on" in done.err
        assert "shards" not in done.err

    def test_a_bucket_that_is_there(self, fleet: aws_stack.Stack, stack: Stack) -> None:
        boot = str(fleet.definition.with_name("bootstrap"))
        kept = f"BucketName={fleet.outputs['BucketName']}"
        named = ["--stack-name", stack.name, "--bootstrap", boot]
        done = fleet.legato("deploy", *named, "--parameter", kept)
        assert done.status == 1
        assert "this bucket is there already" in done.err
        assert stack.describe() is None

    def test_a_parameter_that_is_none(self, fleet: aws_stack.Stack) -> None:
        boot = str(fleet.definition.with_name("bootstrap"))
        done = fleet.legato("deploy", "--bootstrap", boot, "--parameter", "Colour=red")
        assert "has no parameter Colour; use one of AlarmTopicArn," in done.err
        done = fleet.legato("deploy", "--bootstrap", boot, "--parameter", "hunter2")
        assert done.status == 1
        assert "write --parameter KEY=VALUE" in done.err
        assert "hunter2" not in done.err

    def test_modules_of_another_python_are_refused(self, fleet: aws_stack.Stack) -> None:
        done = fleet.legato("deploy", "--runtime", "python3.99")
        assert done.status == 1
        assert "pip download numpy" in done.err

    def test_a_model_that_does_not_fit_beside_the_code_is_mirrored(
        self, fleet: aws_stack.Stack, aws: Aws, tiny_bert: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        bootstrap = fleet.definition.with_name("bootstrap")
        workflow = Workflow(name="fits-not", task="feature-extraction", model=tiny_bert)
        options = Options(bootstrap=bootstrap, dry_run=True)
        code = build(None, bootstrap=bootstrap).unzipped
        for spare, there in ((model_bytes(tiny_bert), True), (model_bytes(tiny_bert) - 1, False)):
            monkeypatch.setattr("legato.deploy._deploy.MAX_UNZIPPED_BYTES", code + spare)
            said: list[str] = []
            deploy(workflow, aws, options, say=said.append)
            assert ("model" in said[0]) == there

    def test_a_mirrored_model(
        self, fleet: aws_stack.Stack, aws: Aws, tiny_bert: Path, tmp_path: Path
    ) -> None:
        workflow = Workflow(name="mirrored", task="feature-extraction", model=tiny_bert)
        said: list[str] = []
        options = Options(
            bootstrap=fleet.definition.with_name("bootstrap"),
            mirror_model=True,
            parameters={"S3EndpointUrl": fleet.proxy.endpoint},
        )
        outputs = deploy(workflow, aws, options, say=said.append)
        parameters = Stack(aws, "mirrored").parameters()
        assert parameters["ModelId"].startswith(f"{outputs['StoreUrl']}/models/")
        assert "model 0" not in said[0]
        import legato.remote

        run = legato.remote.run(workflow, text="a text", endpoint_url=aws.endpoint_url)
        here = legato.run(workflow, text="a text", store=f"memory://{uuid.uuid4()}")
        assert run.results().vectors.tolist() == here.results().vectors.tolist()
        # Now that the bucket is there, the model comes before the stack.
        again: list[str] = []
        deploy(workflow, aws, options, say=again.append)
        assert again[-1] == f"stack mirrored in {aws.region}: no changes"
        destroy(Stack(aws, "mirrored"), delete_data=True)


class TestEvents:
    def test_the_first_failure_comes_first(self) -> None:
        def event(name: str, reason: str, status: str = "CREATE_FAILED") -> dict[str, str]:
            return {
                "LogicalResourceId": name,
                "ResourceType": "AWS::X",
                "ResourceStatus": status,
                "ResourceStatusReason": reason,
            }

        events = [
            event("C", "Resource creation cancelled"),
            event("B", "the name already exists"),
            event("D", "", "CREATE_COMPLETE"),
            event("A", "User: x is not authorized to perform: iam:CreateRole"),
        ]
        first, second = failures(events)
        assert first.startswith("A (AWS::X): User: x is not authorized")
        assert first.endswith("allow it to the credentials that deploy")
        assert "give another --stack-name" in second
        assert line(events[2]).startswith("create complete")
        assert "already exists" in line(events[1])


def test_the_page_tells_of_options_that_there_are(capsys: pytest.CaptureFixture[str]) -> None:
    page = (Path(__file__).parents[1] / "docs" / "deploy.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `legato (\w+)[^|]*\|[^|]*\|$", page, re.MULTILINE)
    assert rows == ["deploy", "run", "status", "redrive", "destroy", "doctor"]
    for row in re.findall(r"^\| `legato .*$", page, re.MULTILINE):
        verb = row.split()[2].strip("`")
        with pytest.raises(SystemExit):
            main([verb, "--help"])
        offered = capsys.readouterr().out
        for option in re.findall(r"--[a-z-]+", row):
            assert option in offered, (verb, option)
        for shared in ("--region", "--profile", "--endpoint-url", "--stack-name"):
            assert shared in offered


def test_a_user_who_may_not_deploy(fleet: aws_stack.Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    _, keys = fleet.server.user(ministack.allow("sts:GetCallerIdentity", "*"))
    for name, value in fleet.server.environ(keys).items():
        monkeypatch.setenv(name, value)
    done = fleet.run("--text", "x")
    assert done.status == 1
    assert "AccessDeniedError: cloudformation:DescribeStacks on arn:aws:cloudformation" in done.err
    assert '"Action": "cloudformation:DescribeStacks"' in done.err


def test_who_may_not_see_runs_is_told_so_before_a_stack_is_deleted(
    fleet: aws_stack.Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, keys = fleet.server.user(ministack.allow(["sts:*", "cloudformation:*"], "*"))
    for name, value in fleet.server.environ(keys).items():
        monkeypatch.setenv(name, value)
    done = fleet.legato("destroy")
    assert done.status == 1
    assert "runs may be under way (they could not be listed)" in done.err
    # The fixture's stack is still there: nobody agreed.
    assert fleet.client("cloudformation").describe_stacks(StackName=fleet.name)["Stacks"]
