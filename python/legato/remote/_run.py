"""Start runs of a deployed workflow, and follow them."""

from __future__ import annotations

import json
import os
from typing import Any

from legato._aws import Aws
from legato._aws_errors import explained
from legato._failures import Listener
from legato._inputs import is_object, store_source
from legato.deploy import _stack
from legato.errors import InputError
from legato.local import Run, new_run_id
from legato.remote._follow import BETWEEN_S, follow
from legato.remote._target import Target
from legato.stages._readers import kind_of
from legato.workflow import Workflow


def start(
    workflow: Workflow,
    target: Target,
    *,
    input: str | os.PathLike[str] | None = None,  # noqa: A002 - as on the command line
    text: str | None = None,
    name: str | None = None,
) -> str:
    """Store what a run reads, and start it; return the run's id.

    Args:
        workflow: The definition that is deployed.
        target: Where it is deployed.
        input: File to read instead of the workflow's dataset, or ``s3://bucket/key``, which is
            read where it lies.
        text: One prompt instead of a dataset. It is stored, and travels as a reference.
        name: The run's id, as of :func:`legato.local.new_run_id`; a new one by default.

    Raises:
        InputError: There is nothing to read, or it cannot be read, here or by the stack.
        AccessDeniedError: The caller may not write to the store, or not start the machine.
    """
    if text is not None and input is not None:
        msg = "give a text or an input, not both"
        raise InputError(msg)
    run = name or new_run_id()
    about, given = _given(workflow, target, input, text)
    event = {
        "run": {
            "mode": "dataset" if text is None else "prompt",
            "workflow": workflow.name,
            "dataset": about,
        },
        "input": given,
    }
    with explained("states:StartExecution", target.machine):
        target.aws.client("stepfunctions").start_execution(
            stateMachineArn=target.machine, name=run, input=json.dumps(event)
        )
    return run


def _given(
    workflow: Workflow, target: Target, given: str | os.PathLike[str] | None, text: str | None
) -> tuple[dict[str, str], dict[str, Any]]:
    asked = given if given is not None else workflow.dataset
    if text is None and is_object(asked):
        kind_of(str(asked))
        _check_readable(workflow, target, str(asked))
        about = {"id": str(asked)}
        if given is None and workflow.dataset_version is not None:
            about["version"] = workflow.dataset_version
        return about, {"uri": str(asked)}
    source = store_source(target.store, workflow, given, text)
    version = source.version or f"sha256:{source.ref.sha256}"
    return {"id": source.dataset, "version": version}, source.ref.to_dict()


def _check_readable(workflow: Workflow, target: Target, uri: str) -> None:
    """Refuse an object that Ingestion's role cannot read, before a run fails of it."""
    inputs = f"{target.store.url}/inputs/"
    if uri == str(workflow.dataset) or uri.startswith(inputs):
        return
    msg = (
        f"the stack cannot read {uri}: it reads {inputs} and the workflow's own dataset; copy it "
        "there, give a file of this machine, or deploy Workflow(dataset=...) with it"
    )
    raise InputError(msg)


def run(  # noqa: PLR0913 - all but the first are optional
    workflow: Workflow,
    *,
    input: str | os.PathLike[str] | None = None,  # noqa: A002 - as on the command line
    text: str | None = None,
    stack_name: str | None = None,
    region: str | None = None,
    profile: str | None = None,
    endpoint_url: str | None = None,
    listener: Listener | None = None,
    between_s: float = BETWEEN_S,
) -> Run:
    """Run a deployed workflow, and follow it to its end.

    Args:
        workflow: The definition that is deployed.
        input: File to read instead of the workflow's dataset, or ``s3://bucket/key``.
        text: One prompt instead of a dataset.
        stack_name: Default: the workflow's name.
        region: Default: AWS_REGION, or the profile's.
        profile: A profile of ``~/.aws/config``.
        endpoint_url: Instead of AWS, such as an emulator's.
        listener: Called with each event, as of :func:`legato.run`.
        between_s: Seconds between two looks.

    Returns:
        What the run has made, as :func:`legato.run` returns it.

    Raises:
        LegatoError: Of the class that the failing state raised.

    Example:
        >>> import legato.remote
        >>> made = legato.remote.run(workflow, text="a prompt")  # doctest: +SKIP
    """
    aws = Aws.connect(region=region, profile=profile, endpoint_url=endpoint_url)
    target = Target.of_stack(aws, _stack.stack_name(workflow, stack_name))
    started = start(workflow, target, input=input, text=text)
    return follow(target, started, listener=listener, between_s=between_s)
