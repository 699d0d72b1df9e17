"""Texts that nobody may see: tokens and passwords."""

from __future__ import annotations

import hmac
import json
import re
from typing import Any, Final, NoReturn

from legato.errors import InputError

# What may stand in an Authorization header after "Bearer" (RFC 6750), so no line break.
_TOKEN: Final = re.compile(r"[A-Za-z0-9._~+/-]{8,8192}=*")


class Secret:
    """A text that shows nowhere but where it is asked for by :meth:`reveal`.

    Example:
        >>> from legato.identity._secret import Secret
        >>> Secret("hf_example-of-a-token"), f"{Secret('hf_example-of-a-token')}"
        (***, '***')
    """

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        """Hide a text."""
        self._value = value

    def reveal(self) -> str:
        """Return the text."""
        return self._value

    def __repr__(self) -> str:
        """Return three stars."""
        return "***"

    __str__ = __repr__

    def __format__(self, spec: str) -> str:
        """Return three stars, whatever the format."""
        return "***"

    def __eq__(self, other: object) -> bool:
        """Compare with another secret, in a time that does not tell where they differ."""
        if not isinstance(other, Secret):
            return NotImplemented
        return hmac.compare_digest(self._value.encode(), other._value.encode())

    __hash__ = None  # type: ignore[assignment]

    def __reduce__(self) -> NoReturn:
        """Refuse to be written down."""
        raise TypeError("a secret cannot be pickled")


def token_of(value: Secret) -> Secret:
    """Return the token of a secret's value: the value itself, or ``token`` of a JSON object.

    Args:
        value: As Secrets Manager keeps it; spaces and line breaks around it do not count.

    Raises:
        InputError: There is no token in it.
    """
    text = value.reveal().strip()
    if text.startswith("{"):
        text = str(field_of(value, "token").reveal()).strip()
    if not _TOKEN.fullmatch(text):
        msg = 'the secret holds no token; put the token itself, or JSON: {"token": "hf_..."}'
        raise InputError(msg)
    return Secret(text)


def token_or_none(value: Secret | None) -> Secret | None:
    """Return the token of a value, None where there is no value, or no token in it."""
    try:
        return token_of(value) if value is not None else None
    except InputError:
        return None


def field_of(value: Secret, name: str) -> Secret:
    """Return a field of a secret whose value is a JSON object.

    Raises:
        InputError: It is no JSON object, or the field is no text.
    """
    try:
        found: Any = json.loads(value.reveal())
    except ValueError:
        found = None
    text = found.get(name) if isinstance(found, dict) else None
    if not isinstance(text, str) or not text:
        raise InputError(f"the secret is no JSON object with a text {name!r}; put one there")
    return Secret(text)
