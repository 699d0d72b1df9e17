"""Write a model with its weights in eight bits."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from legato._native import ModelFiles


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    parser.add_argument("model", type=Path, help="folder of the model")
    parser.add_argument("out", type=Path, help="new folder; load it with dtype int8")


def main(arguments: argparse.Namespace) -> int:
    """Write the folder; return the exit status."""
    written = ModelFiles.from_dir(arguments.model).quantize(arguments.out)
    sys.stdout.write(f"{arguments.out}\n{written.digest}\n")
    return 0
