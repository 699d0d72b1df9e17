"""Follow a stack to the end of what CloudFormation does with it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final

from legato._aws_errors import explained, translated
from legato.deploy._events import failures, line
from legato.errors import WorkflowError

if TYPE_CHECKING:
    from legato.deploy._stack import Stack

STUCK: Final[Mapping[str, str]] = {
    "ROLLBACK_COMPLETE": "its creation failed before and was rolled back; CloudFormation can only "
    "delete such a stack: legato destroy, then deploy again",
    "ROLLBACK_FAILED": "its creation failed before, and so did the clean-up; legato destroy, then "
    "deploy again",
    "DELETE_FAILED": "a deletion did not get to its end; legato destroy, then deploy again",
    "UPDATE_ROLLBACK_FAILED": "an update could not be undone; see why in the console, then "
    "aws cloudformation continue-update-rollback",
}
"""Statuses that a stack does not leave by itself, and what to do."""

Say = Callable[[str], None]


class Watch:
    """A stack, from now on: make it before what it is to watch is begun.

    Args:
        stack: The stack.
        stack_id: Its ARN: a deleted stack is no longer known by its name.
    """

    def __init__(self, stack: Stack, stack_id: str) -> None:
        self._stack = stack
        self._id = stack_id
        self._seen = next((str(event["EventId"]) for event in self._events()), None)

    def wait(self, say: Say | None, *, done: str, verb: str) -> None:
        """Wait for the end; `say` gets a line for each resource.

        Raises:
            WorkflowError: It did not end well; the message says which resource failed, and why.
        """
        told: list[dict[str, Any]] = []
        while True:
            status = self._status()
            fresh = self._fresh()
            told = fresh + told
            for event in reversed(fresh) if say is not None else ():
                if say is not None and not event["ResourceStatus"].endswith("_IN_PROGRESS"):
                    say(line(event))
            if not status.endswith("_IN_PROGRESS"):
                break
            time.sleep(self._stack.between_s)
        if status == done:
            return
        reasons = " | ".join(failures(told)) or "its events do not say why"
        hint = f"; {STUCK[status]}" if status in STUCK else ""
        msg = f"the {verb} of stack {self._stack.name} ended as {status}: {reasons}{hint}"
        raise WorkflowError(msg)

    def _fresh(self) -> list[dict[str, Any]]:
        """Return the events after the one that was seen last, the newest first."""
        fresh: list[dict[str, Any]] = []
        for event in self._events():
            if event["EventId"] == self._seen:
                break
            fresh.append(event)
        if fresh:
            self._seen = str(fresh[0]["EventId"])
        return fresh

    def _status(self) -> str:
        from botocore.exceptions import ClientError

        with explained("cloudformation:DescribeStacks", self._stack.arn):
            try:
                found = self._stack.client.describe_stacks(StackName=self._id)["Stacks"]
            except ClientError as error:
                # A deleted stack is known by its id for 90 days, of an emulator not at all.
                if "does not exist" in str(error):
                    return "DELETE_COMPLETE"
                raise
        return str(found[0]["StackStatus"]) if found else "DELETE_COMPLETE"

    def _events(self) -> Iterator[dict[str, Any]]:
        """Iterate over the events of a stack, the newest first, page by page."""
        from botocore.exceptions import BotoCoreError, ClientError

        client, arn = self._stack.client, self._stack.arn
        try:
            pages = client.get_paginator("describe_stack_events").paginate(StackName=self._id)
            for page in pages:
                yield from page["StackEvents"]
        except (ClientError, BotoCoreError) as error:
            if "does not exist" in str(error):
                return
            raise translated(error, "cloudformation:DescribeStackEvents", arn) from None
