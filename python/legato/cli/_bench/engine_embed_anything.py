"""embed-anything (candle); it reads models from the hub's cache only."""

from __future__ import annotations

from importlib.metadata import version
from typing import Any

import numpy as np

from .padded import BATCH
from .spec import Spec, Vectors


class EmbedAnything:
    """``embed_query`` over texts sorted by their length."""

    def __init__(self, spec: Spec) -> None:
        """Load from the cache that ``HF_HOME`` names."""
        import embed_anything

        self._library = embed_anything
        self.version = version("embed-anything")
        self.batch: int | None = BATCH
        self._model = embed_anything.EmbeddingModel.from_pretrained_hf(model_id=spec.path)

    def embed(self, texts: list[str]) -> Vectors:
        """Return a vector a text, (n, H)."""
        order = sorted(range(len(texts)), key=lambda row: len(texts[row]))
        config = self._library.TextEmbedConfig(batch_size=self.batch)
        found = self._library.embed_query(
            [texts[row] for row in order], embedder=self._model, config=config
        )
        vectors = np.empty((len(texts), len(found[0].embedding)), np.float32)
        for row, one in zip(order, found, strict=True):
            vectors[row] = one.embedding
        return vectors

    def encode(self, texts: list[str]) -> Any:
        """Its tokenization is not measured by itself."""
        del texts

    def run(self, prepared: Any) -> Vectors:
        """Never called, since :meth:`encode` prepares nothing."""
        raise NotImplementedError


load = EmbedAnything
