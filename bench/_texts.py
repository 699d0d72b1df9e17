"""Texts in many languages: the standard library's docstrings, and paragraphs of Debian's books."""

from __future__ import annotations

import ast
import re
import sysconfig
import warnings
from collections.abc import Iterable
from html.parser import HTMLParser
from pathlib import Path
from typing import Final

SHORTEST: Final = 40
"""Characters of the shortest paragraph kept: what is shorter is a heading or a file name."""

INLINE: Final = frozenset(
    (
        *("a", "abbr", "b", "bdi", "bdo", "code", "dfn", "em", "i", "img", "kbd", "q", "samp"),
        *("small", "span", "strong", "sub", "sup", "tt", "u", "var", "wbr"),
    )
)
IGNORED: Final = frozenset(("head", "script", "style", "pre"))


def docstrings(most: int | None = None) -> list[str]:
    """Return paragraphs of the standard library's docstrings; modules are parsed, not run."""
    folder = Path(sysconfig.get_path("stdlib"))
    found: dict[str, None] = {}
    for path in sorted((*folder.glob("*.py"), *folder.glob("[!_s]*/*.py"))):
        if path.parent.name not in {"test", "tests", "lib2to3"}:
            found.update(dict.fromkeys(_of_module(path)))
        if most is not None and len(found) >= most:
            break
    return list(found)[:most]


def _of_module(path: Path) -> list[str]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        tree = ast.parse(path.read_bytes())
    kinds = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    texts = [ast.get_docstring(node) or "" for node in ast.walk(tree) if isinstance(node, kinds)]
    return _kept(part for text in texts for part in re.split(r"\n\s*\n", text))


def books(folder: Path) -> dict[str, list[str]]:
    """Return the paragraphs of each language of the books under a documentation folder.

    What a translation leaves in English counts as English, not as that language.
    """
    pages: dict[str, list[Path]] = {}
    for page in sorted(folder.glob("debian-handbook/html/*-*/*.html")):
        country = page.parent.name
        language = country.lower() if country.startswith("zh") else country.partition("-")[0]
        pages.setdefault(language, []).append(page)
    for page in sorted(folder.glob("debian-reference-*/docs/*.html")):
        language = page.name.split(".")[-2]
        if page.parts[-3] == f"debian-reference-{language}":
            pages.setdefault(language, []).append(page)
    for page in sorted(folder.glob("python3*/html/**/*.html")):
        if not page.name.startswith("genindex"):
            pages.setdefault("en", []).append(page)
    found = {language: _of_pages(paths) for language, paths in pages.items()}
    english = set(found.get("en", ()))
    return {
        language: lines if language == "en" else [line for line in lines if line not in english]
        for language, lines in found.items()
    }


def _of_pages(pages: Iterable[Path]) -> list[str]:
    found: dict[str, None] = {}
    for page in pages:
        parser = _Paragraphs()
        parser.feed(page.read_text(encoding="utf-8", errors="replace"))
        found.update(dict.fromkeys(_kept(parser.found())))
    return list(found)


def _kept(texts: Iterable[str]) -> list[str]:
    """Return each text on one line, less those that are no prose."""
    lines = (" ".join(text.split()) for text in texts)
    return [line for line in lines if len(line) >= SHORTEST or len(line.encode()) >= 2 * SHORTEST]


class _Paragraphs(HTMLParser):
    """Collects the text between the tags that start or end a block."""

    def __init__(self) -> None:
        super().__init__()
        self._parts: list[str] = []
        self._ignored = 0

    def found(self) -> list[str]:
        return "".join(self._parts).split("\0")

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        del attrs
        self._ignored += tag in IGNORED
        self._edge(tag)

    def handle_endtag(self, tag: str) -> None:
        self._ignored -= tag in IGNORED
        self._edge(tag)

    def handle_data(self, data: str) -> None:
        if not self._ignored:
            self._parts.append(data)

    def _edge(self, tag: str) -> None:
        if tag not in INLINE:
            self._parts.append("\0")


def write(path: Path, lines: Iterable[str]) -> None:
    """Write one paragraph a line."""
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8", newline="\n")
