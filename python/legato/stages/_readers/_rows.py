"""Bytes of CSV to rows, and a row to its cells.

Not the ``csv`` module, for three reasons: its limit on a cell (128 KiB) can only be changed for the
whole process, it refuses NUL on Python 3.10, and it collects a quoted cell whole, so that one
missing quote makes it hold the rest of the file. What it accepts when strict is accepted here.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import Enum, auto
from typing import Final

from legato.stages._readers._lines import Oversized, Pending, pieces, whole

_QUOTE: Final = 0x22
_CARRIAGE_RETURN: Final = 0x0D
_QUOTES: Final = re.compile(rb'"+')


class State(Enum):
    """Where in a row the next byte is."""

    CELL_START = auto()
    PLAIN = auto()
    QUOTED = auto()
    AFTER_QUOTE = auto()
    """After a quote in a quoted cell: its end, or the first of two that stand for one."""
    BROKEN = auto()
    """After a carriage return, or what may not follow a quoted cell, until the end of the line."""


@dataclass(frozen=True, slots=True)
class Row:
    """A row as it stands in the file, without its end."""

    line: int
    """Where it starts, from 1."""
    data: bytes | Oversized
    closed: bool = True
    """Whether its last quoted cell ends before the file does."""


def rows(chunks: Iterable[bytes], limit: int, delimiter: bytes) -> Iterator[Row]:
    """Yield each row; an empty line is no row.

    Args:
        chunks: The input, cut anywhere.
        limit: Bytes that a row may have without its end.
        delimiter: The byte between cells.
    """
    pending = Pending(limit)
    state = State.CELL_START
    start = line = 1
    for piece in pieces(chunks):
        parts = piece.split(b"\n")
        last = parts.pop()
        for part in parts:
            line += 1
            if pending.size or b'"' in part:
                state = _advance(state, part, delimiter)
                pending.add(part)
                if state is State.QUOTED:
                    pending.add(b"\n")
                    continue
                data = pending.take()
            else:
                data = whole(part, limit)
            if isinstance(data, bytes):
                data = data.rstrip(b"\r")
            if data != b"":
                yield Row(start, data)
            state = State.CELL_START
            start = line
        state = _advance(state, last, delimiter)
        pending.add(last)
    data = pending.take()
    if isinstance(data, bytes):
        data = data.rstrip(b"\r")
    if data != b"":
        yield Row(start, data, closed=state is not State.QUOTED)


def _advance(state: State, part: bytes, delimiter: bytes) -> State:
    """Return the state after ``part``, which has no line end."""
    at, end = 0, len(part)
    while at < end and state is not State.BROKEN:
        if state is State.QUOTED:
            quotes = _QUOTES.search(part, at)
            if quotes is None:
                return state
            at = quotes.end()
            # Two of them stand for one; the last of an odd number ends the cell.
            state = State.AFTER_QUOTE if (at - quotes.start()) % 2 else State.QUOTED
        elif state is State.PLAIN:
            start, at = at, part.find(delimiter, at) + 1
            if part.find(b"\r", start, at or end) >= 0:
                return State.BROKEN
            if not at:
                return state
            state = State.CELL_START
        else:
            byte = part[at]
            at += 1
            if byte == _QUOTE:
                state = State.QUOTED
            elif byte == delimiter[0]:
                state = State.CELL_START
            elif state is State.AFTER_QUOTE or byte == _CARRIAGE_RETURN:
                state = State.BROKEN
            else:
                state = State.PLAIN
    return state


def cells(row: str, delimiter: str) -> list[str] | None:
    """Return the cells of a row, unquoted; None where it is not CSV.

    A quote within a cell that does not start with one stands for itself, as with ``csv``.

    Args:
        row: The row without its end.
        delimiter: The character between cells.
    """
    if '"' not in row:
        return None if "\r" in row else row.split(delimiter)
    found: list[str] = []
    at, end = 0, len(row)
    while True:
        if row.startswith('"', at):
            close = _closing_quote(row, at)
            if close < 0 or not (close + 1 == end or row.startswith(delimiter, close + 1)):
                return None
            found.append(row[at + 1 : close].replace('""', '"'))
            at = close + 1
        else:
            close = row.find(delimiter, at)
            close = end if close < 0 else close
            found.append(row[at:close])
            if "\r" in found[-1]:
                return None
            at = close
        if at >= end:
            return found
        at += 1


def _closing_quote(row: str, opening: int) -> int:
    at = row.find('"', opening + 1)
    while at >= 0 and row.startswith('"', at + 1):
        at = row.find('"', at + 2)
    return at
