"""What a deployment chooses: the template's parameters, and the conditions made of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from legato._variables import HUB_FILE, MOST_GRACE_S
from legato.workflow._grant import HAS_KMS, HAS_MIRROR, HAS_REPOSITORY, HAS_VPC, is_function
from legato.workflow._states import STAGES

if TYPE_CHECKING:
    from legato.workflow._workflow import Workflow

HAS_BUCKET_NAME: Final = "HasBucketName"
HAS_LAYER: Final = "HasLayer"
HAS_ENDPOINT: Final = "HasS3Endpoint"
HAS_ALARM_TOPIC: Final = "HasAlarmTopic"

PACKAGED_MODEL: Final = "model"
"""Folder of the model in the functions' zip file."""

MEMORY_MB: Final = {"Ingestion": 1024, "Preprocessing": 1024, "Validation": 1024, "Storage": 512}
"""Memory of the functions besides Inference, whose memory the workflow says."""

LOG_DAYS: Final = (1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1827, 3653)


def parameters(workflow: Workflow) -> dict[str, Any]:
    """Return the parameters of a workflow's template."""
    return {
        **_store(),
        **_code(),
        **_data(workflow),
        **_network(),
        **_watched(),
        **_memory(workflow),
        **_compute(workflow),
        **_rotation(workflow),
    }


def conditions(workflow: Workflow) -> dict[str, Any]:
    """Return the conditions of a workflow's template."""
    found = {
        HAS_BUCKET_NAME: _given("BucketName"),
        HAS_LAYER: _given("LayerArn"),
        HAS_KMS: _given("KmsKeyArn"),
        HAS_ENDPOINT: _given("S3EndpointUrl"),
        HAS_ALARM_TOPIC: _given("AlarmTopicArn"),
        # Not Fn::Select: an empty list may have no first item.
        HAS_VPC: {"Fn::Not": [{"Fn::Equals": [{"Fn::Join": ["", {"Ref": "SubnetIds"}]}, ""]}]},
        HAS_MIRROR: {"Fn::Not": [{"Fn::Equals": [{"Ref": "ModelId"}, PACKAGED_MODEL]}]},
    }
    if workflow.compute != "lambda":
        found[HAS_REPOSITORY] = _given("ImageRepositoryArn")
    return found


def memory_parameter(stage: str) -> str:
    """Return the name of the parameter that says a function's memory."""
    return f"{stage}Memory"


def if_given(condition: str, value: Any) -> dict[str, Any]:
    """Return a property that is only there where a condition holds."""
    return {"Fn::If": [condition, value, {"Ref": "AWS::NoValue"}]}


def _given(name: str) -> dict[str, Any]:
    return {"Fn::Not": [{"Fn::Equals": [{"Ref": name}, ""]}]}


def _text(about: str, default: str | None = "", **more: Any) -> dict[str, Any]:
    said = {} if default is None else {"Default": default}
    return {"Type": "String", "Description": about, **said, **more}


def _store() -> dict[str, Any]:
    prefix = r"[A-Za-z0-9_.=-]+(/[A-Za-z0-9_.=-]+)*"
    return {
        "BucketName": _text(
            "Name of the store's bucket; empty - CloudFormation names it",
            AllowedPattern=r"|[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]",
        ),
        "StorePrefix": _text(
            "What the keys of all objects begin with, without a slash at its end",
            "legato",
            AllowedPattern=prefix,
            MaxLength=200,
        ),
        "KmsKeyArn": _text(
            "Key that S3 encrypts objects with; empty - the bucket's own (SSE-S3)",
            AllowedPattern=r"|arn:[^:]+:kms:[^:]+:[0-9]{12}:key/.+",
        ),
    }


def _code() -> dict[str, Any]:
    return {
        "CodeBucket": _text("Bucket of the functions' zip file", None),
        "CodeKey": _text(
            "Key of the functions' zip file; another one makes new versions of the functions",
            None,
            MinLength=1,
            MaxLength=160,
        ),
        "Release": _text(
            "Any text; another one makes new versions, as a change of parameters needs it",
            "1",
            AllowedPattern=r"[A-Za-z0-9._-]{1,40}",
        ),
        "LayerArn": _text("Version of a layer that holds legato; empty - the zip file holds it"),
        "Runtime": _text("The functions' runtime", "python3.12"),
        "Architecture": _text(
            "The functions' processors", "x86_64", AllowedValues=["arm64", "x86_64"]
        ),
    }


def _data(workflow: Workflow) -> dict[str, Any]:
    dataset = workflow.dataset
    of_s3 = str(dataset) if str(dataset).startswith("s3://") else ""
    return {
        "ModelId": _text(
            "The zip file's folder 'model', or s3:// of a mirror below the store's models/",
            PACKAGED_MODEL,
            AllowedPattern=f"{PACKAGED_MODEL}|s3://.+",
        ),
        "ModelRevision": _text("Digest that the model's files must have; empty - any"),
        "DatasetId": _text("Name of the dataset, for records and results", of_s3),
        "DatasetVersion": _text(
            "Version of the dataset, for records and results", workflow.dataset_version or ""
        ),
    }


def _network() -> dict[str, Any]:
    return {
        "SubnetIds": {
            "Type": "CommaDelimitedList",
            "Description": "Subnets of the functions, with a way to S3; empty - no VPC",
            "Default": "",
        },
        "SecurityGroupIds": {
            "Type": "CommaDelimitedList",
            "Description": "Security groups of the functions, with SubnetIds",
            "Default": "",
        },
        "S3EndpointUrl": _text("URL of S3, such as an interface endpoint's; empty - the region's"),
    }


def _watched() -> dict[str, Any]:
    return {
        "LogRetentionDays": {
            "Type": "Number",
            "Description": "Days for which logs are kept",
            "Default": 30,
            "AllowedValues": list(LOG_DAYS),
        },
        "AlarmTopicArn": _text("SNS topic that alarms go to; empty - alarms tell nobody"),
    }


def _memory(workflow: Workflow) -> dict[str, Any]:
    sizes = {**MEMORY_MB, "Inference": workflow.memory_mb}
    return {
        memory_parameter(stage): {
            "Type": "Number",
            "Description": f"Memory of the {stage} function in MiB; 1,769 make one processor",
            "Default": sizes[stage],
            "MinValue": 128,
            "MaxValue": 10_240,
        }
        for stage in STAGES
        if is_function(workflow, stage)
    } | {
        "TemporaryStorage": {
            "Type": "Number",
            "Description": "Size of the functions' /tmp in MiB; a mirrored model must fit into it",
            "Default": 512,
            "MinValue": 512,
            "MaxValue": 10_240,
        }
    }


def _compute(workflow: Workflow) -> dict[str, Any]:
    if workflow.compute == "lambda":
        return {}
    found = {
        "ImageUri": _text("Container image whose entry point is python -m legato.worker", None),
        "ImageRepositoryArn": _text("Its ECR repository; empty - the image is public"),
        "InferenceCpus": {
            "Type": "Number",
            "Description": "Processors of an Inference container",
            "Default": 4,
            "MinValue": 1,
        },
        "InferenceGpus": {
            "Type": "Number",
            "Description": "GPUs of an Inference container",
            "Default": 1,
            "MinValue": 1,
        },
    }
    memory = {
        "Type": "Number",
        "Description": "Memory of an Inference container in MiB",
        "Default": max(workflow.memory_mb, 8192),
        "MinValue": 512,
    }
    if workflow.compute == "batch":
        return {**found, "InferenceMemory": memory, "JobQueueArn": _text("Queue of jobs", None)}
    return {
        **found,
        "InferenceMemory": memory,
        "ClusterArn": _text("ECS cluster with GPU instances", None),
        "InferenceSubnetIds": {
            "Type": "CommaDelimitedList",
            "Description": "Subnets of the tasks, with a way to S3 and Step Functions",
        },
        "InferenceSecurityGroupIds": {
            "Type": "CommaDelimitedList",
            "Description": "Security groups of the tasks",
        },
    }


def _rotation(workflow: Workflow) -> dict[str, Any]:
    if workflow.rotation is None:
        return {}
    exchange = workflow.rotation == "exchange"
    found = {
        "RotationFile": _text(
            "File that a new token must be able to read: namespace/name@commit/config.json",
            None,
            AllowedPattern=HUB_FILE,
        ),
        "RotationSchedule": _text(
            "When the token is replaced, in UTC; at most every 4 hours",
            # A token of the exchange is valid for 8 hours.
            "rate(4 hours)" if exchange else "rate(30 days)",
            AllowedPattern=r"(rate|cron)\(.+\)",
        ),
        "RotationGraceSeconds": {
            "Type": "Number",
            "Description": "Seconds after which a token that was replaced is revoked",
            "Default": 86_400,
            "MinValue": 900,
            "MaxValue": MOST_GRACE_S,
        },
    }
    if exchange:
        found |= {
            "RotationClientArn": _text(
                "Secret with client_id and client_secret of the application that exchanges tokens",
                None,
                AllowedPattern=r"arn:[^:]+:secretsmanager:[^:]+:[0-9]{12}:secret:.+",
            ),
            "RotationSubject": _text("E-mail address of the user whom tokens act for", None),
        }
    return found
