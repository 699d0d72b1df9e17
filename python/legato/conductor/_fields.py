"""Read the fields of one JSON object of a definition, each of them once, and refuse the rest."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from legato.conductor._path import Path, PathError, parse_path
from legato.conductor._shown import shown
from legato.conductor._template import Template, parse_template
from legato.errors import WorkflowError

T = TypeVar("T")

MAX_SECONDS = 99_999_999

_REFUSED = {
    "QueryLanguage": "only JSONPath is supported",
    "Assign": "variables are not supported; carry the value in the state's data",
    "Arguments": "it belongs to JSONata; use Parameters",
    "Output": "it belongs to JSONata; use ResultSelector, ResultPath and OutputPath",
    "Items": "it belongs to JSONata; use ItemsPath",
    "Condition": "it belongs to JSONata; use Variable and an operator",
    "Branches": "Parallel is not supported",
    "HeartbeatSeconds": "a heartbeat needs a task token (.waitForTaskToken); use TimeoutSeconds",
    "HeartbeatSecondsPath": "use HeartbeatSeconds",
    "Credentials": "roles for single tasks are not supported",
    "ItemBatcher": "batches are not supported; put several records into one item",
    "WriterConfig": "only whole results as JSON are supported; leave it out",
    "MaxConcurrencyPath": "use MaxConcurrency",
    "ToleratedFailureCountPath": "use ToleratedFailureCount",
    "ToleratedFailurePercentagePath": "use ToleratedFailurePercentage",
    "MaxItemsPath": "use MaxItems",
}


class Fields:
    """The fields of one object of a definition.

    Args:
        raw: The object.
        where: Where it stands, for messages, e.g. ``state Shards, ItemReader``.
    """

    def __init__(self, raw: object, where: str) -> None:
        self.where = where
        if not isinstance(raw, Mapping):
            raise self.error("must be an object")
        self._raw = raw
        self._read: set[str] = set()

    def error(self, what: str) -> WorkflowError:
        """Return the refusal of this object."""
        return WorkflowError(f"{self.where}: {what}")

    def has(self, name: str) -> bool:
        """Tell whether a field is there, without reading it."""
        return name in self._raw

    def take(self, name: str) -> Any:
        """Return a field as it is, None where it is missing."""
        self._read.add(name)
        return self._raw.get(name)

    def only_one_of(self, *names: str, required: bool = False) -> None:
        """Refuse two fields that exclude one another, or none where one is required."""
        present = [name for name in names if name in self._raw]
        if len(present) > 1:
            raise self.error(f"{' and '.join(present)} exclude one another; keep one")
        if required and not present:
            raise self.error(f"one of {', '.join(names)} is missing")

    def text(self, name: str) -> str:
        """Return a required text that is not empty."""
        value = self.take(name)
        if not isinstance(value, str) or not value:
            raise self.error(f"{name} must be a text that is not empty")
        return value

    def optional_text(self, name: str) -> str | None:
        """Return a text, None where the field is missing."""
        if not self.has(name):
            return None
        value = self.take(name)
        if not isinstance(value, str):
            raise self.error(f"{name} must be a text")
        return value

    def flag(self, name: str) -> bool:
        """Return true or false; false where the field is missing."""
        value = self.take(name) if self.has(name) else False
        if not isinstance(value, bool):
            raise self.error(f"{name} must be true or false")
        return value

    def choice(self, name: str, allowed: tuple[str, ...], default: str) -> str:
        """Return one of the allowed texts."""
        value = self.take(name) if self.has(name) else default
        if value not in allowed:
            raise self.error(f"{name} {shown(value)} is not supported; use {' or '.join(allowed)}")
        return str(value)

    def integer(self, name: str, *, low: int, high: int = MAX_SECONDS) -> int | None:
        """Return a whole number within bounds, None where the field is missing."""
        if not self.has(name):
            return None
        value = self.take(name)
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise self.error(f"{name} is {shown(value)}; use a whole number {low:,} to {high:,}")
        return value

    def number(self, name: str, *, low: float, high: float) -> float | None:
        """Return a number within bounds, None where the field is missing."""
        if not self.has(name):
            return None
        value = self.take(name)
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise self.error(f"{name} is {shown(value)}; use a number")
        if not low <= value <= high:
            raise self.error(f"{name} is {shown(value)}; use a number from {low:g} to {high:g}")
        return float(value)

    def path(self, name: str) -> Path | None:
        """Return a path, None where the field is missing."""
        return self._parsed(name, self.text(name), parse_path) if self.has(name) else None

    def nullable_path(self, name: str, *, context: bool = True) -> Path | None:
        """Return a path, ``$`` where the field is missing, None where it is null.

        Args:
            name: The field.
            context: Whether it may point into the context object.
        """
        if self.has(name) and self._raw[name] is None:
            self.take(name)
            return None
        path = self.path(name) or parse_path("$")
        if path.context and not context:
            raise self.error(f"{name} {shown(path.text)} cannot write to the context object")
        return path

    def template(self, name: str) -> Template | None:
        """Return a payload template, None where the field is missing."""
        if not self.has(name):
            return None
        value = self.take(name)
        return self._parsed(name, value, lambda raw: parse_template(raw, name))

    def finish(self) -> None:
        """Refuse every field that was not read, by name."""
        for name in self._raw:
            if name == "QueryLanguage" and self._raw[name] == "JSONPath":
                continue
            if name not in self._read:
                reason = _REFUSED.get(name, "remove it or correct its name")
                raise self.error(f"field {name} is not supported here: {reason}")

    def _parsed(self, name: str, raw: object, parse: Callable[[Any], T]) -> T:
        try:
            return parse(raw)
        except PathError as exc:
            value = f" {shown(raw)}" if isinstance(raw, str) else ""
            raise self.error(f"{name}{value}: {exc}") from None
