"""What starts runs by itself: new objects and the clock, through a machine that names the run."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

from legato.workflow._grant import RULE, SCHEDULE, TRIGGER
from legato.workflow._template._functions import log_group_of
from legato.workflow._template._machine import LOG_GROUP, logging, to_json
from legato.workflow._template._roles import role_id

if TYPE_CHECKING:
    from legato.workflow._workflow import Workflow

MACHINE_ARN: Final = "StateMachineArn"
# The second name is that of ministack.
ALREADY_THERE: Final = ("Sfn.ExecutionAlreadyExistsException", "Sfn.ExecutionAlreadyExists")
_TIMEOUT_S: Final = 120
_RUN: Final = {"mode": "dataset"}


def triggers(workflow: Workflow, tags: list[dict[str, Any]]) -> dict[str, Any]:
    """Return what starts the workflow by itself; nothing, where nothing does."""
    if workflow.trigger is None and workflow.schedule is None:
        return {}
    found = _starter(tags)
    if workflow.trigger is not None:
        found["TriggerRule"] = _rule(workflow.trigger, tags)
    if workflow.schedule is not None:
        found["Schedule"] = _schedule(workflow.schedule, str(workflow.dataset))
    return found


def starter_document() -> dict[str, Any]:
    """Return the document of the machine that starts a run under a name that only its cause has.

    Both ways in deliver at least once; the second delivery finds the name taken, and that is well.
    """
    name = "States.Hash(States.Format('{}/{}@{}', $.bucket, $.key, $.version), 'SHA-256')"
    detail = "$.detail"
    return {
        "Comment": "Start one run for each object version, or for each time of the schedule",
        "StartAt": "Cause",
        "TimeoutSeconds": _TIMEOUT_S,
        "States": {
            "Cause": {
                "Type": "Choice",
                "Choices": [
                    {"Variable": "$.scheduled", "IsPresent": True, "Next": "Scheduled"},
                    # What a console makes for a folder.
                    {"Variable": f"{detail}.object.key", "StringMatches": "*/", "Next": "Folder"},
                    {
                        "Variable": f"{detail}.object['version-id']",
                        "IsPresent": True,
                        "Next": "Version",
                    },
                ],
                "Default": "Etag",
            },
            "Version": _object(f"{detail}.object['version-id']"),
            # A bucket whose versioning is suspended.
            "Etag": _object(f"{detail}.object.etag"),
            "Scheduled": {
                "Type": "Pass",
                "Parameters": {
                    "name.$": "States.Hash($.scheduled, 'SHA-256')",
                    "event": {"run": _RUN, "input": {"uri.$": "$.uri"}},
                },
                "Next": "Start",
            },
            "Named": {
                "Type": "Pass",
                "Parameters": {
                    "name.$": name,
                    "event": {
                        "run": _RUN,
                        "input": {
                            "uri.$": "States.Format('s3://{}/{}', $.bucket, $.key)",
                            "version.$": "$.version",
                        },
                    },
                },
                "Next": "Start",
            },
            "Start": _start(),
            "Started": {"Type": "Succeed"},
            "Folder": {"Type": "Succeed"},
        },
    }


def _object(version: str) -> dict[str, Any]:
    return {
        "Type": "Pass",
        "Parameters": {
            "bucket.$": "$.detail.bucket.name",
            "key.$": "$.detail.object.key",
            "version.$": version,
        },
        "Next": "Named",
    }


def _start() -> dict[str, Any]:
    return {
        "Type": "Task",
        "Resource": "arn:aws:states:::aws-sdk:sfn:startExecution",
        "Parameters": {
            "StateMachineArn": f"${{{MACHINE_ARN}}}",
            "Name.$": "$.name",
            "Input.$": "States.JsonToString($.event)",
        },
        "TimeoutSeconds": 30,
        "Retry": [
            {"ErrorEquals": list(ALREADY_THERE), "MaxAttempts": 0},
            {
                "ErrorEquals": ["States.TaskFailed"],
                "IntervalSeconds": 2,
                "MaxAttempts": 4,
                "BackoffRate": 2.0,
                "MaxDelaySeconds": 10,
                "JitterStrategy": "FULL",
            },
        ],
        "Catch": [
            # The run was started before: that is what the name is for.
            {"ErrorEquals": list(ALREADY_THERE), "ResultPath": None, "Next": "Started"}
        ],
        "Next": "Started",
    }


def _starter(tags: list[dict[str, Any]]) -> dict[str, Any]:
    properties = {
        "StateMachineName": {"Fn::Sub": f"${{AWS::StackName}}-{TRIGGER}"},
        "StateMachineType": "EXPRESS",
        "RoleArn": {"Fn::GetAtt": [role_id(TRIGGER), "Arn"]},
        "DefinitionString": to_json(starter_document()),
        "DefinitionSubstitutions": {MACHINE_ARN: {"Ref": "StateMachine"}},
        "LoggingConfiguration": logging("TriggerLogs"),
        "TracingConfiguration": {"Enabled": True},
        "Tags": tags,
    }
    return {
        "TriggerLogs": log_group_of(f"{LOG_GROUP}-{TRIGGER}", tags),
        "Trigger": {"Type": "AWS::StepFunctions::StateMachine", "Properties": properties},
    }


def _rule(folder: str, tags: list[dict[str, Any]]) -> dict[str, Any]:
    pattern = {
        "source": ["aws.s3"],
        "detail-type": ["Object Created"],
        "detail": {
            "bucket": {"name": [{"Ref": "Bucket"}]},
            "object": {"key": [{"prefix": {"Fn::Sub": f"${{StorePrefix}}/inputs/{folder}"}}]},
        },
    }
    target = {
        "Id": TRIGGER,
        "Arn": {"Ref": "Trigger"},
        "RoleArn": {"Fn::GetAtt": [role_id(RULE), "Arn"]},
    }
    properties = {
        "Name": {"Ref": "AWS::StackName"},
        "Description": {"Fn::Sub": "A new input starts a run of ${AWS::StackName}"},
        "EventPattern": pattern,
        "Targets": [target],
        "Tags": tags,
    }
    return {"Type": "AWS::Events::Rule", "Properties": properties}


def _schedule(when: str, dataset: str) -> dict[str, Any]:
    # The time is the same in every attempt to deliver it, so it names the run.
    event = {"scheduled": "<aws.scheduler.scheduled-time>", "uri": dataset}
    target = {
        "Arn": {"Ref": "Trigger"},
        "RoleArn": {"Fn::GetAtt": [role_id(SCHEDULE), "Arn"]},
        "Input": json.dumps(event),
    }
    properties = {
        "Name": {"Ref": "AWS::StackName"},
        "ScheduleExpression": when,
        "ScheduleExpressionTimezone": "UTC",
        "FlexibleTimeWindow": {"Mode": "OFF"},
        "Target": target,
    }
    return {"Type": "AWS::Scheduler::Schedule", "Properties": properties}
