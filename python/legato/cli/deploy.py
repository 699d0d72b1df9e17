"""Create or update a workflow's stack on AWS: machine, functions, roles and bucket."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from legato.cli import _aws
from legato.cli._load import load_workflow
from legato.errors import InputError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    parser.add_argument("workflow", type=Path, help="Python file that defines the workflow")
    parser.add_argument(
        "--parameter",
        metavar="KEY=VALUE",
        action="append",
        default=[],
        help="a parameter of the template, such as BucketName=...; may be repeated",
    )
    parser.add_argument(
        "--runtime", metavar="NAME", help="of the functions, such as python3.13; default: what fits"
    )
    parser.add_argument(
        "--wheel",
        metavar="FILE",
        type=Path,
        action="append",
        default=[],
        help="wheel of legato or numpy instead of the installed package; may be repeated",
    )
    parser.add_argument(
        "--mirror-model",
        action="store_true",
        help="leave the model in the store; the default where it does not fit into a function",
    )
    parser.add_argument(
        "--artifacts",
        metavar="URL",
        help="s3://bucket/prefix for the code; default: legato-artifacts-ACCOUNT-REGION",
    )
    parser.add_argument(
        "--template", metavar="FILE", type=Path, help="instead of what legato synth writes"
    )
    parser.add_argument(
        "--bootstrap",
        metavar="FILE",
        type=Path,
        help="program of the functions for the runtime provided.al2023, for emulators",
    )
    parser.add_argument(
        "--dry-run",
        action="store_true",
        help="show what would change in the stack, and leave it as it is",
    )
    _aws.add_arguments(parser)


def main(arguments: argparse.Namespace) -> int:
    """Deploy; return the exit status."""
    from legato.deploy import Options, deploy

    workflow = load_workflow(arguments.workflow)
    options = Options(
        stack_name=arguments.stack_name,
        parameters=_parameters(arguments.parameter),
        wheels=tuple(arguments.wheel),
        bootstrap=arguments.bootstrap,
        runtime=arguments.runtime,
        artifacts=arguments.artifacts,
        mirror_model=arguments.mirror_model,
        template=arguments.template,
        dry_run=arguments.dry_run,
    )
    with _aws.left_alone():
        outputs = deploy(workflow, _aws.connect(arguments), options, say=_aws.say)
    for name, value in sorted(outputs.items()):
        sys.stdout.write(f"{name:<18}{value}\n")
    return 0


def _parameters(given: list[str]) -> dict[str, str]:
    found = {}
    for each in given:
        name, equals, value = each.partition("=")
        if not (name and equals):
            # Not quoted: what was meant as a value may be a secret.
            msg = "a --parameter has no '='; write --parameter KEY=VALUE"
            raise InputError(msg)
        found[name] = value
    return found
