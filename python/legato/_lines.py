"""The JSON lines that tasks log, and leave as records of failures: never with user text."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime, timezone
from typing import Any, Final, Protocol

from legato.errors import LegatoError

MAX_RUN_ID: Final = 80
"""Most characters of a run's id, as of an execution's name."""


class LambdaContext(Protocol):
    """What a Lambda runtime passes beside the event."""

    function_name: str
    aws_request_id: str


def about(event: Any, context: LambdaContext | None) -> dict[str, Any]:
    """Return what tells one task from another: function, request, run and shard."""
    run, shard = (event.get(name) if isinstance(event, dict) else None for name in ("run", "shard"))
    run_id = run.get("id") if isinstance(run, dict) else None
    index = shard.get("index") if isinstance(shard, dict) else None
    return {
        "function_name": context.function_name if context is not None else None,
        "function_request_id": context.aws_request_id if context is not None else None,
        "run_id": run_id[:MAX_RUN_ID] if isinstance(run_id, str) else None,
        "shard": index if isinstance(index, int) else None,
    }


def reason_of(error: BaseException) -> str | None:
    """Return the message of an error of legato, which holds no user text; of others it may."""
    return str(error) if isinstance(error, LegatoError) else None


def failure_line(name: str, about: Mapping[str, Any], error: BaseException) -> str:
    """Return the line of a task that failed."""
    named = {"error": type(error).__name__, "reason": reason_of(error)}
    return line("ERROR", name, {**about, **named})


def line(level: str, name: str, about: Mapping[str, Any]) -> str:
    """Return a line; what is None is left out."""
    now = datetime.now(timezone.utc).isoformat(timespec="milliseconds")
    found = {"level": level, "service": "legato", "state": name, "timestamp": now, **about}
    return json.dumps({key: value for key, value in found.items() if value is not None})


def print_line(text: str) -> None:
    """Print a line at once, where CloudWatch takes it; where nobody does, it is lost.

    A task is not failed because its log is gone: what it made, or why it failed, is stored.
    """
    # None where the process was started without one, ValueError where it was closed.
    with suppress(OSError, ValueError, AttributeError):
        sys.stdout.write(text + "\n")
        sys.stdout.flush()
