"""Chunks of bytes to lines, in bounded memory."""

from __future__ import annotations

from codecs import BOM_UTF8
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

# A chunk is split in pieces of this size, so that a large one of very short lines does not become
# a list that is many times larger.
_PIECE_BYTES: Final = 1 << 18


@dataclass(frozen=True, slots=True)
class Oversized:
    """A line or row over the limit, of which nothing is kept but its size in bytes."""

    size: int


class Pending:
    """The beginning of a line or row whose end has not come yet.

    Holds at most one byte more than the limit (a carriage return may still be part of the line's
    end), and only counts from there on.
    """

    __slots__ = ("_data", "_last", "_limit", "size")

    def __init__(self, limit: int) -> None:
        """Start with nothing.

        Args:
            limit: Bytes that a line may have without its end.
        """
        self._limit = limit
        self._data = bytearray()
        self._last = b""
        self.size = 0

    def add(self, part: bytes) -> None:
        """Append the next bytes of the line."""
        if not part:
            return
        self.size += len(part)
        self._last = part[-1:]
        if self.size <= self._limit + 1:
            self._data += part
        else:
            self._data.clear()

    def take(self) -> bytes | Oversized:
        """Return the line without its carriage return, and start with nothing again."""
        size = self.size - (self._last == b"\r")
        line = bytes(self._data[:size]) if size <= self._limit else Oversized(size)
        self._data.clear()
        self._last = b""
        self.size = 0
        return line


def pieces(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Yield the same bytes in pieces of bounded size, without a byte order mark at the start.

    Args:
        chunks: The input, cut anywhere.
    """
    head: bytes | None = b""
    for chunk in chunks:
        data = chunk
        if head is not None:
            head += chunk
            if len(head) < len(BOM_UTF8) and BOM_UTF8.startswith(head):
                continue
            data, head = head.removeprefix(BOM_UTF8), None
        for start in range(0, len(data), _PIECE_BYTES):
            yield data[start : start + _PIECE_BYTES]
    if head:
        yield head


def whole(line: bytes, limit: int) -> bytes | Oversized:
    """Return a line that is there as a whole, without its carriage return.

    Args:
        line: The line without its line feed.
        limit: Bytes that it may have.
    """
    if line.endswith(b"\r"):
        line = line[:-1]
    return line if len(line) <= limit else Oversized(len(line))


def lines(chunks: Iterable[bytes], limit: int) -> Iterator[bytes | Oversized]:
    r"""Yield each line without its end, ``\n`` or ``\r\n``.

    A last line needs no end; what follows the last end is a line only if it is not empty.

    Args:
        chunks: The input, cut anywhere.
        limit: Bytes that a line may have without its end.
    """
    pending = Pending(limit)
    for piece in pieces(chunks):
        parts = piece.split(b"\n")
        last = parts.pop()
        if parts and pending.size:
            pending.add(parts[0])
            yield pending.take()
            del parts[0]
        for part in parts:
            yield whole(part, limit)
        pending.add(last)
    if pending.size:
        yield pending.take()
