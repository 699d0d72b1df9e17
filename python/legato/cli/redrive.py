"""Restart a failed run on AWS where it failed, and follow it."""

from __future__ import annotations

import argparse
from pathlib import Path

from legato.cli import _aws
from legato.cli._remote import follow_here, how_to_go_on
from legato.cli._report import finish


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    parser.add_argument("run", help="a run's id, or its execution's ARN")
    parser.add_argument("--workflow", type=Path, metavar="FILE", help="instead of --stack-name")
    parser.add_argument("--detach", action="store_true", help="restart it, and do not follow it")
    _aws.add_arguments(parser)


def main(arguments: argparse.Namespace) -> int:
    """Redrive; return the exit status of the run."""
    from legato.remote import redrive

    target = _aws.target(arguments, arguments.run)
    redrive(target, arguments.run)
    _aws.say(f"redriven {arguments.run}")
    if arguments.detach:
        _aws.say(how_to_go_on(target, arguments.run))
        return 0
    return finish(target.stack, follow_here(target, arguments.run))
