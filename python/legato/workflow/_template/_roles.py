"""The roles: who may take them, and their grants."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import groupby
from typing import TYPE_CHECKING, Any, Final

from legato.workflow._arns import machine_arn
from legato.workflow._grant import (
    EXECUTION,
    MACHINE,
    RULE,
    SCHEDULE,
    TRIGGER,
    Grant,
    is_function,
)
from legato.workflow._policy import VERSION, policy, sub
from legato.workflow._states import SHARDS, STAGES

if TYPE_CHECKING:
    from legato.workflow._workflow import Workflow

_OWN_ACCOUNT: Final = {"StringEquals": {"aws:SourceAccount": "${AWS::AccountId}"}}


def role_id(principal: str) -> str:
    """Return the logical id of a principal's role."""
    return f"{principal.title()}Role"


def roles(
    workflow: Workflow, grants: Iterable[Grant], tags: list[dict[str, Any]]
) -> dict[str, Any]:
    """Return a role for each principal of the grants."""
    found = {}
    for principal, granted in groupby(grants, lambda grant: grant.principal):
        found[role_id(principal)] = {
            "Type": "AWS::IAM::Role",
            "Properties": {
                "Description": {"Fn::Sub": f"{principal} of ${{AWS::StackName}}"},
                "AssumeRolePolicyDocument": {
                    "Version": VERSION,
                    "Statement": [sub(_trust(workflow, principal))],
                },
                "Policies": [{"PolicyName": "grants", "PolicyDocument": policy(granted)}],
                "Tags": tags,
            },
        }
    return found


def _trust(workflow: Workflow, principal: str) -> dict[str, Any]:
    service, condition = _trusted(workflow, principal)
    return {
        "Effect": "Allow",
        "Principal": {"Service": service},
        "Action": "sts:AssumeRole",
        **({"Condition": condition} if condition else {}),
    }


def _trusted(workflow: Workflow, principal: str) -> tuple[str, dict[str, Any]]:
    here = "${AWS::Region}:${AWS::AccountId}"
    if principal == MACHINE:
        # The second is what the executions of the Map are of.
        own = [machine_arn(), f"{machine_arn()}/{SHARDS}"]
        return "states.amazonaws.com", {**_OWN_ACCOUNT, "ArnEquals": {"aws:SourceArn": own}}
    if principal == TRIGGER:
        return "states.amazonaws.com", _from(machine_arn(f"-{TRIGGER}"))
    if principal == RULE:
        rule = f"arn:${{AWS::Partition}}:events:{here}:rule/${{AWS::StackName}}"
        return "events.amazonaws.com", _from(rule)
    if principal == SCHEDULE:
        group = f"arn:${{AWS::Partition}}:scheduler:{here}:schedule-group/default"
        return "scheduler.amazonaws.com", _from(group)
    stage = next((stage for stage in STAGES if stage.lower() == principal), None)
    contained = stage is not None and not is_function(workflow, stage)
    if principal == EXECUTION or contained:
        # Whose tasks they are is told by what they run as, and their ids by nobody.
        tasks = {"ArnLike": {"aws:SourceArn": f"arn:${{AWS::Partition}}:ecs:{here}:*"}}
        return "ecs-tasks.amazonaws.com", {**_OWN_ACCOUNT, **tasks}
    # Lambda says no source when it takes a role, and takes none of another account: a condition
    # would only keep it out.
    return "lambda.amazonaws.com", {}


def _from(arn: str) -> dict[str, Any]:
    return {"StringEquals": {**_OWN_ACCOUNT["StringEquals"], "aws:SourceArn": arn}}
