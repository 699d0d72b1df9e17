"""What all verbs of AWS share: where, and as whom."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from legato._aws import Aws
from legato.cli._load import load_workflow
from legato.errors import InputError

if TYPE_CHECKING:
    from legato.remote import Target


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare region, profile, endpoint and stack."""
    group = parser.add_argument_group("AWS")
    group.add_argument("--region", metavar="NAME", help="default: AWS_REGION, or the profile's")
    group.add_argument("--profile", metavar="NAME", help="of ~/.aws/config; default: AWS_PROFILE")
    group.add_argument(
        "--endpoint-url", metavar="URL", help="instead of AWS, such as an emulator's"
    )
    group.add_argument("--stack-name", metavar="NAME", help="default: the name of the workflow")


def connect(arguments: argparse.Namespace) -> Aws:
    """Open the session that the arguments describe."""
    return Aws.connect(
        region=arguments.region, profile=arguments.profile, endpoint_url=arguments.endpoint_url
    )


def stack_name(arguments: argparse.Namespace, workflow: Path | None = None) -> str:
    """Return the stack's name: the one that was given, or the workflow's.

    Raises:
        InputError: Neither is given.
    """
    if arguments.stack_name:
        return str(arguments.stack_name)
    if workflow is None:
        msg = "which stack? give --stack-name NAME, or --workflow WORKFLOW.py"
        raise InputError(msg)
    from legato import deploy

    return deploy.stack_name(load_workflow(workflow))


def target(arguments: argparse.Namespace, run: str | None = None) -> Target:
    """Return the deployed workflow of --stack-name, of --workflow, or of an execution's ARN."""
    from legato.remote import Target

    aws = connect(arguments)
    if (
        arguments.stack_name is None
        and arguments.workflow is None
        and (run or "").startswith("arn:")
    ):
        # The machine has the name of its stack.
        return Target.of_stack(aws, str(run).split(":")[6].partition("/")[0])
    return Target.of_stack(aws, stack_name(arguments, arguments.workflow))


@contextmanager
def left_alone() -> Iterator[None]:
    """Say of a Ctrl-C that CloudFormation goes on with what it has begun."""
    try:
        yield
    except KeyboardInterrupt:
        msg = (
            "legato: stopped; what CloudFormation has begun goes on, "
            "and the same command does the rest when that has ended"
        )
        raise KeyboardInterrupt(msg) from None


def say(line: str) -> None:
    """Write a line of progress, which is no result."""
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()
