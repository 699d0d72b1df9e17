"""What a client of the store benchmark can do."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

Ways = dict[str, Callable[..., Any]]


class Contestant:
    """What a client can do; a verb that it lacks stays empty.

    Attributes:
        version: Of the library.
        small: Reads a small object, key -> bytes.
        put_small: Writes one, key, bytes.
        get: Reads an object into a new array, key, bytes -> (bytes,); by way.
        put: Writes an array, key, (bytes,); by way.
        many: Reads objects, keys -> list of bytes; by way.
        tail: Whether it writes below a prefix, with a header where it likes one.
    """

    version = ""
    tail = False

    def __init__(self) -> None:
        """Make the client."""
        self.small: Ways = {}
        self.put_small: Ways = {}
        self.get: Ways = {}
        self.put: Ways = {}
        self.many: Ways = {}

    def seed(self, keys: Sequence[str]) -> dict[str, str]:
        """Store what this client reads otherwise than the others; return references, by key."""
        del keys
        return {}

    def adopt(self, refs: dict[str, str]) -> None:
        """Know the references that another process has made."""
