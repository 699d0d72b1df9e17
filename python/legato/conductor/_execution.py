"""Executions: the run itself, and the children of its distributed maps."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final, Literal

from legato.conductor._checkpoint import Checkpoint, Resumption
from legato.conductor._failure import TIMEOUT, OutOfTime, StateFailure
from legato.conductor._frame import Frame
from legato.conductor._history import HistoryEvent
from legato.conductor._model import Machine
from legato.conductor._payload import check_size, encode

ACCOUNT: Final = "arn:aws:states:local:000000000000"

Status = Literal["SUCCEEDED", "FAILED", "TIMED_OUT", "ABORTED"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Execution:
    """How a run ended.

    Attributes:
        name: The name that it was given.
        status: ``SUCCEEDED``, ``FAILED`` or ``TIMED_OUT``.
        output: What the last state returned; None unless it succeeded.
        error: The error's name; None where it succeeded.
        cause: What happened, for people; of a Lambda error, JSON with ``errorMessage``.
        started: RFC 3339, UTC.
        stopped: RFC 3339, UTC.
        history: Every event, in order, without data.
        redrives: How often it was redriven.
        resumption: What a redrive goes on from; None where it succeeded.
    """

    name: str
    status: Status
    output: Any
    error: str | None
    cause: str | None
    started: str
    stopped: str
    history: tuple[HistoryEvent, ...]
    redrives: int = 0
    resumption: Resumption | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How one execution ended; ``encoded`` is its output as JSON."""

    status: Status
    output: Any = None
    encoded: bytes = b"null"
    failure: StateFailure | None = None


def execution_context(name: str, machine: str, data: object, started: str) -> dict[str, Any]:
    """Return the context object of an execution.

    Args:
        name: The execution's name.
        machine: The state machine's name.
        data: The execution's input.
        started: When it started, RFC 3339.
    """
    return {
        "Execution": {
            "Id": f"{ACCOUNT}:execution:{machine}:{name}",
            "Input": data,
            "Name": name,
            "RedriveCount": 0,
            "RoleArn": "arn:aws:iam::000000000000:role/local",
            "StartTime": started,
        },
        "StateMachine": {"Id": f"{ACCOUNT}:stateMachine:{machine}", "Name": machine},
    }


def execute(
    frame: Frame, machine: Machine, data: Any, resumed: Checkpoint | None = None
) -> Outcome:
    """Run an execution and record its beginning and end.

    Args:
        frame: The execution.
        machine: Its states.
        data: Its input.
        resumed: Where it goes on; None lets it start.

    Raises:
        Stopped: The run is being stopped.
    """
    frame.record("ExecutionStarted" if resumed is None else "ExecutionRedriven")
    try:
        check_size(data, "input of the execution")
        output = frame.run(machine, data, resumed)
        # Checked by the state that made it.
        encoded = encode(output)
        frame.record("ExecutionSucceeded", None, encoded)
        return Outcome(status="SUCCEEDED", output=output, encoded=encoded)
    except StateFailure as failure:
        frame.record(
            "ExecutionFailed",
            None,
            encode(failure.output()),
            counted=False,
            error=failure.error,
        )
        return Outcome(status="FAILED", failure=failure)
    except OutOfTime:
        frame.region.stop()
        late = StateFailure(TIMEOUT, "the execution took longer than it may; see TimeoutSeconds")
        frame.record("ExecutionTimedOut", counted=False, error=late.error)
        return Outcome(status="TIMED_OUT", failure=late)
    except BaseException:
        frame.record("ExecutionAborted", counted=False)
        raise
