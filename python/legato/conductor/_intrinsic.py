"""Intrinsic functions: ``States.Format('shard-{}', $.index)`` in a payload template.

The grammar is that of the Amazon States Language: arguments are paths, texts in single quotes,
numbers, ``true``, ``false``, ``null`` and other intrinsic functions, nested up to ten deep.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from legato.conductor._functions import FUNCTIONS, Format, IntrinsicError
from legato.conductor._path import PathError, parse_path
from legato.conductor._shown import shown

if TYPE_CHECKING:
    from legato.conductor._template import Scope, Template

MAX_DEPTH: Final = 10
"""How deeply AWS lets intrinsic functions be nested."""

_CALL: Final = re.compile(r"\s*(States\.[A-Za-z0-9]+)\s*\(")
_TEXT: Final = re.compile(r"\s*'((?:[^'\\]|\\.)*)'", re.DOTALL)
_NUMBER: Final = re.compile(r"\s*(-?(?:0|[1-9][0-9]*)(\.[0-9]+)?(?:[eE][+-]?[0-9]+)?)(?=\s*[,)])")
_WORD: Final = re.compile(r"\s*(true|false|null)(?=\s*[,)])")
_PATH: Final = re.compile(
    r"\s*(\$(?:\[(?:'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\"|\d+)\]|[^\s,()\[\]])*)"
)
_SEPARATOR: Final = re.compile(r"\s*([,)])")
_ESCAPE: Final = re.compile(r"\\(.)", re.DOTALL)

_WORDS: Final = {"true": True, "false": False, "null": None}


def is_intrinsic(text: str) -> bool:
    """Tell whether a text is a call of an intrinsic function, well formed or not."""
    return text.startswith("States.")


def parse_intrinsic(text: str) -> Template:
    """Parse a call of an intrinsic function.

    Args:
        text: The call, with nothing around it.

    Returns:
        What makes its value from the data that a state sees; it raises IntrinsicError.

    Raises:
        PathError: The call is malformed, its function is not supported, or it has another number
            of arguments.
    """
    call, end = _parse_call(text, 0, 1)
    if text[end:].strip():
        msg = f"{shown(text[end:])} follows the intrinsic function"
        raise PathError(msg)
    return call


def _parse_call(text: str, start: int, depth: int) -> tuple[Template, int]:
    head = _CALL.match(text, start)
    if head is None:
        msg = f"{shown(text[start:])} is no intrinsic function; write States.Name(...)"
        raise PathError(msg)
    if depth > MAX_DEPTH:
        msg = f"intrinsic functions are nested more than {MAX_DEPTH} deep"
        raise PathError(msg)
    name = head.group(1)
    function = FUNCTIONS.get(name)
    if function is None:
        known = ", ".join(sorted(FUNCTIONS))
        msg = f"intrinsic function {name} is not supported; use one of {known}"
        raise PathError(msg)
    arguments: list[Template] = []
    literals: list[str | None] = []
    end = head.end()
    closing = re.compile(r"\s*\)").match(text, end)
    while closing is None:
        argument, literal, end = _parse_argument(text, end, depth)
        arguments.append(argument)
        literals.append(literal)
        separator = _SEPARATOR.match(text, end)
        if separator is None:
            msg = f"{name}: expected , or ) before {shown(text[end:])}"
            raise PathError(msg)
        end = separator.end()
        if separator.group(1) == ")":
            break
    else:
        end = closing.end()
    low, high = function.arguments
    if not low <= len(arguments) <= (len(arguments) if high is None else high):
        takes = f"{low} or more" if high is None else str(low)
        msg = f"{name} takes {takes} arguments, not {len(arguments)}"
        raise PathError(msg)
    if name == "States.Format" and literals[0] is not None:
        return _format(literals[0], arguments[1:]), end
    return _called(name, function.call, arguments), end


def _parse_argument(text: str, start: int, depth: int) -> tuple[Template, str | None, int]:
    """Return what makes the argument, its source where it is a text, and where it ends."""
    if quoted := _TEXT.match(text, start):
        source = quoted.group(1)
        value: Any = _ESCAPE.sub(r"\1", source)
        return lambda _: value, source, quoted.end()
    if number := _NUMBER.match(text, start):
        value = float(number.group(1)) if "." in number.group(1) else _integer(number.group(1))
        return lambda _: value, None, number.end()
    if word := _WORD.match(text, start):
        value = _WORDS[word.group(1)]
        return lambda _: value, None, word.end()
    if path := _PATH.match(text, start):
        parsed = parse_path(path.group(1))
        return lambda scope: scope.require(parsed, "an intrinsic function"), None, path.end()
    if _CALL.match(text, start):
        call, end = _parse_call(text, start, depth + 1)
        return call, None, end
    msg = f"{shown(text[start:])} is no path, text, number, true, false, null or function"
    raise PathError(msg)


def _integer(text: str) -> int | float:
    try:
        return int(text) if re.fullmatch(r"-?\d+", text) else float(text)
    except ValueError:
        msg = f"number {shown(text)} has too many digits"
        raise PathError(msg) from None


def _called(name: str, call: Callable[..., Any], arguments: list[Template]) -> Template:
    def made(scope: Scope) -> Any:
        values = [argument(scope) for argument in arguments]
        try:
            return call(*values)
        except IntrinsicError as exc:
            msg = f"{name}: {exc}"
            raise IntrinsicError(msg) from None

    return made


def _format(source: str, arguments: list[Template]) -> Template:
    """Return States.Format of a text that is known now, so that its braces can be counted now."""
    form = Format.parse(source)
    if form.holes != len(arguments):
        msg = f"States.Format has {form.holes} {{}} and {len(arguments)} values for them"
        raise PathError(msg)
    return _called("States.Format", form.fill, arguments)
