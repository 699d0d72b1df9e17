"""What a stage needs of its event, checked."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from legato._native import Ref
from legato.errors import InputError
from legato.step import Task


def ref_of(event: Mapping[str, Any], *path: str) -> Ref:
    """Return the reference at a path of the event.

    Raises:
        InputError: There is none.
    """
    value: Any = event
    for part in path:
        value = value.get(part) if isinstance(value, Mapping) else None
    if not isinstance(value, Ref):
        msg = f"the event has no reference at {'.'.join(path)}; send what the former state returned"
        raise InputError(msg)
    return value


def run_id(task: Task) -> str:
    """Return the run's id.

    Raises:
        InputError: The event has none.
    """
    value = task.run.get("id") if isinstance(task.run, Mapping) else None
    if not isinstance(value, str) or not value or "/" in value:
        msg = "the event has no run.id; send {'run': {'id': ...}, ...}"
        raise InputError(msg)
    return value


def read_shard(task: Task, shard: Ref) -> tuple[list[str], list[str]]:
    """Return ids and texts of a shard that Ingestion wrote."""
    records = [json.loads(line) for line in task.get(shard).splitlines()]
    return [record["id"] for record in records], [record["text"] for record in records]
