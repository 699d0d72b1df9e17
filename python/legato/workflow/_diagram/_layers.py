"""Layers of a graph: which row each state stands in, and in which order within it.

Longest path for the rows, barycentres for the order. A way over several rows gets a vertex in each
row that it passes, and a label is a vertex too, so that nothing is drawn over anything.
"""

from __future__ import annotations

import itertools
from bisect import bisect_right, insort
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from legato.workflow._diagram._graph import Edge, Graph

_SWEEPS: Final = 16


@dataclass(slots=True)
class Vertex:
    """What takes up room in a row: a state or a part of one, a label, or a line passing.

    ``owner`` is the state's name, or None; vertices of one owner stand at the same place.
    """

    row: int
    width: float
    height: float
    owner: str | None = None
    label: str = ""


@dataclass(frozen=True, slots=True)
class Chain:
    """A way from the upper vertex to the lower; ``up`` where its arrow points upwards."""

    edge: Edge
    vertices: tuple[int, ...]
    up: bool


@dataclass(slots=True)
class Layers:
    """Vertices, the rows that they stand in from left to right, and the ways between them."""

    vertices: list[Vertex] = field(default_factory=list)
    rows: list[list[int]] = field(default_factory=list)
    chains: list[Chain] = field(default_factory=list)
    parts: dict[str, list[int]] = field(default_factory=dict)

    def links(self) -> list[tuple[int, int]]:
        """Return each pair of vertices in neighbouring rows that a way or a state connects."""
        ways = [chain.vertices for chain in self.chains] + [tuple(p) for p in self.parts.values()]
        return [pair for way in ways for pair in itertools.pairwise(way)]


def layer(
    graph: Graph,
    sizes: Mapping[str, tuple[float, float]],
    label_sizes: Mapping[str, tuple[float, float]],
    spans: Mapping[str, int],
) -> Layers:
    """Arrange a graph in rows.

    Args:
        graph: States and ways.
        sizes: Width and height of each state.
        label_sizes: Those of each label.
        spans: How many rows a state stands in, where it is more than one.
    """
    edges = [edge for edge in graph.edges if edge.source != edge.target]
    turned = _turned(graph, edges)
    rows = _rows(graph, edges, turned, spans)
    layers = Layers()
    for name in graph.nodes:
        span = spans.get(name, 1)
        width, height = sizes[name]
        layers.parts[name] = [
            _add(layers, Vertex(rows[name] + n, width, height if span == 1 else 0, name))
            for n in range(span)
        ]
    for edge, up in zip(edges, turned, strict=True):
        layers.chains.append(_chain(layers, edge, up=up, label_sizes=label_sizes))
    _order(layers)
    return layers


def _turned(graph: Graph, edges: Sequence[Edge]) -> list[bool]:
    """Say of each way whether it leads back, as found depth first from the start."""
    following: dict[str, list[int]] = {name: [] for name in graph.nodes}
    for number, edge in enumerate(edges):
        following[edge.source].append(number)
    turned = [False] * len(edges)
    state: dict[str, str] = {}
    for root in graph.nodes:
        # No recursion: a document may hold more states in a row than Python's stack does.
        stack = [] if root in state else [(root, iter(following[root]))]
        state.setdefault(root, "open")
        while stack:
            name, ways = stack[-1]
            number = next(ways, -1)
            if number < 0:
                state[name] = "done"
                stack.pop()
                continue
            target = edges[number].target
            turned[number] = state.get(target) == "open"
            if target not in state:
                state[target] = "open"
                stack.append((target, iter(following[target])))
    return turned


def _rows(
    graph: Graph, edges: Sequence[Edge], turned: Sequence[bool], spans: Mapping[str, int]
) -> dict[str, int]:
    """Return the first row of each state: its longest way from the start."""
    before: dict[str, list[tuple[str, int]]] = {name: [] for name in graph.nodes}
    after: dict[str, list[str]] = {name: [] for name in graph.nodes}
    for edge, up in zip(edges, turned, strict=True):
        upper, lower = (edge.target, edge.source) if up else (edge.source, edge.target)
        steps = spans.get(upper, 1) + (1 if edge.label else 0)
        before[lower].append((upper, steps))
        after[upper].append(lower)
    waiting = {name: len(ways) for name, ways in before.items()}
    ready = [name for name, count in waiting.items() if count == 0]
    rows: dict[str, int] = {}
    for name in ready:
        rows[name] = max((rows[upper] + steps for upper, steps in before[name]), default=0)
        for lower in after[name]:
            waiting[lower] -= 1
            if waiting[lower] == 0:
                ready.append(lower)
    return rows


def _add(layers: Layers, vertex: Vertex) -> int:
    number = len(layers.vertices)
    layers.vertices.append(vertex)
    while len(layers.rows) <= vertex.row:
        layers.rows.append([])
    layers.rows[vertex.row].append(number)
    return number


def _chain(
    layers: Layers, edge: Edge, *, up: bool, label_sizes: Mapping[str, tuple[float, float]]
) -> Chain:
    upper, lower = (edge.target, edge.source) if up else (edge.source, edge.target)
    first, last = layers.parts[upper][-1], layers.parts[lower][0]
    between = range(layers.vertices[first].row + 1, layers.vertices[last].row)
    passed = []
    for row in between:
        size = label_sizes[edge.label] if edge.label and row == between[0] else (0.0, 0.0)
        label = edge.label if row == between[0] else ""
        passed.append(_add(layers, Vertex(row, *size, None, label)))
    return Chain(edge, (first, *passed, last), up)


def _order(layers: Layers) -> None:
    """Sort each row by the mean place of its neighbours, and keep the order with fewest crossings.

    The rows begin in the order of the document, which decides between equals.
    """
    links = layers.links()
    above: dict[int, list[int]] = {}
    below: dict[int, list[int]] = {}
    for upper, lower in links:
        above.setdefault(lower, []).append(upper)
        below.setdefault(upper, []).append(lower)
    best, fewest = [list(row) for row in layers.rows], _crossings(layers.rows, below)
    for sweep in range(_SWEEPS):
        if fewest == 0:
            break
        down = sweep % 2 == 0
        for row in layers.rows if down else reversed(layers.rows):
            _sort(row, layers, above if down else below)
        count = _crossings(layers.rows, below)
        if count < fewest:
            best, fewest = [list(row) for row in layers.rows], count
    layers.rows = best


def _sort(row: list[int], layers: Layers, neighbours: Mapping[int, list[int]]) -> None:
    place = {vertex: n for other in layers.rows for n, vertex in enumerate(other)}
    means = {
        vertex: sum(place[other] for other in neighbours[vertex]) / len(neighbours[vertex])
        if vertex in neighbours
        else float(place[vertex])
        for vertex in row
    }
    row.sort(key=means.__getitem__)


def _crossings(rows: Sequence[Sequence[int]], below: Mapping[int, list[int]]) -> int:
    total = 0
    for upper, lower in itertools.pairwise(rows):
        place = {vertex: n for n, vertex in enumerate(lower)}
        seen: list[int] = []
        for vertex in upper:
            ends = sorted(place[other] for other in below.get(vertex, ()))
            total += sum(len(seen) - bisect_right(seen, end) for end in ends)
            for end in ends:
                insort(seen, end)
    return total
