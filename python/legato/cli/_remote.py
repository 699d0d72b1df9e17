"""Follow a run on AWS from a terminal."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from legato.cli import _aws
from legato.cli._progress import Progress, display
from legato.errors import InputError, LegatoError
from legato.local import Run, new_run_id
from legato.workflow import Workflow

if TYPE_CHECKING:
    from legato.remote import Target


class Left(KeyboardInterrupt):
    """Ctrl-C while a run is followed: the run goes on."""


def run_remotely(workflow: Workflow, arguments: argparse.Namespace) -> Run | None:
    """Start a run of a deployed workflow and follow it; None where it is not followed.

    Raises:
        Left: Ctrl-C; the message says how to go on.
    """
    from legato.deploy import stack_name
    from legato.remote import Target, start

    if arguments.store is not None:
        msg = "--store is for runs here; a run on AWS uses the store of its stack"
        raise InputError(msg)
    name = stack_name(workflow, arguments.stack_name)
    target = Target.of_stack(_aws.connect(arguments), name)
    # Known before it starts: whatever the moment of a Ctrl-C, the run can be found again.
    run = new_run_id()
    try:
        start(workflow, target, input=arguments.input, text=arguments.text, name=run)
        _aws.say(f"started {run}")
        if not arguments.detach:
            return follow_here(target, run)
    except Left:
        raise
    except KeyboardInterrupt:
        raise Left(how_to_go_on(target, run)) from None
    sys.stdout.write(f"{run}\n")
    _aws.say(how_to_go_on(target, run))
    return None


def follow_here(target: Target, run: str) -> Run:
    """Follow a run with progress on the terminal.

    Raises:
        Left: Ctrl-C; the message says how to go on.
        LegatoError: The run has failed, or it cannot be followed any more.
    """
    from legato.remote import follow

    try:
        with display() as shown:
            return follow(target, run, listener=Progress(shown))
    except KeyboardInterrupt:
        raise Left(how_to_go_on(target, run)) from None
    except LegatoError as error:
        if f"run {run} " not in str(error):
            # Not the run has failed, but following it: credentials that expired, a lost connection.
            _aws.say(how_to_go_on(target, run))
        raise


def how_to_go_on(target: Target, run: str) -> str:
    """Say how to look at a run, and how to stop it."""
    where = f"{run} --stack-name {target.stack} --region {target.aws.region}"
    if target.aws.endpoint_url:
        where += f" --endpoint-url {target.aws.endpoint_url}"
    return f"look: legato status {where}\nstop: legato status {where} --stop"
