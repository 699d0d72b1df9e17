"""The second argument of a Lambda handler."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import dataclass, field


def _request_id() -> str:
    return str(uuid.uuid4())


def function_name(arn: str) -> str:
    """Return the name in a function's ARN, or the text itself where it is no ARN."""
    parts = arn.split(":")
    is_arn = len(parts) >= 7 and parts[0] == "arn" and parts[5] == "function"  # noqa: PLR2004
    return parts[6] if is_arn else arn


@dataclass(frozen=True, kw_only=True)
class TaskContext:
    """What Lambda tells a handler about its invocation.

    Args:
        invoked_function_arn: The function that the state machine called.
        remaining_s: Returns how many seconds the handler has left.
    """

    invoked_function_arn: str
    remaining_s: Callable[[], float] = field(repr=False)
    aws_request_id: str = field(default_factory=_request_id)
    function_version: str = "$LATEST"
    memory_limit_in_mb: str = "10240"
    identity: None = None
    client_context: None = None

    @property
    def function_name(self) -> str:
        """The function's name."""
        return function_name(self.invoked_function_arn)

    @property
    def log_group_name(self) -> str:
        """The name that the log group has on AWS."""
        return f"/aws/lambda/{self.function_name}"

    @property
    def log_stream_name(self) -> str:
        """The name of a log stream that belongs to this process."""
        return f"local/[{self.function_version}]{self.aws_request_id.replace('-', '')}"

    def get_remaining_time_in_millis(self) -> int:
        """Return how long the handler may still run, in milliseconds, never below 0."""
        return max(0, int(self.remaining_s() * 1000))


@dataclass(frozen=True, kw_only=True)
class JobContext:
    """What is told to a job besides its environment.

    Args:
        definition: The definition that the state machine named.
        token: The task token; None of a Batch job, which has none.
        job_id: The job's id.
        beat: Takes a heartbeat.
    """

    definition: str
    token: str | None
    job_id: str
    beat: Callable[[], None] = field(repr=False)

    def heartbeat(self) -> None:
        """Say that the job goes on, as SendTaskHeartbeat does."""
        self.beat()
