"""Diagrams of a state machine, drawn from its document alone."""

from legato.workflow._diagram._mermaid import diagram_mermaid
from legato.workflow._diagram._svg import diagram_svg

__all__ = ["diagram_mermaid", "diagram_svg"]
