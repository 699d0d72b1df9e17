"""A bounded number of threads that take jobs from one line, so that no backlog piles up."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

from legato.conductor._failure import Stopped
from legato.conductor._region import STOP_GRACE_S, Region

T = TypeVar("T")


class Fleet(Generic[T]):
    """Works through jobs; ``region`` stops it.

    Args:
        parent: The region of the state that waits for the fleet.
        jobs: What to do, taken one by one as threads become free.
        work: Does one job. What it raises ends the fleet.
    """

    def __init__(self, parent: Region, jobs: Iterator[T], work: Callable[[T], None]) -> None:
        self.region = Region(parent)
        self._parent = parent
        self._jobs = jobs
        self._work = work
        self._lock = threading.Lock()
        self._working = 0
        self._finished = threading.Event()
        self._failure: BaseException | None = None

    def run(self, size: int, name: str, remaining_s: Callable[[], float | None]) -> None:
        """Start threads and wait until the jobs are done or the fleet's region is stopped.

        Args:
            size: The number of threads.
            name: What the threads are called.
            remaining_s: Returns the time left, or raises where there is none.

        Raises:
            Stopped: The parent is being stopped.
        """
        try:
            self._working = size
            self._start(size, name)
            while size and not self._finished.is_set():
                self._parent.wait(self._finished, remaining_s())
            if self._failure is not None:
                raise self._failure  # noqa: TRY301 - it ends the fleet like any other
            self._parent.check()
            if self.region.stopped.is_set():
                self.region.settle(STOP_GRACE_S)
        except BaseException:
            self.region.settle(STOP_GRACE_S)
            raise
        finally:
            self.region.close()

    def _start(self, size: int, name: str) -> None:
        started = 0
        try:
            for started in range(size):
                self.region.start(self._worker, f"{name}-{started}")
        except Stopped:
            # A job was quick to end the fleet: what it raised counts, not that it was ended.
            self._leave(size - started)

    def _worker(self) -> None:
        try:
            while not self.region.stopped.is_set():
                with self._lock:
                    job = next(self._jobs, None)
                if job is None:
                    return
                self._work(job)
        except Stopped:
            # The fleet's region was stopped on purpose, or the parent's, which the caller notices.
            return
        except BaseException as exc:  # noqa: BLE001 - handed to the thread that waits
            self._failure = self._failure or exc
            self.region.stop()
        finally:
            self._leave(1)

    def _leave(self, threads: int) -> None:
        with self._lock:
            self._working -= threads
            last = self._working == 0
        if last:
            self._finished.set()
