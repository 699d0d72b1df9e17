"""Small models with heads (`data/make_tiny_models.py`) as folders, with a tokenizer of one word an id."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors

from legato._native import read_safetensors, write_safetensors

FOLDERS = Path(__file__).parent / "data" / "tiny-models"
PREFIXES = {
    "bert": "bert.",
    "distilbert": "distilbert.",
    "roberta": "roberta.",
    "electra": "electra.",
}
CLS, SEP, MASK, UNK = 2, 3, 4, 1
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *(f"w{i}" for i in range(5, 40))]


@dataclass
class Fixture:
    """A model's folder, its texts, and the logits that transformers computed of them."""

    path: Path
    texts: list[str]
    rows: list[list[int]]
    type_ids: list[list[int]]
    logits: NDArray[np.float32]


def tokenizer(words: list[str] | None = None, *, special: bool = False) -> bytes:
    """A tokenizer whose word i has id i."""
    words = words or WORDS
    made = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="[UNK]"))
    made.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    made.decoder = decoders.WordPiece()
    made.add_special_tokens(["[MASK]", "[CLS]", "[SEP]", "[PAD]"])
    if special:
        made.post_processor = processors.BertProcessing(("[SEP]", SEP), ("[CLS]", CLS))
    return made.to_str().encode()


def make(
    folder: Path,
    name: str,
    task: str,
    *,
    special: bool = False,
    one_label: bool = False,
    **config: Any,
) -> Fixture:
    """Write a folder with encoder, head, config and tokenizer."""
    source = FOLDERS / name
    stored = json.loads((source / "config.json").read_text())
    prefix = PREFIXES[stored["model_type"]]
    encoder, _ = read_safetensors((source / "model.safetensors").read_bytes())
    head, _ = read_safetensors((source / f"{task}.safetensors").read_bytes())
    logits = head.pop("expected/logits")
    if one_label:
        # The last layer's first row: a cross-encoder that gives the first of the logits.
        last = "classifier.out_proj" if "classifier.out_proj.weight" in head else "classifier"
        for part in ("weight", "bias"):
            head[f"{last}.{part}"] = np.ascontiguousarray(head[f"{last}.{part}"][:1])
        logits = logits[:, :1]
        config["id2label"] = {"0": "LABEL_0"}
    stored.pop("architectures", None)
    stored |= config
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps(stored))
    (folder / "tokenizer.json").write_bytes(tokenizer(special=special))
    tensors = {f"{prefix}{key}": value for key, value in encoder.items()} | head
    (folder / "model.safetensors").write_bytes(write_safetensors(tensors))
    expected, _ = read_safetensors((source / "expected.safetensors").read_bytes())
    ends = np.cumsum(expected["lengths"])[:-1]
    rows = [part.tolist() for part in np.split(expected["input_ids"], ends)]
    types = [part.tolist() for part in np.split(expected["type_ids"], ends)]
    texts = [" ".join(WORDS[i] for i in row) for row in rows]
    return Fixture(folder, texts, rows, types, logits)
