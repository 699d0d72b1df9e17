"""Delete a workflow's stack from AWS; its data only with --delete-data."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from legato.cli import _aws
from legato.errors import InputError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    parser.add_argument("workflow", type=Path, nargs="?", help="instead of --stack-name")
    parser.add_argument("--yes", action="store_true", help="do not ask")
    parser.add_argument(
        "--delete-data",
        action="store_true",
        help="delete its bucket, too: inputs, results and all their versions",
    )
    _aws.add_arguments(parser)


def main(arguments: argparse.Namespace) -> int:
    """Delete; return the exit status."""
    from legato.deploy import Stack, destroy
    from legato.deploy._destroy import buckets_of, running

    aws = _aws.connect(arguments)
    name = _aws.stack_name(arguments, arguments.workflow)
    stack = Stack(aws, name)
    if stack.workflow() is None:
        sys.stdout.write(f"there is no stack {name} in {aws.region}; nothing to do\n")
        return 0
    buckets = buckets_of(stack)
    what = f"stack {name} in {aws.region}, account {aws.account}"
    under_way = running(stack)
    if under_way is None:
        what += ", of which runs may be under way (they could not be listed)"
    elif under_way:
        what += f", of which {under_way} runs are under way"
    if arguments.delete_data and buckets:
        what += f", and all data in {', '.join(buckets)}"
    if not arguments.yes and not _agreed(what):
        sys.stdout.write("nothing was deleted\n")
        return 1
    with _aws.left_alone():
        left = destroy(stack, delete_data=arguments.delete_data, say=_aws.say)
    sys.stdout.write(f"deleted {name}\n")
    if left.deleted:
        sys.stdout.write(f"deleted {left.deleted:,} objects and versions\n")
    for bucket in left.buckets:
        sys.stdout.write(f"left      s3://{bucket} (data; --delete-data would have deleted it)\n")
    code = f"s3://legato-artifacts-{aws.account}-{aws.region}"
    sys.stdout.write(f"left      {code} (code of all stacks of this region, if it was used)\n")
    return 0


def _agreed(what: str) -> bool:
    if not sys.stdin.isatty():
        msg = f"this would delete {what}; give --yes"
        raise InputError(msg)
    sys.stderr.write(f"delete {what}? [y/N] ")
    sys.stderr.flush()
    return sys.stdin.readline().strip().lower() in {"y", "yes"}
