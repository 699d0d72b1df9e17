"""Write what a workflow is deployed with: state machine, template, policies, grants."""

from __future__ import annotations

import argparse
import contextlib
import errno
import os
import sys
import uuid
from collections.abc import Mapping
from pathlib import Path

from legato.cli._load import load_workflow
from legato.errors import AccessDeniedError
from legato.workflow import synth
from legato.workflow._grants_page import WHO
from legato.workflow._synth import POLICIES


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    parser.add_argument("workflow", type=Path, help="Python file that defines the workflow")
    parser.add_argument(
        "-o", "--output", type=Path, default=Path("build"), help="folder; default: build"
    )


def main(arguments: argparse.Namespace) -> int:
    """Write the files; return the exit status."""
    files = synth(load_workflow(arguments.workflow))
    _write(arguments.output, files)
    _forget(arguments.output, files)
    for name in files:
        sys.stdout.write(f"{arguments.output / name}\n")
    return 0


def _write(folder: Path, files: Mapping[str, str]) -> None:
    # All of them are written beside their places before any is renamed: nobody deploys half.
    mark = uuid.uuid4().hex
    staged: dict[Path, Path] = {}
    path = folder
    try:
        for name, text in files.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            if path.is_dir():
                raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
            staged[path] = path.with_name(f".{path.name}-{mark}")
            staged[path].write_text(text, encoding="utf-8", newline="\n")
        for path, beside in staged.items():
            beside.replace(path)
    except OSError as error:
        for beside in staged.values():
            with contextlib.suppress(OSError):
                beside.unlink()
        msg = f"{path} cannot be written ({error.strerror}); give another folder with -o"
        raise AccessDeniedError(msg) from None


def _forget(folder: Path, files: Mapping[str, str]) -> None:
    """Remove policies of roles that the workflow had when it was written before."""
    for principal in WHO:
        name = f"{POLICIES}/{principal}.json"
        if name not in files:
            with contextlib.suppress(OSError):
                (folder / name).unlink()
