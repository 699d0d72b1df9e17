"""What the intrinsic functions compute."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from legato.conductor._payload import decode, encode

MAX_HASHED_CHARS: Final = 10_000
"""AWS's limit on what States.Hash is given."""

_PIECE: Final = re.compile(r"\\(.)|(\{\})", re.DOTALL)
_ALGORITHMS: Final = {
    "MD5": "md5",
    "SHA-1": "sha1",
    "SHA-256": "sha256",
    "SHA-384": "sha384",
    "SHA-512": "sha512",
}


class IntrinsicError(Exception):
    """An intrinsic function cannot work on these values: ``States.IntrinsicFailure``."""


@dataclass(frozen=True, slots=True)
class Function:
    """One intrinsic function: least and most arguments, None for any number, and what it does."""

    call: Callable[..., Any]
    arguments: tuple[int, int | None]


@dataclass(frozen=True, slots=True)
class Format:
    """A text with ``{}`` in it, cut at these."""

    parts: tuple[str, ...]

    @classmethod
    def parse(cls, source: str) -> Format:
        """Cut a text at each ``{}``; a backslash makes the next character plain."""
        parts, plain, end = [], "", 0
        for piece in _PIECE.finditer(source):
            plain += source[end : piece.start()]
            end = piece.end()
            if piece.group(2) is None:
                plain += piece.group(1)
            else:
                parts.append(plain)
                plain = ""
        return cls((*parts, plain + source[end:]))

    @property
    def holes(self) -> int:
        """How many values belong into the text."""
        return len(self.parts) - 1

    def fill(self, *values: Any) -> str:
        """Return the text with each ``{}`` replaced by a value."""
        if len(values) != self.holes:
            msg = f"the text has {self.holes} {{}} and {len(values)} values are given"
            raise IntrinsicError(msg)
        if any(isinstance(value, (dict, list)) for value in values):
            msg = "an object or an array cannot stand in a text; use States.JsonToString"
            raise IntrinsicError(msg)
        texts = [value if isinstance(value, str) else _json(value) for value in values]
        filled = [part + text for part, text in zip(self.parts, [*texts, ""], strict=True)]
        return "".join(filled)


def _json(value: Any) -> str:
    try:
        return encode(value).decode()
    except ValueError:
        # Of StringToJson: half of a surrogate pair, or 1e400.
        msg = "a value has no JSON form"
        raise IntrinsicError(msg) from None


def _format(form: Any, *values: Any) -> str:
    return Format.parse(_text(form, "the first argument")).fill(*values)


def _string_to_json(text: Any) -> Any:
    try:
        return decode(_text(text, "the argument"))
    except ValueError:
        # The parser's own message may quote the text.
        msg = "the text is not JSON"
        raise IntrinsicError(msg) from None


def _hash(data: Any, algorithm: Any) -> str:
    name = _ALGORITHMS.get(_text(algorithm, "the algorithm"))
    if name is None:
        msg = f"the algorithm must be one of {', '.join(_ALGORITHMS)}"
        raise IntrinsicError(msg)
    text = _text(data, "what is hashed")
    if len(text) > MAX_HASHED_CHARS:
        msg = f"the text has {len(text):,} characters, the limit is {MAX_HASHED_CHARS:,}"
        raise IntrinsicError(msg)
    try:
        return hashlib.new(name, text.encode(), usedforsecurity=False).hexdigest()
    except UnicodeEncodeError:
        msg = "the text has half of a surrogate pair, which UTF-8 cannot carry"
        raise IntrinsicError(msg) from None


def _string_split(text: Any, delimiters: Any) -> list[str]:
    """Split at each character of `delimiters`; nothing is between two that meet."""
    marks = _text(delimiters, "the second argument")
    whole = _text(text, "the first argument")
    pieces = re.split(f"[{re.escape(marks)}]", whole) if marks else [whole]
    return [piece for piece in pieces if piece]


def _array(*values: Any) -> list[Any]:
    return list(values)


def _text(value: Any, what: str) -> str:
    if not isinstance(value, str):
        msg = f"{what} must be a text"
        raise IntrinsicError(msg)
    return value


FUNCTIONS: Final[Mapping[str, Function]] = {
    "States.Array": Function(_array, (0, None)),
    "States.Format": Function(_format, (1, None)),
    "States.Hash": Function(_hash, (2, 2)),
    "States.JsonToString": Function(_json, (1, 1)),
    "States.StringSplit": Function(_string_split, (2, 2)),
    "States.StringToJson": Function(_string_to_json, (1, 1)),
}
"""The functions that documents may call, by name."""
