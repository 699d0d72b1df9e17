"""Write a workflow's state machine document."""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
import uuid
from pathlib import Path

from legato.cli._load import load_workflow
from legato.errors import AccessDeniedError

DOCUMENT = "statemachine.asl.json"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    parser.add_argument("workflow", type=Path, help="Python file that defines the workflow")
    parser.add_argument(
        "-o", "--output", type=Path, default=Path("build"), help="folder; default: build"
    )


def main(arguments: argparse.Namespace) -> int:
    """Write the document; return the exit status."""
    document = load_workflow(arguments.workflow).document()
    path = arguments.output / DOCUMENT
    # Written beside it and renamed: nobody deploys half a document.
    staged = arguments.output / f".{DOCUMENT}-{uuid.uuid4().hex}"
    try:
        arguments.output.mkdir(parents=True, exist_ok=True)
        staged.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
        staged.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            staged.unlink()
        msg = f"{path} cannot be written ({error.strerror}); give another folder with -o"
        raise AccessDeniedError(msg) from None
    sys.stdout.write(f"{path}\n")
    return 0
