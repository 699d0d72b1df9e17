"""What an engine is told: read by the driver and by the engines' own processes.

Nothing here imports legato: a peer's process starts without it.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

Vectors = NDArray[np.float32]


class Spec(NamedTuple):
    """An engine and what it loads.

    Attributes:
        name: How tables call it.
        engine: The module of this package that runs it, less ``engine_``.
        path: The folder or file that it loads.
        tokenizer: A tokenizer.json; engines with tokenization of their own don't read it.
        dtype: What weights and products are computed in, in legato's words.
        threads: Threads that it may use.
        max_length: Tokens that texts are cut to.
        pooling: ``mean`` or ``cls``.
        normalize: Whether vectors get length 1.
        revision: The digest that legato verifies; None for peers, which verify nothing.
        options: What only this engine knows.
    """

    name: str
    engine: str
    path: str
    tokenizer: str
    dtype: str
    threads: int
    max_length: int
    pooling: str
    normalize: bool
    revision: str | None = None
    options: Mapping[str, Any] = MappingProxyType({})


class Engine(Protocol):
    """A loaded model.

    Attributes:
        version: Of the library.
        batch: Texts that are padded together; None where the engine chooses.
    """

    version: str
    batch: int | None

    def embed(self, texts: list[str]) -> Vectors:
        """Return a vector a text, (n, H), from strings."""
        ...

    def encode(self, texts: list[str]) -> Any:
        """Return what :meth:`run` takes; None where text and model cannot be told apart."""
        ...

    def run(self, prepared: Any) -> Vectors:
        """Return the vectors of what :meth:`encode` made."""
        ...
