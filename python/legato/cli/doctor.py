"""Check credentials, region, bucket, roles and limits, and say what to fix."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path

from legato.cli import _aws
from legato.cli._load import load_workflow


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    parser.add_argument(
        "workflow", type=Path, nargs="?", help="check its model, its fleet and its stack, too"
    )
    parser.add_argument("--local", action="store_true", help="look at this machine alone")
    parser.add_argument("--json", action="store_true", help="print JSON")
    _aws.add_arguments(parser)


def main(arguments: argparse.Namespace) -> int:
    """Check; return the exit status: 1 where a check failed."""
    from legato.deploy import examine

    workflow = load_workflow(arguments.workflow) if arguments.workflow else None
    found = []
    for check in examine(
        workflow,
        stack_name=arguments.stack_name,
        region=arguments.region,
        profile=arguments.profile,
        endpoint_url=arguments.endpoint_url,
        local=arguments.local,
    ):
        found.append(check)
        if not arguments.json:
            sys.stdout.write(f"{check}\n")
            sys.stdout.flush()
    if arguments.json:
        sys.stdout.write(json.dumps([asdict(check) for check in found], indent=2) + "\n")
    return int(any(check.level == "fail" for check in found))
