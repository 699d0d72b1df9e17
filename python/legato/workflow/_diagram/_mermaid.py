"""A document as a Mermaid flowchart, which GitHub draws in Markdown."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from legato.workflow._diagram._graph import END, START, Edge, Graph, Node, parse_graph
from legato.workflow._diagram._text import printable

# A word of Mermaid's own ("end", "subgraph", ...) is lower case, so these are never one.
_ID: Final = re.compile(r"[A-Z][A-Za-z0-9]*")
_SPECIAL: Final = re.compile(r"[^A-Za-z0-9 .,_=+·≤≥%/-]")
_SHAPES: Final = {
    "Choice": ("{{", "}}"),
    "End": ("([", "])"),
    "Fail": ("([", "])"),
    "Start": ("([", "])"),
    "Succeed": ("([", "])"),
}


def diagram_mermaid(document: Mapping[str, Any]) -> str:
    """Return the diagram of a state machine as a Mermaid flowchart.

    The same document gives the same text.

    Args:
        document: In the Amazon States Language, placeholders replaced or not.

    Raises:
        WorkflowError: It has no states, or a state leads to one that does not exist.

    Example:
        >>> done = {"StartAt": "Done", "States": {"Done": {"Type": "Succeed"}}}
        >>> print(diagram_mermaid(done), end="")
        flowchart TD
          start(["Start"])
          Done(["Done<br/>Succeed"])
          finish(["End"])
          start --> Done
          Done --> finish
    """
    graph = parse_graph(document)
    ids = _ids(graph)
    return "\n".join(["flowchart TD", *_lines(graph, ids, "  ")]) + "\n"


def _ids(graph: Graph) -> dict[str, str]:
    names = list(_names(graph))
    ids = {name: name if _ID.fullmatch(name) else f"s{n}" for n, name in enumerate(names)}
    return {**ids, START: "start", END: "finish"}


def _names(graph: Graph) -> Iterator[str]:
    for name, node in graph.nodes.items():
        yield name
        if node.inner is not None:
            yield from _names(node.inner)


def _lines(graph: Graph, ids: Mapping[str, str], indent: str) -> Iterator[str]:
    for key, node in graph.nodes.items():
        if node.inner is None:
            left, right = _SHAPES.get(node.type, ("(", ")"))
            yield f'{indent}{ids[key]}{left}"{_text(node)}"{right}'
        else:
            yield f'{indent}subgraph {ids[key]}["{_text(node)}"]'
            yield f"{indent}  direction TB"
            yield from _lines(node.inner, ids, indent + "  ")
            yield f"{indent}end"
    for edge in graph.edges:
        yield f"{indent}{ids[edge.source]} {_arrow(edge)} {ids[edge.target]}"


def _arrow(edge: Edge) -> str:
    line = "-.->" if edge.caught else "-->"
    return f'{line}|"{_escaped(edge.label)}"|' if edge.label else line


def _text(node: Node) -> str:
    if node.type in {"Start", "End"}:
        return node.name
    return "<br/>".join(_escaped(line) for line in (node.name, *node.captions))


def _escaped(text: str) -> str:
    # An entity of HTML has a semicolon, which ends a statement: Mermaid's own begin with '#'.
    return _SPECIAL.sub(lambda found: _entity(found[0]), printable(text))


def _entity(char: str) -> str:
    return char if char.isalpha() else f"#{ord(char)};"
