"""How far a fleet is: what its shards have left in the store."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import suppress

from legato._native import Ref, Store
from legato.conductor import HistoryEvent
from legato.errors import LegatoError
from legato.workflow._states import SHARD_STAGES

PAGE = 1000
"""Keys of one request that lists."""


class Shards:
    """Counts the shards of a run by their records: one request for each 1,000 of them.

    Args:
        store: The run's store.
        run: The run's id.
    """

    def __init__(self, store: Store, run: str) -> None:
        self._store = store
        self._run = run
        self._records: dict[int, int] = {}
        self._done: set[int] = set()

    @property
    def known(self) -> bool:
        """Whether the manifest has been read."""
        return bool(self._records)

    @property
    def total(self) -> int:
        """How many shards there are."""
        return len(self._records)

    @property
    def done(self) -> int:
        """How many are done."""
        return len(self._done)

    @property
    def requests(self) -> int:
        """Requests of the next look."""
        return 1 + len(self._done) // PAGE

    def read_manifest(self, manifest: Ref) -> None:
        """Read what shards there are, and how many records each has."""
        for line in self._store.get(manifest).splitlines():
            shard = json.loads(line)
            self._records[int(shard["index"])] = int(shard["records"])

    def fresh(self) -> Iterator[HistoryEvent]:
        """Iterate over events of the shards that are done since the last call.

        A shard is done as a whole, so each has an event of each of its stages.
        """
        keys: list[str] = []
        with suppress(LegatoError):
            # Progress is not worth a run: the next look may see more.
            keys = self._store.list(f"runs/{self._run}/shards/")
        for key in keys:
            index = _index(key)
            if index is None or index in self._done:
                continue
            self._done.add(index)
            for stage in SHARD_STAGES:
                counts = {stage.lower(): {"in": self._records.get(index, 0)}}
                yield self._event("TaskSucceeded", stage, index, {"Payload": {"counts": counts}})

    def started(self) -> Iterator[HistoryEvent]:
        """Iterate over the events that say that the stages of shards have begun."""
        for stage in SHARD_STAGES:
            yield self._event("TaskStateEntered", stage, 0, None)

    def _event(self, kind: str, stage: str, index: int, output: object) -> HistoryEvent:
        return HistoryEvent(
            id=0,
            timestamp="",
            type=kind,
            state=stage,
            execution=f"{self._run}/Shards:{index}",
            details={"index": index},
            output=output,
        )


def _index(key: str) -> int | None:
    name = key.rpartition("/")[2].removesuffix(".json")
    return int(name) if name.isdecimal() else None
