"""Workflows: the definition in Python, compiled to one Amazon States Language document."""

from legato.workflow._diagram import diagram_mermaid, diagram_svg
from legato.workflow._states import STAGES, STORE_BUCKET, function_placeholder
from legato.workflow._synth import synth
from legato.workflow._workflow import Workflow

__all__ = [
    "STAGES",
    "STORE_BUCKET",
    "Workflow",
    "diagram_mermaid",
    "diagram_svg",
    "function_placeholder",
    "synth",
]
