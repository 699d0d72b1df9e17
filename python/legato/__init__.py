"""Hugging Face models as AWS Step Functions states.

The parts, in the order in which a newcomer meets them: :func:`pipeline` runs a model here;
:class:`Workflow` describes a model over a dataset, and :func:`run` runs it as a state machine in
this process; :func:`step` makes a state of a function; :class:`Store` and :class:`Ref` keep what
passes between states.
"""

import importlib
import sys
from types import ModuleType as _Module

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
    set_num_threads,
)
from legato._native import on_unbound as _on_unbound

TYPE_CHECKING = False  # typing's own costs as much to import as all that is here
if TYPE_CHECKING:
    from legato.endpoints import Endpoint
    from legato.local import Run, run
    from legato.pipeline import pipeline
    from legato.results import Results
    from legato.settings import Settings
    from legato.step import Task, step
    from legato.workflow import Workflow

__all__ = ["Endpoint", "Engine", "ModelFiles", "Ref", "Results", "Run", "Settings", "Store", "Task"]
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

_LATER = {
    "Endpoint": "endpoints",
    "Results": "results",
    "Run": "local",
    "Settings": "settings",
    "Task": "step",
}
_LATER |= {"Workflow": "workflow", "pipeline": "pipeline", "run": "local", "step": "step"}
"""Imported on first use: to read an object takes a twentieth of the time that these take."""


class _Package(_Module):
    """Keeps the functions ``pipeline`` and ``step`` from modules of these names."""

    def __setattr__(self, name: str, value: object) -> None:
        if not (name in _LATER and isinstance(value, _Module)):
            super().__setattr__(name, value)


# A reference that is bound to no store finds one by the settings.
_on_unbound(lambda uri: importlib.import_module("legato._home").store_of(uri))


def __getattr__(name: str) -> object:
    if name not in _LATER:
        raise AttributeError(f"module 'legato' has no attribute {name!r}")
    globals()[name] = value = getattr(importlib.import_module(f"legato.{_LATER[name]}"), name)
    return value


sys.modules[__name__].__class__ = _Package
