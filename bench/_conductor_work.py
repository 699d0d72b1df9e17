"""Handlers of the five stages that do nothing, for the conductor and for functions alike."""

from __future__ import annotations

from typing import Any

Event = dict[str, Any]


def ingestion(event: Event, _context: Any = None) -> Event:
    """Name the manifest, which is there already."""
    run = {**event["run"], "manifest_key": event["input"]["manifest_key"], "results_prefix": "map"}
    return {"run": run}


def preprocessing(event: Event, _context: Any = None) -> Event:
    """Pass the context on."""
    return {"run": event["run"], "shard": event["shard"]}


inference = preprocessing
validation = preprocessing


def storage(event: Event, _context: Any = None) -> Event:
    """Say that all is done."""
    return {"run": event["run"], "status": "complete"}
