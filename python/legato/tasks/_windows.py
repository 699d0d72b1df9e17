"""Texts as rows of tokens with where in the text each is; long texts as windows that overlap."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from legato._native import TaskEngine, Tokens
from legato.encoding import BatchEncoding


@dataclass(frozen=True)
class Windows:
    """Rows of some texts, and the logits of their tokens."""

    batch: BatchEncoding
    rows: list[int]
    """Which rows of the batch they are."""
    texts: list[int]
    """Which text each row is of."""
    logits: list[NDArray[np.float32]]
    """(T, L) of each row."""
    truncated: int
    """Texts of which something is in no row."""


def compute(
    engine: TaskEngine, texts: Sequence[Any], *, stride: int | None = None, **options: Any
) -> Windows:
    """Encode texts, and compute the logits of each token.

    Args:
        engine: The model.
        texts: What its tokenizer takes.
        stride: Tokens that the windows of a long text share; None takes the first window alone.
        options: Of the tokenizer's call.
    """
    cut = bool(options.get("truncation", True))
    batch = engine.tokenizer(
        list(texts),
        **{"truncation": True, **options},
        stride=stride or 0,
        # Tells also which texts are cut.
        return_overflowing_tokens=cut,
    )
    ids = batch["input_ids"]
    of = batch["overflow_to_sample_mapping"] if cut else list(range(len(ids)))
    rows, truncated = list(range(len(ids))), 0
    if stride is None:
        rows = [row for row in rows if row == 0 or of[row] != of[row - 1]]
        several = [row for row in range(1, len(ids)) if of[row] == of[row - 1]]
        truncated = len({of[row] for row in several})
    types = batch.get("token_type_ids")
    tokens = Tokens.from_rows(
        [ids[row] for row in rows],
        None if types is None else [types[row] for row in rows],
        tokenizer=engine.tokenizer,
    )
    flat = engine.run(tokens)
    logits = np.split(flat, np.cumsum(tokens.lengths)[:-1]) if rows else []
    return Windows(batch, rows, [of[row] for row in rows], logits, truncated)
