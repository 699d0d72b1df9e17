"""The states that do no work of their own: Pass, Wait, Choice, Succeed, Fail."""

from __future__ import annotations

from typing import Any

from legato.conductor._failure import NO_CHOICE_MATCHED, RUNTIME, StateFailure
from legato.conductor._fields import MAX_SECONDS
from legato.conductor._frame import Frame
from legato.conductor._model import Choice, Fail, Pass, Succeed, Wait
from legato.conductor._path import Path
from legato.conductor._template import Scope
from legato.conductor._timestamp import parse_timestamp


def run_pass(_frame: Frame, state: Pass, scope: Scope) -> tuple[Any, str | None]:
    """Return the fixed result, the made one, or the data."""
    return state.result(scope), state.next


def run_succeed(_frame: Frame, _state: Succeed, scope: Scope) -> tuple[Any, None]:
    """Return the data."""
    return scope.data, None


def run_choice(_frame: Frame, state: Choice, scope: Scope) -> tuple[Any, str]:
    """Return the data, and the state that the first true rule names."""
    for holds, target in state.rules:
        if holds(scope):
            return scope.data, target
    if state.default is None:
        cause = f"state {state.name}: no rule holds and there is no Default; add one"
        raise StateFailure(NO_CHOICE_MATCHED, cause)
    return scope.data, state.default


def run_fail(_frame: Frame, state: Fail, scope: Scope) -> tuple[Any, None]:
    """Raise the error that the definition names."""
    error = _text(state.error, state.error_path, scope, "ErrorPath")
    cause = _text(state.cause, state.cause_path, scope, "CausePath")
    raise StateFailure(error, cause)


def run_wait(frame: Frame, state: Wait, scope: Scope) -> tuple[Any, str | None]:
    """Wait, then return the data."""
    frame.sleep(_wait_s(frame, state, scope))
    return scope.data, state.next


def _wait_s(frame: Frame, state: Wait, scope: Scope) -> float:
    if state.seconds is not None:
        return float(state.seconds)
    if state.seconds_path is not None:
        seconds = scope.require(state.seconds_path, "SecondsPath")
        whole = isinstance(seconds, int) and not isinstance(seconds, bool)
        if not whole or not 0 <= seconds <= MAX_SECONDS:
            what = f"SecondsPath {state.seconds_path.text} gives no whole number of seconds >= 0"
            raise StateFailure(RUNTIME, f"state {state.name}: {what}")
        return float(seconds)
    moment_ns = state.timestamp_ns
    if state.timestamp_path is not None:
        moment_ns = parse_timestamp(scope.require(state.timestamp_path, "TimestampPath"))
        if moment_ns is None:
            what = f"TimestampPath {state.timestamp_path.text} gives no RFC 3339 timestamp"
            raise StateFailure(RUNTIME, f"state {state.name}: {what}")
    return max(0.0, (moment_ns or 0) / 1e9 - frame.engine.clock.time())


def _text(fixed: str | None, path: Path | None, scope: Scope, field: str) -> str:
    if path is None:
        return fixed or ""
    value = scope.require(path, field)
    if not isinstance(value, str):
        raise StateFailure(RUNTIME, f"state {scope.state}: {field} {path.text} gives no text")
    return value
