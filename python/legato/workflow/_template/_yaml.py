"""Write a template as YAML: only what a template has, for people to read."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, Final

# Everything else is quoted: what YAML would read as a number, a date, yes or no never stands bare.
_PLAIN: Final = re.compile(r"[A-Za-z][A-Za-z0-9_/.:-]*[A-Za-z0-9_/-]|[A-Za-z]")
_WORDS: Final = frozenset({"true", "false", "yes", "no", "on", "off", "null", "y", "n"})
# What YAML does not take as it is, and what it would take for the end of a line.
_UNREADABLE: Final = re.compile("[\x7f-\xa0\u2028\u2029\ufeff\ufffe\uffff]")
# A block keeps lines as they are; anything that it could not keep is quoted.
_BLOCK: Final = re.compile(r"(?:[!-~][ -~]*\n(?:[ -~]*[!-~]\n)*)*[ -~]*[!-~]\n")


def to_yaml(value: Mapping[str, Any]) -> str:
    """Return a mapping as YAML 1.2, which YAML 1.1 reads in the same way.

    Args:
        value: Mappings with keys of text, lists, texts, whole numbers, booleans; in that order.
    """
    return "".join(f"{line}\n" for line in _mapping(value, 0))


def _mapping(value: Mapping[str, Any], depth: int) -> list[str]:
    lines = []
    for key, item in value.items():
        first, *rest = _value(item, depth)
        name = _scalar(key)
        lines += [f"{' ' * depth}{name}:{first}", *rest]
    return lines


def _value(value: Any, depth: int) -> list[str]:
    """Return what follows a colon: the rest of its line, and the lines below."""
    if isinstance(value, Mapping) and value:
        return ["", *_mapping(value, depth + 2)]
    if isinstance(value, (list, tuple)) and value:
        return ["", *_items(value, depth + 2)]
    if isinstance(value, str) and _BLOCK.fullmatch(value):
        indent = " " * (depth + 2)
        return [" |", *(f"{indent}{line}" for line in value[:-1].split("\n"))]
    return [f" {_scalar(value)}"]


def _items(value: list[Any] | tuple[Any, ...], depth: int) -> list[str]:
    lines = []
    for item in value:
        if isinstance(item, Mapping) and item:
            first, *rest = _mapping(item, depth + 2)
            lines += [f"{' ' * depth}- {first.lstrip(' ')}", *rest]
        elif isinstance(item, (list, tuple)) and item:
            first, *rest = _items(item, depth + 2)
            lines += [f"{' ' * depth}- {first.lstrip(' ')}", *rest]
        else:
            lines.append(f"{' ' * depth}- {_scalar(item)}")
    return lines


def _scalar(value: Any) -> str:
    if isinstance(value, str):
        if _PLAIN.fullmatch(value) and value.lower() not in _WORDS and ": " not in value:
            return value
        text = json.dumps(value, ensure_ascii=False)
        return _UNREADABLE.sub(lambda found: f"\\u{ord(found[0]):04x}", text)
    if isinstance(value, Mapping):
        return "{}"
    if isinstance(value, (list, tuple)):
        return "[]"
    return json.dumps(value, allow_nan=False)
