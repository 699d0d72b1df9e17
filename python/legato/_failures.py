"""Why a run failed."""

from __future__ import annotations

import json
from collections.abc import Callable

from legato import errors
from legato.conductor import Execution, HistoryEvent
from legato.errors import LegatoError, WorkflowError

EXCEED_TOLERATED_FAILURE_THRESHOLD = "States.ExceedToleratedFailureThreshold"
TASK_FAILED = "States.TaskFailed"
Listener = Callable[[HistoryEvent], None]


class Failures:
    """A listener that keeps why tasks failed, which the history does not.

    A Map says only that too many of its shards failed; a person wants to know what failed first.
    """

    def __init__(self, listener: Listener | None) -> None:
        """Pass every event on to `listener`."""
        self._listener = listener
        self._states: dict[str, str] = {}
        self._shard: tuple[str, str] | None = None

    def __call__(self, event: HistoryEvent) -> None:
        """Take one event."""
        if event.type in {"TaskFailed", "TaskTimedOut"}:
            self._states[event.output["Cause"]] = event.state or ""
        elif event.type == "MapIterationFailed" and self._shard is None:
            self._shard = (event.output["Error"], event.output["Cause"])
        if self._listener is not None:
            self._listener(event)

    def error(self, execution: Execution) -> LegatoError:
        """Return the error of a run, of the class that its state raised."""
        error, cause = execution.error or "", execution.cause or ""
        if error == EXCEED_TOLERATED_FAILURE_THRESHOLD and self._shard is not None:
            error, cause = self._shard
        state = self._states.get(cause, "")
        if error == TASK_FAILED:
            error, cause = _of_job(error, cause)
        try:
            reason = json.loads(cause)["errorMessage"]
        except (ValueError, KeyError, TypeError):
            reason = cause
        kind = getattr(errors, error, None)
        where = f"run {execution.name} failed" + (f" in {state}" if state else "")
        if isinstance(kind, type) and issubclass(kind, LegatoError):
            return kind(f"{where}: {reason}")
        return WorkflowError(f"{where}: {error}: {reason}")


def _of_job(error: str, cause: str) -> tuple[str, str]:
    """Return error and reason of a Batch job, which the state knows as failed only."""
    try:
        reason = json.loads(cause)["Container"]["Reason"]
    except (ValueError, KeyError, TypeError):
        return error, cause
    name, _, message = str(reason).partition(": ")
    return name, message
