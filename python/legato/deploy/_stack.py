"""Stacks of CloudFormation: what they have, and their end."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from legato._aws import Aws
from legato._aws_errors import explained
from legato.deploy._artifacts import Artifacts, partition
from legato.deploy._watch import Say, Watch
from legato.errors import InputError
from legato.workflow import Workflow
from legato.workflow._arns import MAX_STACK_CHARS

MAX_BODY_BYTES: Final = 51_200
"""Longest template that travels in the request; a longer one lies in the artifacts."""

BETWEEN_S: Final = 2.0
"""Seconds between two looks at a stack."""

TAG: Final = "legato:workflow"
"""Tag of a stack that legato has made: its workflow's name."""

_NAME: Final = re.compile(r"[A-Za-z][A-Za-z0-9-]*")


def stack_name(workflow: Workflow, given: str | None = None) -> str:
    """Return the name of a workflow's stack: the one that was given, or one like the workflow's.

    Raises:
        InputError: CloudFormation or Lambda would not take it.
    """
    # A workflow may be called what a stack may not: with `_`, or with a digit in front.
    like = workflow.name.replace("_", "-")
    name = given or (like if like[0].isalpha() else f"legato-{like}")
    if not _NAME.fullmatch(name) or len(name) > MAX_STACK_CHARS:
        msg = (
            f"stack name {name!r}: use up to {MAX_STACK_CHARS} letters, digits and '-', a letter "
            "first; give another one with --stack-name"
        )
        raise InputError(msg)
    return name


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
                found = self.client.describe_stacks(StackName=self.name)["Stacks"]
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

    def workflow(self) -> str | None:
        """Return the workflow that the stack is of; None where it is not there.

        Raises:
            InputError: The stack is not of legato.
        """
        found = self.describe()
        if found is None:
            return None
        name = next((t["Value"] for t in found.get("Tags", ()) if t["Key"] == TAG), None)
        if name is None:
            msg = (
                f"stack {self.name} in {self.aws.region} is not of legato: it has no tag {TAG}; "
                "give --stack-name another name"
            )
            raise InputError(msg)
        return str(name)

    def resources(self) -> list[dict[str, Any]]:
        """Return the resources that the stack has."""
        with explained("cloudformation:ListStackResources", self.arn):
            pages = self.client.get_paginator("list_stack_resources").paginate(StackName=self.name)
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
            summary = self.client.get_template_summary(**body)
        return {
            str(parameter["ParameterKey"]): str(parameter.get("DefaultValue", ""))
            for parameter in summary.get("Parameters", ())
        }

    def parameters(self) -> dict[str, str]:
        """Return the parameters that the stack has now; none where there is no stack."""
        found = (self.describe() or {}).get("Parameters", ())
        return {p["ParameterKey"]: p.get("ParameterValue", "") for p in found}

    def delete(self, *, say: Say | None = None) -> None:
        """Delete the stack and wait for its end.

        Raises:
            WorkflowError: A resource could not be deleted; the message says which and why.
        """
        found = self.describe()
        if found is None:
            return
        watch = Watch(self, found["StackId"])
        with explained("cloudformation:DeleteStack", self.arn):
            self.client.delete_stack(StackName=self.name)
        watch.wait(say, done="DELETE_COMPLETE", verb="deletion")

    @property
    def client(self) -> Any:
        """A client of CloudFormation."""
        return self.aws.client("cloudformation")
