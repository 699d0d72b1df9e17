"""The entry point of a container: ``python -m legato.worker`` runs one task of a state.

The state passes the task's event as ``LEGATO_EVENT`` and, on ECS, a token as
``LEGATO_TASK_TOKEN``. With a token the worker reports the task's output or its error to Step
Functions, and heartbeats meanwhile. Without one (AWS Batch) it leaves the output beside the run,
where the next state's step finds it, and says by its exit status what became of the task.
"""

from __future__ import annotations

import importlib
import json
import os
import queue
import signal
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from legato._home import open_store
from legato._left import leave, record_failure
from legato._lines import about, failure_line, line, print_line, reason_of
from legato._native import Store
from legato._token import StaleTokenError, TaskToken
from legato.errors import InputError, LegatoError, SettingsError, WorkerStoppedError
from legato.settings import Settings, job_id, task_token
from legato.step import Step

DONE: Final = 0
"""The output is where the next state looks for it, or the task is another worker's."""

FAILED: Final = 1
"""Another try would fail in the same way."""

AGAIN: Final = 75
"""Worth another try (EX_TEMPFAIL): what a job definition's EvaluateOnExit retries."""


@dataclass
class Container:
    """The context of a task: what stands in lines and records where Lambda has a request."""

    function_name: str
    aws_request_id: str


@dataclass(frozen=True)
class Job:
    """A task: a step, its event, and where its objects lie."""

    step: Step
    event: dict[str, Any]
    settings: Settings
    store: Store

    @classmethod
    def of(cls, settings: Settings) -> Job:
        """Return the task that the settings name.

        Raises:
            SettingsError: There is no event, no step or no store.
            InputError: The event is no JSON object.
        """
        text, step = settings.require("event"), _step(settings.step)
        try:
            event = json.loads(text)
        except (ValueError, RecursionError):
            event = None
        if not isinstance(event, dict):
            msg = "LEGATO_EVENT is no JSON object; pass it with States.JsonToString($)"
            raise InputError(msg)
        url = settings.require("store")
        try:
            return cls(step, event, settings, open_store(url, settings))
        except InputError as error:
            msg = f"LEGATO_STORE cannot be used: {error}"
            raise SettingsError(msg) from None

    def run(self, log: Callable[[str], None] = print_line) -> dict[str, Any]:
        """Run the step and return its output; a failure leaves a record beside the run."""
        context = Container("legato.worker", job_id())
        return self.step.bind(self.settings, self.store, log=log)(self.event, context)

    def leave(self, output: Mapping[str, Any]) -> None:
        """Leave an output beside the run, for the next state's step."""
        leave(self.store, self.event, self.step.name, output)

    def record(self, named: Mapping[str, Any], error: LegatoError) -> None:
        """Log an error that is not the step's own, and leave it beside the run."""
        failed = failure_line(self.step.name, named, error)
        print_line(failed)
        record_failure(self.store, self.event, self.step.name, failed)


def main() -> int:
    """Run the task of the environment; return the exit status.

    Raises:
        Nothing: every failure is a line, and an exit status.
    """
    told: queue.SimpleQueue[Any] = queue.SimpleQueue()
    # A queue, and not an event: a signal may come while this very thread waits. Before all else:
    # loading an SDK and a step takes seconds.
    signal.signal(signal.SIGTERM, lambda *_: told.put(WorkerStoppedError(_STOPPED)))
    try:
        value = task_token()
        token = TaskToken.open(value) if value is not None else None
    except LegatoError as error:
        return _log_failure("worker", {}, error)
    try:
        settings = Settings.from_env()
        job = Job.of(settings)
    except LegatoError as error:
        status = _log_failure("worker", {}, error)
        return status if token is None else _report(token, "worker", {}, error)
    named = about(job.event, Container("legato.worker", job_id()))
    # Not the main thread: native code runs there for minutes, and would keep signals waiting.
    threading.Thread(target=_work, args=(job, told), daemon=True).start()
    try:
        result = _wait(told, token, settings.heartbeat_s, job.step.name)
        if isinstance(result, BaseException):
            return _failed(token, job, named, result)
        if token is not None:
            token.succeed(json.dumps(result))
        else:
            job.leave(result)
    except StaleTokenError as stale:
        text = f"the task ended without this worker ({stale}); who has it finds what is finished"
        print_line(line("WARNING", job.step.name, {**named, "reason": text}))
    except LegatoError as error:
        job.record(named, error)
        return _status(error)
    return DONE


_STOPPED: Final = "the container was told to stop before its task was done; run it again"


def _step(name: str) -> Step:
    module, _, attribute = name.rpartition(".")
    try:
        found = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError, ValueError):
        found = None
    except Exception as error:  # noqa: BLE001
        # A module may raise anything as it is loaded; the message may hold what it likes.
        msg = f"LEGATO_STEP is {name}, whose module raises {type(error).__name__}; load it by hand"
        raise SettingsError(msg) from None
    if not isinstance(found, Step):
        msg = f"LEGATO_STEP is {name}, which is no @legato.step of the image; use module.function"
        raise SettingsError(msg)
    return found


def _work(job: Job, told: queue.SimpleQueue[Any]) -> None:
    try:
        told.put(job.run())
    except BaseException as error:  # noqa: BLE001 - the main thread reports it
        told.put(error)


def _wait(
    told: queue.SimpleQueue[Any], token: TaskToken | None, heartbeat_s: float, state: str
) -> Any:
    """Return the output or the error of the task, or that it is to stop; heartbeat meanwhile."""
    while True:
        try:
            if token is not None:
                token.heartbeat()
        except LegatoError as error:
            # The work goes on: the next one, or the output, may come through.
            print_line(failure_line(state, {}, error))
        try:
            return told.get(timeout=heartbeat_s if token is not None else None)
        except queue.Empty:
            continue


def _failed(
    token: TaskToken | None, job: Job, named: Mapping[str, Any], error: BaseException
) -> int:
    """Report an error; the step has logged and recorded all but that it was stopped."""
    recording = threading.Thread(target=job.record, args=(named, error), daemon=True)
    if isinstance(error, WorkerStoppedError):
        # At the same time: a container that was told to stop has seconds, and either may hang.
        recording.start()
    status = _status(error)
    if token is not None:
        status = _report(token, job.step.name, named, error)
    if recording.is_alive():
        recording.join()
    return status


def _report(token: TaskToken, state: str, named: Mapping[str, Any], error: BaseException) -> int:
    """End the task with an error; the exit status says the same."""
    kind = type(error).__name__
    cause = {"errorType": kind, "errorMessage": reason_of(error) or f"{kind} in {state}"}
    try:
        token.fail(kind, json.dumps(cause))
    except StaleTokenError:
        return DONE
    except LegatoError as refused:
        print_line(failure_line(state, named, refused))
    return _status(error)


def _log_failure(state: str, named: Mapping[str, Any], error: LegatoError) -> int:
    print_line(failure_line(state, named, error))
    return _status(error)


def _status(error: BaseException) -> int:
    return AGAIN if isinstance(error, LegatoError) and error.retryable else FAILED


if __name__ == "__main__":
    status = main()
    # A thread that still computes would keep the process.
    os._exit(status)
