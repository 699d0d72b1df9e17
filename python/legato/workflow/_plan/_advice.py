"""What to change where a time is too long, in numbers that are then short enough."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

from legato.stages._at_once import CALLS
from legato.stages._shards import SHARD_BYTES
from legato.workflow._plan._figures import READ_AT_ONCE, Figures
from legato.workflow._plan._requests import PER_SHARD
from legato.workflow._states import INFERENCE, INGESTION, STORAGE
from legato.workflow._template._parameters import memory_parameter

if TYPE_CHECKING:
    from legato.workflow._workflow import Workflow

TIME_RISK: Final = 0.5
"""Times are means of a sample on another machine: from this part of a limit on they are a risk."""

_MOST_MB: Final = 10_240
_SPLIT: Final = "split the dataset"
_MARGIN: Final = 0.8


def advise(workflow: Workflow, made: Figures, stage: str, seconds: float, wanted: float) -> str:
    """Say what makes a call of a stage as short as wanted, in seconds."""
    if stage == INFERENCE:
        return smaller(workflow, made, wanted)
    if stage not in {INGESTION, STORAGE}:
        return _more_memory(made, stage, seconds, wanted) or smaller(workflow, made, wanted)
    asked = PER_SHARD[stage]
    each_s = (asked.puts + asked.gets) * made.speed.request_s
    each_s /= READ_AT_ONCE if stage == STORAGE else CALLS
    # What is left for shards, once everything else is done.
    room = wanted - (seconds - made.shards * each_s)
    if room < each_s:
        memory = _more_memory(made, stage, seconds, wanted) if stage == INGESTION else ""
        return memory or _SPLIT
    return larger(workflow, made, made.shards * each_s / room)


def larger(workflow: Workflow, made: Figures, factor: float) -> str:
    """Say how large a shard must be for so many times fewer of them."""
    records = math.ceil(made.records_per_shard * factor)
    tokens = math.ceil(records * made.load.tokens_per_record)
    if records * made.load.bytes_per_record > SHARD_BYTES:
        return f"{_SPLIT}: shards cannot be so large that there are few enough"
    changes = []
    if records > workflow.shard_records:
        changes.append(f"shard_records={records}")
    if tokens > workflow.shard_tokens:
        changes.append(f"shard_tokens={tokens}")
    return f"{', '.join(changes)}: fewer shards; or {_SPLIT}"


def smaller(workflow: Workflow, made: Figures, wanted: float) -> str:
    """Say how large a shard may be, and what makes it faster."""
    inference_s = made.tokens_per_shard / made.speed.inference
    room = wanted - made.speed.start_s * len(made.fleet) - (made.child_s - inference_s)
    tokens = int(max(room, 0) * made.speed.inference * _MARGIN) // 256 * 256
    faster = "memory_mb" if workflow.compute == "lambda" else "the container's processors"
    if tokens < made.load.tokens_per_record:
        return f"raise {faster}"
    return f"shard_tokens={tokens}, or raise {faster}"


def _more_memory(made: Figures, stage: str, seconds: float, wanted: float) -> str:
    """Say how much memory, and so how many processors, a stage needs; "" where none is enough.

    Nothing but requests to S3 goes as slowly with more processors.
    """
    asked = PER_SHARD[stage]
    calls = made.shards / CALLS if stage == INGESTION else 1
    waiting = calls * (asked.puts + asked.gets) * made.speed.request_s + made.speed.start_s
    if wanted <= waiting:
        return ""
    memory = made.speed.memory_mb[stage] * (seconds - waiting) / (wanted - waiting)
    rounded = math.ceil(memory / 128 / _MARGIN) * 128
    return f"--parameter {memory_parameter(stage)}={rounded}" if rounded <= _MOST_MB else ""
