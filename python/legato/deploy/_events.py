"""What a stack's events say to people."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

FAILED: Final = ("CREATE_FAILED", "UPDATE_FAILED", "DELETE_FAILED")

_FOLLOWS: Final = ("Resource creation cancelled", "Resource update cancelled")
"""Reasons of resources that only stopped because another one had failed."""

_ADVICE: Final = (
    ("is not authorized to perform", "allow it to the credentials that deploy"),
    ("AccessDenied", "allow it to the credentials that deploy"),
    ("already exists", "something else has this name: delete it, or give another --stack-name"),
    ("LimitExceeded", "a quota of the account is reached: ask for more, or lower it"),
    ("Unzipped size must be smaller", "leave the model in the store: --mirror-model"),
    ("UnreservedConcurrentExecution", "reserve less, or ask for a higher Lambda quota"),
    ("MemorySize", "new accounts have 3,008 MB at most: lower memory_mb, or ask for more"),
    ("The role defined for the function cannot be assumed", "deploy again: the role was too new"),
    ("NoSuchBucket", "the bucket of the code is in another region, or is not there"),
)
"""What to do about reasons that people meet."""


def failures(events: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Say which resources failed and why, the first one first.

    Args:
        events: As DescribeStackEvents returns them: the newest first.
    """
    for event in reversed(events):
        reason = str(event.get("ResourceStatusReason", ""))
        if event.get("ResourceStatus") in FAILED and not reason.startswith(_FOLLOWS):
            where = f"{event['LogicalResourceId']} ({event['ResourceType']})"
            yield f"{where}: {reason}{advice(reason)}"


def advice(reason: str) -> str:
    """Return what to do about a reason, where that is known."""
    known = next((what for sign, what in _ADVICE if sign in reason), None)
    return f"; {known}" if known else ""


def line(event: Mapping[str, Any]) -> str:
    """Return an event as a line of progress."""
    status = str(event.get("ResourceStatus", "")).lower().replace("_", " ")
    shown = f"{status:<28} {event['LogicalResourceId']} ({event['ResourceType']})"
    if event.get("ResourceStatus") in FAILED:
        reason = str(event.get("ResourceStatusReason", ""))
        shown += f": {reason}{advice(reason)}"
    return shown
