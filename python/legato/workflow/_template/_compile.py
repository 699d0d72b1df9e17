"""Put the groups of resources together."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from legato.workflow._grants import compile_grants
from legato.workflow._template._compute import compute
from legato.workflow._template._functions import STORE_URL, functions
from legato.workflow._template._machine import machine
from legato.workflow._template._observability import DASHBOARD, observability
from legato.workflow._template._parameters import conditions, parameters
from legato.workflow._template._roles import roles
from legato.workflow._template._rotation import rotation
from legato.workflow._template._storage import storage
from legato.workflow._template._triggers import triggers

if TYPE_CHECKING:
    from legato.workflow._workflow import Workflow


def compile_template(workflow: Workflow, document: Mapping[str, Any]) -> dict[str, Any]:
    """Return the CloudFormation template of a workflow.

    Args:
        workflow: The definition.
        document: Its state machine.
    """
    tags: list[dict[str, Any]] = [
        {"Key": "legato:workflow", "Value": workflow.name},
        {"Key": "legato:stack", "Value": {"Ref": "AWS::StackName"}},
    ]
    return {
        "AWSTemplateFormatVersion": "2010-09-09",
        "Description": f"legato workflow {workflow.name}: {workflow.task}",
        "Parameters": parameters(workflow),
        "Conditions": conditions(workflow),
        "Resources": {
            **storage(tags),
            **roles(workflow, compile_grants(workflow), tags),
            **functions(workflow, document, tags),
            **compute(workflow, tags),
            **machine(workflow, document, tags),
            **triggers(workflow, tags),
            **rotation(workflow, tags),
            **observability(workflow, tags),
        },
        "Outputs": _outputs(workflow),
    }


def _outputs(workflow: Workflow) -> dict[str, Any]:
    console = "https://${AWS::Region}.console.aws.amazon.com"
    arn = "${StateMachine}"
    values = {
        "StateMachineArn": ("The state machine", {"Ref": "StateMachine"}),
        "StoreUrl": ("Where objects lie", {"Fn::Sub": STORE_URL}),
        "BucketName": ("The store's bucket", {"Ref": "Bucket"}),
        "DashboardUrl": (
            "Runs and tasks, drawn",
            {"Fn::Sub": f"{console}/cloudwatch/home#dashboards/dashboard/{DASHBOARD}"},
        ),
        "ConsoleUrl": (
            "The state machine in the console",
            {"Fn::Sub": f"{console}/states/home#/statemachines/view/{arn}"},
        ),
    }
    if workflow.rotation is not None:
        values["HfTokenArn"] = ("The secret of the Hugging Face token", {"Ref": "HfToken"})
    return {name: {"Description": about, "Value": value} for name, (about, value) in values.items()}
