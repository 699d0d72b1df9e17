"""Create, update and delete a stack, always through a change set that is shown first."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from legato._aws import Aws, explained, translated
from legato.deploy._artifacts import Artifacts, partition
from legato.deploy._events import failures, line
from legato.errors import InputError, LegatoError, WorkflowError

MAX_BODY_BYTES: Final = 51_200
"""Longest template that travels in the request; a longer one lies in the artifacts."""

CAPABILITIES: Final = ["CAPABILITY_IAM", "CAPABILITY_NAMED_IAM"]
BETWEEN_S: Final = 2.0
"""Seconds between two looks at a stack."""

_NEW: Final = frozenset({"REVIEW_IN_PROGRESS"})
_STUCK: Final = {
    "ROLLBACK_COMPLETE": "its creation failed before and was rolled back; CloudFormation can only "
    "delete such a stack: legato destroy, then deploy again",
    "ROLLBACK_FAILED": "its creation failed before, and so did the clean-up; legato destroy, then "
    "deploy again",
    "DELETE_FAILED": "a deletion did not get to its end; legato destroy, then deploy again",
    "UPDATE_ROLLBACK_FAILED": "an update could not be undone; see why in the console, then "
    "aws cloudformation continue-update-rollback",
}
_NO_CHANGES: Final = ("didn't contain changes", "No updates are to be performed")

Say = Callable[[str], None]


@dataclass(frozen=True)
class Change:
    """One line of a change set.

    Attributes:
        action: ``Add``, ``Modify`` or ``Remove``.
        name: The resource's logical id.
        kind: Its type.
        replaced: Whether it is made anew: what it held is lost.
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
class Stack:
    """A stack of CloudFormation.

    Attributes:
        aws: The account and region.
        name: The stack's name.
        between_s: Seconds between two looks at it.
    """

    aws: Aws
    name: str
    between_s: float = BETWEEN_S

    @property
    def arn(self) -> str:
        """The ARN, as far as it is known before the stack is."""
        where = f"arn:{partition(self.aws.region)}:cloudformation:{self.aws.region}"
        return f"{where}:*:stack/{self.name}/*"

    def describe(self) -> dict[str, Any] | None:
        """Return what CloudFormation says of the stack; None where there is none."""
        from botocore.exceptions import ClientError

        with explained("cloudformation:DescribeStacks", self.arn):
            try:
                found = self._client.describe_stacks(StackName=self.name)["Stacks"]
            except ClientError as error:
                if "does not exist" in str(error):
                    return None
                raise
        return dict(found[0]) if found else None

    def outputs(self) -> dict[str, str]:
        """Return the outputs by name.

        Raises:
            InputError: There is no such stack.
        """
        found = self.describe()
        if found is None:
            msg = (
                f"there is no stack {self.name} in {self.aws.region}; deploy it: legato deploy "
                "WORKFLOW.py, or give --stack-name or --region"
            )
            raise InputError(msg)
        return {o["OutputKey"]: o["OutputValue"] for o in found.get("Outputs", ())}

    def resources(self) -> list[dict[str, Any]]:
        """Return the resources that the stack has."""
        with explained("cloudformation:ListStackResources", self.arn):
            pages = self._client.get_paginator("list_stack_resources").paginate(StackName=self.name)
            return [found for page in pages for found in page["StackResourceSummaries"]]

    def body(self, template: str, artifacts: Artifacts | None = None) -> dict[str, str]:
        """Return a template as requests take it: itself, or its address where it is long.

        Raises:
            InputError: It is long, and there is no place for it.
        """
        if len(template.encode()) <= MAX_BODY_BYTES:
            return {"TemplateBody": template}
        if artifacts is None:
            msg = f"the template has more than {MAX_BODY_BYTES:,} bytes; give it artifacts"
            raise InputError(msg)
        key = artifacts.put_text(template, name="templates", suffix=".yaml")
        return {"TemplateURL": artifacts.url(key)}

    def declared(self, body: Mapping[str, str]) -> dict[str, str]:
        """Return the parameters that a template declares, with their defaults."""
        with explained("cloudformation:GetTemplateSummary", self.arn):
            summary = self._client.get_template_summary(**body)
        return {
            str(parameter["ParameterKey"]): str(parameter.get("DefaultValue", ""))
            for parameter in summary.get("Parameters", ())
        }

    def parameters(self) -> dict[str, str]:
        """Return the parameters that the stack has now; none where there is no stack."""
        found = (self.describe() or {}).get("Parameters", ())
        return {p["ParameterKey"]: p.get("ParameterValue", "") for p in found}

    def prepare(
        self,
        body: Mapping[str, str],
        parameters: Mapping[str, str],
        *,
        tags: Mapping[str, str] | None = None,
    ) -> ChangeSet:
        """Make a change set, and wait until it says what would change.

        Args:
            body: The template, as :meth:`body` returns it.
            parameters: By name; those of a stack that is there keep their values otherwise.
            tags: Of the stack, and so of its resources.

        Raises:
            WorkflowError: The stack cannot be changed now, or the template is refused.
        """
        found = self.describe()
        status = found["StackStatus"] if found else None
        if status in _STUCK:
            msg = f"stack {self.name} is {status}: {_STUCK[status]}"
            raise WorkflowError(msg)
        if status is not None and status.endswith("_IN_PROGRESS") and status not in _NEW:
            msg = f"stack {self.name} is {status}: something changes it now; wait for its end"
            raise WorkflowError(msg)
        kind = "CREATE" if status is None or status in _NEW else "UPDATE"
        name = f"legato-{uuid.uuid4().hex[:12]}"
        given: list[dict[str, Any]] = [
            {"ParameterKey": k, "ParameterValue": v} for k, v in sorted(parameters.items())
        ]
        if kind == "UPDATE" and found:
            known = set(self.declared(body)) - set(parameters)
            had = {parameter["ParameterKey"] for parameter in found.get("Parameters", ())}
            given += [
                {"ParameterKey": key, "UsePreviousValue": True} for key in sorted(had & known)
            ]
        with explained("cloudformation:CreateChangeSet", self.arn):
            self._client.create_change_set(
                StackName=self.name,
                ChangeSetName=name,
                ChangeSetType=kind,
                Capabilities=CAPABILITIES,
                Parameters=given,
                Tags=[{"Key": k, "Value": v} for k, v in sorted((tags or {}).items())],
                **body,
            )
        return self._described(ChangeSet(self, name, kind))

    def _described(self, made: ChangeSet) -> ChangeSet:
        while True:
            with explained("cloudformation:DescribeChangeSet", self.arn):
                page = self._client.describe_change_set(
                    StackName=self.name, ChangeSetName=made.name
                )
            status, reason = page["Status"], page.get("StatusReason", "")
            if status in {"CREATE_COMPLETE", "FAILED"}:
                break
            time.sleep(min(self.between_s, 1.0))
        if status == "FAILED":
            made.delete()
            if any(sign in reason for sign in _NO_CHANGES):
                return made
            msg = f"the change set of stack {self.name} failed: {reason}"
            raise WorkflowError(msg)
        changes = [_change(each) for each in page.get("Changes", ())]
        while page.get("NextToken"):
            with explained("cloudformation:DescribeChangeSet", self.arn):
                page = self._client.describe_change_set(
                    StackName=self.name, ChangeSetName=made.name, NextToken=page["NextToken"]
                )
            changes += [_change(each) for each in page.get("Changes", ())]
        return ChangeSet(self, made.name, made.kind, tuple(changes))

    def delete(self, *, retain: Sequence[str] = (), say: Say | None = None) -> None:
        """Delete the stack and wait for its end.

        Raises:
            WorkflowError: A resource could not be deleted; the message says which and why.
        """
        found = self.describe()
        if found is None:
            return
        seen = self._newest(found["StackId"])
        options = {"RetainResources": list(retain)} if retain else {}
        with explained("cloudformation:DeleteStack", self.arn):
            self._client.delete_stack(StackName=self.name, **options)
        self._wait(found["StackId"], seen, say, done=("DELETE_COMPLETE",), verb="deletion")

    def _wait(
        self, stack_id: str, seen: str | None, say: Say | None, *, done: Sequence[str], verb: str
    ) -> None:
        """Follow the stack to the end of what it does.

        Raises:
            WorkflowError: It did not end well.
        """
        told: list[dict[str, Any]] = []
        while True:
            status = self._status(stack_id)
            fresh = self._since(stack_id, seen)
            seen = fresh[0]["EventId"] if fresh else seen
            told = fresh + told
            for event in reversed(fresh) if say is not None else ():
                if say is not None and not event["ResourceStatus"].endswith("_IN_PROGRESS"):
                    say(line(event))
            if not status.endswith("_IN_PROGRESS"):
                break
            time.sleep(self.between_s)
        if status in done:
            return
        reasons = " | ".join(failures(told)) or "its events do not say why"
        hint = f"; {_STUCK[status]}" if status in _STUCK else ""
        msg = f"the {verb} of stack {self.name} ended as {status}: {reasons}{hint}"
        raise WorkflowError(msg)

    def _status(self, stack_id: str) -> str:
        from botocore.exceptions import ClientError

        with explained("cloudformation:DescribeStacks", self.arn):
            try:
                found = self._client.describe_stacks(StackName=stack_id)["Stacks"]
            except ClientError as error:
                # A deleted stack is known by its id for 90 days, of an emulator not at all.
                if "does not exist" in str(error):
                    return "DELETE_COMPLETE"
                raise
        return str(found[0]["StackStatus"]) if found else "DELETE_COMPLETE"

    def _since(self, stack_id: str, seen: str | None) -> list[dict[str, Any]]:
        """Return the events after the one that was seen last, the newest first."""
        fresh: list[dict[str, Any]] = []
        for event in self._events(stack_id):
            if event["EventId"] == seen:
                break
            fresh.append(event)
        return fresh

    def _newest(self, stack_id: str) -> str | None:
        return next((str(event["EventId"]) for event in self._events(stack_id)), None)

    def _events(self, stack_id: str) -> Iterator[dict[str, Any]]:
        """Iterate over the events of a stack, the newest first, page by page."""
        from botocore.exceptions import BotoCoreError, ClientError

        pages = self._client.get_paginator("describe_stack_events").paginate(StackName=stack_id)
        try:
            for page in pages:
                yield from page["StackEvents"]
        except (ClientError, BotoCoreError) as error:
            if "does not exist" in str(error):
                return
            action = "cloudformation:DescribeStackEvents"
            raise translated(error, action, self.arn) from None

    @property
    def _client(self) -> Any:
        return self.aws.client("cloudformation")


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
        seen = stack._newest(found["StackId"])  # noqa: SLF001 - the two are one thing
        with explained("cloudformation:ExecuteChangeSet", stack.arn):
            stack._client.execute_change_set(  # noqa: SLF001 - the two are one thing
                StackName=stack.name, ChangeSetName=self.name
            )
        done = (f"{self.kind}_COMPLETE",)
        verb = "creation" if self.kind == "CREATE" else "update"
        stack._wait(found["StackId"], seen, say, done=done, verb=verb)  # noqa: SLF001

    def delete(self) -> None:
        """Forget it; a stack that it was to create goes too."""
        from contextlib import suppress

        stack = self.stack
        with suppress(LegatoError), explained("cloudformation:DeleteChangeSet", stack.arn):
            stack._client.delete_change_set(  # noqa: SLF001 - the two are one thing
                StackName=stack.name, ChangeSetName=self.name
            )
            if self.kind == "CREATE":
                stack._client.delete_stack(StackName=stack.name)  # noqa: SLF001


def _change(found: Mapping[str, Any]) -> Change:
    about = found.get("ResourceChange", {})
    return Change(
        str(about.get("Action", "Modify")),
        str(about.get("LogicalResourceId", "")),
        str(about.get("ResourceType", "")),
        about.get("Replacement") == "True",
    )
