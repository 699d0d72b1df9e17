"""Sizes of states: a Map is as large as what it runs, the rest as its texts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from legato.workflow._diagram._graph import Graph, Node
from legato.workflow._diagram._place import Placed, place
from legato.workflow._diagram._text import fit, width

NAME_SIZE: Final = 14.0
CAPTION_SIZE: Final = 11.5
LABEL_SIZE: Final = 11.5
LINE: Final = 17.0

_SIDE: Final = 20.0
_LEAST_WIDTH: Final = 132.0
_MOST_TEXT: Final = 300.0
_HEIGHT: Final = 52.0
_CHOICE_SIDE: Final = 34.0
_CHOICE_HEIGHT: Final = 40.0
_MARK: Final = (58.0, 26.0)

PADDING: Final = 22.0
STACK: Final = 6.0
"""How far the sheets behind a Map stand out: it runs once for each item."""


@dataclass(frozen=True, slots=True)
class Drawing:
    """A graph with its places, and the same of what each Map runs."""

    graph: Graph
    placed: Placed
    inner: Mapping[str, Drawing]


def measure(graph: Graph) -> Drawing:
    """Work out the sizes and places of a graph, from the inside out."""
    inner = {n: measure(node.inner) for n, node in graph.nodes.items() if node.inner is not None}
    sizes = {name: _size(node, inner.get(name)) for name, node in graph.nodes.items()}
    labels = {edge.label: _label_size(edge.label) for edge in graph.edges if edge.label}
    return Drawing(graph, place(graph, sizes, labels), inner)


def shown_name(node: Node) -> str:
    """Return a state's name as far as it fits."""
    return fit(node.name, NAME_SIZE, _MOST_TEXT, bold=True)


def shown_caption(text: str) -> str:
    """Return a caption as far as it fits."""
    return fit(text, CAPTION_SIZE, _MOST_TEXT)


def shown_label(text: str) -> str:
    """Return a label as far as it fits."""
    return fit(text, LABEL_SIZE, _MOST_TEXT)


def header(node: Node) -> float:
    """Return the height of a Map's texts, above what it runs."""
    return PADDING + LINE * (1 + len(node.captions)) + 8


def _size(node: Node, inner: Drawing | None) -> tuple[float, float]:
    if node.type in {"Start", "End"}:
        return _MARK
    names = width(shown_name(node), NAME_SIZE, bold=True)
    captions = (width(shown_caption(text), CAPTION_SIZE) for text in node.captions)
    text = max(names, *captions, 0.0)
    if inner is not None:
        wide = max(inner.placed.width, text) + 2 * PADDING + STACK
        return wide, header(node) + inner.placed.height + PADDING + STACK
    if node.type == "Choice":
        return max(text + 2 * _CHOICE_SIDE, _LEAST_WIDTH), _CHOICE_HEIGHT
    lines = max(len(node.captions) - 1, 0)
    return max(text + 2 * _SIDE, _LEAST_WIDTH), _HEIGHT + LINE * lines


def _label_size(label: str) -> tuple[float, float]:
    return width(shown_label(label), LABEL_SIZE) + 16, 22.0
