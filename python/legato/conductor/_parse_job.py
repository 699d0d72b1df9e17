"""Parse Task states that run a container: a job on AWS Batch, or a task on ECS with a token."""

from __future__ import annotations

import json
from typing import Any, Final

from legato.conductor._fields import Fields

SUBMIT_JOB: Final = "arn:aws:states:::batch:submitJob.sync"
RUN_TASK: Final = "arn:aws:states:::ecs:runTask.waitForTaskToken"

_ANSWER: Final = "$$.Task.Token"

# Required in the request, and what else changes nothing here.
_OF_BATCH: Final = (("JobDefinition", "JobName", "JobQueue"), ())
_OF_ECS: Final = (("TaskDefinition",), ("Cluster", "LaunchType", "NetworkConfiguration"))


def parse_job(fields: Fields, resource: str, timeout_s: int | None) -> dict[str, Any]:
    """Parse the fields of a Task that is a job.

    Args:
        fields: Those of the state.
        resource: `SUBMIT_JOB` or `RUN_TASK`.
        timeout_s: Its TimeoutSeconds.

    Returns:
        What :class:`legato.conductor._model.Job` has besides the fields of any Task.

    Raises:
        WorkflowError: A field is malformed or not supported, or the token is not handed on.
    """
    batch = resource == SUBMIT_JOB
    template = fields.template("Parameters")
    raw = fields.take("Parameters")
    parameters = Fields(raw, f"{fields.where}, Parameters")
    required, optional = _OF_BATCH if batch else _OF_ECS
    for name in (*required, *optional):
        parameters.only_one_of(name, f"{name}.$", required=name in required)
        parameters.take(name)
        parameters.take(f"{name}.$")
    definition = required[0]
    static = parameters.text(definition) if parameters.has(definition) else None
    _check_container(parameters, batch=batch)
    parameters.finish()
    return {
        "batch": batch,
        "parameters": template,
        "static_definition": static,
        "heartbeat_s": None if batch else _parse_heartbeat(fields, raw, timeout_s),
    }


def _parse_heartbeat(fields: Fields, parameters: Any, timeout_s: int | None) -> int | None:
    if _ANSWER not in json.dumps(parameters):
        raise fields.error(f"Parameters must hand on {_ANSWER}, or no task can answer")
    heartbeat_s = fields.integer("HeartbeatSeconds", low=1)
    if heartbeat_s is not None and timeout_s is not None and heartbeat_s >= timeout_s:
        what = f"HeartbeatSeconds {heartbeat_s} must be below TimeoutSeconds {timeout_s}"
        raise fields.error(what)
    return heartbeat_s


def _check_container(parameters: Fields, *, batch: bool) -> None:
    name = "ContainerOverrides" if batch else "Overrides"
    if not parameters.has(name):
        return
    overrides = Fields(parameters.take(name), f"{parameters.where}, {name}")
    if batch:
        _check_environment(overrides)
        return
    containers = overrides.take("ContainerOverrides")
    if not isinstance(containers, list) or len(containers) != 1:
        raise overrides.error("ContainerOverrides must be a list of one container")
    container = Fields(containers[0], f"{overrides.where}, ContainerOverrides[0]")
    container.text("Name")
    _check_environment(container)
    overrides.finish()


def _check_environment(container: Fields) -> None:
    environment = container.take("Environment") if container.has("Environment") else []
    if not isinstance(environment, list):
        raise container.error("Environment must be a list")
    for number, variable in enumerate(environment):
        pair = Fields(variable, f"{container.where}, Environment[{number}]")
        pair.text("Name")
        pair.only_one_of("Value", "Value.$", required=True)
        pair.take("Value")
        pair.take("Value.$")
        pair.finish()
    container.finish()
