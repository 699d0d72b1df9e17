"""torch with transformers, in its own best way: sorted batches and inference mode."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .padded import Ids, Padded
from .spec import Spec


def load(spec: Spec) -> Padded:
    """Load the encoder."""
    import torch
    from transformers import AutoModel
    from transformers.utils import logging

    logging.disable_progress_bar()
    torch.set_num_threads(spec.threads)
    torch.set_num_interop_threads(1)
    model = AutoModel.from_pretrained(spec.path, local_files_only=True).eval()

    def forward(ids: Ids, mask: Ids) -> NDArray[np.float32]:
        # Without padding no mask is given: attention then needs none.
        given = None if mask.all() else torch.from_numpy(mask)
        with torch.inference_mode():
            found = model(torch.from_numpy(ids), attention_mask=given).last_hidden_state
        states: NDArray[np.float32] = found.numpy()
        return states

    padded = Padded(spec, forward)
    padded.version = torch.__version__.partition("+")[0]
    return padded
