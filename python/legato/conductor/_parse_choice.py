"""Parse choice rules: every comparison operator of the Amazon States Language for JSONPath."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable
from typing import Any, Final

from legato.conductor._fields import Fields
from legato.conductor._model import Predicate
from legato.conductor._path import NoMatchError, Path
from legato.conductor._shown import shown
from legato.conductor._template import Scope
from legato.conductor._timestamp import parse_timestamp

_ORDERS: Final[dict[str, Callable[[Any, Any], bool]]] = {
    "Equals": operator.eq,
    "LessThan": operator.lt,
    "GreaterThan": operator.gt,
    "LessThanEquals": operator.le,
    "GreaterThanEquals": operator.ge,
}


def _string_key(value: object) -> bytes | None:
    # AWS compares as Java does, by UTF-16 units: the order differs above U+D7FF.
    return value.encode("utf-16-be", "surrogatepass") if isinstance(value, str) else None


def _number_key(value: object) -> int | float | None:
    return value if isinstance(value, (int, float)) and not isinstance(value, bool) else None


def _boolean_key(value: object) -> bool | None:
    return value if isinstance(value, bool) else None


_KEYS: Final[dict[str, Callable[[object], Any]]] = {
    "String": _string_key,
    "Numeric": _number_key,
    "Timestamp": parse_timestamp,
    "Boolean": _boolean_key,
}

_TYPE_TESTS: Final[dict[str, Callable[[object], bool]]] = {
    "IsNull": lambda value: value is None,
    "IsString": lambda value: isinstance(value, str),
    "IsNumeric": lambda value: _number_key(value) is not None,
    "IsBoolean": lambda value: isinstance(value, bool),
    "IsTimestamp": lambda value: parse_timestamp(value) is not None,
}

_COMPARISONS: Final = {
    f"{kind}{order}": (key, compare)
    for kind, key in _KEYS.items()
    for order, compare in _ORDERS.items()
    if kind != "Boolean" or order == "Equals"
}

_OPERATORS: Final = (
    *("And", "Or", "Not", "IsPresent", "StringMatches"),
    *_TYPE_TESTS,
    *_COMPARISONS,
    *(f"{name}Path" for name in _COMPARISONS),
)

_PIECE: Final = re.compile(r"\\([\\*])|(\\)|(\*)|([^\\*]+)")


def parse_rule(fields: Fields) -> Predicate:
    """Parse one rule, with the rules nested in it.

    Args:
        fields: The rule; its ``Next``, if it may have one, has been read.

    Raises:
        WorkflowError: The rule is malformed.
    """
    fields.take("Comment")
    fields.only_one_of(*_OPERATORS)
    name = next((name for name in _OPERATORS if fields.has(name)), None)
    if name is None:
        # An unknown operator or field gets its own name into the refusal.
        fields.take("Variable")
        fields.finish()
        raise fields.error("a rule needs one comparison operator")
    rule = _COMPOSITES[name](fields, name) if name in _COMPOSITES else _parse_test(fields, name)
    fields.finish()
    return rule


def _parse_list(fields: Fields, name: str) -> Predicate:
    value = fields.take(name)
    if not isinstance(value, list) or not value:
        raise fields.error(f"{name} must be a list of rules that is not empty")
    rules = [
        parse_rule(Fields(inner, f"{fields.where}.{name}[{n}]")) for n, inner in enumerate(value)
    ]
    test = all if name == "And" else any
    return lambda scope: test(rule(scope) for rule in rules)


def _parse_not(fields: Fields, name: str) -> Predicate:
    rule = parse_rule(Fields(fields.take(name), f"{fields.where}.{name}"))
    return lambda scope: not rule(scope)


_COMPOSITES: Final = {"And": _parse_list, "Or": _parse_list, "Not": _parse_not}


def _parse_test(fields: Fields, name: str) -> Predicate:
    variable = fields.path("Variable")
    if variable is None:
        raise fields.error(f"{name} needs a Variable")
    if name == "IsPresent":
        expected = fields.flag(name)
        return lambda scope: _present(scope, variable) == expected
    if name in _TYPE_TESTS:
        test, expected = _TYPE_TESTS[name], fields.flag(name)
        return lambda scope: test(scope.require(variable, "Variable")) == expected
    if name == "StringMatches":
        pieces = _parse_pattern(fields, name)
        return lambda scope: _matches(pieces, scope.require(variable, "Variable"))
    return _parse_comparison(fields, name, variable)


def _parse_comparison(fields: Fields, name: str, variable: Path) -> Predicate:
    key, compare = _COMPARISONS[name.removesuffix("Path")]

    def holds(value: object, other: object) -> bool:
        left, right = key(value), key(other)
        return left is not None and right is not None and compare(left, right)

    if name.endswith("Path"):
        other = fields.path(name)
        assert other is not None  # noqa: S101 - the caller has seen the field
        return lambda scope: holds(scope.require(variable, "Variable"), scope.require(other, name))
    constant = fields.take(name)
    if key(constant) is None:
        raise fields.error(f"{name} cannot compare with {shown(constant)}")
    return lambda scope: holds(scope.require(variable, "Variable"), constant)


def _parse_pattern(fields: Fields, name: str) -> list[str]:
    """Return the literal pieces between the wildcards of a pattern."""
    text = fields.take(name)
    if not isinstance(text, str):
        raise fields.error(f"{name} must be a text")
    pieces = [""]
    for escaped, stray, star, plain in _PIECE.findall(text):
        if stray:
            raise fields.error(rf"{name} {shown(text)} has a stray backslash; write \\ or \*")
        if star:
            pieces.append("")
        else:
            pieces[-1] += escaped or plain
    return pieces


def _matches(pieces: list[str], value: object) -> bool:
    # Piece by piece, leftmost first, takes linear time; a regular expression may backtrack.
    if not isinstance(value, str):
        return False
    first, *rest = pieces
    if not rest:
        return value == first
    last = rest.pop()
    if not value.startswith(first) or len(value) < len(first) + len(last):
        return False
    position, end = len(first), len(value) - len(last)
    for piece in rest:
        found = value.find(piece, position, end)
        if found < 0:
            return False
        position = found + len(piece)
    return value.endswith(last)


def _present(scope: Scope, variable: Path) -> bool:
    try:
        scope.read(variable)
    except NoMatchError:
        return False
    return True
