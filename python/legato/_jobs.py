"""What runs in a container on AWS Batch or ECS, as a function of this process."""

from __future__ import annotations

import contextlib
import json
import logging
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from legato._native import Store
from legato.conductor import JobContext, JobHandler
from legato.errors import TransientError
from legato.settings import Settings
from legato.step import Step
from legato.worker import Job

ATTEMPTS: Final = 3
"""How often Batch runs a job at most that exits as worth another try."""

_log = logging.getLogger("legato.worker")


def job(step: Step, settings: Settings, store: Store) -> JobHandler:
    """Return what ``python -m legato.worker`` does, for the embedded conductor.

    Args:
        step: The state's step.
        settings: Instead of those of the container's environment.
        store: The store of the run.
    """

    def run(environment: Mapping[str, str], context: JobContext) -> dict[str, Any]:
        task = Job(step, json.loads(environment["LEGATO_EVENT"]), settings, store)
        if context.token is not None:
            with _heard(context, settings.heartbeat_s):
                return task.run(_log.info)
        output = _tried(lambda: task.run(_log.info))
        task.leave(output)
        return output

    return run


@contextlib.contextmanager
def _heard(context: JobContext, every_s: float) -> Iterator[None]:
    done = threading.Event()

    def beat() -> None:
        while not done.wait(every_s):
            context.heartbeat()

    threading.Thread(target=beat, name="heartbeat", daemon=True).start()
    try:
        yield
    finally:
        done.set()


def _tried(work: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    for _ in range(ATTEMPTS - 1):
        with contextlib.suppress(TransientError):
            return work()
    return work()
