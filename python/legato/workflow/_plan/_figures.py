"""Shards, times and uses of functions: what a plan computes before it prices and judges it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from legato.stages._at_once import CALLS
from legato.stages._shards import SHARD_BYTES
from legato.workflow._plan._assumptions import ACCOUNT_CONCURRENCY, Load, Speed
from legato.workflow._plan._counts import DocumentCounts, count_document
from legato.workflow._plan._requests import (
    LEFT,
    PER_SHARD,
    Requests,
    of_ingestion,
    of_run,
    of_storage,
)
from legato.workflow._states import INFERENCE, INGESTION, PREPROCESSING, STORAGE

if TYPE_CHECKING:
    from legato.workflow._workflow import Workflow

MAX_CHILDREN: Final = 10_000
READ_AT_ONCE: Final = 32
"""Objects that a stage reads at the same time, where it reads many."""

# Parsing, checking and writing of a small output.
_TASK_S: Final = 0.2
_LAMBDA: Final = ":lambda:invoke"
_TOKENIZING: Final = (INGESTION, PREPROCESSING)


@dataclass(frozen=True, slots=True)
class Use:
    """Calls of one stage in the run: how many, how long each, and a function's memory.

    ``memory_mb`` is None where no function but a container does the work.
    """

    calls: int
    seconds: float
    memory_mb: int | None
    starts: int

    def gb_s(self, start_s: float) -> float:
        """Return the GB and seconds that a function is paid for, its starts included."""
        if self.memory_mb is None:
            return 0.0
        return self.memory_mb / 1024 * (self.calls * self.seconds + self.starts * start_s)


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """All that is counted and timed of a run: ``fleet`` is of each shard, ``alone`` of the run."""

    load: Load
    speed: Speed
    shards: int
    records_per_shard: int
    tokens_per_shard: float
    counts: DocumentCounts
    concurrency: int
    fleet: Mapping[str, Use]
    alone: Mapping[str, Use]
    requests: Requests
    child_s: float
    wall_s: float

    @property
    def uses(self) -> dict[str, Use]:
        """The tasks of the run and of its shards, by state."""
        return {**self.alone, **self.fleet}


def figures(workflow: Workflow, document: Mapping[str, Any], load: Load, speed: Speed) -> Figures:
    """Count and time a run.

    Args:
        workflow: The definition.
        document: Its document.
        load: What is to be done.
        speed: How fast it goes.
    """
    fitting = min(
        workflow.shard_records,
        int(workflow.shard_tokens / load.tokens_per_record),
        int(SHARD_BYTES / max(load.bytes_per_record, 1)),
    )
    each = min(max(fitting, 1), load.records)
    shards = math.ceil(load.records / each)
    counts = count_document(document, shards)
    most = (counts.map_state or {}).get("MaxConcurrency") or MAX_CHILDREN
    concurrency = min(most, shards)
    if workflow.compute == "lambda":
        concurrency = min(concurrency, ACCOUNT_CONCURRENCY)
    timing = _Timing(workflow, load, speed, shards, each)
    inner = counts.map_state["ItemProcessor"]["States"] if counts.map_state else {}
    of_child = counts.child.states if counts.child else ()
    fleet = _uses(timing, inner, of_child, calls=shards, starts=concurrency)
    alone = _uses(timing, document["States"], counts.parent.states, calls=1, starts=1)
    child_s = sum(use.seconds for use in fleet.values())
    waves = math.ceil(shards / concurrency)
    # Of the fleet only the first wave waits for functions to start.
    starting = speed.start_s * len(
        [use for use in (*fleet.values(), *alone.values()) if use.memory_mb]
    )
    return Figures(
        load=load,
        speed=speed,
        shards=shards,
        records_per_shard=each,
        tokens_per_shard=each * load.tokens_per_record,
        counts=counts,
        concurrency=concurrency,
        fleet=fleet,
        alone=alone,
        requests=of_run(shards, timing.data_bytes, left=workflow.compute == "batch"),
        child_s=child_s,
        wall_s=sum(use.seconds for use in alone.values()) + waves * child_s + starting,
    )


def _uses(
    timing: _Timing,
    states: Mapping[str, Any],
    names: Sequence[str],
    *,
    calls: int,
    starts: int,
) -> dict[str, Use]:
    uses: dict[str, Use] = {}
    for name in names:
        if states[name]["Type"] == "Task":
            memory = timing.memory(name, states[name])
            seconds = timing.seconds(name)
            if memory is None:
                seconds += timing.speed.container_start_s
            uses[name] = Use(calls, seconds, memory, starts)
    return uses


@dataclass(frozen=True, slots=True)
class _Timing:
    workflow: Workflow
    load: Load
    speed: Speed
    shards: int
    each: int

    @property
    def data_bytes(self) -> float:
        return self.load.records * self.load.bytes_per_record

    def memory(self, stage: str, state: Mapping[str, Any]) -> int | None:
        if not str(state.get("Resource", "")).endswith(_LAMBDA):
            return None
        return self.workflow.memory_mb if stage == INFERENCE else self.speed.memory_mb[stage]

    def seconds(self, stage: str) -> float:
        """Return how long one call of a stage takes, its start aside."""
        if stage == INGESTION:
            requests = of_ingestion(self.shards, self.data_bytes)
            written = Requests(math.ceil(requests.puts / CALLS), requests.gets)
            return _TASK_S + self._asking(written) + self._working(stage, self.load.records)
        if stage == STORAGE:
            requests = of_storage(self.shards)
            reads = Requests(requests.puts, math.ceil(requests.gets / READ_AT_ONCE))
            return _TASK_S + self._asking(reads)
        work = self._inference_s() if stage == INFERENCE else self._working(stage, self.each)
        return _TASK_S + work + self._asking(PER_SHARD.get(stage, LEFT))

    def _inference_s(self) -> float:
        return self.each * self.load.tokens_per_record / self.speed.inference

    def _working(self, stage: str, records: int) -> float:
        """Return the time of reading and writing records, and of tokenizing them."""
        if stage not in self.speed.memory_mb:
            return 0.0
        tokens = records * self.load.tokens_per_record if stage in _TOKENIZING else 0.0
        work = records * self.speed.record_s + tokens / self.speed.tokenizing
        return work / self.speed.processors(stage)

    def _asking(self, requests: Requests) -> float:
        return (requests.puts + requests.gets) * self.speed.request_s
