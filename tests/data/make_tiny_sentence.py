"""Make ``tiny-sentence/``: what sentence-transformers makes of the cases in ``tests/sentence_models.py``.

``expected.safetensors`` has the vectors of each call, ``<case>/<number of the call>``, and
``dense*.safetensors`` the weights of the Dense modules. To make it again (see
``parity/make_minilm.py`` for how to make the venv)::

    /tmp/parity-venv/bin/python tests/data/make_tiny_sentence.py
"""

from __future__ import annotations

import os

os.environ["HF_HUB_OFFLINE"] = "1"

import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from safetensors.numpy import save_file
from sentence_transformers import SentenceTransformer

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from tests.sentence_models import CASES, OWN, TEXTS, make


def main() -> None:
    """Write the folder anew."""
    torch.set_num_threads(1)
    random = np.random.default_rng(20240301)
    weight = random.normal(0, 0.3, (12, 32)).astype(np.float32)
    bias = random.normal(0, 0.3, 12).astype(np.float32)
    OWN.mkdir(exist_ok=True)
    save_file({"linear.weight": weight, "linear.bias": bias}, OWN / "dense.safetensors")
    save_file({"linear.weight": weight}, OWN / "dense-linear.safetensors")
    expected = {}
    for name, case in CASES.items():
        with tempfile.TemporaryDirectory() as folder:
            made = make(Path(folder), case)
            model = SentenceTransformer(str(made), device="cpu", local_files_only=True)
            for number, call in enumerate(case.calls):
                # One by one: padding has no part in it.
                rows = [model.encode(text, show_progress_bar=False, **call) for text in TEXTS]
                expected[f"{name}/{number}"] = np.stack(rows)
                print(name, call, rows[0].shape, float(np.abs(rows[-1]).max()))
    names = ("sentence-transformers", "tokenizers", "torch", "transformers")
    made_by = ", ".join(f"{name} {version(name)}" for name in names)
    save_file(expected, OWN / "expected.safetensors", {"made_by": made_by})


if __name__ == "__main__":
    main()
