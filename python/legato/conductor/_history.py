"""What happened in a run: events with the names of AWS, and without any data."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from typing import Any

_log = logging.getLogger("legato.conductor")


@dataclass(frozen=True, slots=True, kw_only=True)
class HistoryEvent:
    """One thing that happened.

    Attributes:
        id: Counts the events of the whole run from 1.
        timestamp: RFC 3339, UTC, milliseconds.
        type: AWS's name, e.g. ``TaskStateEntered``. ``MapIteration*`` events are there for
            distributed maps too, where AWS has only those of the child executions.
        state: The state's name; None for events of an execution.
        execution: The execution's name; a child's is ``<parent>/<map>:<index>``.
        details: Error name, attempt, resource, duration, index or count of items.
        output: For the listener alone: a copy of what a state or task returned, or
            ``{"Error", "Cause"}`` of a failure. Never kept, never in :meth:`to_dict`.
    """

    id: int
    timestamp: str
    type: str
    state: str | None
    execution: str
    details: dict[str, str | int | float] = field(default_factory=dict)
    output: Any = field(default=None, compare=False, repr=False)

    def to_dict(self) -> dict[str, Any]:
        """Return the event as JSON, without its output."""
        plain = asdict(replace(self, output=None))
        del plain["output"]
        return plain


Listener = Callable[[HistoryEvent], None]


class Recorder:
    """Numbers and keeps the events of one run, and passes them to a listener one by one.

    Args:
        listener: Called from several threads, never by two at once. If it raises, the run goes
            on without it.
        now: Returns the current timestamp.
        earlier: What was recorded before, where the run goes on.
    """

    def __init__(
        self,
        listener: Listener | None,
        now: Callable[[], str],
        earlier: tuple[HistoryEvent, ...] = (),
    ) -> None:
        self._listener = listener
        self._now = now
        self._lock = threading.Lock()
        self._events = list(earlier)
        self._closed = False

    def record(
        self,
        type_: str,
        *,
        execution: str,
        state: str | None,
        details: dict[str, str | int | float],
        output: bytes | None = None,
    ) -> None:
        """Record one event.

        Args:
            type_: Its AWS name.
            execution: The execution that it belongs to.
            state: The state that it belongs to, if any.
            details: Small facts, none of them data.
            output: JSON for the listener.
        """
        with self._lock:
            if self._closed:
                return
            event = HistoryEvent(
                id=len(self._events) + 1,
                timestamp=self._now(),
                type=type_,
                state=state,
                execution=execution,
                details=details,
            )
            self._events.append(event)
            if self._listener is not None:
                self._tell(self._listener, event, output)

    def close(self) -> tuple[HistoryEvent, ...]:
        """Return all events; whatever happens later is not recorded."""
        with self._lock:
            self._closed = True
            return tuple(self._events)

    def _tell(self, listener: Listener, event: HistoryEvent, output: bytes | None) -> None:
        try:
            parsed = None if output is None else json.loads(output)
            listener(replace(event, output=parsed))
        except Exception as exc:  # noqa: BLE001 - a broken listener must not break the run
            self._listener = None
            # Not the message: it may quote the data that the listener was given.
            _log.warning("the listener raised %s and is not called again", type(exc).__name__)
