"""Changes of a stack: every creation and update is a change set, which is shown before."""

from __future__ import annotations

import time
import uuid
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

from legato._aws_errors import explained
from legato.deploy._stack import Stack
from legato.deploy._watch import STUCK, Say, Watch
from legato.errors import LegatoError, WorkflowError

CAPABILITIES: Final = ["CAPABILITY_IAM", "CAPABILITY_NAMED_IAM"]

_NEW: Final = frozenset({"REVIEW_IN_PROGRESS"})
_NO_CHANGES: Final = ("didn't contain changes", "No updates are to be performed")


@dataclass(frozen=True)
class Change:
    """One line of a change set.

    Attributes:
        action: ``Add``, ``Modify`` or ``Remove``.
        name: The resource's logical id.
        kind: Its type.
        replaced: Whether it is made anew, or may be.
    """

    action: str
    name: str
    kind: str
    replaced: bool

    def __str__(self) -> str:
        """Return it as a line for people."""
        sign = {"Add": "+", "Remove": "-"}.get(self.action, "~")
        return f"{sign} {self.name} ({self.kind}){' is replaced' if self.replaced else ''}"


@dataclass(frozen=True)
class ChangeSet:
    """What would change in a stack.

    Attributes:
        stack: The stack.
        name: The change set's name.
        kind: ``CREATE`` or ``UPDATE``.
        changes: What would change; nothing where the stack is already so.
    """

    stack: Stack
    name: str
    kind: str
    changes: tuple[Change, ...] = ()

    def execute(self, say: Say | None = None) -> None:
        """Apply it and wait for its end; `say` gets a line for each resource.

        Raises:
            WorkflowError: A resource failed; the message says which, why, and what to do.
        """
        stack = self.stack
        found = stack.describe()
        if found is None:
            msg = f"stack {stack.name} is gone; deploy again"
            raise WorkflowError(msg)
        watch = Watch(stack, found["StackId"])
        with explained("cloudformation:ExecuteChangeSet", stack.arn):
            stack.client.execute_change_set(StackName=stack.name, ChangeSetName=self.name)
        verb = "creation" if self.kind == "CREATE" else "update"
        watch.wait(say, done=f"{self.kind}_COMPLETE", verb=verb)

    def delete(self) -> None:
        """Forget it; a stack that it was to create goes too."""
        stack = self.stack
        with suppress(LegatoError), explained("cloudformation:DeleteChangeSet", stack.arn):
            stack.client.delete_change_set(StackName=stack.name, ChangeSetName=self.name)
            if self.kind == "CREATE":
                stack.client.delete_stack(StackName=stack.name)


def prepare(
    stack: Stack,
    body: Mapping[str, str],
    parameters: Mapping[str, str],
    *,
    tags: Mapping[str, str] | None = None,
) -> ChangeSet:
    """Make a change set, and wait until it says what would change.

    Args:
        stack: The stack, which may not be there yet.
        body: The template, as :meth:`Stack.body` returns it.
        parameters: By name; those of a stack that is there keep their values otherwise.
        tags: Of the stack, and so of its resources.

    Raises:
        WorkflowError: The stack cannot be changed now, or the template is refused.
    """
    found = stack.describe()
    status = found["StackStatus"] if found else None
    if status is not None and status in STUCK:
        msg = f"stack {stack.name} is {status}: {STUCK[status]}"
        raise WorkflowError(msg)
    if status is not None and status.endswith("_IN_PROGRESS") and status not in _NEW:
        msg = f"stack {stack.name} is {status}: something changes it now; wait for its end"
        raise WorkflowError(msg)
    kind = "CREATE" if status is None or status in _NEW else "UPDATE"
    name = f"legato-{uuid.uuid4().hex[:12]}"
    given: list[dict[str, Any]] = [
        {"ParameterKey": k, "ParameterValue": v} for k, v in sorted(parameters.items())
    ]
    if kind == "UPDATE" and found:
        known = set(stack.declared(body)) - set(parameters)
        had = {parameter["ParameterKey"] for parameter in found.get("Parameters", ())}
        given += [{"ParameterKey": key, "UsePreviousValue": True} for key in sorted(had & known)]
    with explained("cloudformation:CreateChangeSet", stack.arn):
        stack.client.create_change_set(
            StackName=stack.name,
            ChangeSetName=name,
            ChangeSetType=kind,
            Capabilities=CAPABILITIES,
            Parameters=given,
            Tags=[{"Key": k, "Value": v} for k, v in sorted((tags or {}).items())],
            **body,
        )
    return _described(ChangeSet(stack, name, kind))


def _described(made: ChangeSet) -> ChangeSet:
    while True:
        with explained("cloudformation:DescribeChangeSet", made.stack.arn):
            page = made.stack.client.describe_change_set(
                StackName=made.stack.name, ChangeSetName=made.name
            )
        status, reason = page["Status"], page.get("StatusReason", "")
        if status in {"CREATE_COMPLETE", "FAILED"}:
            break
        time.sleep(min(made.stack.between_s, 1.0))
    if status == "FAILED":
        made.delete()
        if any(sign in reason for sign in _NO_CHANGES):
            return made
        msg = f"the change set of stack {made.stack.name} failed: {reason}"
        raise WorkflowError(msg)
    changes = [_change(each) for each in page.get("Changes", ())]
    while page.get("NextToken"):
        with explained("cloudformation:DescribeChangeSet", made.stack.arn):
            page = made.stack.client.describe_change_set(
                StackName=made.stack.name, ChangeSetName=made.name, NextToken=page["NextToken"]
            )
        changes += [_change(each) for each in page.get("Changes", ())]
    return ChangeSet(made.stack, made.name, made.kind, tuple(changes))


def _change(found: Mapping[str, Any]) -> Change:
    about = found.get("ResourceChange", {})
    return Change(
        str(about.get("Action", "Modify")),
        str(about.get("LogicalResourceId", "")),
        str(about.get("ResourceType", "")),
        about.get("Replacement") in {"True", "Conditional"},
    )
