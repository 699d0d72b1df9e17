"""No engine: what a Python with numpy takes by itself."""

from __future__ import annotations

from typing import Any

import numpy as np

from .spec import Spec, Vectors


class Nothing:
    """Answers with zeros."""

    version = np.__version__
    batch: int | None = None

    def __init__(self, spec: Spec) -> None:
        """Load nothing."""
        del spec

    def embed(self, texts: list[str]) -> Vectors:
        """Return zeros."""
        return np.zeros((len(texts), 1), np.float32)

    def encode(self, texts: list[str]) -> Any:
        """Prepare nothing."""
        del texts

    def run(self, prepared: Any) -> Vectors:
        """Never called, since :meth:`encode` prepares nothing."""
        raise NotImplementedError


load = Nothing
