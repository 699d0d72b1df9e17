"""The cases of the tokenization benchmark, their goals, and the texts of each round."""

from __future__ import annotations

import contextlib
import itertools
import random
import sysconfig
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final, NamedTuple

from bench import _materials

LONGEST: Final = 2_000
"""Characters that a paragraph is left out above: a few would make most of a round."""


class Case(NamedTuple):
    """One line of the table.

    Attributes:
        family: The tokenizer's family.
        tokenizer: Its name among the materials.
        texts: What is tokenized: a key of :data:`TEXTS`.
        limit: Tokens that texts are cut to.
        to_reference: The goal: how many times less CPU time than tokenizers 0.23.3.
        to_challenger: The goal beside the best exact challenger.
    """

    family: str
    tokenizer: str
    texts: str
    limit: int | None
    to_reference: float
    to_challenger: float


CASES: Final = (
    Case("WordPiece", "minilm", "English, 92 B", None, 30, 1.2),
    Case("WordPiece", "minilm", "English, 1 KB", None, 30, 1.2),
    Case("WordPiece", "minilm", "multilingual paragraphs", None, 18, 1.3),
    Case("WordPiece", "minilm", "25 KB, cut to 512", 512, 200, 5),
    Case("byte BPE", "qwen3", "English paragraphs", None, 45, 1.0),
    Case("byte BPE", "qwen3", "multilingual paragraphs", None, 20, 1.0),
    Case("byte BPE", "qwen3", "25 KB, cut to 512", 512, 200, 5),
    Case("byte BPE", "llama3", "English paragraphs", None, 45, 1.0),
    Case("byte BPE", "llama3", "multilingual paragraphs", None, 20, 1.0),
    Case("SentencePiece BPE", "gemma3", "English paragraphs", None, 10, 1.2),
    Case("SentencePiece BPE", "gemma3", "multilingual paragraphs", None, 10, 1.2),
    Case("SentencePiece BPE", "gemma3", "25 KB, cut to 512", 512, 200, 5),
    Case("Unigram", "xlmr", "multilingual paragraphs", None, 20, 1.5),
    Case("Unigram", "xlmr", "25 KB, cut to 512", 512, 200, 5),
)
ONE_TEXT: Final = (8, 1.0)
"""The goals of one 92 B string, p50."""
LOAD: Final = 2.0
"""The goal of a load to the first encoding: at most half of the reference's time."""
THREADS: Final = 0.9
"""The goal of two threads: the share of what a pure-compute loop gains."""
SINGLE: Final = "English, 92 B"


def _english() -> list[str]:
    lines = list(_materials.paragraphs("docstrings"))
    with contextlib.suppress(_materials.NotToBeHadError):  # then these come round again sooner
        lines += _materials.paragraphs("en")
    random.Random(0).shuffle(lines)
    return lines


def _pieces(size: int) -> Iterator[str]:
    """Yield English texts of a size in bytes, cut between words."""
    text = " ".join(line for line in _english() if line.isascii())
    at = 0
    while True:
        end = text.rfind(" ", at, at + size + 1)
        if end <= at:
            at = 0 if at + size >= len(text) else text.find(" ", at + 1) + 1
            continue
        yield text[at:end]
        at = end + 1


def _multilingual() -> Iterator[str]:
    """Yield a paragraph of each language in turn, English among them."""
    found = []
    for language in _materials.languages():
        lines = [line for line in _materials.paragraphs(language) if len(line) <= LONGEST]
        random.Random(0).shuffle(lines)
        found.append(itertools.cycle(lines))
    for lines_in_turn in itertools.cycle(found):
        yield next(lines_in_turn)


def _paragraphs() -> Iterator[str]:
    yield from itertools.cycle([line for line in _english() if len(line) <= LONGEST])


# The texts, and how many of them one call takes: 50 to 400 KB.
TEXTS: Final[dict[str, tuple[Callable[[], Iterator[str]], int]]] = {
    "English, 92 B": (lambda: _pieces(92), 1024),
    "English, 1 KB": (lambda: _pieces(1024), 256),
    "English paragraphs": (_paragraphs, 512),
    "multilingual paragraphs": (_multilingual, 256),
    "25 KB, cut to 512": (lambda: _pieces(25_000), 16),
}


def rounds(texts: str, count: int, size: int | None = None) -> Iterator[list[str]]:
    """Yield the texts of each round: new ones each time, as a service meets them.

    Raises:
        NotToBeHadError: the texts cannot be fetched here.
    """
    make, usual = TEXTS[texts]
    source = make()
    for _ in range(count):
        yield list(itertools.islice(source, size or usual))


def hard() -> list[str]:
    """Return texts that tell an exact contestant: all languages, markup, source code, oddities."""
    texts = [
        *("", " ", "\t\r\n ", "a\0b\x7f\x85c", "e\u0301\u0323 \ufb01 \u1e9b\u0323", "\U0010ffff"),
        *("\u200b\u200c\u200d\ufeff\u2060", "👩‍👩‍👧‍👦🇩🇪 👍🏽", "नमस्ते สวัสดี שלום مرحبا 안녕하세요"),
        *("it's IT'S it\u2019s I'LL 'S'T", "1234567890 ١٢٣ १२३ ½ ²", "\u3000\u2028 \xa0a"),
        *("!? " * 300, "!?" * 300, "x" * 300),
        *("<s>[MASK]<|endoftext|></s> <pad>", "İstanbul ǅ ß ẞ Σίσυφος", "한국어", "ก็ำ"),
    ]
    for path in sorted(Path(sysconfig.get_path("stdlib")).glob("*.py"))[::8]:
        texts += path.read_text(encoding="utf-8", errors="replace")[:20_000].split("\n\n")
    with contextlib.suppress(_materials.NotToBeHadError):  # the page says so
        for language in _materials.languages():
            texts += _materials.paragraphs(language)[:60]
    return texts
