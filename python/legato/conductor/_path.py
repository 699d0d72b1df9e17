"""Reference paths: the part of JSONPath that names exactly one node."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Final

from legato.conductor._shown import shown

_NAME: Final = re.compile(r"[^\W\d][\w-]*")
_INDEX: Final = re.compile(r"\[(0|[1-9][0-9]{0,8})\]")
_QUOTED: Final = re.compile(r"""\[(?:'((?:[^'\\]|\\.)*)'|"((?:[^"\\]|\\.)*)")\]""")
_ESCAPE: Final = re.compile(r"\\(.)")

# Looked for in this order where a step cannot be parsed, so that the refusal has a name.
_REFUSED: Final = (
    (re.compile(r"\.\.|\[\.\."), "recursive descent (..)"),
    (re.compile(r"\.\*|\[\*\]"), "wildcard (*)"),
    (re.compile(r"\[\?"), "filter ([?...])"),
    (re.compile(r"\[\("), "script ([(...)])"),
    (re.compile(r"\[\s*-?\d*\s*:"), "slice ([a:b])"),
    (re.compile(r"\[\s*-\d"), "negative index ([-n])"),
    (re.compile(r"""\[(?:\d+|'[^']*'|"[^"]*")\s*,"""), "union ([a,b])"),
)


class PathError(ValueError):
    """A path is malformed, or not a reference path; the text says which."""


class NoMatchError(LookupError):
    """A path names no node of the value it was applied to."""


@dataclass(frozen=True, slots=True)
class Path:
    """A parsed reference path, such as ``$.run['shard id'][0]`` or ``$$.Execution.Name``."""

    text: str
    context: bool
    steps: tuple[str | int, ...]

    def read(self, document: Any) -> Any:
        """Return the node that the path names.

        Args:
            document: The state's data; for a path that begins with ``$$`` the context object.

        Raises:
            NoMatchError: There is no such node.
        """
        node = document
        for step in self.steps:
            named = isinstance(step, str) and isinstance(node, dict) and step in node
            indexed = isinstance(step, int) and isinstance(node, list) and step < len(node)
            if not (named or indexed):
                raise NoMatchError(self.text)
            node = node[step]
        return node

    def write(self, document: Any, value: Any) -> Any:
        """Return a copy of a document in which the named node is the value.

        Objects that are missing on the way are made; the document itself stays as it is.

        Raises:
            NoMatchError: The way leads through something that is not an object, or an index that
                the array does not have.
        """
        return self._written(document, value, 0)

    def _written(self, node: Any, value: Any, depth: int) -> Any:
        if depth == len(self.steps):
            return value
        step = self.steps[depth]
        if isinstance(step, str) and isinstance(node, dict):
            return {**node, step: self._written(node.get(step, {}), value, depth + 1)}
        if isinstance(step, int) and isinstance(node, list) and step < len(node):
            inner = self._written(node[step], value, depth + 1)
            return [*node[:step], inner, *node[step + 1 :]]
        raise NoMatchError(self.text)


def parse_path(text: str) -> Path:
    """Parse a reference path.

    Args:
        text: ``$`` (the state's data) or ``$$`` (the context object), then steps: ``.name``,
            ``['any name']``, ``[0]``.

    Raises:
        PathError: The text is an intrinsic function, has a wildcard, a filter, a slice, a negative
            index or ``..``, or is no path at all.
    """
    if text.startswith("States."):
        name = text.partition("(")[0]
        msg = f"intrinsic function {name} is not supported here; it belongs into a payload template"
        raise PathError(msg)
    if not text.startswith("$"):
        msg = "a path begins with $ or $$"
        raise PathError(msg)
    context = text.startswith("$$")
    rest = text[2 if context else 1 :]
    steps: list[str | int] = []
    while rest:
        step, used = _step(rest)
        steps.append(step)
        rest = rest[used:]
    return Path(text, context, tuple(steps))


def _step(rest: str) -> tuple[str | int, int]:
    if rest[0] == "." and (name := _NAME.match(rest, 1)):
        return name.group(), name.end()
    if index := _INDEX.match(rest):
        return int(index.group(1)), index.end()
    if quoted := _QUOTED.match(rest):
        raw = quoted.group(1) if quoted.group(1) is not None else quoted.group(2)
        return _ESCAPE.sub(r"\1", raw), quoted.end()
    for pattern, name_of_feature in _REFUSED:
        if pattern.match(rest):
            msg = f"{name_of_feature} is not supported; name exactly one node"
            raise PathError(msg)
    if rest[0] not in ".[":
        # $name is how JSONPath states read variables.
        msg = "variables (Assign) are not supported; a path begins with $. or $["
        raise PathError(msg)
    msg = f"cannot be read from {shown(rest)} on"
    raise PathError(msg)
