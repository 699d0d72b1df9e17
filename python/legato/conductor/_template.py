"""Payload templates: JSON in which a key that ends in ``.$`` takes a path's or function's value."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from legato.conductor._failure import INTRINSIC_FAILURE, RUNTIME, StateFailure
from legato.conductor._functions import IntrinsicError
from legato.conductor._intrinsic import is_intrinsic, parse_intrinsic
from legato.conductor._path import NoMatchError, Path, PathError, parse_path
from legato.conductor._shown import shown

Template = Callable[["Scope"], Any]
"""Makes the payload from the data that a state sees."""


class Scope:
    """What paths are applied to: the data of a state (``$``) and the context object (``$$``)."""

    __slots__ = ("context", "data")

    def __init__(self, data: Any, context: dict[str, Any]) -> None:
        self.data = data
        self.context = context

    @property
    def state(self) -> str:
        """The name of the state, for messages."""
        return str(self.context["State"]["Name"])

    def read(self, path: Path) -> Any:
        """Return the node that a path names; raise NoMatchError where there is none."""
        return path.read(self.context if path.context else self.data)

    def require(self, path: Path, field: str) -> Any:
        """Return the node that a path names.

        Args:
            path: Where it is.
            field: The field of the definition that asks, for the message.

        Raises:
            StateFailure: ``States.Runtime``, which is what AWS reports for every field.
        """
        try:
            return self.read(path)
        except NoMatchError:
            where = "the context object" if path.context else "the data"
            cause = (
                f"state {self.state}: path {path.text} of {field} names nothing in {where}; "
                "correct the path or what the state before returns"
            )
            raise StateFailure(RUNTIME, cause) from None


def parse_template(value: object, field: str) -> Template:
    """Parse a payload template, nested objects and arrays included.

    Args:
        value: The JSON of the definition.
        field: Its name, e.g. ``Parameters``, for messages.

    Raises:
        PathError: A ``.$`` key has no text, no valid path, or meets its own name without ``.$``.
    """
    if isinstance(value, dict):
        return _parse_object(value, field)
    if isinstance(value, list):
        items = [parse_template(item, f"{field}[{n}]") for n, item in enumerate(value)]
        return lambda scope: [item(scope) for item in items]
    return lambda _: value


def _parse_object(value: dict[str, Any], field: str) -> Template:
    members: dict[str, Template] = {}
    for key, inner in value.items():
        name = key.removesuffix(".$")
        if name in members:
            msg = f"{field} has both {name} and {name}.$"
            raise PathError(msg)
        where = f"{field}.{key}"
        members[name] = (
            parse_template(inner, where) if name == key else _parse_dynamic(inner, where)
        )
    return lambda scope: {name: make(scope) for name, make in members.items()}


def _parse_dynamic(value: object, field: str) -> Template:
    if not isinstance(value, str):
        msg = f"{field} must be a path or an intrinsic function, because its name ends in .$"
        raise PathError(msg)
    try:
        if is_intrinsic(value):
            return _computed(parse_intrinsic(value), field)
        path = parse_path(value)
    except PathError as exc:
        msg = f"{field} is {shown(value)}: {exc}"
        raise PathError(msg) from None
    return lambda scope: scope.require(path, field)


def _computed(call: Template, field: str) -> Template:
    def made(scope: Scope) -> Any:
        try:
            return call(scope)
        except IntrinsicError as exc:
            cause = f"state {scope.state}: {field}: {exc}"
            raise StateFailure(INTRINSIC_FAILURE, cause) from None

    return made
