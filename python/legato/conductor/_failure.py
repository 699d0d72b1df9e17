"""Failures of a state: the names that AWS reserves, and which name matches which pattern."""

from __future__ import annotations

from typing import Final

ALL: Final = "States.ALL"
TASK_FAILED: Final = "States.TaskFailed"
TIMEOUT: Final = "States.Timeout"
RUNTIME: Final = "States.Runtime"
DATA_LIMIT_EXCEEDED: Final = "States.DataLimitExceeded"
RESULT_PATH_MATCH_FAILURE: Final = "States.ResultPathMatchFailure"
NO_CHOICE_MATCHED: Final = "States.NoChoiceMatched"
EXCEED_TOLERATED_FAILURE_THRESHOLD: Final = "States.ExceedToleratedFailureThreshold"
ITEM_READER_FAILED: Final = "States.ItemReaderFailed"
INTRINSIC_FAILURE: Final = "States.IntrinsicFailure"
HEARTBEAT_TIMEOUT: Final = "States.HeartbeatTimeout"
RESULT_WRITER_FAILED: Final = "States.ResultWriterFailed"

RESERVED: Final = frozenset(
    {
        ALL,
        TASK_FAILED,
        TIMEOUT,
        RUNTIME,
        DATA_LIMIT_EXCEEDED,
        RESULT_PATH_MATCH_FAILURE,
        NO_CHOICE_MATCHED,
        EXCEED_TOLERATED_FAILURE_THRESHOLD,
        ITEM_READER_FAILED,
        RESULT_WRITER_FAILED,
        "States.BranchFailed",
        HEARTBEAT_TIMEOUT,
        "States.Http.Socket",
        "States.Http.StatusCodeFailure",
        INTRINSIC_FAILURE,
        "States.ParameterPathFailure",
        "States.Permissions",
        "States.QueryEvaluationError",
    }
)
"""Every name with the prefix ``States.`` that a definition may mention."""

# A definition may mention States.Runtime, but executions on AWS fail at once even where a Catch
# names it; States.DataLimitExceeded is caught by its own name only.
_NOT_BY_WILDCARD: Final = frozenset({RUNTIME, DATA_LIMIT_EXCEEDED})

MAX_ERROR_CHARS: Final = 256
MAX_CAUSE_CHARS: Final = 32_768


class StateFailure(Exception):  # noqa: N818 - a failure is the field's word
    """A state has failed; ``Retry`` and ``Catch`` decide what happens next.

    Args:
        error: The name that ``ErrorEquals`` is compared with; cut to 256 characters.
        cause: What happened, for people; cut to 32,768 characters.
    """

    def __init__(self, error: str, cause: str) -> None:
        super().__init__(error)
        self.error = error[:MAX_ERROR_CHARS]
        self.cause = cause[:MAX_CAUSE_CHARS]

    def output(self) -> dict[str, str]:
        """Return what a ``Catch`` hands to the next state."""
        return {"Error": self.error, "Cause": self.cause}


class Stopped(Exception):  # noqa: N818 - a signal between threads, not an error
    """The run is being stopped: no state may start."""


class OutOfTime(Exception):  # noqa: N818 - ends an execution as TIMED_OUT, not as FAILED
    """The execution's own ``TimeoutSeconds`` is over; no state can catch that."""


def matches(patterns: tuple[str, ...], error: str) -> bool:
    """Tell whether an ``ErrorEquals`` list matches an error name, by the rules of AWS."""
    if error == RUNTIME:
        return False
    if error in patterns:
        return True
    if error in _NOT_BY_WILDCARD:
        return False
    return ALL in patterns or (TASK_FAILED in patterns and error != TIMEOUT)
