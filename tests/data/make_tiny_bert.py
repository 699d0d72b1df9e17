"""Make ``tiny-bert/``: a small random BERT encoder and what it should answer.

The folder is a sentence-transformers model (BERT, mean pooling, normalisation) whose
weights are random but seeded, so it stands in for a real model where none can be
had.  Beside the model's files it holds ``texts.json``, a list of texts, and
``expected.safetensors``, with what sentence-transformers and transformers make of
them on the CPU, each text alone and cut to 48 tokens:

- ``mean_normalized`` (texts, 32): the sentence embeddings of sentence-transformers
- ``mean`` (texts, 32): the mean of the last hidden states, before normalisation
- ``cls`` (texts, 32): the last hidden state of the first token, as it is
- ``input_ids`` (total,) int64: the token ids of all texts, one text after another
- ``lengths`` (texts,) int64: the number of token ids of each text

To make it again (see ``parity/make_minilm.py`` for how to make the venv)::

    /tmp/parity-venv/bin/python tests/data/make_tiny_bert.py

Two runs on one machine give the same bytes.
"""

from __future__ import annotations

import os

os.environ["HF_HUB_OFFLINE"] = "1"

import json
import shutil
import string
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.numpy import save_file as save_arrays
from safetensors.torch import save_file as save_weights
from sentence_transformers import SentenceTransformer
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers
from tokenizers.processors import TemplateProcessing
from transformers import BertConfig, BertModel

FOLDER = Path(__file__).resolve().parent / "tiny-bert"
SEED = 20240229
HIDDEN = 32
MAX_TOKENS = 48
MAX_POSITIONS = 64
SPECIALS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
PAD, _, CLS, SEP, _ = range(len(SPECIALS))

# The vocabulary: these words, these endings, and single characters for the rest.
WORDS = """
a about after all an and are as at be because but by can city day do every fast for
from great has have he her his how if in into is it its jump lake language lazy light
like long man many model more most mountain new night not now of old on one or other
out over people quick quiet rain read river run sea see she small so some sun text
than that the their them then there these they this through time to token train two
under up very walk was water we what when where which who will wind with word work
world year you cafe naive uber
"""
ENDINGS = "able al ed en er ers es est ful ing ion ize less ly ment ness s tion ward"
FOREIGN = "ßøπ東京"

TEXTS = [
    "",
    "river",
    "The quick old man walked quietly through the rain and into the mountains.",
    "HELLO, World! Isn't this (really) 100% great?",
    "A naïve café über the Ångström lake: straße, smørrebrød, 2πr.",
    "They see 東京 and 北京 every year.",
    "Привет, мир! 🙂 — unknown characters",
    "  tabs\tand\nnew  lines,\u00a0a no-break space, \u0007control\u200b characters  ",
    "a [MASK] in the text, then [SEP] and [PAD]",
    f"light{'ness' * 24}: too long for a word, light{'ness' * 23}ful is not",
    "the sun and the rain " * 9 + "x",
    (
        "Long after the rain, the people of the old city walk to the river and read"
        " what the water has to say about the mountains, the wind, the night and the"
        " sea; then they run home through the new light, and not one is out of time."
    ),
]


def make_tokenizer() -> Tokenizer:
    """Return an uncased WordPiece tokenizer as BERT's, with a small vocabulary."""
    characters = string.ascii_lowercase + string.digits
    tokens = [
        *SPECIALS,
        *string.punctuation,
        *characters,
        *FOREIGN,
        *(f"##{character}" for character in characters + FOREIGN),
        *(f"##{ending}" for ending in ENDINGS.split()),
        *(word for word in WORDS.split() if len(word) > 1),
    ]
    vocabulary = {token: index for index, token in enumerate(dict.fromkeys(tokens))}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.add_special_tokens(list(SPECIALS))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", CLS), ("[SEP]", SEP)],
    )
    tokenizer.decoder = decoders.WordPiece()
    return tokenizer


def make_weights(config: BertConfig) -> dict[str, torch.Tensor]:
    """Return seeded weights, large enough for texts to get unlike vectors."""
    generator = torch.Generator().manual_seed(SEED)
    weights: dict[str, torch.Tensor] = {}
    for name, parameter in sorted(BertModel(config).named_parameters()):
        noise = torch.randn(parameter.shape, generator=generator)
        if name.endswith("LayerNorm.weight"):
            weights[name] = 1 + 0.1 * noise
        else:
            weights[name] = (0.1 if name.endswith(".bias") else 0.2) * noise
    return weights


def write_json(path: str, value: Any) -> None:
    """Write `value` to the file of that name in the folder."""
    target = FOLDER / path
    target.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(value, indent=2, ensure_ascii=False)
    target.write_text(text + "\n", encoding="utf-8")


def write_model() -> None:
    """Write the folder's model files, laid out as on the Hugging Face hub."""
    tokenizer = make_tokenizer()
    write_json(
        "config.json",
        {
            "architectures": ["BertModel"],
            "model_type": "bert",
            "vocab_size": tokenizer.get_vocab_size(),
            "hidden_size": HIDDEN,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "intermediate_size": 2 * HIDDEN,
            "max_position_embeddings": MAX_POSITIONS,
            "type_vocab_size": 2,
            "hidden_act": "gelu",
            "layer_norm_eps": 1e-12,
            "position_embedding_type": "absolute",
            "pad_token_id": PAD,
            "attention_probs_dropout_prob": 0.1,
            "hidden_dropout_prob": 0.1,
            "initializer_range": 0.02,
        },
    )
    tokenizer.save(str(FOLDER / "tokenizer.json"))
    special_names = ("pad_token", "unk_token", "cls_token", "sep_token", "mask_token")
    write_json(
        "tokenizer_config.json",
        {
            "tokenizer_class": "BertTokenizer",
            "do_lower_case": True,
            "strip_accents": None,
            "tokenize_chinese_chars": True,
            "model_max_length": MAX_POSITIONS,
            **dict(zip(special_names, SPECIALS, strict=True)),
        },
    )
    weights = make_weights(BertConfig.from_pretrained(FOLDER))
    save_weights(weights, FOLDER / "model.safetensors", metadata={"format": "pt"})

    module_types = {
        "": "Transformer",
        "1_Pooling": "Pooling",
        "2_Normalize": "Normalize",
    }
    write_json(
        "modules.json",
        [
            {
                "idx": index,
                "name": str(index),
                "path": path,
                "type": f"sentence_transformers.models.{module_type}",
            }
            for index, (path, module_type) in enumerate(module_types.items())
        ],
    )
    write_json(
        "1_Pooling/config.json",
        {
            "word_embedding_dimension": HIDDEN,
            "pooling_mode_cls_token": False,
            "pooling_mode_mean_tokens": True,
            "pooling_mode_max_tokens": False,
            "pooling_mode_mean_sqrt_len_tokens": False,
        },
    )
    write_json(
        "sentence_bert_config.json",
        {"max_seq_length": MAX_TOKENS, "do_lower_case": False},
    )


def write_expected() -> None:
    """Load the model from the folder and write what it makes of the texts."""
    write_json("texts.json", TEXTS)
    tokenizer = Tokenizer.from_file(str(FOLDER / "tokenizer.json"))
    tokenizer.enable_truncation(MAX_TOKENS)
    ids = [tokenizer.encode(text).ids for text in TEXTS]

    sentence_model = SentenceTransformer(str(FOLDER), device="cpu", local_files_only=True)
    loaded: Any = BertModel.from_pretrained(FOLDER, local_files_only=True, output_loading_info=True)
    model, report = loaded
    assert not any(report.values()), report
    model.eval()
    normalized, mean, cls = [], [], []
    for text, text_ids in zip(TEXTS, ids, strict=True):
        given = sentence_model.preprocess([text])["input_ids"].tolist()
        assert given == [text_ids], text
        normalized.append(sentence_model.encode(text, show_progress_bar=False))
        with torch.no_grad():
            hidden = model(torch.tensor([text_ids])).last_hidden_state[0]
        mean.append(hidden.mean(dim=0).numpy())
        cls.append(hidden[0].numpy())
    expected = {
        "mean_normalized": np.stack(normalized),
        "mean": np.stack(mean),
        "cls": np.stack(cls),
        "input_ids": np.array([i for text_ids in ids for i in text_ids], np.int64),
        "lengths": np.array([len(text_ids) for text_ids in ids], np.int64),
    }
    names = ("sentence-transformers", "tokenizers", "torch", "transformers")
    # One entry: safetensors writes several in an order that changes from run to run.
    made_by = ", ".join(f"{name} {version(name)}" for name in names)
    save_arrays(expected, FOLDER / "expected.safetensors", {"made_by": made_by})
    report_on(expected)


def report_on(expected: dict[str, np.ndarray[Any, Any]]) -> None:
    """Print what was made; check that the model is not a degenerate one."""
    unit = expected["mean"] / np.linalg.norm(expected["mean"], axis=1, keepdims=True)
    difference = np.abs(unit - expected["mean_normalized"]).max()
    assert difference < 1e-6
    print(f"mean, normalised here, against mean_normalized: {difference:.2e}")
    print("lengths:", expected["lengths"].tolist())
    for name in ("mean", "cls"):
        rows = expected[name] / np.linalg.norm(expected[name], axis=1, keepdims=True)
        cosines = (rows @ rows.T)[np.triu_indices(len(rows), 1)]
        print(f"{name}: cosines {cosines.min():.3f} to {cosines.max():.3f}")
        assert cosines.max() < 0.999
    for path in sorted(FOLDER.rglob("*")):
        if path.is_file():
            print(f"{path.stat().st_size:7} {path.relative_to(FOLDER)}")


def main() -> None:
    """Write the folder anew."""
    torch.set_num_threads(1)
    shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir()
    write_model()
    write_expected()


if __name__ == "__main__":
    main()
