"""The elements of the drawing: lines first, states over them, labels last."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

from legato.workflow._diagram._graph import Node
from legato.workflow._diagram._measure import (
    CAPTION_SIZE,
    LABEL_SIZE,
    LINE,
    NAME_SIZE,
    PADDING,
    STACK,
    Drawing,
    header,
    shown_caption,
    shown_label,
    shown_name,
)
from legato.workflow._diagram._place import LOOP, Box, Line
from legato.workflow._diagram._text import escape
from legato.workflow._diagram._theme import kind, paint

_TIP = 7.0


def draw(drawing: Drawing, x: float, y: float) -> Iterator[str]:
    """Yield the elements of a drawing whose left upper corner is at (x, y)."""
    yield f'<g transform="translate({x:g} {y:g})">\n'
    for line in drawing.placed.lines:
        yield from _line(line)
    for name, node in drawing.graph.nodes.items():
        yield from _state(node, drawing.placed.boxes[name], drawing.inner.get(name))
    for line in drawing.placed.lines:
        if line.label is not None:
            yield from _label(line.edge.label, line.label)
    yield "</g>\n"


def _line(line: Line) -> Iterator[str]:
    name = "caught" if line.edge.caught else "edge"
    tip = "caught-tip" if line.edge.caught else "tip"
    dashes = ' stroke-dasharray="5 4"' if line.edge.caught else ""
    path, end = _loop_path(line) if line.edge.source == line.edge.target else _path(line)
    yield f'<path d="{path}" {paint(name)} stroke-width="1.5"{dashes}/>\n'
    yield f'<path d="{end}" {paint(tip)}/>\n'


def _path(line: Line) -> tuple[str, str]:
    points = list(line.points)
    x, y = points[-1]
    down = y >= points[0][1]
    # The line stops inside of its tip, which would otherwise be blunt.
    points[-1] = (x, y - _TIP + 1 if down else y + _TIP - 1)
    parts = [f"M{points[0][0]:g} {points[0][1]:g}"]
    for number, ((x1, y1), (x2, y2)) in enumerate(itertools.pairwise(points)):
        if number % 2 == 0 or x1 == x2:
            parts.append(f"V{y2:g}")
        else:
            half = (y1 + y2) / 2
            parts.append(f"C{x1:g} {half:g} {x2:g} {half:g} {x2:g} {y2:g}")
    back = -_TIP if down else _TIP
    return "".join(parts), f"M{x:g} {y:g}l-4.5 {back:g}h9z"


def _loop_path(line: Line) -> tuple[str, str]:
    (x, lower), (_, upper) = line.points
    path = f"M{x:g} {lower:g}c{LOOP:g} 0 {LOOP:g} {upper - lower:g} {_TIP - 1:g} {upper - lower:g}"
    return path, f"M{x:g} {upper:g}l{_TIP:g} -4.5v9z"


def _state(node: Node, box: Box, inner: Drawing | None) -> Iterator[str]:
    about = f"{node.name}: {node.about}" if node.about else node.name
    yield f"<g><title>{escape(about)}</title>\n"
    if inner is not None:
        yield from _map(node, box, inner)
    elif node.type in {"Start", "End"}:
        yield _rect(box, box.height / 2, paint("Start"))
        yield _text(node.name, box.middle, box.y + 17, 12, "mark")
    elif node.type == "Choice":
        yield _hexagon(box)
        yield _text(shown_name(node), box.middle, box.y + 25, NAME_SIZE, "name")
    else:
        radius = box.height / 2 if node.type in {"Succeed", "Fail"} else 9
        yield _rect(box, radius, f'{paint(kind(node.type))} stroke-width="1.5"')
        yield from _texts(node, box, box.y + 23)
    yield "</g>\n"


def _map(node: Node, box: Box, inner: Drawing) -> Iterator[str]:
    sheet = Box(box.x, box.y, box.width - STACK, box.height - STACK)
    for shift in (STACK, STACK / 2, 0.0):
        moved = Box(sheet.x + shift, sheet.y + shift, sheet.width, sheet.height)
        yield _rect(moved, 12, f'{paint("Map")} stroke-width="1.5"')
    yield from _texts(node, sheet, sheet.y + PADDING + 4)
    left = sheet.x + (sheet.width - inner.placed.width) / 2
    yield from draw(inner, left, box.y + header(node))


def _texts(node: Node, box: Box, y: float) -> Iterator[str]:
    yield _text(shown_name(node), box.middle, y, NAME_SIZE, "name")
    for number, caption in enumerate(node.captions, 1):
        shown = shown_caption(caption)
        yield _text(shown, box.middle, y + LINE * number, CAPTION_SIZE, "caption")


def _label(label: str, box: Box) -> Iterator[str]:
    yield f"<g><title>{escape(label)}</title>\n"
    yield _rect(box, box.height / 2, paint("chip"))
    yield _text(shown_label(label), box.middle, box.y + 15, LABEL_SIZE, "caption")
    yield "</g>\n"


def _rect(box: Box, radius: float, attributes: str) -> str:
    return (
        f'<rect x="{box.x:g}" y="{box.y:g}" width="{box.width:g}" height="{box.height:g}" '
        f'rx="{radius:g}" {attributes}/>\n'
    )


def _hexagon(box: Box) -> str:
    left, right, side = box.x, box.x + box.width, 16
    middle = box.y + box.height / 2
    return (
        f'<path d="M{left + side:g} {box.y:g}H{right - side:g}L{right:g} {middle:g}'
        f'L{right - side:g} {box.bottom:g}H{left + side:g}L{left:g} {middle:g}Z" '
        f'{paint("Choice")} stroke-width="1.5" stroke-linejoin="round"/>\n'
    )


def _text(text: str, x: float, y: float, size: float, name: str) -> str:
    weight = ' font-weight="600"' if name in {"name", "mark"} else ""
    return (
        f'<text x="{x:g}" y="{y:g}" font-size="{size:g}" text-anchor="middle"{weight} '
        f"{paint(name)}>{escape(text)}</text>\n"
    )
