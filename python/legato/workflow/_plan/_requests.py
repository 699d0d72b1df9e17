"""Requests to S3 that the stages make; a test compares them with what a real server was asked."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

CHUNK_BYTES: Final = 8 << 20
"""Ingestion reads its input in pieces of this size."""

KEYS_A_PAGE: Final = 1000


@dataclass(frozen=True, slots=True)
class Requests:
    """``puts`` are PUT and LIST, which cost the same; ``gets`` are GET and HEAD."""

    puts: int
    gets: int

    def __add__(self, other: Requests) -> Requests:
        """Return the sum of both."""
        return Requests(self.puts + other.puts, self.gets + other.gets)

    def __mul__(self, times: int) -> Requests:
        """Return so many times as many."""
        return Requests(self.puts * times, self.gets * times)


# An output is looked for by its reference, then it and its reference are written.
PER_SHARD: Final = {
    "Ingestion": Requests(puts=2, gets=0),
    "Preprocessing": Requests(puts=2, gets=2),
    "Inference": Requests(puts=2, gets=2),
    # Reads records and outputs; writes a part, what it rejected, and the shard's record.
    "Validation": Requests(puts=5, gets=3),
    "Storage": Requests(puts=0, gets=1),
}
PER_RUN: Final = {
    # Manifest, summary and rejected records: looked for, and written with their references.
    "Ingestion": Requests(puts=6, gets=3),
    "Storage": Requests(puts=2, gets=2),
    # The item reader, and the result writer's manifest and one file of results.
    "Shards": Requests(puts=2, gets=1),
}
LEFT: Final = Requests(puts=1, gets=1)
"""More for each shard where a job leaves its output in the store for the next state."""


def of_ingestion(shards: int, data_bytes: float) -> Requests:
    """Return the requests of Ingestion."""
    chunks = max(1, math.ceil(data_bytes / CHUNK_BYTES))
    return PER_RUN["Ingestion"] + PER_SHARD["Ingestion"] * shards + Requests(0, chunks)


def of_storage(shards: int) -> Requests:
    """Return the requests of Storage: it lists the records of shards and reads each."""
    pages = Requests(math.ceil(shards / KEYS_A_PAGE), 0)
    return PER_RUN["Storage"] + PER_SHARD["Storage"] * shards + pages


def of_run(shards: int, data_bytes: float, *, left: bool = False) -> Requests:
    """Return the requests of a whole run; of its input's upload one more, which is not of it."""
    each = PER_SHARD["Preprocessing"] + PER_SHARD["Inference"] + PER_SHARD["Validation"]
    if left:
        each += LEFT
    total = of_ingestion(shards, data_bytes) + each * shards
    return total + of_storage(shards) + PER_RUN["Shards"]
