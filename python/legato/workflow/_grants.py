"""Who may do what, and why: the grants of a workflow, made from what its steps declare."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Final

from legato.workflow._arns import BUCKET, STORE, function_arn, log_streams, machine_arn
from legato.workflow._grant import HAS_MIRROR, HAS_VPC, Grant, is_function, trace, use_key
from legato.workflow._machine_grants import execution_grants, machine_grants, trigger_grants
from legato.workflow._rotation_grants import rotation_grants
from legato.workflow._states import INFERENCE, INGESTION, STAGES, VALIDATION

if TYPE_CHECKING:
    from legato.step import Step
    from legato.workflow._workflow import Workflow

MODELS: Final = "models"
RUNS: Final = "runs"

READS_BACK: Final = frozenset({INGESTION})
"""Stages that read outputs of their own: a split that is finished is looked at as a whole."""

SHARD_RECORDS: Final = "runs/*/shards/*.json"
"""What Validation records of each shard, and Storage commits from."""

LEFT_OUTPUTS: Final = "runs/*/outputs/inference-*.json"
"""What a job of AWS Batch leaves, since its state says nothing of what it made."""

_VPC_ACTIONS: Final = (
    "ec2:AssignPrivateIpAddresses",
    "ec2:CreateNetworkInterface",
    "ec2:DeleteNetworkInterface",
    "ec2:DescribeNetworkInterfaces",
    "ec2:DescribeSubnets",
    "ec2:UnassignPrivateIpAddresses",
)


def stage_steps(workflow: Workflow | None = None) -> dict[str, Step]:
    """Return the step of each stage, by the stage's name: of a workflow, or with the engine."""
    from legato.stages import endpoint, inference, ingestion, preprocessing, storage, validation

    called = workflow is not None and workflow.backend is not None
    modules = (ingestion, preprocessing, endpoint if called else inference, validation, storage)
    return {stage: module.handler for stage, module in zip(STAGES, modules, strict=True)}


def compile_grants(workflow: Workflow, steps: Mapping[str, Step] | None = None) -> list[Grant]:
    """Return all grants of a workflow's roles, in the order of the roles.

    Args:
        workflow: The definition.
        steps: The step of each stage; those of :mod:`legato.stages` by default.
    """
    found: list[Grant] = []
    for stage, step in (steps or stage_steps(workflow)).items():
        found += _stage(workflow, stage, step)
    found += machine_grants(workflow)
    if workflow.trigger is not None or workflow.schedule is not None:
        found += trigger_grants(workflow)
    if workflow.compute != "lambda":
        found += execution_grants()
    if workflow.rotation is not None:
        found += rotation_grants(workflow)
    return found


def _stage(workflow: Workflow, stage: str, step: Step) -> Iterator[Grant]:
    name = step.name
    read = [area for area in step.reads if area not in {MODELS, RUNS}]
    referred = [*read, name] if stage in READS_BACK else read
    yield Grant(
        name,
        "ReadReferences",
        ("s3:GetObjectVersion",),
        tuple(f"{STORE}/{area}/*" for area in referred),
        f"{stage} reads {_and(referred)} by references, which pin the version of their objects",
    )
    found = [f"{name}/*", *(["inputs/*"] if "inputs" in read else [])]
    sums = [f"{area}/*.chunks" for area in read if f"{area}/*" not in found]
    yield Grant(
        name,
        "FindOutputs",
        ("s3:GetObject",),
        tuple(f"{STORE}/{keys}" for keys in found + sums),
        f"{stage} looks whether its output is already there"
        + (", and at new inputs" if "inputs" in read else "")
        + ("; the sums of large objects lie beside them" if sums else ""),
    )
    yield Grant(
        name,
        "WriteObjects",
        ("s3:AbortMultipartUpload", "s3:PutObject"),
        (f"{STORE}/{name}/*",),
        f"{stage} writes its outputs; large ones go in parts",
    )
    yield Grant(
        name,
        "RemoveDamagedOutputs",
        ("s3:DeleteObject",),
        (f"{STORE}/{name}/*",),
        f"{stage} removes an output of its own whose bytes are not what its reference says",
    )
    yield from _run_records(workflow, stage, step)
    yield _list(name, "ListObjects", _listed(workflow, stage, step))
    if MODELS in step.reads:
        yield from _model(stage, name)
    if stage == INGESTION and dataset_of_s3(workflow) is not None:
        yield _dataset(workflow, name)
    yield use_key(name)
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


def _run_records(workflow: Workflow, stage: str, step: Step) -> Iterator[Grant]:
    """What a stage keeps of a run: by keys that it makes itself, not by references."""
    name = step.name
    read = [SHARD_RECORDS] if RUNS in step.reads else []
    written = [f"runs/*/failures/{name}-*.json"] + ([SHARD_RECORDS] if RUNS in step.writes else [])
    if workflow.compute == "batch" and stage == VALIDATION:
        read.append(LEFT_OUTPUTS)
    if workflow.compute == "batch" and stage == INFERENCE:
        written.append(LEFT_OUTPUTS)
    if read:
        yield Grant(
            name,
            "ReadRecords",
            ("s3:GetObject",),
            tuple(f"{STORE}/{keys}" for keys in read),
            f"{stage} reads what was recorded of the shards of its run",
        )
    yield Grant(
        name,
        "WriteRecords",
        ("s3:PutObject",),
        tuple(f"{STORE}/{keys}" for keys in written),
        f"{stage} records why it failed"
        + (", and what it has made of a shard" if len(written) > 1 else ""),
    )


def _listed(workflow: Workflow, stage: str, step: Step) -> list[str]:
    """Where a stage must tell a missing object from a forbidden one."""
    keys = [f"{step.name}/*"]
    if "inputs" in step.reads:
        keys.append("inputs/*")
    if RUNS in step.reads:
        keys.append(SHARD_RECORDS.rpartition("*")[0])
    if workflow.compute == "batch" and stage == VALIDATION:
        keys.append(LEFT_OUTPUTS)
    return keys


def _list(principal: str, sid: str, keys: list[str], when: str | None = None) -> Grant:
    return Grant(
        principal,
        sid,
        ("s3:ListBucket",),
        (BUCKET,),
        "without it S3 says that a missing object is forbidden",
        {"StringLike": {"s3:prefix": [f"${{StorePrefix}}/{prefix}" for prefix in keys]}},
        when=when,
    )


def _model(stage: str, name: str) -> Iterator[Grant]:
    yield Grant(
        name,
        "ReadModel",
        ("s3:GetObjectVersion",),
        (f"{STORE}/models/*",),
        f"{stage} loads the model, or what of it makes texts to tokens, from its mirror",
        when=HAS_MIRROR,
    )
    yield Grant(
        name,
        "ReadModelIndex",
        ("s3:GetObject",),
        (f"{STORE}/models/*.chunks", f"{STORE}/models/*/model.json"),
        "the mirror's index says which files there are; the sums of large ones lie beside them",
        when=HAS_MIRROR,
    )
    yield _list(name, "ListModel", ["models/*/model.json"], HAS_MIRROR)


def dataset_of_s3(workflow: Workflow) -> str | None:
    """Return bucket and key of a dataset that lies in S3, None of any other."""
    if callable(workflow.dataset) or not str(workflow.dataset).startswith("s3://"):
        return None
    return str(workflow.dataset).removeprefix("s3://")


def _dataset(workflow: Workflow, name: str) -> Grant:
    return Grant(
        name,
        "ReadDataset",
        ("s3:GetObject", "s3:GetObjectVersion"),
        (f"arn:${{AWS::Partition}}:s3:::{dataset_of_s3(workflow)}",),
        "Ingestion reads the workflow's dataset where it lies",
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


def _and(names: Iterable[str]) -> str:
    *most, last = list(names)
    return f"{', '.join(most)} and {last}" if most else last
