"""Where the vertices of a layered graph stand from left to right."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Final

from legato.workflow._diagram._layers import Layers

GAP: Final = 28.0
"""Least distance of two that stand side by side, in pixels."""

_SWEEPS: Final = 400
_STILL: Final = 0.05

_Gaps = dict[int, list[tuple[int, float]]]


def middles(layers: Layers) -> list[float]:
    """Return the centre of each vertex from left to right, in pixels from the left edge.

    Begins with everything as far to the left as it goes, then moves each towards the mean of its
    neighbours, never nearer to those beside it than allowed. What should form one straight line
    moves as one.
    """
    columns = _columns(layers)
    left, right = _sides(layers, columns)
    pulls = _pulls(layers, columns)
    order = list(_from_left(columns, left, right))
    half = _halves(layers, columns)
    x: dict[int, float] = {}
    for one in order:
        x[one] = max((x[other] + gap for other, gap in left.get(one, ())), default=half[one])
    for sweep in range(_SWEEPS):
        moved = 0.0
        for one in reversed(order) if sweep % 2 == 0 else order:
            if one in pulls:
                wanted = sum(x[other] for other in pulls[one]) / len(pulls[one])
                low = max((x[o] + g for o, g in left.get(one, ())), default=-math.inf)
                high = min((x[o] - g for o, g in right.get(one, ())), default=math.inf)
                place = max(low, min(wanted, high))
                moved = max(moved, abs(place - x[one]))
                x[one] = place
        if moved < _STILL:
            break
    edge = min(x[one] - half[one] for one in order)
    return [round(x[one] - edge, 1) for one in columns]


def _columns(layers: Layers) -> list[int]:
    """Return for each vertex the one that stands for its straight line.

    Parts of a state are one; so are the pieces of a long line, and two that lead only to one
    another. No two lines that are kept straight cross: they can always stand side by side.
    """
    place = {vertex: n for row in layers.rows for n, vertex in enumerate(row)}
    columns = list(range(len(layers.vertices)))
    kept: dict[int, list[tuple[int, int]]] = {}
    # By rows, so that a line is joined from its top.
    for upper, lower in sorted(_straight(layers), key=lambda link: layers.vertices[link[0]].row):
        links = kept.setdefault(layers.vertices[upper].row, [])
        if all(
            u != upper and v != lower and (place[u] < place[upper]) == (place[v] < place[lower])
            for u, v in links
        ):
            links.append((upper, lower))
            columns[lower] = columns[upper]
    return columns


def _straight(layers: Layers) -> list[tuple[int, int]]:
    """Return the pairs that should stand one below the other; the most important first."""
    vertices = layers.vertices
    parts = [pair for of_one in layers.parts.values() for pair in itertools.pairwise(of_one)]
    ways = [pair for chain in layers.chains for pair in itertools.pairwise(chain.vertices)]
    down, up = Counter(upper for upper, _ in ways), Counter(lower for _, lower in ways)
    long = [(u, v) for u, v in ways if vertices[u].owner is None and vertices[v].owner is None]
    alone = [(u, v) for u, v in ways if down[u] == 1 and up[v] == 1]
    return list(dict.fromkeys(parts + long + alone))


def _halves(layers: Layers, columns: Sequence[int]) -> dict[int, float]:
    halves: dict[int, float] = {}
    for vertex, one in zip(layers.vertices, columns, strict=True):
        halves[one] = max(halves.get(one, 0.0), vertex.width / 2)
    return halves


def _sides(layers: Layers, columns: Sequence[int]) -> tuple[_Gaps, _Gaps]:
    """Return for each column what is left and right of it, and how far away at least."""
    left: _Gaps = {}
    right: _Gaps = {}
    for row in layers.rows:
        for one, other in itertools.pairwise(row):
            widths = layers.vertices[one].width + layers.vertices[other].width
            first, second, gap = columns[one], columns[other], widths / 2 + GAP
            left.setdefault(second, []).append((first, gap))
            right.setdefault(first, []).append((second, gap))
    return left, right


def _pulls(layers: Layers, columns: Sequence[int]) -> dict[int, list[int]]:
    """Return for each column the columns that lines lead to from it."""
    pulls: dict[int, list[int]] = {}
    for chain in layers.chains:
        for upper, lower in itertools.pairwise(chain.vertices):
            if columns[upper] != columns[lower]:
                pulls.setdefault(columns[upper], []).append(columns[lower])
                pulls.setdefault(columns[lower], []).append(columns[upper])
    return pulls


def _from_left(columns: Sequence[int], left: _Gaps, right: _Gaps) -> Iterator[int]:
    """Yield each column after all that are left of it."""
    waiting = {one: len(left.get(one, ())) for one in dict.fromkeys(columns)}
    ready = [one for one, count in waiting.items() if count == 0]
    for one in ready:
        yield one
        for other, _ in right.get(one, ()):
            waiting[other] -= 1
            if waiting[other] == 0:
                ready.append(other)
