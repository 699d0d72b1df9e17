"""Where Inference runs in a container: the definition of its job, or of its task."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from legato.workflow._grant import EXECUTION
from legato.workflow._states import CONTAINER, INFERENCE
from legato.workflow._template._functions import environment, handler_of, log_group_id
from legato.workflow._template._parameters import HAS_ENDPOINT, if_given
from legato.workflow._template._roles import role_id

if TYPE_CHECKING:
    from legato.workflow._workflow import Workflow

RETRYABLE_EXIT: Final = 75
"""Exit status of a worker whose error may pass (EX_TEMPFAIL)."""

ATTEMPTS: Final = 5
JOB_TIMEOUT_S: Final = 3600
_COMMAND: Final = ("python", "-m", "legato.worker")


def substitutions(workflow: Workflow) -> dict[str, Any]:
    """Return what stands for the placeholders of where Inference runs."""
    if workflow.compute == "batch":
        return {
            "InferenceJobDefinitionArn": {"Ref": "InferenceJob"},
            "InferenceJobQueueArn": {"Ref": "JobQueueArn"},
        }
    if workflow.compute == "ecs":
        return {
            "InferenceTaskDefinitionArn": {"Ref": "InferenceTask"},
            "InferenceClusterArn": {"Ref": "ClusterArn"},
            "InferenceSubnets": {"Fn::Join": [",", {"Ref": "InferenceSubnetIds"}]},
            "InferenceSecurityGroups": {"Fn::Join": [",", {"Ref": "InferenceSecurityGroupIds"}]},
        }
    return {}


def compute(workflow: Workflow, tags: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the definition of a job or a task, if Inference runs as one."""
    plain = {str(tag["Key"]): tag["Value"] for tag in tags}
    if workflow.compute == "batch":
        return {"InferenceJob": _job(workflow, plain)}
    if workflow.compute == "ecs":
        return {"InferenceTask": _task(workflow, tags)}
    return {}


def _job(workflow: Workflow, tags: dict[str, Any]) -> dict[str, Any]:
    container = {
        "Image": {"Ref": "ImageUri"},
        "Command": list(_COMMAND),
        "JobRoleArn": _role(INFERENCE.lower()),
        "ExecutionRoleArn": _role(EXECUTION),
        "Environment": _variables(workflow),
        "ResourceRequirements": [
            {"Type": "VCPU", "Value": {"Ref": "InferenceCpus"}},
            {"Type": "MEMORY", "Value": {"Ref": "InferenceMemory"}},
            {"Type": "GPU", "Value": {"Ref": "InferenceGpus"}},
        ],
        "LogConfiguration": _logging(),
    }
    return {
        "Type": "AWS::Batch::JobDefinition",
        "Properties": {
            "JobDefinitionName": {"Fn::Sub": "${AWS::StackName}-inference"},
            "Type": "container",
            "PlatformCapabilities": ["EC2"],
            "ContainerProperties": container,
            "RetryStrategy": {
                "Attempts": ATTEMPTS,
                "EvaluateOnExit": [
                    {"OnExitCode": str(RETRYABLE_EXIT), "Action": "RETRY"},
                    # A spot instance that was taken back, or a host that died.
                    {"OnStatusReason": "Host EC2*", "Action": "RETRY"},
                    {"OnReason": "*", "Action": "EXIT"},
                ],
            },
            "Timeout": {"AttemptDurationSeconds": JOB_TIMEOUT_S},
            "Tags": tags,
        },
    }


def _task(workflow: Workflow, tags: list[dict[str, Any]]) -> dict[str, Any]:
    container = {
        "Name": CONTAINER,
        "Image": {"Ref": "ImageUri"},
        "Command": list(_COMMAND),
        "Essential": True,
        "Environment": _variables(workflow),
        "ResourceRequirements": [{"Type": "GPU", "Value": {"Ref": "InferenceGpus"}}],
        "LogConfiguration": _logging(),
    }
    return {
        "Type": "AWS::ECS::TaskDefinition",
        "Properties": {
            "Family": {"Fn::Sub": "${AWS::StackName}-inference"},
            "RequiresCompatibilities": ["EC2"],
            "NetworkMode": "awsvpc",
            "Cpu": {"Fn::Sub": "${InferenceCpus} vCPU"},
            "Memory": {"Ref": "InferenceMemory"},
            "TaskRoleArn": _role(INFERENCE.lower()),
            "ExecutionRoleArn": _role(EXECUTION),
            "ContainerDefinitions": [container],
            "Tags": tags,
        },
    }


def _role(principal: str) -> dict[str, Any]:
    return {"Fn::GetAtt": [role_id(principal), "Arn"]}


def _variables(workflow: Workflow) -> list[dict[str, Any]]:
    endpoint = {"Name": "AWS_ENDPOINT_URL_S3", "Value": {"Ref": "S3EndpointUrl"}}
    found = [{"Name": name, "Value": value} for name, value in environment(workflow).items()]
    step = {"Name": "LEGATO_STEP", "Value": handler_of(INFERENCE)}
    return [*found, step, if_given(HAS_ENDPOINT, endpoint)]


def _logging() -> dict[str, Any]:
    options = {
        "awslogs-group": {"Ref": log_group_id(INFERENCE)},
        "awslogs-region": {"Ref": "AWS::Region"},
        "awslogs-stream-prefix": CONTAINER,
    }
    return {"LogDriver": "awslogs", "Options": options}
