"""Texts to measure with: of an exact length in tokens, and mixed ones."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence

from legato._native import Tokenizer

FILLER = "a"
SHORTEST = 40


def paragraphs() -> list[str]:
    """Return English paragraphs that every Python has: the topics of ``help()``."""
    from pydoc_data.topics import topics

    found = (" ".join(part.split()) for text in topics.values() for part in text.split("\n\n"))
    return list(dict.fromkeys(part for part in found if len(part) > SHORTEST))


def mixed(lines: Sequence[str], count: int) -> list[str]:
    """Return texts as they come: shuffled; each eleventh is two paragraphs."""
    order = random.Random(0).sample(range(len(lines)), len(lines))
    found: list[str] = []
    at = 0
    while len(found) < count:
        taken = 2 if len(found) % 11 == 0 else 1
        found.append(" ".join(lines[order[(at + i) % len(order)]] for i in range(taken)))
        at += taken
    return found


def of_length(lines: Sequence[str], tokens: int, tokenizer: Tokenizer) -> Iterator[str]:
    """Yield texts of a number of tokens, special ones included, cut between words.

    A tokenizer for which no word gives the last token yields texts that are a little shorter.
    """
    words = " ".join(mixed(lines, min(len(lines), 2000))).split()

    def size(text: list[str]) -> int:
        return int(tokenizer.encode([" ".join(text)], truncation=False).lengths[0])

    at = 0
    while True:
        text = (words + words)[at : at + tokens]
        at = (at + tokens) % len(words)
        while size(text) > tokens:
            text.pop()
        for _ in range(tokens - size(text)):
            if size([*text, FILLER]) <= tokens:
                text.append(FILLER)
        yield " ".join(text)
