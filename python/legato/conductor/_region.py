"""Structured concurrency: what runs under a region is stopped, and waited for, with it."""

from __future__ import annotations

import math
import threading
import time
from contextvars import copy_context
from typing import TYPE_CHECKING

from legato.conductor._failure import Stopped

if TYPE_CHECKING:
    from collections.abc import Callable

STOP_GRACE_S = 2.0
"""How long running functions are waited for once a run is stopped, in seconds."""


class Region:
    """A region of a run that can be stopped as a whole.

    Args:
        parent: The region that this one lies in; stopping it stops this one too.
    """

    def __init__(self, parent: Region | None = None) -> None:
        self.stopped = threading.Event()
        self._stopped_at = math.inf
        self._lock = threading.Lock()
        self._wakers: set[threading.Event] = set()
        self._threads: set[threading.Thread] = set()
        self._inner: set[Region] = set()
        self._parent = parent
        if parent is not None:
            parent._adopt(self)  # noqa: SLF001 - of the same class

    def stop(self) -> None:
        """Let no state start any more, and wake everything that waits."""
        self._stop(time.monotonic())

    def _stop(self, now: float) -> None:
        with self._lock:
            self._stopped_at = min(self._stopped_at, now)
            self.stopped.set()
            wakers, inner = list(self._wakers), list(self._inner)
        for waker in wakers:
            waker.set()
        for region in inner:
            region._stop(now)  # noqa: SLF001 - of the same class

    def check(self) -> None:
        """Raise Stopped where the region has been stopped."""
        if self.stopped.is_set():
            raise Stopped

    def wait(self, event: threading.Event, timeout_s: float | None) -> None:
        """Wait until an event is set or the time is over.

        Args:
            event: What to wait for; it is set too when the region is stopped.
            timeout_s: The longest wait, in seconds; None has no limit.

        Raises:
            Stopped: The region has been stopped.
        """
        with self._lock:
            self._wakers.add(event)
        try:
            self.check()
            event.wait(None if timeout_s is None else min(timeout_s, threading.TIMEOUT_MAX))
        finally:
            with self._lock:
                self._wakers.discard(event)
        self.check()

    def start(self, work: Callable[[], None], name: str) -> None:
        """Run something in a thread that does not keep the process from exiting.

        Args:
            work: What to run; it sees the context variables of the caller.
            name: The thread's name.

        Raises:
            Stopped: The region has been stopped.
        """
        context = copy_context()

        def body() -> None:
            try:
                context.run(work)
            finally:
                with self._lock:
                    self._threads.discard(thread)

        thread = threading.Thread(target=body, name=name, daemon=True)
        # Under the lock, so that nobody who waits for threads meets one that has not started.
        with self._lock:
            self.check()
            self._threads.add(thread)
            thread.start()

    def settle(self, grace_s: float) -> None:
        """Stop, then wait a short time for what still runs.

        Args:
            grace_s: The longest wait, in seconds, from when it was first stopped: regions in each
                other share it. A function that takes longer is left to its thread, which dies with
                the process.
        """
        self.stop()
        deadline = self._stopped_at + grace_s
        for thread in self._running():
            thread.join(max(0.0, deadline - time.monotonic()))

    def close(self) -> None:
        """Leave the parent; nothing runs under this region any more."""
        if self._parent is not None:
            with self._parent._lock:  # noqa: SLF001 - of the same class
                self._parent._inner.discard(self)  # noqa: SLF001

    def _adopt(self, region: Region) -> None:
        with self._lock:
            self._inner.add(region)
            if self.stopped.is_set():
                region._stopped_at = self._stopped_at
                region.stopped.set()

    def _running(self) -> list[threading.Thread]:
        with self._lock:
            own, inner = [t for t in self._threads if t.is_alive()], list(self._inner)
        return own + [thread for region in inner for thread in region._running()]  # noqa: SLF001
