"""Work in a thread of its own, which Ctrl-C cannot break in the middle."""

from __future__ import annotations

import _thread
import math
import time
from collections.abc import Callable
from contextvars import copy_context
from typing import Final, Generic, TypeVar

from legato.conductor._region import STOP_GRACE_S, Region

T = TypeVar("T")

HEARD_S: Final = 0.2
"""How late Ctrl-C may be heard, in seconds: one that comes right before a wait does not end it."""


class Aside(Generic[T]):
    """A call that runs in a thread of its own while its caller waits.

    Python raises KeyboardInterrupt in the main thread between any two steps, also where the
    ``threading`` module has just taken a lock: that lock is then never released, and who needs it
    hangs. So what takes locks runs here, and the main thread only waits, in steps of C.

    Args:
        work: What to call; it sees the context variables of the caller.
    """

    def __init__(self, work: Callable[[], T]) -> None:
        self._work = work
        self._context = copy_context()
        self._running = _thread.allocate_lock()
        self._results: list[T] = []
        self._failure: BaseException | None = None
        self._running.acquire()

    def start(self) -> None:
        """Begin; like a daemon thread, it does not keep the process."""
        # Thread.start() would wait for the thread with a lock as above.
        _thread.start_new_thread(self._run, ())

    def wait(self, timeout_s: float = math.inf) -> None:
        """Wait until the call is over, or the time is."""
        ends = time.monotonic() + timeout_s
        while (left_s := ends - time.monotonic()) > 0:
            if self._running.acquire(timeout=min(left_s, HEARD_S)):
                # Nobody else needs this lock: an interrupt before this may leave it taken.
                self._running.release()
                return

    def result(self) -> T:
        """Wait, and return what the call returned, or raise what it raised."""
        self.wait()
        if self._failure is not None:
            failure, self._failure = self._failure, None  # it refers to this frame
            raise failure
        return self._results[0]

    def _run(self) -> None:
        try:
            self._results.append(self._context.run(self._work))
        except BaseException as exc:  # noqa: BLE001 - it is raised where it is waited for
            self._failure = exc
        finally:
            self._running.release()


def interruptible(work: Callable[[], T], region: Region) -> T:
    """Return what `work` returns; a KeyboardInterrupt stops its region, and waits for its end.

    Args:
        work: What to call, in a thread of its own.
        region: What runs under it is stopped.
    """
    running = Aside(work)
    try:
        running.start()
        return running.result()
    except KeyboardInterrupt:
        stopping = Aside(lambda: region.settle(STOP_GRACE_S))
        stopping.start()
        stopping.wait()
        running.wait(STOP_GRACE_S)
        raise
