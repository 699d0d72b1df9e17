"""Check what runs stand on, from this machine to the roles of a stack."""

from __future__ import annotations

from collections.abc import Iterator

from legato._aws import Aws
from legato._home import open_store
from legato._native import Store
from legato.deploy import _stack
from legato.deploy._check import Check, looked
from legato.deploy._doctor_aws import look_at_identity, look_at_quotas, look_at_store
from legato.deploy._doctor_local import look_for_boto3, look_here
from legato.deploy._doctor_stack import look_at_stack
from legato.deploy._stack import Stack
from legato.errors import LegatoError
from legato.settings import Settings
from legato.workflow import Workflow


def examine(  # noqa: PLR0913 - all are optional
    workflow: Workflow | None = None,
    *,
    stack_name: str | None = None,
    region: str | None = None,
    profile: str | None = None,
    endpoint_url: str | None = None,
    local: bool = False,
) -> Iterator[Check]:
    """Iterate over all checks; those that rest on one that failed are left out.

    Args:
        workflow: Checks its model, its fleet and its stack, too.
        stack_name: Default: the workflow's name.
        region: Default: AWS_REGION, or the profile's.
        profile: A profile of ``~/.aws/config``.
        endpoint_url: Instead of AWS, such as an emulator's.
        local: Look at this machine alone.
    """
    yield from look_here(workflow)
    if local:
        return
    boto3 = list(look_for_boto3())
    yield from boto3
    if boto3[-1].level == "fail":
        return
    try:
        aws = Aws.connect(region=region, profile=profile, endpoint_url=endpoint_url)
    except LegatoError as error:
        yield Check("region", "fail", str(error))
        return
    identity = list(looked("credentials", lambda: look_at_identity(aws)))
    yield from identity
    if any(check.level == "fail" for check in identity):
        return
    yield from looked("concurrency", lambda: look_at_quotas(aws, workflow))
    name = stack_name
    if workflow is not None:
        name = _stack.stack_name(workflow, stack_name)
    if name is not None:
        yield from looked("stack", lambda: look_at_stack(Stack(aws, name)))
        yield from looked("store", lambda: _store(aws, name, workflow))


def _store(aws: Aws, name: str, workflow: Workflow | None) -> Iterator[Check]:
    """Check the stack's store; the workflow's own where there is no stack."""
    stack = Stack(aws, name)
    url = stack.outputs().get("StoreUrl") if stack.describe() is not None else None
    if url is None and workflow is not None and str(workflow.store).startswith("s3://"):
        url = workflow.store
    if url is not None:
        store: Store = open_store(url, Settings.from_env())
        yield from look_at_store(aws, store)
