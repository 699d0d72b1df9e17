"""Hugging Face models as AWS Step Functions states.

The parts, in the order in which a newcomer meets them: :func:`pipeline` runs a model here; :class:`Workflow`
describes a model over a dataset and :func:`run` runs it as a state machine in this process; :func:`step` makes a
state of a function; :class:`Store` and :class:`Ref` keep what passes between states.
"""

from legato._native import Engine, ModelFiles, Ref, Store, Tokenizer, Tokens, __version__
from legato.local import Run, run
from legato.pipeline import pipeline
from legato.results import Results
from legato.settings import Settings
from legato.step import Task, step
from legato.workflow import Workflow

__all__ = [
    "Engine",
    "ModelFiles",
    "Ref",
    "Results",
    "Run",
    "Settings",
    "Store",
    "Task",
    "Tokenizer",
    "Tokens",
    "Workflow",
    "__version__",
    "pipeline",
    "run",
    "step",
]
