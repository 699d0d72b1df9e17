"""Grants of the state machine, of what starts it, and of what starts its containers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from legato.workflow._arns import (
    STORE,
    arn,
    execution_arn,
    function_arn,
    function_name,
    log_streams,
    machine_arn,
)
from legato.workflow._grant import (
    EXECUTION,
    HAS_REPOSITORY,
    MACHINE,
    RULE,
    SCHEDULE,
    TRIGGER,
    Grant,
    is_function,
    trace,
    use_key,
)
from legato.workflow._states import INFERENCE, PROMPT_PREFIX, SHARDS, STAGES

if TYPE_CHECKING:
    from legato.workflow._workflow import Workflow


def machine_grants(workflow: Workflow) -> Iterator[Grant]:
    called = [stage for stage in STAGES if is_function(workflow, stage)]
    yield Grant(
        MACHINE,
        "InvokeStages",
        ("lambda:InvokeFunction",),
        tuple(f"{function_arn(stage)}:live" for stage in called),
        "the machine calls its stages, by the alias that a deployment moves",
    )
    yield Grant(
        MACHINE,
        "ReadManifest",
        ("s3:GetObject",),
        (f"{STORE}/ingestion/*/manifest.jsonl",),
        f"{SHARDS} reads the lines of Ingestion's manifest",
    )
    yield Grant(
        MACHINE,
        "WriteResults",
        (
            "s3:AbortMultipartUpload",
            "s3:GetObject",
            "s3:ListMultipartUploadParts",
            "s3:PutObject",
        ),
        (f"{STORE}/runs/*/map/*",),
        f"{SHARDS} writes what became of its executions",
    )
    yield use_key(MACHINE)
    yield Grant(
        MACHINE,
        "StartShards",
        ("states:StartExecution",),
        (machine_arn(),),
        f"{SHARDS} starts an execution for each shard",
    )
    yield Grant(
        MACHINE,
        "FollowShards",
        ("states:DescribeExecution", "states:StopExecution"),
        (execution_arn(":*"),),
        f"{SHARDS} follows its executions, and stops them where it fails",
    )
    yield Grant(
        MACHINE,
        "RedriveShards",
        ("states:RedriveExecution",),
        (execution_arn(f"/{SHARDS}:*"),),
        "a redrive of a run goes on with the executions that failed",
    )
    yield from _compute(workflow)
    yield from _observed(MACHINE)


def _observed(principal: str) -> Iterator[Grant]:
    yield Grant(
        principal,
        "DeliverLogs",
        (
            "logs:CreateLogDelivery",
            "logs:DeleteLogDelivery",
            "logs:DescribeLogGroups",
            "logs:DescribeResourcePolicies",
            "logs:GetLogDelivery",
            "logs:ListLogDeliveries",
            "logs:PutResourcePolicy",
            "logs:UpdateLogDelivery",
        ),
        ("*",),
        "Step Functions sets up the delivery of its logs; these actions know no resource",
    )
    yield trace(
        principal,
        (
            "xray:GetSamplingRules",
            "xray:GetSamplingTargets",
            "xray:PutTelemetryRecords",
            "xray:PutTraceSegments",
        ),
    )


def _compute(workflow: Workflow) -> Iterator[Grant]:
    states = f"{INFERENCE} and {PROMPT_PREFIX}{INFERENCE}"
    if workflow.compute == "batch":
        yield Grant(
            MACHINE,
            "SubmitJobs",
            ("batch:SubmitJob",),
            (
                arn("batch", f"job-definition/{function_name(INFERENCE)}:*"),
                "${JobQueueArn}",
            ),
            f"{states} submit a job to the queue",
        )
        yield Grant(
            MACHINE,
            "StopJobs",
            ("batch:TerminateJob",),
            (arn("batch", "job/*"),),
            "a run that is stopped stops its jobs, whose ids nobody knows before",
        )
        yield Grant(
            MACHINE,
            "FollowJobs",
            ("batch:DescribeJobs",),
            ("*",),
            "Step Functions asks what became of a job; the action knows no resource",
        )
        yield Grant(
            MACHINE,
            "HearOfJobs",
            ("events:DescribeRule", "events:PutRule", "events:PutTargets"),
            (arn("events", "rule/StepFunctionsGetEventsForBatchJobsRule"),),
            "Step Functions hears of a job's end by a rule that it manages",
        )
    if workflow.compute == "ecs":
        yield Grant(
            MACHINE,
            "RunTasks",
            ("ecs:RunTask",),
            (arn("ecs", f"task-definition/{function_name(INFERENCE)}:*"),),
            f"{states} start a task of this definition, in this cluster",
            {"ArnEquals": {"ecs:cluster": "${ClusterArn}"}},
        )
        yield Grant(
            MACHINE,
            "PassRoles",
            ("iam:PassRole",),
            ("${InferenceRole.Arn}", "${ExecutionRole.Arn}"),
            "the task runs as Inference, and is started as what may read its image",
            {"StringEquals": {"iam:PassedToService": "ecs-tasks.amazonaws.com"}},
        )


def execution_grants() -> Iterator[Grant]:
    yield Grant(
        EXECUTION,
        "WriteLogs",
        ("logs:CreateLogStream", "logs:PutLogEvents"),
        (log_streams(INFERENCE),),
        "the container's output goes to the log group of Inference",
    )
    yield Grant(
        EXECUTION,
        "PullImage",
        (
            "ecr:BatchCheckLayerAvailability",
            "ecr:BatchGetImage",
            "ecr:GetDownloadUrlForLayer",
        ),
        ("${ImageRepositoryArn}",),
        "the container's image is read from its repository",
        when=HAS_REPOSITORY,
    )
    yield Grant(
        EXECUTION,
        "LogInToRegistry",
        ("ecr:GetAuthorizationToken",),
        ("*",),
        "a token for the registry; the action knows no resource",
        when=HAS_REPOSITORY,
    )


def trigger_grants(workflow: Workflow) -> Iterator[Grant]:
    yield Grant(
        TRIGGER,
        "StartRuns",
        ("states:StartExecution",),
        (machine_arn(),),
        "it starts a run under a name that only this object, or this time, has",
    )
    yield from _observed(TRIGGER)
    for principal, used in ((RULE, workflow.trigger), (SCHEDULE, workflow.schedule)):
        if used is not None:
            who = "EventBridge" if principal == RULE else "EventBridge Scheduler"
            yield Grant(
                principal,
                "StartTrigger",
                ("states:StartExecution",),
                (machine_arn(f"-{TRIGGER}"),),
                f"{who} calls the machine that gives a run its name",
            )
