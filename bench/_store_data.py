"""The objects of the store benchmark: bytes that every process makes, and compares, by itself."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

Bytes = NDArray[np.uint8]

BUCKET: Final = "bench"
KIB: Final = 1 << 10
MIB: Final = 1 << 20
GIB: Final = 1 << 30
MANY: Final = 1000
MANY_BYTES: Final = 16 * KIB
_WORDS: Final = MIB // 8
_BLOCK: Final = np.random.default_rng(5).integers(0, 1 << 63, _WORDS, np.uint64)


class WrongBytesError(Exception):
    """What was read, or lies in the server after a write, is not what it should be."""


def size(key: str) -> int:
    """Return the bytes of an object from its key, as in ``get-65536-3``."""
    return int(key.split("-")[1])


def make(key: str) -> Bytes:
    """Return the bytes of an object, (size,): one block over and over, with its number added."""
    words = np.empty(size(key) // 8, np.uint64)
    for start in range(0, len(words), _WORDS):
        words[start : start + _WORDS] = _words(key, start, len(words))
    return words.view(np.uint8)


def check(key: str, found: Any, *, tail: bool = False) -> None:
    """Compare all bytes, without another copy of them.

    Args:
        key: Of the object.
        found: A buffer, or an array of any type.
        tail: Whether a header may stand before them.

    Raises:
        WrongBytesError: A byte differs, or there are fewer or more of them.
    """
    given = found.reshape(-1).view(np.uint8) if isinstance(found, np.ndarray) else found
    data = np.frombuffer(given, np.uint8)
    if tail and len(data) > size(key):
        data = data[len(data) - size(key) :].copy()
    if len(data) != size(key):
        raise WrongBytesError(f"{len(data):,} bytes instead of {size(key):,}")
    words = data.view(np.uint64)
    for start in range(0, len(words), _WORDS):
        if not np.array_equal(words[start : start + _WORDS], _words(key, start, len(words))):
            raise WrongBytesError(f"a byte after {8 * start:,} differs")


def _words(key: str, start: int, end: int) -> NDArray[np.uint64]:
    """Return the words of a block that starts somewhere, fewer in the last one."""
    number = int(key.split("-")[2])
    words: NDArray[np.uint64] = _BLOCK[: end - start] + np.uint64(start + 1 + 7919 * number)
    return words


def many() -> list[str]:
    """Return the keys of the many small objects."""
    return [f"get-{MANY_BYTES}-{number}" for number in range(MANY)]
