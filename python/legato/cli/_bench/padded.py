"""What engines without tokenization of their own share: ``tokenizers``, sorted batches, pooling."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .spec import Spec, Vectors

Ids = NDArray[np.int64]
BATCH = 16


class Batch(NamedTuple):
    """Texts of about one length.

    Attributes:
        rows: Their places in the input, (B,).
        ids: Token ids, (B, T), padded at the end.
        mask: 1 where a token stands, (B, T).
    """

    rows: list[int]
    ids: Ids
    mask: Ids


class Padded:
    """An engine that takes padded batches: the shortest texts first, so that little is padding."""

    version = ""

    def __init__(self, spec: Spec, forward: Callable[[Ids, Ids], NDArray[np.float32]]) -> None:
        """Load the tokenizer; `forward` takes ids and mask (B, T) and gives states (B, T, H)."""
        from tokenizers import Tokenizer

        self.batch: int | None = BATCH
        self._spec = spec
        self._forward = forward
        self._tokenizer = Tokenizer.from_file(spec.tokenizer)
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(spec.max_length)
        # Without offsets, which no model reads; older versions only have the slower name.
        self._encode = getattr(self._tokenizer, "encode_batch_fast", self._tokenizer.encode_batch)

    def embed(self, texts: list[str]) -> Vectors:
        """Return a vector a text, (n, H)."""
        return self.run(self.encode(texts))

    def encode(self, texts: list[str]) -> list[Batch]:
        """Tokenize, sort and pad."""
        return list(self._batches([encoding.ids for encoding in self._encode(texts)]))

    def run(self, prepared: list[Batch]) -> Vectors:
        """Return the vectors in the order of the texts."""
        found: Vectors | None = None
        for batch in prepared:
            pooled = self._pool(self._forward(batch.ids, batch.mask), batch.mask)
            if found is None:
                count = sum(len(each.rows) for each in prepared)
                found = np.empty((count, pooled.shape[1]), np.float32)
            found[batch.rows] = pooled
        return np.empty((0, 0), np.float32) if found is None else found

    def _batches(self, ids: list[list[int]]) -> Iterator[Batch]:
        order = sorted(range(len(ids)), key=lambda row: len(ids[row]))
        size = self.batch or BATCH
        for start in range(0, len(order), size):
            rows = order[start : start + size]
            shape = (len(rows), len(ids[rows[-1]]))
            padded = np.full(shape, self._spec.options.get("pad", 0), np.int64)
            mask = np.zeros(shape, np.int64)
            for place, row in enumerate(rows):
                padded[place, : len(ids[row])] = ids[row]
                mask[place, : len(ids[row])] = 1
            yield Batch(rows, padded, mask)

    def _pool(self, states: NDArray[np.float32], mask: Ids) -> Vectors:
        """Pool states (B, T, H) to (B, H)."""
        if self._spec.pooling == "cls":
            pooled = states[:, 0]
        else:
            weights = mask.astype(np.float32)
            pooled = np.matmul(weights[:, None, :], states)[:, 0] / weights.sum(1, keepdims=True)
        if self._spec.normalize:
            pooled = pooled / np.linalg.norm(pooled, axis=1, keepdims=True)
        return pooled
