"""Colours of the diagram: light ones on the elements, dark ones where the reader prefers them."""

from __future__ import annotations

from typing import Final

FONT: Final = "system-ui, -apple-system, 'Segoe UI', Roboto, Helvetica, Arial, sans-serif"

# Class: fill, stroke in light; fill, stroke in dark. None has none.
_COLOURS: Final[dict[str, tuple[str | None, str | None, str | None, str | None]]] = {
    "card": ("#ffffff", "#d1d9e0", "#0d1117", "#3d444d"),
    "title": ("#59636e", None, "#9198a1", None),
    "name": ("#1f2328", None, "#f0f6fc", None),
    "caption": ("#59636e", None, "#9198a1", None),
    "edge": (None, "#818b98", None, "#656c76"),
    "caught": (None, "#d1242f", None, "#f85149"),
    "tip": ("#818b98", None, "#656c76", None),
    "caught-tip": ("#d1242f", None, "#f85149", None),
    "chip": ("#ffffff", "#d1d9e0", "#0d1117", "#3d444d"),
    "Start": ("#1f2328", None, "#f0f6fc", None),
    "mark": ("#ffffff", None, "#0d1117", None),
    "Task": ("#f1f4ff", "#5468d4", "#171c36", "#7d8ff5"),
    "Choice": ("#fff8e5", "#b7791f", "#2b210d", "#d9a441"),
    "Map": ("#f2faf9", "#12807a", "#0e1f20", "#3fb8ae"),
    "Succeed": ("#eefaf0", "#1a7f37", "#11251a", "#3fb950"),
    "Fail": ("#fff1f0", "#cf222e", "#2d1416", "#f85149"),
    "State": ("#f6f8fa", "#818b98", "#161b22", "#656c76"),
}


def kind(type_: str) -> str:
    """Return the class of a type of state."""
    return type_ if type_ in _COLOURS else "State"


def paint(name: str) -> str:
    """Return the attributes of an element of a class; its colours in light."""
    fill, stroke, _, _ = _COLOURS[name]
    return f'class="{name}" fill="{fill or "none"}"' + (f' stroke="{stroke}"' if stroke else "")


def dark_style() -> str:
    """Return the rules for readers who prefer dark; they reach no element of another drawing."""
    rules = []
    for name, (_, _, fill, stroke) in _COLOURS.items():
        colours = [f"fill:{fill}"] * bool(fill) + [f"stroke:{stroke}"] * bool(stroke)
        rules.append(f".legato-diagram .{name}{{{';'.join(colours)}}}")
    return f"@media (prefers-color-scheme:dark){{{''.join(rules)}}}"
