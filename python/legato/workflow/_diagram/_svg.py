"""A document as a drawing in SVG: no script, no font, no link, nothing of the machine."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from legato.workflow._diagram._draw import draw
from legato.workflow._diagram._graph import END, START, Edge, Graph, parse_graph
from legato.workflow._diagram._measure import measure
from legato.workflow._diagram._text import escape, fit, width
from legato.workflow._diagram._theme import FONT, dark_style, paint

_MARGIN: Final = 24.0
_TITLE: Final = 34.0
_TITLE_SIZE: Final = 13.0
_MOST_WIDTH: Final = 640.0


def diagram_svg(document: Mapping[str, Any]) -> str:
    """Return the diagram of a state machine as SVG.

    It is one element that stands alone, in a file or in a page, in light and in dark. The same
    document gives the same bytes.

    Args:
        document: In the Amazon States Language, placeholders replaced or not.

    Raises:
        WorkflowError: It has no states, or a state leads to one that does not exist.

    Example:
        >>> done = {"StartAt": "Done", "States": {"Done": {"Type": "Succeed"}}}
        >>> diagram_svg(done)[:4]
        '<svg'
    """
    graph = parse_graph(document)
    title = str(document.get("Comment") or "State machine")
    drawing = measure(graph)
    shown = fit(title, _TITLE_SIZE, max(drawing.placed.width, _MOST_WIDTH))
    wide = max(drawing.placed.width, width(shown, _TITLE_SIZE)) + 2 * _MARGIN
    high = drawing.placed.height + 2 * _MARGIN + _TITLE
    left = (wide - drawing.placed.width) / 2
    drawn = draw(drawing, left, _MARGIN + _TITLE)
    return "".join(_elements(title, shown, graph, drawn, (wide, high)))


def _elements(
    title: str, shown: str, graph: Graph, drawn: Iterator[str], size: tuple[float, float]
) -> Iterator[str]:
    wide, high = size
    yield (
        f'<svg xmlns="http://www.w3.org/2000/svg" class="legato-diagram" role="img" '
        f'width="{wide:.0f}" height="{high:.0f}" viewBox="0 0 {wide:.0f} {high:.0f}" '
        f'font-family="{FONT}">\n'
    )
    yield f"<title>{escape(title)}</title>\n"
    yield f"<desc>{escape(' '.join(_sentences(graph)))}</desc>\n"
    yield f"<style>{dark_style()}</style>\n"
    yield (
        f'<rect x="0.5" y="0.5" width="{wide - 1:.0f}" height="{high - 1:.0f}" rx="12" '
        f"{paint('card')}/>\n"
    )
    yield (
        f'<text x="{_MARGIN:g}" y="{_MARGIN + 9:g}" font-size="{_TITLE_SIZE:g}" '
        f"{paint('title')}>{escape(shown)}</text>\n"
    )
    yield from drawn
    yield "</svg>\n"


def _sentences(graph: Graph) -> Iterator[str]:
    """Yield the ways in words, for readers who hear the diagram."""
    for name, node in graph.nodes.items():
        ways = [edge for edge in graph.edges if edge.source == name]
        if node.inner is not None:
            yield f"{name} runs for each item:"
            yield from _sentences(node.inner)
        if ways:
            source = "The run" if name == START else name
            verb = "starts with" if name == START else "leads to"
            yield f"{source} {verb} {_listed(ways)}."
        elif node.inner is None and name != END:
            yield f"{name} ends it."


def _listed(ways: list[Edge]) -> str:
    return ", or to ".join(map(_told, ways))


def _told(edge: Edge) -> str:
    target = "the end" if edge.target == END else edge.target
    if edge.caught:
        return f"{target} on {edge.label}"
    return f"{target} ({edge.label})" if edge.label else target
