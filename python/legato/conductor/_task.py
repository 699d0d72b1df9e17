"""Task states: call a handler as Lambda would, in a thread of its own."""

from __future__ import annotations

import threading
import traceback
from dataclasses import dataclass, field
from typing import Any, Final

from legato.conductor._context import TaskContext
from legato.conductor._failure import MAX_CAUSE_CHARS, RUNTIME, TIMEOUT, StateFailure
from legato.conductor._frame import Frame, Handler
from legato.conductor._model import Task
from legato.conductor._payload import check_size, decode, encode
from legato.conductor._template import Scope

LAMBDA_MAX_S: Final = 900.0
"""The longest that a Lambda function can run."""


def run_task(frame: Frame, state: Task, scope: Scope) -> tuple[Any, str | None]:
    """Call the state's function and return what it returns.

    Raises:
        StateFailure: The function raised, took too long, or returned what is not JSON or too much.
    """
    arn = state.function(scope)
    handler = frame.engine.functions.get(arn) if isinstance(arn, str) else None
    if handler is None:
        cause = f"state {state.name}: no handler is bound to its function; bind one in functions"
        raise StateFailure("Lambda.ResourceNotFoundException", cause)
    event = check_size(state.payload(scope), f"payload of state {state.name}")
    prefix = "Task" if state.wrapped else "LambdaFunction"
    attempt = scope.context["State"]["RetryCount"] + 1
    frame.record(f"{prefix}Scheduled", state.name, resource=arn, attempt=attempt)
    started = frame.engine.clock.monotonic()
    timeout_s = _timeout_s(state, scope)
    frame.record(f"{prefix}Started", state.name, attempt=attempt)
    try:
        data = _invoke(frame, state, arn, handler, event, timeout_s)
        payload = decode(data)
        result = _wrapped(payload) if state.wrapped else payload
        encoded = check_size(result, f"result of state {state.name}")
    except StateFailure as failure:
        how = "TimedOut" if failure.error == TIMEOUT else "Failed"
        frame.record(
            f"{prefix}{how}",
            state.name,
            encode(failure.output()),
            error=failure.error,
            attempt=attempt,
            duration_s=round(frame.engine.clock.monotonic() - started, 6),
        )
        raise
    duration_s = round(frame.engine.clock.monotonic() - started, 6)
    frame.record(f"{prefix}Succeeded", state.name, encoded, attempt=attempt, duration_s=duration_s)
    return result, state.next


@dataclass(slots=True)
class _Call:
    """One invocation, shared by the thread that makes it and the one that waits."""

    done: threading.Event = field(default_factory=threading.Event)
    result: bytes = b""
    failure: BaseException | None = None

    def make(self, handler: Handler, event: bytes, context: TaskContext) -> None:
        try:
            self.result = _marshal(handler(decode(event), context), context)
        except StateFailure as failure:
            self.failure = failure
        except SystemExit as exc:
            message = f"Runtime exited with error: exit status {_status(exc)}"
            self.failure = _failure("Runtime.ExitError", message, context)
        except Exception as exc:  # noqa: BLE001 - whatever a handler raises is its error
            stack = traceback.format_tb(exc.__traceback__)[1:]
            self.failure = _failure(type(exc).__name__, _message(exc), context, stack)
        except BaseException as exc:  # noqa: BLE001 - KeyboardInterrupt stops the whole run
            self.failure = exc
        finally:
            self.done.set()


def _invoke(  # noqa: PLR0913, PLR0917 - what an invocation needs
    frame: Frame, state: Task, arn: str, handler: Handler, event: bytes, timeout_s: float | None
) -> bytes:
    clock = frame.engine.clock
    allowed_s = LAMBDA_MAX_S if timeout_s is None else timeout_s
    ends = clock.monotonic() + allowed_s
    context = TaskContext(invoked_function_arn=arn, remaining_s=lambda: ends - clock.monotonic())
    call = _Call()
    remaining_s = frame.remaining_s()
    frame.region.start(lambda: call.make(handler, event, context), f"{frame.name}/{state.name}")
    frame.region.wait(call.done, allowed_s if remaining_s is None else min(allowed_s, remaining_s))
    if not call.done.is_set():
        frame.remaining_s()
        cause = f"state {state.name}: the function did not return within {allowed_s:g} s"
        raise StateFailure(TIMEOUT, cause)
    if call.failure is not None:
        raise call.failure
    return call.result


def _timeout_s(state: Task, scope: Scope) -> float | None:
    if state.timeout_path is None:
        return None if state.timeout_s is None else float(state.timeout_s)
    value = scope.require(state.timeout_path, "TimeoutSecondsPath")
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        what = f"TimeoutSecondsPath {state.timeout_path.text} gives no whole number of seconds > 0"
        raise StateFailure(RUNTIME, f"state {state.name}: {what}")
    return float(value)


def _wrapped(payload: Any) -> dict[str, Any]:
    return {"ExecutedVersion": "$LATEST", "Payload": payload, "StatusCode": 200}


def _marshal(value: object, context: TaskContext) -> bytes:
    try:
        return encode(value)
    except ValueError as exc:
        message = f"Unable to marshal response: {exc}"
        raise _failure("Runtime.MarshalError", message, context) from None


def _failure(
    error: str, message: str, context: TaskContext, stack: list[str] | None = None
) -> StateFailure:
    report = {
        "errorMessage": message,
        "errorType": error,
        "requestId": context.aws_request_id,
        "stackTrace": stack or [],
    }
    # A lone surrogate in a message must not keep the error from being reported.
    cause = encode({k: _printable(v) for k, v in report.items()}).decode()
    if len(cause) > MAX_CAUSE_CHARS:
        cause = encode({**report, "errorMessage": _printable(message), "stackTrace": []}).decode()
    return StateFailure(error, cause)


def _printable(value: Any) -> Any:
    if isinstance(value, list):
        return [_printable(item) for item in value]
    return value.encode("utf-8", "backslashreplace").decode()


def _message(exc: Exception) -> str:
    try:
        return str(exc)
    except Exception:  # noqa: BLE001 - a broken __str__ must not hide the error's name
        return ""


def _status(exc: SystemExit) -> int:
    if exc.code is None:
        return 0
    return exc.code if isinstance(exc.code, int) else 1
