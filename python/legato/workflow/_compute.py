"""Inference as a job in a container, where a GPU is: on AWS Batch or on ECS.

Both run ``python -m legato.worker``, which takes the event from ``LEGATO_EVENT``. The overrides of
a container may have 8,192 characters in all; an event of references has about 2,000.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from legato.workflow._retry import batch_retry_policy, ecs_retry_policy
from legato.workflow._states import (
    CLUSTER,
    CONTAINER,
    JOB_DEFINITION,
    JOB_QUEUE,
    SECURITY_GROUPS,
    SUBNETS,
    TASK_DEFINITION,
)

if TYPE_CHECKING:
    from legato.workflow._workflow import Workflow

# Waiting for a machine counts too, so this is no estimate of the work: it ends what nobody watches.
# How long an attempt of a job may run is said in its definition.
_JOB_TIMEOUT_S: Final = 86_400

# Nothing is heard of a task until its machine is started, its image pulled and its model loaded.
_HEARTBEAT_S: Final = 600

_EVENT: Final = {"Name": "LEGATO_EVENT", "Value.$": "States.JsonToString($)"}
_TOKEN: Final = {"Name": "LEGATO_TASK_TOKEN", "Value.$": "$$.Task.Token"}


def job_task(workflow: Workflow, *, comment: str, following: str) -> dict[str, Any]:
    """Return the state that runs Inference as a job.

    Args:
        workflow: The definition; its compute is ``batch`` or ``ecs``.
        comment: What the state does.
        following: The next state.
    """
    own = _batch(workflow.name) if workflow.compute == "batch" else _ecs()
    return {"Type": "Task", "Comment": comment, **own, "Next": following}


def _batch(name: str) -> dict[str, Any]:
    return {
        "Resource": "arn:aws:states:::batch:submitJob.sync",
        "Parameters": {
            # Of the workflow, not of the run, whose name may have what a job's may not. At most
            # 128 characters; no quote or brace is in a workflow's name.
            "JobName.$": f"States.Format('legato-{name}-{{}}', $.shard.index)",
            "JobDefinition": f"${{{JOB_DEFINITION}}}",
            "JobQueue": f"${{{JOB_QUEUE}}}",
            "ContainerOverrides": {"Environment": [dict(_EVENT)]},
        },
        # Batch knows how a job ended, not what it made: the worker leaves its output in the store,
        # and the next state's step fetches it by what is said here.
        "ResultSelector": {"stage": "inference"},
        "ResultPath": "$.left",
        "TimeoutSeconds": _JOB_TIMEOUT_S,
        "Retry": batch_retry_policy(),
    }


def _ecs() -> dict[str, Any]:
    return {
        "Resource": "arn:aws:states:::ecs:runTask.waitForTaskToken",
        "Parameters": {
            # Neither LaunchType nor CapacityProviderStrategy: the cluster's default decides.
            "Cluster": f"${{{CLUSTER}}}",
            "TaskDefinition": f"${{{TASK_DEFINITION}}}",
            "NetworkConfiguration": {
                "AwsvpcConfiguration": {
                    # A placeholder is one text, a list only at run time.
                    "Subnets.$": f"States.StringSplit('${{{SUBNETS}}}', ',')",
                    "SecurityGroups.$": f"States.StringSplit('${{{SECURITY_GROUPS}}}', ',')",
                }
            },
            "Overrides": {
                "ContainerOverrides": [
                    {"Name": CONTAINER, "Environment": [dict(_EVENT), dict(_TOKEN)]}
                ]
            },
        },
        "TimeoutSeconds": _JOB_TIMEOUT_S,
        "HeartbeatSeconds": _HEARTBEAT_S,
        "Retry": ecs_retry_policy(),
    }
