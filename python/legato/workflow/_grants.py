"""Who may do what, and why: the grants of a workflow, made from what its steps declare."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Final

from legato.workflow._arns import BUCKET, STORE, function_arn, log_streams, machine_arn
from legato.workflow._grant import HAS_MIRROR, HAS_VPC, Grant, is_function, trace, use_key
from legato.workflow._machine_grants import execution_grants, machine_grants, trigger_grants
from legato.workflow._states import STAGES

if TYPE_CHECKING:
    from legato.step import Step
    from legato.workflow._workflow import Workflow

_VPC_ACTIONS: Final = (
    "ec2:AssignPrivateIpAddresses",
    "ec2:CreateNetworkInterface",
    "ec2:DeleteNetworkInterface",
    "ec2:DescribeNetworkInterfaces",
    "ec2:DescribeSubnets",
    "ec2:UnassignPrivateIpAddresses",
)


def stage_steps() -> dict[str, Step]:
    """Return the step of each stage, by the stage's name."""
    from legato.stages import inference, ingestion, preprocessing, storage, validation

    modules = (ingestion, preprocessing, inference, validation, storage)
    return {stage: module.handler for stage, module in zip(STAGES, modules, strict=True)}


def compile_grants(workflow: Workflow, steps: Mapping[str, Step] | None = None) -> list[Grant]:
    """Return all grants of a workflow's roles, in the order of the roles.

    Args:
        workflow: The definition.
        steps: The step of each stage; those of :mod:`legato.stages` by default.
    """
    found: list[Grant] = []
    for stage, step in (steps or stage_steps()).items():
        found += _stage(workflow, stage, step)
    found += machine_grants(workflow)
    if workflow.trigger is not None or workflow.schedule is not None:
        found += trigger_grants(workflow)
    if workflow.compute != "lambda":
        found += execution_grants()
    return found


def _stage(workflow: Workflow, stage: str, step: Step) -> Iterator[Grant]:
    name = step.name
    reads = [area for area in step.reads if area != "models"]
    areas = list(dict.fromkeys([*reads, *step.writes]))
    yield Grant(
        name,
        "ReadObjects",
        ("s3:GetObject", "s3:GetObjectVersion"),
        tuple(f"{STORE}/{area}/*" for area in areas),
        f"{stage} reads {_and(areas)}; a reference pins the version of its object",
    )
    if name == "ingestion" and _dataset(workflow) is not None:
        yield Grant(
            name,
            "ReadDataset",
            ("s3:GetObject", "s3:GetObjectVersion"),
            (_dataset(workflow) or "",),
            f"{stage} reads the workflow's dataset where it lies",
        )
    if "models" in step.reads or name in {"preprocessing", "inference", "validation"}:
        yield Grant(
            name,
            "ReadModel",
            ("s3:GetObject", "s3:GetObjectVersion"),
            (f"{STORE}/models/*",),
            f"{stage} loads the model from its mirror",
            when=HAS_MIRROR,
        )
    yield Grant(
        name,
        "WriteObjects",
        ("s3:AbortMultipartUpload", "s3:PutObject"),
        (*(f"{STORE}/{area}/*" for area in step.writes), f"{STORE}/runs/*/failures/{name}-*"),
        f"{stage} writes {_and(step.writes)}, and why it failed; large objects go in parts",
    )
    yield Grant(
        name,
        "RemoveDamagedOutputs",
        ("s3:DeleteObject",),
        tuple(f"{STORE}/{area}/*" for area in step.writes),
        f"{stage} removes an output of its own whose bytes are not what its reference says",
    )
    yield Grant(
        name,
        "ListObjects",
        ("s3:ListBucket",),
        (BUCKET,),
        "without it S3 answers that a missing object is forbidden",
        {"StringLike": {"s3:prefix": [f"${{StorePrefix}}/{area}/*" for area in areas]}},
    )
    yield use_key(name, reading=True, writing=True)
    if is_function(workflow, stage):
        yield from _function(stage, name)
    elif workflow.compute == "ecs":
        yield Grant(
            name,
            "AnswerTask",
            ("states:SendTaskFailure", "states:SendTaskHeartbeat", "states:SendTaskSuccess"),
            (machine_arn(),),
            "the worker tells the state machine that it is alive, and what came of its task",
        )


def _function(stage: str, name: str) -> Iterator[Grant]:
    yield Grant(
        name,
        "WriteLogs",
        ("logs:CreateLogStream", "logs:PutLogEvents"),
        (log_streams(name),),
        f"{stage} logs to its own group",
    )
    yield trace(name, ("xray:PutTelemetryRecords", "xray:PutTraceSegments"))
    yield Grant(
        name,
        "JoinVpc",
        _VPC_ACTIONS,
        ("*",),
        "Lambda puts the function's network interfaces into the VPC",
        when=HAS_VPC,
    )
    yield Grant(
        name,
        "NotFromCode",
        _VPC_ACTIONS,
        ("*",),
        "Lambda itself joins the VPC; the function's own code has nothing to do there",
        {"ArnEquals": {"lambda:SourceFunctionArn": function_arn(name)}},
        effect="Deny",
        when=HAS_VPC,
    )


def _dataset(workflow: Workflow) -> str | None:
    from urllib.parse import unquote

    text = str(workflow.dataset)
    if callable(workflow.dataset) or not text.startswith("s3://"):
        return None
    return f"arn:${{AWS::Partition}}:s3:::{unquote(text.removeprefix('s3://'))}"


def _and(names: Iterable[str]) -> str:
    *most, last = list(names)
    return f"{', '.join(most)} and {last}" if most else last
