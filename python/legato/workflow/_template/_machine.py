"""The state machine, with its log group."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from legato.errors import WorkflowError
from legato.workflow._grant import MACHINE, is_function
from legato.workflow._states import STAGES, STORE_BUCKET, function_placeholder
from legato.workflow._template._compute import substitutions
from legato.workflow._template._functions import alias_id, log_group_of
from legato.workflow._template._roles import role_id

if TYPE_CHECKING:
    from legato.workflow._workflow import Workflow

LOG_GROUP: Final = "/aws/vendedlogs/states/${AWS::StackName}"


def machine(
    workflow: Workflow, document: Mapping[str, Any], tags: list[dict[str, Any]]
) -> dict[str, Any]:
    """Return the state machine of a workflow's document."""
    properties = {
        "StateMachineName": {"Ref": "AWS::StackName"},
        "StateMachineType": "STANDARD",
        "RoleArn": {"Fn::GetAtt": [role_id(MACHINE), "Arn"]},
        "DefinitionString": to_json(document),
        "DefinitionSubstitutions": _substitutions(workflow, document),
        "LoggingConfiguration": logging("MachineLogs"),
        "TracingConfiguration": {"Enabled": True},
        "Tags": tags,
    }
    return {
        "MachineLogs": log_group_of(LOG_GROUP, tags),
        "StateMachine": {"Type": "AWS::StepFunctions::StateMachine", "Properties": properties},
    }


def _substitutions(workflow: Workflow, document: Mapping[str, Any]) -> dict[str, Any]:
    """Return what stands for each placeholder of the document, and for no other."""
    known = {
        STORE_BUCKET: {"Ref": "Bucket"},
        **{
            function_placeholder(stage): {"Ref": alias_id(stage)}
            for stage in STAGES
            if is_function(workflow, stage)
        },
        **substitutions(workflow),
    }
    named = placeholders(document)
    unknown = [name for name in named if name not in known]
    if unknown:
        raise WorkflowError(
            f"the document has ${{{unknown[0]}}}, for which the template has nothing"
        )
    return {name: known[name] for name in named}


def placeholders(document: Mapping[str, Any]) -> list[str]:
    """Return the names of ``${Name}`` in a document, sorted."""
    return sorted(set(re.findall(r"\$\{([A-Za-z0-9]+)\}", json.dumps(document))))


def to_json(document: Mapping[str, Any]) -> str:
    """Return a document as text; as an object it could have no null, which its paths need."""
    return json.dumps(document, indent=1) + "\n"


def logging(group: str) -> dict[str, Any]:
    """Return how a state machine logs: every event, and nothing of what the events hold."""
    destination = {"CloudWatchLogsLogGroup": {"LogGroupArn": {"Fn::GetAtt": [group, "Arn"]}}}
    return {"Level": "ALL", "IncludeExecutionData": False, "Destinations": [destination]}
