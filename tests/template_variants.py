"""Workflows that differ in what their templates have."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from legato import Endpoint
from legato.workflow import Workflow

VARIANTS: dict[str, dict[str, Any]] = {
    "plain": {},
    "standard": {"children": "STANDARD"},
    "triggered": {"trigger": "incoming/"},
    "scheduled": {"schedule": "cron(0 6 * * ? *)", "dataset": "s3://data-bucket/a folder/b.jsonl"},
    "all": {"trigger": "a/b/", "schedule": "rate(1 day)", "dataset": "s3://data-bucket/b.jsonl"},
    "batch": {"compute": "batch"},
    "endpoint": {"backend": Endpoint("https://abc.eu-west-1.aws.endpoints.huggingface.cloud")},
    "staged": {"rotation": "staged"},
    "exchange": {"rotation": "exchange", "compute": "batch"},
    "ecs": {"compute": "ecs", "trigger": "incoming/"},
}


def workflow(**changes: Any) -> Workflow:
    values: dict[str, Any] = {"name": "demo", "task": "feature-extraction", "model": "/models/m"}
    return Workflow(**{**values, **changes})


def policies(template: dict[str, Any]) -> Iterator[tuple[str, list[Any]]]:
    """Each role and the statements of its policy, which may be changed."""
    for name, resource in template["Resources"].items():
        if resource["Type"] == "AWS::IAM::Role":
            yield name, resource["Properties"]["Policies"][0]["PolicyDocument"]["Statement"]


def bare(statement: dict[str, Any]) -> dict[str, Any]:
    """A statement without the condition of the template that it hangs on."""
    found: dict[str, Any] = statement["Fn::If"][1] if "Fn::If" in statement else statement
    return found
