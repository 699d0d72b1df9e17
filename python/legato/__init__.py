"""Hugging Face models as AWS Step Functions states.

The parts, in the order in which a newcomer meets them: :func:`pipeline` runs a model here;
:class:`Workflow` describes a model over a dataset, and :func:`run` runs it as a state machine in
this process; :func:`step` makes a state of a function; :class:`Store` and :class:`Ref` keep what
passes between states.
"""

import importlib
from typing import TYPE_CHECKING

from legato._native import (
    Engine,
    ModelFiles,
    Ref,
    Store,
    TaskEngine,
    Tokenizer,
    Tokens,
    __version__,
    instruction_set,
    num_threads,
    on_unbound,
    set_num_threads,
)
from legato.pipeline import pipeline
from legato.settings import Settings
from legato.step import Task, step

if TYPE_CHECKING:
    from legato.local import Run, run
    from legato.results import Results
    from legato.workflow import Workflow

__all__ = ["Engine", "ModelFiles", "Ref", "Results", "Run", "Settings", "Store", "Task"]
__all__ += [
    "TaskEngine",
    "Tokenizer",
    "Tokens",
    "Workflow",
    "__version__",
    "instruction_set",
    "num_threads",
    "pipeline",
    "run",
    "set_num_threads",
    "step",
]

_LATER = {"Results": "results", "Run": "local", "Workflow": "workflow", "run": "local"}
"""What a Lambda handler does without: imported on first use, so that it starts sooner."""


# A reference that is bound to no store finds one by the settings.
on_unbound(lambda uri: importlib.import_module("legato._home").store_of(uri))


def __getattr__(name: str) -> object:
    if name not in _LATER:
        raise AttributeError(f"module 'legato' has no attribute {name!r}")
    globals()[name] = value = getattr(importlib.import_module(f"legato.{_LATER[name]}"), name)
    return value
