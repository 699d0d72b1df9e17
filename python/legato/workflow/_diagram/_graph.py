"""A document of the Amazon States Language as a graph: what a diagram shows of it, and no more."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from legato.errors import WorkflowError
from legato.workflow._diagram._captions import captions, rule_text

START: Final = "\0start"
END: Final = "\0end"
"""Keys of the two marks that are no states; no state's name has a NUL in it."""


@dataclass(frozen=True, slots=True)
class Node:
    """A state: its name, its type, one or two captions, a longer text, and what a Map runs."""

    name: str
    type: str
    captions: tuple[str, ...] = ()
    about: str = ""
    inner: Graph | None = None


@dataclass(frozen=True, slots=True)
class Edge:
    """A way from one state to another; ``label`` says when it is taken, "" means next."""

    source: str
    target: str
    label: str = ""
    caught: bool = False


@dataclass(frozen=True, slots=True)
class Graph:
    """States in the order in which they are reached, and the ways between them."""

    nodes: Mapping[str, Node]
    edges: tuple[Edge, ...]


def parse_graph(document: Mapping[str, Any]) -> Graph:
    """Return the graph of a whole document, with a start and an end.

    Args:
        document: In the Amazon States Language, placeholders replaced or not.

    Raises:
        WorkflowError: It has no states, or a state leads to one that does not exist.
    """
    inner = _parse_states(document)
    first = document["StartAt"]
    nodes = {START: Node("Start", "Start"), **inner.nodes}
    edges = [Edge(START, first), *inner.edges]
    ends = [name for name, state in document["States"].items() if _ends(state)]
    if ends:
        nodes[END] = Node("End", "End")
        edges += [Edge(name, END) for name in inner.nodes if name in ends]
    return Graph(nodes, tuple(edges))


def _ends(state: Mapping[str, Any]) -> bool:
    return state.get("End") is True or state.get("Type") == "Succeed"


def _parse_states(machine: Mapping[str, Any]) -> Graph:
    states = machine.get("States")
    if not isinstance(states, Mapping) or machine.get("StartAt") not in states:
        msg = "the document has no States, or StartAt names none of them; give a whole definition"
        raise WorkflowError(msg)
    edges = {name: _merged(_ways(name, state)) for name, state in states.items()}
    for name, ways in edges.items():
        for edge in ways:
            if edge.target not in states:
                msg = f"state {name} leads to {edge.target!r}, which does not exist at its level"
                raise WorkflowError(msg)
    order = _reached(machine["StartAt"], edges)
    order += [name for name in states if name not in order]
    return Graph(
        {name: _node(name, states[name]) for name in order},
        tuple(edge for name in order for edge in edges[name]),
    )


def _node(name: str, state: Mapping[str, Any]) -> Node:
    processor = state.get("ItemProcessor", state.get("Iterator"))
    inner = _parse_states(processor) if state.get("Type") == "Map" and processor else None
    about = str(state.get("Comment", ""))
    return Node(name, str(state.get("Type", "")), captions(state), about, inner)


def _ways(name: str, state: Mapping[str, Any]) -> Iterator[Edge]:
    for rule in state.get("Choices", ()):
        yield Edge(name, rule["Next"], rule_text(rule))
    if "Default" in state:
        yield Edge(name, state["Default"], "otherwise")
    if "Next" in state:
        yield Edge(name, state["Next"])
    for catcher in state.get("Catch", ()):
        yield Edge(name, catcher["Next"], " or ".join(catcher["ErrorEquals"]), caught=True)


def _merged(ways: Iterator[Edge]) -> list[Edge]:
    """Join ways of one kind that lead to the same state: a reader follows one line."""
    labels: dict[tuple[str, str, bool], list[str]] = {}
    for edge in ways:
        labels.setdefault((edge.source, edge.target, edge.caught), []).append(edge.label)
    return [
        Edge(source, target, " or ".join(texts), caught)
        for (source, target, caught), texts in labels.items()
    ]


def _reached(start: str, edges: Mapping[str, list[Edge]]) -> list[str]:
    order = [start]
    # It grows while it is walked: breadth first.
    for name in order:
        for edge in edges[name]:
            if edge.target not in order:
                order.append(edge.target)
    return order
