"""Parse Task states: a Lambda function, or a job in a container."""

from __future__ import annotations

import re
from typing import Any, Final

from legato.conductor._fields import MAX_SECONDS, Fields
from legato.conductor._flow import Shared, parse_common
from legato.conductor._model import Job, Task
from legato.conductor._parse_job import RUN_TASK, SUBMIT_JOB, parse_job
from legato.conductor._path import PathError
from legato.conductor._shown import shown
from legato.conductor._template import parse_template

INVOKE: Final = "arn:aws:states:::lambda:invoke"

_FUNCTION_ARN: Final = re.compile(
    r"arn:aws[a-z-]*:lambda:[a-z0-9-]*:\d{0,12}:function:[\w-]+(:[\w$-]+)?", re.ASCII
)

_SHARED: Final = (
    Shared.NEXT | Shared.PATHS | Shared.RESULT_SELECTOR | Shared.RESULT_PATH | Shared.ERRORS
)


def parse_task(name: str, fields: Fields) -> Task | Job:
    """Parse a Task state.

    Raises:
        WorkflowError: Its Resource is neither a Lambda function nor a job, or a field is malformed.
    """
    resource = fields.text("Resource")
    fields.only_one_of("TimeoutSeconds", "TimeoutSecondsPath")
    common = parse_common(name, fields, _SHARED)
    timing: dict[str, Any] = {
        "timeout_s": fields.integer("TimeoutSeconds", low=1, high=MAX_SECONDS),
        "timeout_path": fields.path("TimeoutSecondsPath"),
    }
    if resource == INVOKE:
        return Task(**common, **timing, **_parse_invoke(fields), resource=resource, wrapped=True)
    if resource in (SUBMIT_JOB, RUN_TASK):
        own = parse_job(fields, resource, timing["timeout_s"])
        return Job(**common, **timing, **own, resource=resource)
    if not _FUNCTION_ARN.fullmatch(resource):
        raise fields.error(_refusal(resource))
    return Task(
        **common,
        **timing,
        resource=resource,
        function=lambda _: resource,
        static_function=resource,
        payload=fields.template("Parameters") or (lambda scope: scope.data),
        wrapped=False,
    )


def _parse_invoke(fields: Fields) -> dict[str, Any]:
    parameters = Fields(fields.take("Parameters"), f"{fields.where}, Parameters")
    parameters.only_one_of("FunctionName", "FunctionName.$", required=True)
    parameters.only_one_of("Payload", "Payload.$")
    parameters.choice("InvocationType", ("RequestResponse",), "RequestResponse")
    static = parameters.text("FunctionName") if parameters.has("FunctionName") else None
    raw = {
        key: parameters.take(key)
        for key in ("FunctionName", "FunctionName.$", "Payload", "Payload.$")
        if parameters.has(key)
    }
    parameters.finish()
    try:
        template = parse_template(raw, "Parameters")
    except PathError as exc:
        raise fields.error(str(exc)) from None
    return {
        "function": lambda scope: template(scope)["FunctionName"],
        "static_function": static,
        "payload": lambda scope: template(scope).get("Payload", {}),
    }


def _refusal(resource: str) -> str:
    if resource.endswith(".waitForTaskToken"):
        feature = f"of task tokens only {RUN_TASK} is supported"
    elif resource.endswith((".sync", ".sync:2")):
        feature = f"of jobs (.sync) only {SUBMIT_JOB} is supported"
    elif ":activity:" in resource:
        feature = "activities are not supported"
    else:
        feature = "this service is not supported"
    return f"Resource {shown(resource)}: {feature}; use {INVOKE} or the ARN of a Lambda function"
