"""Restart a failed run where it failed."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any, Final

from legato._aws_errors import MISSING_OPERATION, code_of, explained
from legato.errors import InputError, WorkflowError
from legato.remote._target import Target

REDRIVABLE_FOR: Final = timedelta(days=14)
"""How long after its end Step Functions redrives an execution."""

_AGAIN: Final = "run it again: finished shards are kept, and are not computed again"


def redrive(target: Target, run: str) -> None:
    """Restart a run at the state that failed; the shards that succeeded are not run again.

    Args:
        target: The deployed workflow.
        run: The run's id, or the ARN of its execution.

    Raises:
        InputError: The run cannot be redriven: it runs, it succeeded, it ended 14 days ago, or it
            is EXPRESS.
        WorkflowError: The endpoint has no redrive, as emulators have not.
    """
    from botocore.exceptions import ClientError

    arn = target.execution(run)
    name = arn.rpartition(":")[2]
    if ":express:" in arn:
        msg = f"run {name} is EXPRESS, which Step Functions does not redrive; {_AGAIN}"
        raise InputError(msg)
    client = target.aws.client("stepfunctions")
    reason = refusal(target.describe(arn))
    if reason is not None:
        msg = f"run {name} cannot be redriven: {reason}"
        raise InputError(msg)
    with explained("states:RedriveExecution", arn):
        try:
            client.redrive_execution(executionArn=arn)
        except ClientError as error:
            code = code_of(error)
            if code in MISSING_OPERATION:
                msg = f"this endpoint has no redrive; {_AGAIN}"
                raise WorkflowError(msg) from None
            if code == "ExecutionNotRedrivable":
                said = error.response["Error"].get("Message", "")
                msg = f"run {name} cannot be redriven: {said}; {_AGAIN}"
                raise InputError(msg) from None
            raise


def refusal(found: dict[str, Any]) -> str | None:
    """Say why an execution cannot be redriven; None where it can.

    Args:
        found: As DescribeExecution returns it.
    """
    status = found["status"]
    if status == "SUCCEEDED":
        return "it succeeded; there is nothing to do"
    if status in {"RUNNING", "PENDING_REDRIVE"}:
        return f"it is {status}; wait for its end: legato status"
    stopped = found.get("stopDate")
    if stopped is not None and datetime.now(timezone.utc) - stopped > REDRIVABLE_FOR:
        days = REDRIVABLE_FOR.days
        return f"it ended more than {days} days ago, and Step Functions has forgotten it; {_AGAIN}"
    if found.get("redriveStatus") == "REDRIVABLE_BY_MAP_RUN":
        return "it is a shard of a fleet; redrive the run that it belongs to"
    if found.get("redriveStatus") == "NOT_REDRIVABLE":
        return f"{found.get('redriveStatusReason') or 'Step Functions says so'}; {_AGAIN}"
    return None
