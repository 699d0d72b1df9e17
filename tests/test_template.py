"""The CloudFormation template: deterministic, whole, and as others' tools read AWS's rules."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from bench import _materials
from legato import worker
from legato.errors import WorkflowError
from legato.workflow import synth
from legato.workflow._arns import MAX_STACK_CHARS
from legato.workflow._lint._evaluate import PSEUDO, evaluate
from legato.workflow._lint._lint import CHOICES
from legato.workflow._template import to_yaml
from legato.workflow._template._triggers import ALREADY_THERE, starter_document
from tests.template_variants import VARIANTS, workflow

IGNORED = {
    # The States Language gives Succeed an OutputPath, and asl-validator, which reads the same
    # document below, takes it. Without it the outputs of all shards would fill the Map's 256 KiB.
    "E3601": "'OutputPath' was unexpected) at 'States/Shards/ItemProcessor/States/ShardDone",
}
"""What cfn-lint says and is not so: the rule, and what it says."""


def resources(name: str, **parameters: str) -> dict[str, Any]:
    return evaluate(workflow(**VARIANTS[name]).template(), parameters)


def of(kind: str, found: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {n: r["Properties"] for n, r in found.items() if r["Type"] == kind}


# the files


def test_the_files_of_synth() -> None:
    files = synth(workflow(**VARIANTS["all"]))
    roles = ["ingestion", "preprocessing", "inference", "validation", "storage"]
    roles += ["machine", "trigger", "rule", "schedule"]
    assert list(files) == [
        "statemachine.asl.json",
        "template.yaml",
        *(f"policies/{role}.json" for role in roles),
        "diagram.svg",
        "diagram.mmd",
        "grants.md",
    ]
    document = workflow(**VARIANTS["all"]).document()
    assert json.loads(files["statemachine.asl.json"]) == document
    assert yaml.safe_load(files["template.yaml"]) == workflow(**VARIANTS["all"]).template()
    assert all(text.endswith("\n") and "/models/m" not in text for text in files.values())
    for role in roles:
        assert f"## {role}\n" in files["grants.md"]
        for statement in json.loads(files[f"policies/{role}.json"])["Statement"]:
            assert f"**{statement['Sid']}**" in files["grants.md"]


def test_the_same_bytes_in_every_process() -> None:
    script = (
        "import sys, json; from tests.template_variants import VARIANTS, workflow;"
        "from legato.workflow import synth;"
        "sys.stdout.write(json.dumps([synth(workflow(**v)) for v in VARIANTS.values()]))"
    )
    found = [
        subprocess.run(
            [sys.executable, "-c", script],
            capture_output=True,
            check=True,
            cwd=Path(__file__).parents[1],
            env={**os.environ, "PYTHONHASHSEED": seed, "HOME": home, "TZ": zone},
        ).stdout
        for seed, home, zone in (("1", "/tmp", "UTC"), ("2", "/", "Asia/Tokyo"))
    ]
    assert found[0] == found[1]
    # Whatever the machine: no folder of it is inside.
    assert str(Path(__file__).parents[1]).encode() not in found[0]


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=30) | st.sampled_from(
    ["yes", "0x1", "1e3", "~", "2026-01-01", "a: b", "- a", "# a", "a\nb\n", "a\n\n b\n", " a\nb\n"]
)
values = st.recursive(
    texts | st.booleans() | st.integers(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=20,
)


@given(st.dictionaries(texts, values, max_size=5))
def test_yaml_is_read_as_it_was_meant(value: dict[str, Any]) -> None:
    text = to_yaml(value)
    assert (yaml.safe_load(text) or {}) == value


# as others read it


@pytest.mark.parametrize("name", ["plain", "all", "batch", "ecs", "staged", "exchange"])
def test_cfn_lint_finds_nothing(name: str) -> None:
    api = pytest.importorskip("cfnlint.api", reason="cfn-lint is not installed; run: make dev")
    found = api.lint_all(synth(workflow(**VARIANTS[name]))["template.yaml"])
    told = {f"{match.rule.id} {match.message}" for match in found if match.rule.id[0] != "I"}
    expected = {line for line in told if IGNORED.get(line[:5], "\0") in line}
    assert told == expected
    # What is no longer said needs no exception.
    assert {line[:5] for line in told} == set(IGNORED)


def test_asl_validator_finds_nothing(tmp_path: Path) -> None:
    try:
        script = _materials.asl_validator()
    except _materials.NotToBeHadError as error:
        pytest.skip(str(error))
    documents = {name: workflow(**VARIANTS[name]).document() for name in VARIANTS}
    documents |= {"starter": starter_document()}
    broken = {**documents["plain"], "StartAt": "Nowhere"}
    for name, document in {**documents, "broken": broken}.items():
        (tmp_path / f"{name}.json").write_text(json.dumps(document))
        arguments = ["--json-path", f"{name}.json"]
        done = subprocess.run(
            [shutil.which("node") or "node", str(script), *arguments],
            capture_output=True,
            text=True,
            cwd=tmp_path,
            check=False,
        )
        assert (done.returncode == 0) == (name != "broken"), done.stdout + done.stderr


@pytest.mark.parametrize("name", VARIANTS)
def test_properties_are_those_of_the_services_own_models(name: str) -> None:
    """Names, types, sizes and allowed values of what CloudFormation passes to the services."""
    import botocore.session

    session = botocore.session.get_session()
    for choice in ({}, {k: v for k, v in CHOICES.items() if name != "plain"}):
        known = {
            k: v for k, v in choice.items() if k != "ImageRepositoryArn" or name in {"batch", "ecs"}
        }
        found = resources(name, **known)
        calls = [
            *(("lambda", "CreateFunction", p) for p in of("AWS::Lambda::Function", found).values()),
            *(("stepfunctions", "CreateStateMachine", _machine(p))
              for p in of("AWS::StepFunctions::StateMachine", found).values()),
            *(("batch", "RegisterJobDefinition", _lowered(p))
              for p in of("AWS::Batch::JobDefinition", found).values()),
            *(("ecs", "RegisterTaskDefinition", _lowered(p))
              for p in of("AWS::ECS::TaskDefinition", found).values()),
            *(("cloudwatch", "PutMetricAlarm", {**p, "AlarmName": "x"})
              for p in of("AWS::CloudWatch::Alarm", found).values()),
            *(("events", "PutTargets", {"Rule": p["Name"], "Targets": p["Targets"]})
              for p in of("AWS::Events::Rule", found).values()),
            *(("secretsmanager", "CreateSecret", {**p, "Name": "x"})
              for p in of("AWS::SecretsManager::Secret", found).values()),
            *(("lambda", "AddPermission", {**p, "StatementId": "x"})
              for p in of("AWS::Lambda::Permission", found).values()),
            *(("scheduler", "CreateSchedule", p) for p in of("AWS::Scheduler::Schedule", found).values()),
        ]  # fmt: skip
        assert calls
        for service, operation, given_ in calls:
            model = session.get_service_model(service).operation_model(operation)
            _check(model.input_shape, given_, f"{service}.{operation}")


def _machine(properties: dict[str, Any]) -> dict[str, Any]:
    renamed = {
        "StateMachineName": "name",
        "DefinitionString": "definition",
        "StateMachineType": "type",
    }
    made = {renamed.get(k, k): v for k, v in properties.items() if k != "DefinitionSubstitutions"}
    return _lowered(made)  # type: ignore[no-any-return]


def _lowered(value: Any) -> Any:
    if isinstance(value, dict):
        options = value.get("Options") if "LogDriver" in value else None
        made = {key[0].lower() + key[1:]: _lowered(item) for key, item in value.items()}
        return {**made, "options": options} if options is not None else made
    return [_lowered(item) for item in value] if isinstance(value, list) else value


def _check(shape: Any, value: Any, where: str) -> None:
    if shape.type_name == "structure":
        tags = where.endswith((".tags", ".Tags"))
        if not tags:
            unknown = set(value) - set(shape.members)
            assert not unknown, (where, unknown)
        missing = set(shape.required_members) - set(value)
        assert not missing, (where, missing)
        for key, item in value.items():
            if key in shape.members:
                _check(shape.members[key], item, f"{where}.{key}")
    elif shape.type_name == "list":
        assert isinstance(value, list), where
        for item in value:
            _check(shape.member, item, where)
    elif shape.type_name == "map":
        # CloudFormation takes tags as a list everywhere.
        assert isinstance(value, dict) or where.lower().endswith("tags"), where
    elif shape.type_name == "string":
        assert isinstance(value, str), where
        assert len(value) <= shape.metadata.get("max", len(value)), where
        assert len(value) >= shape.metadata.get("min", 0), where
        assert value in (shape.enum or [value]), (where, value)
    elif shape.type_name in {"integer", "long"}:
        number = int(value)
        assert number >= shape.metadata.get("min", number), where
        assert number <= shape.metadata.get("max", number), where
    else:
        assert shape.type_name in {"boolean", "double"}, (where, shape.type_name)


# limits of AWS that no other tool looks at


@pytest.mark.parametrize("name", VARIANTS)
def test_what_cloudformation_and_iam_take(name: str) -> None:
    template = workflow(**VARIANTS[name]).template()
    text = to_yaml(template)
    assert len(text.encode()) < 1_048_576  # of a template in S3; 51,200 in a request
    assert len(template["Resources"]) < 500
    assert len(template["Parameters"]) < 200
    assert not any(value is None for value in _leaves(template)), "a template may have no null"
    for name_, role in of("AWS::IAM::Role", resources(name, **_known(template))).items():
        policy = json.dumps(role["Policies"][0]["PolicyDocument"], separators=(",", ":"))
        assert len(policy) < 10_240, name_
        sids = [s["Sid"] for s in role["Policies"][0]["PolicyDocument"]["Statement"]]
        assert len(sids) == len(set(sids))
        assert all(re.fullmatch("[A-Za-z0-9]+", sid) for sid in sids)


def _known(template: dict[str, Any]) -> dict[str, str]:
    return {name: value for name, value in CHOICES.items() if name in template["Parameters"]}


def _leaves(value: Any) -> list[Any]:
    inner = (
        value.values() if isinstance(value, dict) else value if isinstance(value, list) else None
    )
    return [value] if inner is None else [leaf for item in inner for leaf in _leaves(item)]


@pytest.mark.parametrize("name", VARIANTS)
def test_all_that_can_have_tags_has_them(name: str) -> None:
    untagged = {
        "AWS::CloudWatch::Dashboard", "AWS::Lambda::Alias", "AWS::Lambda::Version",
        "AWS::Lambda::Permission", "AWS::S3::BucketPolicy", "AWS::Scheduler::Schedule",
        "AWS::SecretsManager::ResourcePolicy", "AWS::SecretsManager::RotationSchedule",
    }  # fmt: skip
    for name_, resource in workflow(**VARIANTS[name]).template()["Resources"].items():
        assert ("Tags" in resource["Properties"]) == (resource["Type"] not in untagged), name_


def test_names_fit_into_the_longest_stack_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(PSEUDO, "AWS::StackName", "s" * MAX_STACK_CHARS)
    found = resources("all")
    functions = {p["FunctionName"] for p in of("AWS::Lambda::Function", found).values()}
    assert max(map(len, functions)) == 64
    machines = [
        p["StateMachineName"] for p in of("AWS::StepFunctions::StateMachine", found).values()
    ]
    assert max(map(len, machines)) <= 80
    named = [
        *of("AWS::Events::Rule", found).values(),
        *of("AWS::Scheduler::Schedule", found).values(),
    ]
    assert max(len(about["Name"]) for about in named) <= 64


# functions


def test_a_function_ends_before_the_task_that_waits_for_it() -> None:
    for name in VARIANTS:
        one = workflow(**VARIANTS[name])
        arns = {
            n: v["Ref"]
            for n, v in _substitutions(one.template()).items()
            if n.endswith("FunctionArn")
        }
        functions = of("AWS::Lambda::Function", resources(name))
        for task in _tasks(one.document()):
            called = str(task["Parameters"].get("FunctionName", "")).strip("${}")
            if called:
                stage = arns[called].removesuffix("Alias")
                assert functions[f"{stage}Function"]["Timeout"] < task["TimeoutSeconds"]
        # What replaces the token is called by Secrets Manager, not by a task.
        assert len(functions) == len(arns) + (one.rotation is not None)


def _substitutions(template: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = template["Resources"]["StateMachine"]["Properties"][
        "DefinitionSubstitutions"
    ]
    return found


def _tasks(document: dict[str, Any]) -> list[dict[str, Any]]:
    found = []
    for state in document["States"].values():
        found += [state] if state["Type"] == "Task" else []
        found += _tasks(state["ItemProcessor"]) if "ItemProcessor" in state else []
    return found


def test_every_placeholder_is_filled_in_and_no_other() -> None:
    for changes in VARIANTS.values():
        one = workflow(**changes)
        named = set(re.findall(r"\$\{(\w+)\}", json.dumps(one.document())))
        assert set(_substitutions(one.template())) == named


def test_a_version_follows_code_release_and_configuration() -> None:
    def said(changes: dict[str, Any], **parameters: str) -> dict[str, str]:
        found = evaluate(workflow(**changes).template(), parameters)
        versions = of("AWS::Lambda::Version", found)
        functions = of("AWS::Lambda::Function", found)
        for name, version in versions.items():
            # Otherwise Lambda refuses a version of a function that has not changed.
            function = functions[name.replace("Version", "Function")]
            assert function["Description"] == version["Description"]
            assert len(version["Description"]) <= 256
        return {name: version["Description"] for name, version in versions.items()}

    first = said({})
    assert said({}) == first
    for other in (
        said({}, CodeKey="other.zip"),
        said({}, Release="2"),
        said({"dtype": "int8"}),
    ):
        assert all(first[name] != other[name] for name in first)
    longest = said({"name": "n" * 80}, CodeKey="k" * 160, Release="r" * 40)
    assert all("k" * 160 in text and text.endswith("r" * 40) for text in longest.values())
    template = workflow().template()
    assert template["Parameters"]["CodeKey"]["MaxLength"] == 160
    assert template["Parameters"]["Release"]["AllowedPattern"].endswith("{1,40}")


def test_the_environment_is_what_settings_read() -> None:
    from legato.settings import Settings

    one = workflow(dataset="s3://data-bucket/a folder/b.jsonl", max_length=128, dtype="int8")
    found = evaluate(one.template(), {"S3EndpointUrl": "https://s3.example"})
    for name, about in of("AWS::Lambda::Function", found).items():
        variables = {**about["Environment"]["Variables"]}
        # An account is twelve digits; a dataset may be another account's.
        assert variables.pop("LEGATO_BUCKET_OWNER") == (
            "" if name == "IngestionFunction" else "ACCOUNT"
        )
        settings = Settings.from_env(variables)
        assert settings.store == "s3://BUCKET/legato"
        assert settings.model_id == "model"
        assert (settings.max_length, settings.dtype) == (128, "int8")
        assert variables["AWS_ENDPOINT_URL_S3"] == "https://s3.example"
        allowed = ("s3://data-bucket/a%20folder",) if name == "IngestionFunction" else ()
        assert settings.allowed_stores == allowed
    plain = of("AWS::Lambda::Function", resources("plain"))
    assert all("AWS_ENDPOINT_URL_S3" not in p["Environment"]["Variables"] for p in plain.values())


def test_a_vpc_a_key_and_a_layer_are_there_where_they_are_given() -> None:
    given_ = {"SubnetIds": "subnet-1,subnet-2", "SecurityGroupIds": "sg-1", "LayerArn": "arn:l",
              "KmsKeyArn": "arn:k", "BucketName": "named", "AlarmTopicArn": "arn:t"}  # fmt: skip
    plain, all_ = resources("plain"), resources("plain", **given_)
    for about in of("AWS::Lambda::Function", plain).values():
        assert not {"VpcConfig", "Layers"} & set(about)
    for about in of("AWS::Lambda::Function", all_).values():
        assert about["VpcConfig"] == {
            "SubnetIds": ["subnet-1", "subnet-2"],
            "SecurityGroupIds": ["sg-1"],
        }
        assert about["Layers"] == ["arn:l"]
        assert about["Environment"]["Variables"]["LEGATO_STORE"] == "s3://named/legato"
    rules = [
        of("AWS::S3::Bucket", found)["Bucket"]["BucketEncryption"][
            "ServerSideEncryptionConfiguration"
        ][0]
        for found in (plain, all_)
    ]
    assert rules[0]["ServerSideEncryptionByDefault"] == {"SSEAlgorithm": "AES256"}
    assert rules[1]["ServerSideEncryptionByDefault"]["KMSMasterKeyID"] == "arn:k"
    for about in of("AWS::CloudWatch::Alarm", all_).values():
        assert about["AlarmActions"] == ["arn:t"]
    assert all("AlarmActions" not in a for a in of("AWS::CloudWatch::Alarm", plain).values())


# bucket, machine, alarms


def test_the_bucket_outlives_the_stack_and_is_nobodys_else() -> None:
    bucket = resources("plain")["Bucket"]
    assert bucket["DeletionPolicy"] == bucket["UpdateReplacePolicy"] == "Retain"
    about = bucket["Properties"]
    assert set(about["PublicAccessBlockConfiguration"].values()) == {True}
    assert about["VersioningConfiguration"] == {"Status": "Enabled"}
    assert about["NotificationConfiguration"] == {
        "EventBridgeConfiguration": {"EventBridgeEnabled": True}
    }
    (rule,) = about["LifecycleConfiguration"]["Rules"]
    assert rule["AbortIncompleteMultipartUpload"]["DaysAfterInitiation"] >= 1


def test_the_machine_logs_everything_but_data() -> None:
    for about in of("AWS::StepFunctions::StateMachine", resources("all")).values():
        logging = about["LoggingConfiguration"]
        assert (logging["Level"], logging["IncludeExecutionData"]) == ("ALL", False)
        (destination,) = logging["Destinations"]
        arn = destination["CloudWatchLogsLogGroup"]["LogGroupArn"]
        assert ":log-group:/aws/vendedlogs/states/STACK" in arn
        assert arn.endswith(":*")
        assert about["TracingConfiguration"] == {"Enabled": True}
        # Nothing is left of what a deployment fills in.
        text = about["DefinitionString"]
        for name, value in about["DefinitionSubstitutions"].items():
            text = text.replace(f"${{{name}}}", value)
        assert "${" not in text


def test_every_way_to_fail_has_an_alarm_and_every_function_a_line_on_the_dashboard() -> None:
    for name in VARIANTS:
        found = resources(name)
        functions = {about["FunctionName"] for about in of("AWS::Lambda::Function", found).values()}
        alarms = of("AWS::CloudWatch::Alarm", found).values()
        watched = {(a["MetricName"], a["Dimensions"][0]["Value"]) for a in alarms}
        assert {(m, f) for m in ("Errors", "Throttles") for f in functions} <= watched
        machine = {m for m, who in watched if ":stateMachine:" in who}
        assert machine == {
            "ExecutionsFailed",
            "ExecutionsTimedOut",
            "ExecutionsAborted",
            "ExecutionThrottled",
        }
        (dashboard,) = of("AWS::CloudWatch::Dashboard", found).values()
        # One name for the whole account, whatever the region.
        assert dashboard["DashboardName"].endswith(PSEUDO["AWS::Region"])
        body = json.loads(dashboard["DashboardBody"])
        assert "${" not in dashboard["DashboardBody"]
        lines = {m[-1] for w in body["widgets"] for m in w["properties"]["metrics"]}
        assert functions <= lines


# what starts runs by itself


def test_nothing_starts_a_workflow_that_says_nothing() -> None:
    kinds = {resource["Type"] for resource in resources("plain").values()}
    assert not {"AWS::Events::Rule", "AWS::Scheduler::Schedule"} & kinds
    assert len(of("AWS::StepFunctions::StateMachine", resources("plain"))) == 1


def test_what_should_start_a_run_and_does_not_is_an_alarm() -> None:
    def watched(name: str) -> set[tuple[str, str]]:
        alarms = of("AWS::CloudWatch::Alarm", resources(name)).values()
        return {(a["MetricName"], a["Dimensions"][0]["Value"].rpartition(":")[2]) for a in alarms}

    starter = ("ExecutionsFailed", "STACK-trigger")
    assert {starter, ("FailedInvocations", "STACK")} <= watched("triggered")
    assert starter in watched("scheduled")
    assert starter not in watched("plain")


def test_a_rule_hears_of_its_folder_alone() -> None:
    (rule,) = of("AWS::Events::Rule", resources("triggered")).values()
    detail = rule["EventPattern"]["detail"]
    assert detail["bucket"]["name"] == ["BUCKET"]
    assert detail["object"]["key"] == [{"prefix": "legato/inputs/incoming/"}]
    (target,) = rule["Targets"]
    assert target["Arn"].endswith(":stateMachine:STACK-trigger")


def test_a_schedule_sends_its_time_and_the_dataset() -> None:
    (schedule,) = of("AWS::Scheduler::Schedule", resources("scheduled")).values()
    assert schedule["ScheduleExpression"] == "cron(0 6 * * ? *)"
    event = json.loads(schedule["Target"]["Input"])
    assert event == {
        "scheduled": "<aws.scheduler.scheduled-time>",
        "uri": "s3://data-bucket/a folder/b.jsonl",
    }


def test_a_name_that_is_taken_is_no_failure() -> None:
    start = starter_document()["States"]["Start"]
    # Before all others: nothing is tried again for it.
    assert start["Retry"][0] == {"ErrorEquals": list(ALREADY_THERE), "MaxAttempts": 0}
    (catch,) = start["Catch"]
    assert catch["ErrorEquals"] == list(ALREADY_THERE)
    assert starter_document()["States"][catch["Next"]]["Type"] == "Succeed"


# containers


def test_a_job_is_tried_again_only_where_its_worker_says_so() -> None:
    (job,) = of("AWS::Batch::JobDefinition", resources("batch")).values()
    again, host, rest = job["RetryStrategy"]["EvaluateOnExit"]
    assert again == {"OnExitCode": str(worker.AGAIN), "Action": "RETRY"}
    assert host == {"OnStatusReason": "Host EC2*", "Action": "RETRY"}
    assert rest == {"OnReason": "*", "Action": "EXIT"}
    assert 1 < job["RetryStrategy"]["Attempts"] <= 10
    assert job["Timeout"]["AttemptDurationSeconds"] >= 60


@pytest.mark.parametrize("name", ["batch", "ecs"])
def test_a_container_runs_the_worker_on_a_gpu_with_the_steps_settings(name: str) -> None:
    from legato.settings import Settings

    found = resources(name)
    if name == "batch":
        container = of("AWS::Batch::JobDefinition", found)["InferenceJob"]["ContainerProperties"]
    else:
        (container,) = of("AWS::ECS::TaskDefinition", found)["InferenceTask"][
            "ContainerDefinitions"
        ]
        document = workflow(**VARIANTS[name]).document()
        overridden = {
            override["Name"]
            for task in _tasks(document)
            for override in task["Parameters"].get("Overrides", {}).get("ContainerOverrides", [])
        }
        assert overridden == {container["Name"]}
    assert container["Command"] == ["python", "-m", "legato.worker"]
    assert container["Image"] == "ImageUri"
    assert {"Type": "GPU", "Value": "1"} in container["ResourceRequirements"]
    variables = {pair["Name"]: pair["Value"] for pair in container["Environment"]}
    assert variables.pop("LEGATO_BUCKET_OWNER") == "ACCOUNT"
    settings = Settings.from_env(variables)
    assert settings.step == "legato.stages.inference.handler"
    assert settings.store == "s3://BUCKET/legato"
    assert "InferenceFunction" not in found


def test_a_placeholder_that_nothing_fills_in_is_refused() -> None:
    from legato.workflow._template import compile_template

    document = workflow().document()
    document["States"]["Ingestion"]["Parameters"]["FunctionName"] = "${OtherArn}"
    with pytest.raises(WorkflowError, match="OtherArn"):
        compile_template(workflow(), document)
