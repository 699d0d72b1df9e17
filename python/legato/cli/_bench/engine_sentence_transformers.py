"""sentence-transformers, called as its users call it; it sorts by length itself."""

from __future__ import annotations

from typing import Any

import numpy as np

from .padded import BATCH
from .spec import Spec, Vectors


class SentenceTransformers:
    """``SentenceTransformer.encode``."""

    def __init__(self, spec: Spec) -> None:
        """Load."""
        import sentence_transformers
        import torch
        from transformers.utils import logging

        logging.disable_progress_bar()
        torch.set_num_threads(spec.threads)
        torch.set_num_interop_threads(1)
        self.version = sentence_transformers.__version__
        self.batch: int | None = BATCH
        self._model = sentence_transformers.SentenceTransformer(
            spec.path, device="cpu", local_files_only=True
        )
        self._model.max_seq_length = spec.max_length

    def embed(self, texts: list[str]) -> Vectors:
        """Return a vector a text, (n, H)."""
        # The model's own prompt would be another text than what the others get.
        found = self._model.encode(
            texts, batch_size=self.batch or BATCH, show_progress_bar=False, prompt=""
        )
        return np.asarray(found, np.float32)

    def encode(self, texts: list[str]) -> Any:
        """Its tokenization is not measured by itself."""
        del texts

    def run(self, prepared: Any) -> Vectors:
        """Never called, since :meth:`encode` prepares nothing."""
        raise NotImplementedError


load = SentenceTransformers
