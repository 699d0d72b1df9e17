"""Task states that call a function: as Lambda would, in a thread of its own."""

from __future__ import annotations

from typing import Any, Final

from legato.conductor._call import Call, timeout_s
from legato.conductor._context import TaskContext
from legato.conductor._failure import HEARTBEAT_TIMEOUT, TIMEOUT, StateFailure
from legato.conductor._frame import Frame
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
    attempt = Attempt(frame, state.name, scope, "Task" if state.wrapped else "LambdaFunction")
    attempt.record("Scheduled", resource=arn)
    allowed_s = timeout_s(state, scope)
    attempt.record("Started")
    clock = frame.engine.clock
    most_s = LAMBDA_MAX_S if allowed_s is None else allowed_s
    ends = clock.monotonic() + most_s
    context = TaskContext(invoked_function_arn=arn, remaining_s=lambda: ends - clock.monotonic())
    call = Call(lambda: handler(decode(event), context), context.aws_request_id)
    try:
        payload = decode(call.wait(frame, state.name, most_s))
        result = _wrapped(payload) if state.wrapped else payload
        encoded = check_size(result, f"result of state {state.name}")
    except StateFailure as failure:
        attempt.fail(failure)
        raise
    attempt.succeed(encoded)
    return result, state.next


class Attempt:
    """The events of one attempt of a Task.

    Args:
        frame: Its execution.
        state: The state's name.
        scope: Its data.
        prefix: What the types of its events begin with.
    """

    def __init__(self, frame: Frame, state: str, scope: Scope, prefix: str) -> None:
        self._frame = frame
        self._state = state
        self._prefix = prefix
        self._number = scope.context["State"]["RetryCount"] + 1
        self._started = frame.engine.clock.monotonic()

    def record(self, how: str, output: bytes | None = None, **details: str | float) -> None:
        """Record that the attempt has got that far."""
        told = {"attempt": self._number, **details}
        self._frame.record(f"{self._prefix}{how}", self._state, output, counted=True, **told)

    def succeed(self, output: bytes) -> None:
        """Record its end."""
        self.record("Succeeded", output, duration_s=self._duration_s)

    def fail(self, failure: StateFailure) -> None:
        """Record its failure."""
        late = failure.error in (TIMEOUT, HEARTBEAT_TIMEOUT)
        self.record(
            "TimedOut" if late else "Failed",
            encode(failure.output()),
            error=failure.error,
            duration_s=self._duration_s,
        )

    @property
    def _duration_s(self) -> float:
        return round(self._frame.engine.clock.monotonic() - self._started, 6)


def _wrapped(payload: Any) -> dict[str, Any]:
    return {"ExecutedVersion": "$LATEST", "Payload": payload, "StatusCode": 200}
