"""legato."""

from __future__ import annotations

from typing import Any

from .spec import Spec, Vectors


class Legato:
    """Texts as they come: legato orders and packs them itself."""

    batch: int | None = None

    def __init__(self, spec: Spec) -> None:
        """Load and verify."""
        import legato

        legato._native.set_num_threads(spec.threads)  # noqa: SLF001 - no public name yet
        self.version = legato.__version__
        self._max_length = spec.max_length
        self._engine = legato.pipeline(
            "feature-extraction",
            model=spec.path,
            revision=spec.revision,
            device="cpu",
            dtype=spec.dtype,
        ).engine

    def embed(self, texts: list[str]) -> Vectors:
        """Return a vector a text, (n, H)."""
        return self._engine.embed(texts, max_length=self._max_length)

    def encode(self, texts: list[str]) -> Any:
        """Tokenize."""
        return self._engine.tokenizer.encode(texts, max_length=self._max_length)

    def run(self, prepared: Any) -> Vectors:
        """Run the model alone."""
        return self._engine.run(prepared)


load = Legato
