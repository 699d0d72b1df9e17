"""Widths of texts without a font at hand, and their escaping."""

from __future__ import annotations

import unicodedata
from typing import Final

# In 1/1000 of the font size, as sans-serif fonts have them at most; bold adds a tenth.
_NARROW: Final = frozenset("iljtfrI.,:;'|!()[]{}\" /\\·")
_WIDE: Final = frozenset("mwMW@%—≤≥")
_WIDTH_NARROW, _WIDTH_PLAIN, _WIDTH_CAPITAL, _WIDTH_WIDE, _WIDTH_SQUARE = 0.36, 0.6, 0.7, 0.92, 1.1
_BOLD: Final = 1.08

# Persian words and emoji families are written with them.
_JOINERS: Final = frozenset("\u200c\u200d")


def width(text: str, size: float, *, bold: bool = False) -> float:
    """Return about how wide a text is, rather too wide than too narrow.

    Args:
        text: One line.
        size: The font's size in pixels.
        bold: Whether the font is bold.
    """
    total = sum(map(_of_char, text)) * size
    return total * _BOLD if bold else total


def _of_char(char: str) -> float:
    if char in _NARROW:
        return _WIDTH_NARROW
    if char in _WIDE:
        return _WIDTH_WIDE
    if ord(char) > 0x2E7F or unicodedata.east_asian_width(char) in "FW":  # noqa: PLR2004
        return _WIDTH_SQUARE
    return _WIDTH_CAPITAL if char.isupper() else _WIDTH_PLAIN


def fit(text: str, size: float, most: float, *, bold: bool = False) -> str:
    """Return a text, cut with an ellipsis where it is wider than `most` pixels."""
    if width(text, size, bold=bold) <= most:
        return text
    cut = text
    while cut and width(cut + "…", size, bold=bold) > most:
        cut = cut[:-1]
    return cut.rstrip() + "…"


def printable(text: str) -> str:
    """Return a text with a mark in place of what cannot be seen or would mislead."""
    return "".join(char if _allowed(char) else "\ufffd" for char in text)


def escape(text: str) -> str:
    """Return a text as XML and HTML hold it, in content and between quotes."""
    shown = printable(text)
    for char, entity in (
        ("&", "&amp;"),
        ("<", "&lt;"),
        (">", "&gt;"),
        ('"', "&quot;"),
        ("'", "&#39;"),
    ):
        shown = shown.replace(char, entity)
    return shown


def _allowed(char: str) -> bool:
    # XML 1.0 has no control characters and no surrogates; marks that turn the direction of text
    # (Cf) would show a name other than it is.
    return char in _JOINERS or unicodedata.category(char) not in {"Cc", "Cs", "Cf", "Cn", "Co"}
