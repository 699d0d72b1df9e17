"""Handlers of the five stages that do nothing, for the conductor and for functions alike.

As a function they log a line: ministack waits 50 ms for one where none comes.
"""

from __future__ import annotations

import os
from typing import Any

Event = dict[str, Any]


def _log() -> None:
    if "AWS_LAMBDA_RUNTIME_API" in os.environ:
        print("done", flush=True)


def ingestion(event: Event, _context: Any = None) -> Event:
    """Name the manifest, which is there already."""
    _log()
    run = {**event["run"], "manifest_key": event["input"]["manifest_key"], "results_prefix": "map"}
    return {"run": run}


def preprocessing(event: Event, _context: Any = None) -> Event:
    """Pass the context on."""
    _log()
    return {"run": event["run"], "shard": event["shard"]}


inference = preprocessing
validation = preprocessing


def storage(event: Event, _context: Any = None) -> Event:
    """Say that all is done."""
    _log()
    return {"run": event["run"], "status": "complete"}
