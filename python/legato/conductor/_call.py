"""Calls of handlers: each in a thread of its own, for as long as its state allows."""

from __future__ import annotations

import threading
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from legato.conductor._failure import (
    HEARTBEAT_TIMEOUT,
    MAX_CAUSE_CHARS,
    RUNTIME,
    TIMEOUT,
    StateFailure,
)
from legato.conductor._frame import Frame
from legato.conductor._model import Job, Task
from legato.conductor._payload import encode
from legato.conductor._template import Scope


@dataclass(slots=True)
class Call:
    """One call, shared by the thread that makes it and the one that waits.

    Args:
        work: Makes it; returns what is JSON.
        request_id: Names it in what is told of a failure.
    """

    work: Callable[[], Any]
    request_id: str
    done: threading.Event = field(default_factory=threading.Event)
    beats: int = 0
    result: bytes = b""
    failure: BaseException | None = None

    def make(self) -> None:
        """Do the work and keep its result, or the failure that Step Functions would see."""
        try:
            self.result = self._marshal(self.work())
        except StateFailure as failure:
            self.failure = failure
        except SystemExit as exc:
            message = f"Runtime exited with error: exit status {_status(exc)}"
            self.failure = self._failed("Runtime.ExitError", message)
        except Exception as exc:  # noqa: BLE001 - whatever a handler raises is its error
            stack = traceback.format_tb(exc.__traceback__)[2:]
            self.failure = self._failed(type(exc).__name__, _message(exc), stack)
        except BaseException as exc:  # noqa: BLE001 - KeyboardInterrupt stops the whole run
            self.failure = exc
        finally:
            self.done.set()

    def beat(self) -> None:
        """Say that the work goes on."""
        self.beats += 1

    def wait(
        self, frame: Frame, state: str, allowed_s: float, heartbeat_s: float | None = None
    ) -> bytes:
        """Start the work, wait for its end and return its result.

        Args:
            frame: The execution that waits.
            state: The state, for messages.
            allowed_s: How long it may take.
            heartbeat_s: How long nothing may be heard of it; None for any time.

        Raises:
            StateFailure: It failed, took too long, or was silent for too long.
        """
        ends = frame.engine.clock.monotonic() + allowed_s
        frame.region.start(self.make, f"{frame.name}/{state}")
        while not self.done.is_set():
            heard, left_s = self.beats, ends - frame.engine.clock.monotonic()
            silence = heartbeat_s is not None and heartbeat_s < left_s
            limit_s = heartbeat_s if silence and heartbeat_s is not None else left_s
            remaining_s = frame.remaining_s()
            most_s = limit_s if remaining_s is None else min(limit_s, remaining_s)
            frame.region.wait(self.done, most_s)
            if self.done.is_set() or (silence and heard != self.beats):
                continue
            frame.remaining_s()
            if silence:
                cause = f"state {state}: the task sent no heartbeat for {heartbeat_s:g} s"
                raise StateFailure(HEARTBEAT_TIMEOUT, cause)
            cause = f"state {state}: the function did not return within {allowed_s:g} s"
            raise StateFailure(TIMEOUT, cause)
        if self.failure is not None:
            raise self.failure
        return self.result

    def _marshal(self, value: object) -> bytes:
        try:
            return encode(value)
        except ValueError as exc:
            message = f"Unable to marshal response: {exc}"
            raise self._failed("Runtime.MarshalError", message) from None

    def _failed(self, error: str, message: str, stack: list[str] | None = None) -> StateFailure:
        report = {
            "errorMessage": message,
            "errorType": error,
            "requestId": self.request_id,
            "stackTrace": stack or [],
        }
        # A lone surrogate in a message must not keep the error from being reported.
        cause = encode({k: _printable(v) for k, v in report.items()}).decode()
        if len(cause) > MAX_CAUSE_CHARS:
            short = {**report, "errorMessage": _printable(message), "stackTrace": []}
            cause = encode(short).decode()
        return StateFailure(error, cause)


def timeout_s(state: Task | Job, scope: Scope) -> float | None:
    """Return how long a Task may take as it says itself, None where it says nothing.

    Raises:
        StateFailure: ``States.Runtime``: TimeoutSecondsPath gives no number of seconds.
    """
    if state.timeout_path is None:
        return None if state.timeout_s is None else float(state.timeout_s)
    value = scope.require(state.timeout_path, "TimeoutSecondsPath")
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        what = f"TimeoutSecondsPath {state.timeout_path.text} gives no whole number of seconds > 0"
        raise StateFailure(RUNTIME, f"state {state.name}: {what}")
    return float(value)


def _status(exc: SystemExit) -> int:
    if exc.code is None:
        return 0
    return exc.code if isinstance(exc.code, int) else 1


def _printable(value: Any) -> Any:
    if isinstance(value, list):
        return [_printable(item) for item in value]
    return value.encode("utf-8", "backslashreplace").decode()


def _message(exc: Exception) -> str:
    try:
        return str(exc)
    except Exception:  # noqa: BLE001 - a broken __str__ must not hide the error's name
        return ""
