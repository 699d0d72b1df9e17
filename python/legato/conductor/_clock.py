"""The clock of a run; a test may replace it, so that nobody waits for a retry."""

from __future__ import annotations

import threading
import time
from typing import Protocol


class Clock(Protocol):
    """What a run asks of time."""

    def time(self) -> float:
        """Return the seconds since 1970-01-01T00:00:00Z."""

    def monotonic(self) -> float:
        """Return seconds that never go back."""

    def sleep(self, seconds: float, stopped: threading.Event) -> None:
        """Wait for some seconds, or until the event is set."""


class SystemClock:
    """The real time."""

    def time(self) -> float:
        """Return the seconds since 1970-01-01T00:00:00Z."""
        return time.time()

    def monotonic(self) -> float:
        """Return seconds that never go back."""
        return time.monotonic()

    def sleep(self, seconds: float, stopped: threading.Event) -> None:
        """Wait for some seconds, or until the event is set."""
        stopped.wait(min(seconds, threading.TIMEOUT_MAX))
