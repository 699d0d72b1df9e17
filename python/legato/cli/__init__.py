"""The command line: one verb a module."""

from legato.cli._main import main

__all__ = ["main"]
