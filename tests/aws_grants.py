"""What the policies of the stages allow, one action on one resource at a time."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from legato import Workflow
from legato.workflow import STAGES, synth

MODEL = Path(__file__).parent / "data" / "tiny-bert"

SIDECARS = "/*.chunks"
"""What lies beside an object of more than 128 MiB, which no test of a stack has."""


def all_grants() -> list[Grant]:
    """What the policies that `legato synth` writes allow the stages."""
    workflow = Workflow(name="any", task="feature-extraction", model=MODEL, trigger="incoming/")
    files = synth(workflow)
    found = []
    for stage in STAGES:
        policy = json.loads(files[f"policies/{stage.lower()}.json"])
        found += _grants(stage, policy)
    return found


@dataclass(frozen=True)
class Grant:
    """One action on one resource that a statement of a stage's policy allows."""

    stage: str
    sid: str
    action: str
    place: str
    """The key below the store's prefix, with wildcards, or what a list is limited to; or the resource as it is."""

    def __str__(self) -> str:
        return f"{self.stage}-{self.sid}-{self.action}-{self.place}"

    def left_of(self, statement: dict[str, Any]) -> list[dict[str, Any]]:
        """The statement less this grant."""
        if statement["Sid"] != self.sid:
            return [statement]
        others = [action for action in statement["Action"] if action != self.action]
        parts = [{**statement, "Sid": f"{self.sid}Others", "Action": others}] if others else []
        rest = {**statement, "Action": [self.action]}
        if prefixes := _prefixes(statement):
            kept = [prefix for prefix in prefixes if place(prefix) != self.place]
            rest["Condition"] = {"StringLike": {"s3:prefix": kept}}
        else:
            kept = [each for each in statement["Resource"] if place(each) != self.place]
            rest["Resource"] = kept
        return [*parts, *([rest] if kept else [])]


def _grants(stage: str, policy: Mapping[str, Any]) -> list[Grant]:
    """What a policy of a stage allows, one by one."""
    return [
        Grant(stage, statement["Sid"], action, place(resource))
        for statement in policy["Statement"]
        if statement["Effect"] == "Allow"
        for action in statement["Action"]
        for resource in _prefixes(statement) or statement["Resource"]
    ]


def _prefixes(statement: Mapping[str, Any]) -> list[str]:
    found: list[str] = statement.get("Condition", {}).get("StringLike", {}).get("s3:prefix", [])
    return found


def place(resource: str) -> str:
    """The key of a resource below the store's prefix, in a policy of `legato synth` or of a deployed role."""
    return re.sub(r"^(arn:.*:s3:::[^/]+/)?(\$\{StorePrefix\}|legato)/", "", resource)
