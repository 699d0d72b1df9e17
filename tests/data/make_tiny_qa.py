"""Make ``tiny-qa/``: heads for the encoders of ``tiny-ner/``, and what transformers 4 answers with them.

``<kind>.safetensors`` has a head's tensors, ``expected.json`` the texts, the calls of
``transformers.pipeline("question-answering")`` and its answers, of the last version that has it.
To make it again, in a venv with torch::

    pip install transformers==4.57.1
    python tests/data/make_tiny_qa.py
"""

from __future__ import annotations

import os

os.environ["HF_HUB_OFFLINE"] = "1"

import json
import shutil
import tempfile
import warnings
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
import transformers
from safetensors.torch import load_file, save_file

DATA = Path(__file__).resolve().parent
FOLDER, ENCODERS = DATA / "tiny-qa", DATA / "tiny-ner"
FAMILIES = {"wordpiece": "Bert", "byte-bpe": "Roberta", "unigram": "Roberta"}
CONTEXTS = [
    "My name is Wolfgang and I live in Berlin, every year.",
    "東京 and 北京 😀 every year 👨‍👩‍👧 the brown fox, Mr. O'Neill's, jumps-over it",
]
CONTEXTS.append(" ".join(CONTEXTS) + " Ça coûte 20€ à Zürich, naïve café: é." * 2)
QUESTIONS = ["Where do I live?", "name is?", "every 東京 year?"]
CALLS: list[dict[str, Any]] = [
    {},
    {"top_k": 3},
    {"top_k": 5, "align_to_words": False},
    {"top_k": 3, "max_answer_len": 2},
    {"top_k": 4, "handle_impossible_answer": True},
    {"top_k": 3, "max_seq_len": 56, "doc_stride": 10},
    {"max_answer_len": 1, "align_to_words": False},
]


def answers(kind: str) -> list[Any]:
    """Write a head, and return what transformers answers to each call."""
    torch.manual_seed(11)
    model = getattr(transformers, f"{FAMILIES[kind]}ForQuestionAnswering")
    model = model.from_pretrained(ENCODERS / kind, num_labels=2).eval()
    with torch.no_grad():
        model.qa_outputs.weight.copy_(torch.randn(2, 16))
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        tensors = load_file(Path(folder) / "model.safetensors")
        head = {name: tensors[name] for name in tensors if name.startswith("qa_outputs")}
        save_file(head, FOLDER / f"{kind}.safetensors")
        shutil.copy(ENCODERS / kind / "tokenizer.json", folder)
        config = json.loads((ENCODERS / kind / "tokenizer_config.json").read_text())
        if FAMILIES[kind] == "Roberta":
            # It knows one segment, and windows are given others.
            config["model_input_names"] = ["input_ids", "attention_mask"]
        (Path(folder) / "tokenizer_config.json").write_text(json.dumps(config))
        ask = transformers.pipeline("question-answering", model=folder)
        return [
            [
                ask(question=QUESTIONS, context=CONTEXTS, **call),
                ask(question=QUESTIONS[0], context=CONTEXTS[2], **call),
                ask(question=[QUESTIONS[0]], context=[CONTEXTS[0]], **call),
                ask({"question": QUESTIONS[1], "context": CONTEXTS[1]}, **call),
                ask(question=QUESTIONS, context=CONTEXTS[0], **call),
            ]
            for call in CALLS
        ]


def main() -> None:
    """Write the folder anew."""
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    transformers.logging.set_verbosity_error()
    shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir()
    made_by = {name: version(name) for name in ("tokenizers", "torch", "transformers")}
    about: dict[str, Any] = {"made_by": made_by, "questions": QUESTIONS, "contexts": CONTEXTS}
    about |= {"calls": CALLS, "answers": {kind: answers(kind) for kind in FAMILIES}}
    text = json.dumps(about, ensure_ascii=False, separators=(",", ":"))
    (FOLDER / "expected.json").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
