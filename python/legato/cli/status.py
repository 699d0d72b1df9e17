"""Show how a run on AWS is, or what a stack has run lately."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from legato.cli import _aws
from legato.cli._remote import follow_here
from legato.cli._report import finish

if TYPE_CHECKING:
    from legato.remote import Status, Target
    from legato.remote._why import Failure


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    parser.add_argument(
        "run",
        nargs="?",
        help="a run's id, or its execution's ARN; of WORKFLOW.py, or without it, the last runs",
    )
    parser.add_argument("--workflow", type=Path, metavar="FILE", help="instead of --stack-name")
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--json", action="store_true", help="print JSON")
    what.add_argument("--follow", action="store_true", help="follow the run to its end")
    what.add_argument("--stop", action="store_true", help="stop the run; what is done is kept")
    _aws.add_arguments(parser)


def main(arguments: argparse.Namespace) -> int:
    """Show; return the exit status: 1 where the run has failed."""
    from legato.errors import InputError
    from legato.remote import status, stop

    if (arguments.run or "").endswith(".py"):
        # As of the other verbs; a run's id has no ending.
        arguments.workflow, arguments.run = Path(arguments.run), None
    if arguments.run is None and (arguments.follow or arguments.stop):
        msg = "which run? give its id; without it the last runs of the stack are shown"
        raise InputError(msg)
    target = _aws.target(arguments, arguments.run)
    if arguments.run is None:
        return _stack(target, as_json=arguments.json)
    if arguments.stop:
        stop(target, arguments.run)
        sys.stdout.write(f"stopping {arguments.run}; what is done is kept\n")
        return 0
    if arguments.follow:
        return finish(target.stack, follow_here(target, arguments.run))
    found = status(target, arguments.run)
    if arguments.json:
        sys.stdout.write(json.dumps(found.to_dict(), indent=2) + "\n")
    else:
        sys.stdout.write("\n".join(_lines(found)) + "\n")
    if found.made is not None and not arguments.json:
        return finish(target.stack, found.made)
    return 0 if found.error is None else 1


def _lines(found: Status) -> Iterator[str]:
    yield f"{found.run}: {found.status}, {found.seconds:,.1f} s, since {found.started}"
    for state in found.states:
        retried = f", {state.failed_attempts} failed attempts" if state.failed_attempts else ""
        yield f"  {state.name:<20}{state.status:<10}{state.seconds:>10,.1f} s{retried}"
    if found.shards:
        yield "shards    " + ", ".join(f"{count:,} {name}" for name, count in found.shards.items())
    yield from _failures(found)
    if found.redrives:
        yield f"redriven  {found.redrives} times"
    if found.error is not None:
        yield f"why       {found.error}"
        yield f"next      legato redrive {found.run}, or run again: finished shards are kept"


def _failures(found: Status) -> Iterator[str]:
    """Name what failed, shards of one failure together; why is said once."""
    groups: dict[tuple[str, str], list[Failure]] = {}
    for failure in found.failures:
        groups.setdefault((failure.state, failure.error), []).append(failure)
    for (state, error), failures in groups.items():
        shards = ", ".join(
            str(n) for n in sorted({f.shard for f in failures if f.shard is not None})
        )
        where = f"{state}, shard {shards}" if shards else state
        yield f"failure   {failures[0].when} {where}: {error}"
        if found.error is None or len(groups) > 1:
            yield f"          {failures[0].reason}"


def _stack(target: Target, *, as_json: bool) -> int:
    from legato.deploy import Stack
    from legato.remote import recent

    described = Stack(target.aws, target.stack).describe() or {}
    runs = recent(target)
    if as_json:
        about = {
            "stack": target.stack,
            "status": described.get("StackStatus"),
            "machine": target.machine,
            "store": target.store.url,
            "runs": runs,
        }
        sys.stdout.write(json.dumps(about, indent=2) + "\n")
        return 0
    sys.stdout.write(f"{target.stack}: {described.get('StackStatus')}\n")
    sys.stdout.write(f"machine   {target.machine}\nstore     {target.store.url}\n")
    for run in runs:
        sys.stdout.write(f"run       {run['run']:<34}{run['status']:<12}{run['started']}\n")
    return 0
