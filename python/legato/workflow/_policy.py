"""Policies of IAM: grants written as statements, and whether statements allow a request."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from legato.workflow._grant import Grant

VERSION: Final = "2012-10-17"
NO_VALUE: Final = {"Ref": "AWS::NoValue"}


def sub(value: Any) -> Any:
    """Return a value of a template in which every text with ``${Name}`` is one of Fn::Sub."""
    if isinstance(value, str):
        return {"Fn::Sub": value} if "${" in value else value
    if isinstance(value, Mapping):
        return {key: sub(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [sub(item) for item in value]
    return value


def statement(grant: Grant) -> dict[str, Any]:
    """Return a grant as a statement, with ``${Name}`` in its ARNs."""
    made: dict[str, Any] = {
        "Sid": grant.sid,
        "Effect": grant.effect,
        "Action": list(grant.actions),
        "Resource": list(grant.resources),
    }
    if grant.condition:
        made["Condition"] = dict(grant.condition)
    return made


def policy(grants: Iterable[Grant]) -> dict[str, Any]:
    """Return the policy document of a template, for one role's grants."""
    statements = []
    for grant in grants:
        made = sub(statement(grant))
        statements.append({"Fn::If": [grant.when, made, NO_VALUE]} if grant.when else made)
    return {"Version": VERSION, "Statement": statements}
