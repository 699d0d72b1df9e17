"""Records to shards: by the tokens that Inference will compute, on which its time depends."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from legato.stages._readers import Record, Rejected

BATCH_BYTES: Final = 1 << 20
"""Bytes of text whose tokens are counted at the same time."""

SHARD_BYTES: Final = 4 << 20
"""Most bytes of text in a shard, whatever the number of records: what a state holds in memory."""

Count = Callable[[Sequence[str]], Sequence[int]]


@dataclass
class Shard:
    """Records that one task computes."""

    records: list[Record] = field(default_factory=list)
    tokens: int = 0
    size: int = 0


@dataclass(frozen=True)
class Limits:
    """Most of each in a shard; a record that is above one alone is a shard of its own."""

    tokens: int
    records: int
    size: int = SHARD_BYTES

    def fit(self, shard: Shard, tokens: int, size: int) -> bool:
        """Say whether a record still goes into a shard."""
        return (
            shard.tokens + tokens <= self.tokens
            and len(shard.records) < self.records
            and shard.size + size <= self.size
        )


def cut(
    records: Iterator[Record | Rejected],
    rejected: list[Rejected],
    count: Count,
    limits: Limits,
    *,
    batch_bytes: int = BATCH_BYTES,
) -> Iterator[Shard]:
    """Cut records into shards, in their order: each takes what still fits.

    Where the cuts are depends on records, counts and limits alone, not on the batches.

    Args:
        records: What a reader makes of the input.
        rejected: Takes those that cannot be used.
        count: Gives the tokens of each of some texts.
        limits: Most of a shard.
        batch_bytes: About how much text `count` gets at a time.
    """
    shard = Shard()
    for record, tokens in _counted(records, rejected, count, batch_bytes):
        size = len(record.text)
        if shard.records and not limits.fit(shard, tokens, size):
            yield shard
            shard = Shard()
        shard.records.append(record)
        shard.tokens += tokens
        shard.size += size
    if shard.records:
        yield shard


def _counted(
    records: Iterator[Record | Rejected],
    rejected: list[Rejected],
    count: Count,
    batch_bytes: int,
) -> Iterator[tuple[Record, int]]:
    batch: list[Record] = []
    size = 0
    for record in records:
        if isinstance(record, Rejected):
            rejected.append(record)
            continue
        batch.append(record)
        size += len(record.text)
        if size >= batch_bytes:
            yield from zip(batch, count([r.text for r in batch]), strict=True)
            batch, size = [], 0
    if batch:
        yield from zip(batch, count([r.text for r in batch]), strict=True)
