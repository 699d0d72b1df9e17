"""CTranslate2, from a converted folder."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .padded import Ids, Padded
from .spec import Spec


def load(spec: Spec) -> Padded:
    """Load the encoder."""
    import ctranslate2

    encoder = ctranslate2.Encoder(
        spec.path,
        device="cpu",
        compute_type=spec.dtype,
        inter_threads=1,
        intra_threads=spec.threads,
    )

    def forward(ids: Ids, mask: Ids) -> NDArray[np.float32]:
        rows = [row[:count].tolist() for row, count in zip(ids, mask.sum(1), strict=True)]
        return np.array(encoder.forward_batch(rows).last_hidden_state)

    padded = Padded(spec, forward)
    padded.version = ctranslate2.__version__
    return padded
