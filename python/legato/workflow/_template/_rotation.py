"""The secret of the Hugging Face token, and the function that replaces the token."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from legato.workflow._arns import function_name, log_group
from legato.workflow._grant import HAS_KMS, ROTATION
from legato.workflow._policy import VERSION, sub
from legato.workflow._template._functions import log_group_of
from legato.workflow._template._parameters import HAS_LAYER, if_given
from legato.workflow._template._roles import role_id

if TYPE_CHECKING:
    from legato.workflow._workflow import Workflow

HANDLER: Final = "legato.identity.rotation.handler"
_MEMORY_MB: Final = 256
# Twice what the calls of a step wait at most where the services answer at all.
_TIMEOUT_S: Final = 120


def rotation(workflow: Workflow, tags: list[dict[str, Any]]) -> dict[str, Any]:
    """Return secret, policy, schedule and function; nothing, where tokens are not rotated."""
    if workflow.rotation is None:
        return {}
    function = {"Fn::GetAtt": ["RotationFunction", "Arn"]}
    return {
        "HfToken": _secret(tags),
        "HfTokenPolicy": {
            "Type": "AWS::SecretsManager::ResourcePolicy",
            "Properties": {
                "SecretId": {"Ref": "HfToken"},
                "BlockPublicPolicy": True,
                "ResourcePolicy": _policy(),
            },
        },
        "RotationLogs": log_group_of(log_group(ROTATION), tags),
        "RotationFunction": {
            "Type": "AWS::Lambda::Function",
            "Properties": _properties(workflow, tags),
        },
        "RotationPermission": {
            "Type": "AWS::Lambda::Permission",
            "Properties": {
                "Action": "lambda:InvokeFunction",
                "FunctionName": function,
                "Principal": "secretsmanager.amazonaws.com",
                "SourceAccount": {"Ref": "AWS::AccountId"},
            },
        },
        "HfTokenRotation": {
            "Type": "AWS::SecretsManager::RotationSchedule",
            # Secrets Manager asks at once whether it may call the function.
            "DependsOn": ["RotationPermission"],
            "Properties": {
                "SecretId": {"Ref": "HfToken"},
                "RotationLambdaARN": function,
                "RotationRules": {"ScheduleExpression": {"Ref": "RotationSchedule"}},
                # An operator has staged nothing yet.
                "RotateImmediatelyOnUpdate": workflow.rotation == "exchange",
            },
        },
    }


def _secret(tags: list[dict[str, Any]]) -> dict[str, Any]:
    properties = {
        "Description": {"Fn::Sub": "Hugging Face token of ${AWS::StackName}"},
        "KmsKeyId": if_given(HAS_KMS, {"Ref": "KmsKeyArn"}),
        # No value: one in a template is no secret. The first rotation, or an operator, gives it.
        "Tags": tags,
    }
    return {"Type": "AWS::SecretsManager::Secret", "Properties": properties}


def _policy() -> dict[str, Any]:
    everything = {"Effect": "Deny", "Principal": "*", "Action": "secretsmanager:*", "Resource": "*"}
    statements = [
        {
            "Sid": "DenyInsecureTransport",
            **everything,
            "Condition": {"Bool": {"aws:SecureTransport": "false"}},
        },
        {
            "Sid": "DenyOtherAccounts",
            **everything,
            "Condition": {
                "StringNotEquals": {"aws:PrincipalAccount": "${AWS::AccountId}"},
                "BoolIfExists": {"aws:PrincipalIsAWSService": "false"},
            },
        },
    ]
    return {"Version": VERSION, "Statement": sub(statements)}


def _properties(workflow: Workflow, tags: list[dict[str, Any]]) -> dict[str, Any]:
    variables: dict[str, Any] = {
        "LEGATO_WORKFLOW": workflow.name,
        "LEGATO_ROTATION": workflow.rotation,
        "LEGATO_ROTATION_FILE": {"Ref": "RotationFile"},
        "LEGATO_ROTATION_GRACE_S": {"Ref": "RotationGraceSeconds"},
    }
    if workflow.rotation == "exchange":
        variables["LEGATO_ROTATION_CLIENT"] = {"Ref": "RotationClientArn"}
        variables["LEGATO_ROTATION_SUBJECT"] = {"Ref": "RotationSubject"}
    return {
        "FunctionName": {"Fn::Sub": function_name(ROTATION)},
        "Description": "legato: replaces the Hugging Face token",
        "Handler": HANDLER,
        "Runtime": {"Ref": "Runtime"},
        "Architectures": [{"Ref": "Architecture"}],
        "Code": {"S3Bucket": {"Ref": "CodeBucket"}, "S3Key": {"Ref": "CodeKey"}},
        "Layers": if_given(HAS_LAYER, [{"Ref": "LayerArn"}]),
        "MemorySize": _MEMORY_MB,
        "Timeout": _TIMEOUT_S,
        "Role": {"Fn::GetAtt": [role_id(ROTATION), "Arn"]},
        "Environment": {"Variables": variables},
        # In no VPC: it needs the way to Hugging Face that the stages' subnets need not have.
        "TracingConfig": {"Mode": "Active"},
        "LoggingConfig": {"LogFormat": "Text", "LogGroup": {"Ref": "RotationLogs"}},
        "Tags": tags,
    }
