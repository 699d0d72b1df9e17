"""The rules of IAM, as far as the template's policies use them."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from legato.errors import WorkflowError


@dataclass(frozen=True)
class Atom:
    """One action on one resource of a statement.

    Attributes:
        owner: Logical id of the role, or of the bucket's policy.
        sid: The statement.
        effect: ``Allow`` or ``Deny``.
        action: A pattern.
        resource: A pattern; of a statement with NotResource it is empty.
        excepted: Patterns of NotResource.
        conditions: Operator, key and values.
    """

    owner: str
    sid: str
    effect: str
    action: str
    resource: str
    excepted: tuple[str, ...] = ()
    conditions: Mapping[str, Mapping[str, Any]] = field(default_factory=dict, hash=False)


def atoms(owner: str, document: Mapping[str, Any]) -> Iterator[Atom]:
    """Iterate over what a policy says."""
    for statement in _list(document["Statement"]):
        sid, effect = statement.get("Sid", ""), statement["Effect"]
        conditions = statement.get("Condition", {})
        excepted = tuple(_list(statement.get("NotResource", [])))
        for action in _list(statement["Action"]):
            for resource in _list(statement.get("Resource", "")):
                yield Atom(owner, sid, effect, action, resource, excepted, conditions)


def covers(pattern: str, other: str) -> bool:
    """Say whether a pattern matches all that another one matches; a text is a pattern, too."""
    return _compiled(pattern).fullmatch(other) is not None


@functools.cache
def _compiled(pattern: str) -> re.Pattern[str]:
    # A star of the other pattern is one character that only a star can match.
    parts = {"*": ".*", "?": "[^*]"}
    return re.compile("".join(parts.get(c) or re.escape(c) for c in pattern), re.DOTALL)


@functools.cache
def overlap(one: str, other: str) -> bool:
    """Say whether there is a text that both patterns match."""
    if not one or not other:
        return set(one or other) <= {"*"}
    if one[0] == "*" or other[0] == "*":
        star, rest = (one, other) if one[0] == "*" else (other, one)
        return overlap(star[1:], rest) or overlap(star, rest[1:])
    same = one[0] == other[0] or "?" in (one[0], other[0])
    return same and overlap(one[1:], other[1:])


def acts_on(atom: Atom, action: str) -> bool:
    """Say whether a statement speaks of an action; case does not matter."""
    return covers(atom.action.lower(), action.lower())


def met(atom: Atom, context: Mapping[str, str]) -> bool:
    """Say whether the conditions of a statement hold in a request's context.

    Args:
        atom: Of the statement.
        context: Keys and values; a value with a star stands for all that it matches.
    """
    for operator, keys in atom.conditions.items():
        for key, values in keys.items():
            if not _met(operator, context.get(key), [str(v) for v in _list(values)]):
                return False
    return True


def _met(operator: str, actual: str | None, values: list[str]) -> bool:
    if operator == "Null":
        return (actual is None) == (values[0].lower() == "true")
    if operator.endswith("IfExists"):
        return actual is None or _met(operator.removesuffix("IfExists"), actual, values)
    if operator not in _OPERATORS:
        raise WorkflowError(f"the condition {operator} is not known to the linter; do without it")
    # What is not said is not equal to anything.
    if actual is None:
        return operator == "StringNotEquals"
    return _OPERATORS[operator](actual, values)


_OPERATORS: Final[Mapping[str, Callable[[str, list[str]], bool]]] = {
    "StringEquals": lambda actual, values: actual in values,
    "StringNotEquals": lambda actual, values: actual not in values,
    "ArnEquals": lambda actual, values: any(covers(value, actual) for value in values),
    "StringLike": lambda actual, values: any(covers(value, actual) for value in values),
    "ArnLike": lambda actual, values: any(covers(value, actual) for value in values),
    "Bool": lambda actual, values: actual.lower() in [value.lower() for value in values],
}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]
