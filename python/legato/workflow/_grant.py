"""A statement of a role's policy, and the words that grants are made of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from legato.workflow._states import INFERENCE

if TYPE_CHECKING:
    from legato.workflow._workflow import Workflow

MACHINE: Final = "machine"
TRIGGER: Final = "trigger"
RULE: Final = "rule"
SCHEDULE: Final = "schedule"
EXECUTION: Final = "execution"
ROTATION: Final = "rotation"
"""Principals besides the stages. `trigger` is the small machine that names and starts runs, `rule`
calls it; `execution` is what starts a container before the worker runs; `rotation` replaces the
Hugging Face token."""

HAS_KMS: Final = "HasKmsKey"
HAS_VPC: Final = "HasVpc"
HAS_MIRROR: Final = "HasMirror"
HAS_REPOSITORY: Final = "HasImageRepository"
"""Conditions of the template that a grant may depend on."""


@dataclass(frozen=True)
class Grant:
    """A statement of a role's policy.

    Attributes:
        principal: Whose role: a stage's name in lower case, ``machine``, ``trigger``, ``rule``,
            ``schedule``, ``execution`` or ``rotation``.
        sid: The statement's name, unique in its role.
        actions: Actions of IAM, sorted.
        resources: ARNs, in which ``${Name}`` is what CloudFormation puts there.
        reason: Why, in words.
        condition: The statement's condition, if it has one.
        effect: ``Allow``, or ``Deny`` where it takes something back.
        when: Condition of the template without which there is no such statement.
    """

    principal: str
    sid: str
    actions: tuple[str, ...]
    resources: tuple[str, ...]
    reason: str
    condition: Mapping[str, Any] = field(default_factory=dict, hash=False)
    effect: str = "Allow"
    when: str | None = None


def is_function(workflow: Workflow, stage: str) -> bool:
    """Say whether a stage runs as a Lambda function."""
    return stage != INFERENCE or workflow.compute == "lambda"


def use_key(principal: str, service: str = "s3") -> Grant:
    """Return what is needed of the key by whom reads and writes what a service encrypts with it.

    Large objects of S3 are read to be written.
    """
    encrypted = {"s3": "S3 encrypts the objects", "secretsmanager": "the token is encrypted"}
    return Grant(
        principal,
        "UseKey",
        ("kms:Decrypt", "kms:GenerateDataKey"),
        ("${KmsKeyArn}",),
        f"{encrypted[service]} with this key",
        {"StringEquals": {"kms:ViaService": f"{service}.${{AWS::Region}}.${{AWS::URLSuffix}}"}},
        when=HAS_KMS,
    )


def trace(principal: str, actions: tuple[str, ...]) -> Grant:
    return Grant(principal, "Trace", actions, ("*",), "X-Ray traces; they belong to no resource")
