"""Rows to requests, within what a server takes, and their results back in order."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from legato._endpoint._answers import Rows
from legato._endpoint._calls import TooLargeError
from legato.errors import InputError
from legato.stages._at_once import mapped

PAYLOAD_BYTES: Final = 2_000_000
"""Longest body that TEI and the endpoints take by default; ``/info`` does not tell it."""

LOG: Final = logging.getLogger("legato")

Row: TypeAlias = tuple[str, ...]
"""What one result is of: a text, or a pair."""


@dataclass(frozen=True)
class Limits:
    """Most of each in a request; a row above one of them goes alone."""

    rows: int = 32
    tokens: int | None = None
    size: int = PAYLOAD_BYTES - 10_000  # besides the rows there are parameters


def cut(rows: Sequence[Row], lengths: Sequence[int], limits: Limits) -> Iterator[list[int]]:
    """Cut rows into batches, of rows that are about as long: less padding on the server.

    Args:
        rows: The rows.
        lengths: Tokens of each.
        limits: Of a batch.

    Returns:
        Numbers of rows; each is in one batch.
    """
    batch: list[int] = []
    tokens = size = 0
    for index in sorted(range(len(rows)), key=lambda index: -lengths[index]):
        # As it stands in JSON, with quotes and commas.
        own = len(json.dumps(rows[index], ensure_ascii=False).encode("utf-8", "replace")) + 2
        full = (
            len(batch) == limits.rows
            or size + own > limits.size
            or (limits.tokens is not None and tokens + lengths[index] > limits.tokens)
        )
        if batch and full:
            yield batch
            batch, tokens, size = [], 0, 0
        batch.append(index)
        tokens += lengths[index]
        size += own
    if batch:
        yield batch


def compute(
    rows: Sequence[Row],
    lengths: Sequence[int],
    send: Callable[[list[Row]], Rows],
    limits: Limits,
    concurrency: int,
) -> Rows:
    """Send all rows, several batches at the same time, and return their results in order.

    Args:
        rows: The rows.
        lengths: Tokens of each.
        send: Sends a batch, and returns a result for each row.
        limits: Of a batch.
        concurrency: Most requests at the same time.

    Raises:
        InputError: The server refuses a row that is alone for its size.
        LegatoError: What `send` raises, of the first batch that fails.
    """

    def one(batch: list[int]) -> Rows:
        try:
            return send([rows[index] for index in batch])
        except TooLargeError:
            if len(batch) == 1:
                msg = f"the endpoint refuses row {batch[0]} of the shard for its size alone"
                raise InputError(f"{msg}; raise its limits, or shorten the text") from None
        LOG.info("the endpoint refuses %d rows at once; they are sent in two halves", len(batch))
        middle = len(batch) // 2
        return one(batch[:middle]) + one(batch[middle:])

    batches = list(cut(rows, lengths, limits))
    found: dict[int, list[float]] = {}
    for batch, results in zip(batches, mapped(one, batches, concurrency), strict=True):
        found.update(zip(batch, results, strict=True))
    return [found[index] for index in range(len(rows))]


def body_of(request: dict[str, Any]) -> bytes:
    """Return a request as JSON.

    Raises:
        InputError: A text in it is not UTF-8.
    """
    try:
        return json.dumps(request, ensure_ascii=False, allow_nan=False).encode()
    except UnicodeEncodeError:
        msg = "a text has half of a surrogate pair; check the input's encoding"
        raise InputError(msg) from None
