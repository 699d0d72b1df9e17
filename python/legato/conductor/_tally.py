"""What the iterations of one Map have brought so far."""

from __future__ import annotations

import threading
from typing import Any

from legato.conductor._failure import (
    DATA_LIMIT_EXCEEDED,
    EXCEED_TOLERATED_FAILURE_THRESHOLD,
    StateFailure,
)
from legato.conductor._model import Map
from legato.conductor._payload import MAX_PAYLOAD_BYTES


class Tally:
    """Collects outputs and failures; safe to use from several threads.

    Args:
        state: The Map state.
        total: How many items it has.
        kept: Whether the outputs are the state's result, and so limited; else they are exported.
    """

    def __init__(self, state: Map, total: int, *, kept: bool = True) -> None:
        self._state = state
        self._total = total
        self._kept = kept
        self._lock = threading.Lock()
        self._done: set[int] = set()
        self._outputs: dict[int, Any] = {}
        self._output_bytes = 2
        self._failed = 0
        self._failure: StateFailure | None = None

    def succeed(self, index: int, output: Any, size_bytes: int) -> None:
        """Add the output of an iteration."""
        with self._lock:
            self._done.add(index)
            if not self._kept:
                return
            self._output_bytes += size_bytes + 1
            if self._output_bytes > MAX_PAYLOAD_BYTES:
                # The Map will fail, so a long run need not keep what nobody will see.
                self._outputs.clear()
            else:
                self._outputs[index] = output

    @property
    def done(self) -> frozenset[int]:
        """The iterations that succeeded."""
        with self._lock:
            return frozenset(self._done)

    def again(self, total: int) -> Tally:
        """Return a tally that keeps what succeeded, for another attempt at the rest.

        Args:
            total: How many items there are.
        """
        other = Tally(self._state, total, kept=self._kept)
        with self._lock:
            other._done = set(self._done)
            other._outputs = dict(self._outputs)
            other._output_bytes = self._output_bytes
        return other

    def fail(self, failure: StateFailure) -> bool:
        """Add a failed iteration; return whether the Map has failed with it."""
        with self._lock:
            self._failed += 1
            if not self._state.distributed:
                self._failure = self._failure or failure
            elif self._exceeded():
                cause = "the specified tolerated failure threshold was exceeded"
                self._failure = StateFailure(EXCEED_TOLERATED_FAILURE_THRESHOLD, cause)
            return self._failure is not None

    def result(self) -> list[Any]:
        """Return the outputs in the order of the items.

        Raises:
            StateFailure: Too many iterations failed, or the outputs are over the limit together.
        """
        if self._failure is not None:
            raise self._failure
        if self._output_bytes > MAX_PAYLOAD_BYTES:
            cause = (
                f"the result of state {self._state.name} has {self._output_bytes:,} bytes, the "
                f"limit of Step Functions is {MAX_PAYLOAD_BYTES:,}; let its last state return less"
            )
            raise StateFailure(DATA_LIMIT_EXCEEDED, cause)
        return [self._outputs[index] for index in sorted(self._outputs)]

    def _exceeded(self) -> bool:
        count, percentage = self._state.tolerated_count, self._state.tolerated_percentage
        if count is None and percentage is None:
            return True
        over_count = count is not None and self._failed > count
        # Exact for whole numbers, where a quotient could fall on either side of the threshold.
        over_percentage = percentage is not None and self._failed * 100 > percentage * self._total
        return over_count or over_percentage
