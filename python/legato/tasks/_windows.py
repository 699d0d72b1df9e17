"""Long texts as windows: rows of tokens that overlap, with where in the text each token is."""

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
    texts: list[int]
    """Which text each row is of."""
    logits: list[NDArray[np.float32]]
    """(T, L) of each row."""


def compute(engine: TaskEngine, texts: Sequence[str], **options: Any) -> Windows:
    """Encode texts with `options` of the tokenizer's call, and compute the logits of each token."""
    overflow = bool(options.get("return_overflowing_tokens"))
    batch = engine.tokenizer(list(texts), **options)
    rows = batch["input_ids"]
    tokens = Tokens.from_rows(rows, batch.get("token_type_ids"), tokenizer=engine.tokenizer)
    flat = engine.run(tokens)
    logits = np.split(flat, np.cumsum(tokens.lengths)[:-1]) if rows else []
    of = batch["overflow_to_sample_mapping"] if overflow else range(len(rows))
    return Windows(batch, list(of), logits)
