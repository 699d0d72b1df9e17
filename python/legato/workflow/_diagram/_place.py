"""Places in pixels: where each state, label and line of a graph goes."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from legato.workflow._diagram._columns import middles
from legato.workflow._diagram._graph import Edge, Graph
from legato.workflow._diagram._layers import Chain, Layers, layer

GAP_Y: Final = 36.0
PORT_GAP: Final = 28.0
STUB: Final = 8.0
"""Length of the straight end of a line, where its tip is."""
LOOP: Final = 30.0
"""Room beside a state for the line that leads back to itself."""

_ROW: Final = 88.0
"""Height of a row of states and the gap below it: a Map takes as many rows as it is high."""

Size = tuple[float, float]
Point = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Box:
    """A rectangle; x and y are its left upper corner."""

    x: float
    y: float
    width: float
    height: float

    @property
    def middle(self) -> float:
        """Its centre from left to right."""
        return self.x + self.width / 2

    @property
    def bottom(self) -> float:
        """Its lower side."""
        return self.y + self.height


@dataclass(frozen=True, slots=True)
class Line:
    """A way from state to state.

    ``points`` in the direction of the arrow; straight from even to odd ones, bent between.
    """

    edge: Edge
    points: tuple[Point, ...]
    label: Box | None


@dataclass(frozen=True, slots=True)
class Placed:
    """A graph with its places; everything lies between (0, 0) and (width, height)."""

    width: float
    height: float
    boxes: Mapping[str, Box]
    lines: tuple[Line, ...]


def place(graph: Graph, sizes: Mapping[str, Size], label_sizes: Mapping[str, Size]) -> Placed:
    """Place a graph from top to bottom, without overlaps.

    Args:
        graph: States and ways.
        sizes: Width and height of each state.
        label_sizes: Those of each label.
    """
    loops = {edge.source for edge in graph.edges if edge.source == edge.target}
    room = {n: (w + 2 * LOOP if n in loops else w, h) for n, (w, h) in sizes.items()}
    spans = {name: max(1, int((h + GAP_Y) // _ROW)) for name, (_, h) in room.items()}
    layers = layer(graph, room, label_sizes, spans)
    if not _is_clear(layers):
        # Some line would have to cross a state that is several rows high: one row, as high as it.
        layers = layer(graph, room, label_sizes, {})
    return _Placing(layers, sizes).placed(graph)


def _is_clear(layers: Layers) -> bool:
    """Say whether every line stays on one side of each state that it passes."""
    place = {vertex: n for row in layers.rows for n, vertex in enumerate(row)}
    links: dict[int, list[tuple[int, int]]] = {}
    for upper, lower in layers.links():
        links.setdefault(layers.vertices[upper].row, []).append((upper, lower))
    for parts in layers.parts.values():
        for first, second in itertools.pairwise(parts):
            for upper, lower in links[layers.vertices[first].row]:
                left_above, left_below = place[upper] < place[first], place[lower] < place[second]
                if (upper, lower) != (first, second) and left_above != left_below:
                    return False
    return True


class _Placing:
    """Works out the places of one graph."""

    def __init__(self, layers: Layers, sizes: Mapping[str, Size]) -> None:
        self.layers = layers
        self.sizes = sizes
        self.middles = middles(layers)
        self.tops, self.heights = _row_places(layers, sizes)

    def placed(self, graph: Graph) -> Placed:
        boxes = {name: self._box(name) for name in graph.nodes}
        lines = [self._line(chain, boxes) for chain in self.layers.chains]
        lines += [_loop(e, boxes[e.source]) for e in graph.edges if e.source == e.target]
        vertices = self.layers.vertices
        width = max(m + v.width / 2 for m, v in zip(self.middles, vertices, strict=True))
        return Placed(width, self.tops[-1] + self.heights[-1], boxes, tuple(lines))

    def _box(self, name: str) -> Box:
        width, height = self.sizes[name]
        parts = self.layers.parts[name]
        first, last = (self.layers.vertices[parts[n]].row for n in (0, -1))
        room = self.tops[last] + self.heights[last] - self.tops[first]
        top = self.tops[first] + (room - height) / 2
        return Box(self.middles[parts[0]] - width / 2, top, width, height)

    def _line(self, chain: Chain, boxes: Mapping[str, Box]) -> Line:
        edge, vertices = chain.edge, self.layers.vertices
        upper, lower = (edge.target, edge.source) if chain.up else (edge.source, edge.target)
        out, into = self._port(chain, upper, 0), self._port(chain, lower, -1)
        points = [(out, boxes[upper].bottom), (out, self._bottom(chain.vertices[0]) + STUB)]
        label = None
        for vertex in chain.vertices[1:-1]:
            x, row = self.middles[vertex], vertices[vertex].row
            points += [(x, self.tops[row]), (x, self._bottom(vertex))]
            if vertices[vertex].label:
                w, h = vertices[vertex].width, vertices[vertex].height
                label = Box(x - w / 2, self.tops[row] + (self.heights[row] - h) / 2, w, h)
        top = self.tops[vertices[chain.vertices[-1]].row]
        points += [(into, top - STUB), (into, boxes[lower].y)]
        return Line(edge, tuple(reversed(points) if chain.up else points), label)

    def _bottom(self, vertex: int) -> float:
        row = self.layers.vertices[vertex].row
        return self.tops[row] + self.heights[row]

    def _port(self, chain: Chain, name: str, end: int) -> float:
        """Return where a line touches a state: at its middle, beside it where others lead up."""
        vertex = chain.vertices[end]
        beyond: dict[bool, list[float]] = {}
        for other in self.layers.chains:
            if other.vertices[end] == vertex:
                neighbour = other.vertices[1 if end == 0 else -2]
                beyond.setdefault(other.up, []).append(self.middles[neighbour])
        kinds = sorted(beyond, key=lambda up: (sum(beyond[up]) / len(beyond[up]), up))
        offset = (kinds.index(chain.up) - (len(kinds) - 1) / 2) * PORT_GAP
        return self.middles[self.layers.parts[name][0]] + offset


def _loop(edge: Edge, box: Box) -> Line:
    right = box.x + box.width
    upper, lower = box.y + box.height * 0.3, box.y + box.height * 0.7
    return Line(edge, ((right, lower), (right + LOOP / 2, upper)), None)


def _row_places(
    layers: Layers, sizes: Mapping[str, Size]
) -> tuple[Sequence[float], Sequence[float]]:
    """Return the top and the height of each row; the last row of a high state makes up for it."""
    tops: list[float] = []
    heights: list[float] = []
    ending: dict[int, list[tuple[int, float]]] = {}
    for name, parts in layers.parts.items():
        first, last = layers.vertices[parts[0]].row, layers.vertices[parts[-1]].row
        ending.setdefault(last, []).append((first, sizes[name][1]))
    top = 0.0
    for number, row in enumerate(layers.rows):
        tops.append(top)
        own = max((layers.vertices[vertex].height for vertex in row), default=0.0)
        needed = [tops[first] + height - top for first, height in ending.get(number, ())]
        heights.append(max(own, *needed, 0.0))
        top += heights[-1] + GAP_Y
    return tops, heights
