"""Values of a definition as they stand in messages."""

from __future__ import annotations

import reprlib

_REPR = reprlib.Repr()
_REPR.maxstring = _REPR.maxother = _REPR.maxlong = 120


def shown(value: object) -> str:
    """Return a value's repr, shortened in the middle where it is long."""
    return _REPR.repr(value)
