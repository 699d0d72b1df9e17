"""Make ``tiny-ner/``: token classifiers with three kinds of tokenizers, and what transformers answers.

Each folder is a random, seeded model with a WordPiece, a byte-level BPE or a Unigram tokenizer that
is trained on the texts below. ``expected.json`` has the texts and the answers of
``transformers.pipeline("token-classification")`` to each call, each piece as the list of its values
in the order of ``TOKEN`` or ``GROUP``. To make it again (see
``parity/make_minilm.py`` for how to make the venv)::

    /tmp/parity-venv/bin/python tests/data/make_tiny_ner.py
"""

from __future__ import annotations

import os

os.environ["HF_HUB_OFFLINE"] = "1"

import json
import shutil
import warnings
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
import transformers
from tokenizers import (
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)

FOLDER = Path(__file__).resolve().parent / "tiny-ner"
LABELS = ("O", "B-PER", "I-PER", "B-LOC", "I-LOC", "MISC")
TEXTS = [
    "My name is Wolfgang and I live in Berlin.",
    "Ça coûte 20€ à Zürich, naïve café: é.",
    "東京 and 北京 😀 every year 👨‍👩‍👧",
    "The quick brown fox, Mr. O'Neill's, jumps-over it!",
    "Привет, мир! Angela Merkel ☃ 漢",
    "a",
    "def __init__(self, x=1): # été",
    "  two  spaces\tand\nlines ",
]
UNKNOWN = ["Ωmega in Berlin ⚙ 中国", "Wolf⚙gang"]
WORDS = [["My", "name", "is", "Wolfgang's"], ["Zürich", "😀", "café,", "naïve"]]
LONG = " ".join(TEXTS) * 2
TOKEN = ("entity", "score", "index", "word", "start", "end")
GROUP = ("entity_group", "score", "word", "start", "end")
STRATEGIES = ("none", "simple", "first", "average", "max")
BERT = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
ROBERTA = ("<s>", "<pad>", "</s>", "<unk>", "<mask>")
ROLES = {"Bert": (0, 1, 2, 3, 4), "Roberta": (1, 3, 0, 2, 4)}


def wordpiece() -> Tokenizer:
    """Return a tokenizer as BERT's."""
    made = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    made.normalizer = normalizers.BertNormalizer(lowercase=False)
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    made.decoder = decoders.WordPiece()
    made.train_from_iterator(
        TEXTS * 3, trainers.WordPieceTrainer(vocab_size=200, special_tokens=list(BERT))
    )
    made.post_processor = processors.TemplateProcessing(
        "[CLS] $A [SEP]", "[CLS] $A [SEP] $B:1 [SEP]:1", [("[CLS]", 2), ("[SEP]", 3)]
    )
    return made


def byte_bpe() -> Tokenizer:
    """Return a tokenizer as RoBERTa's."""
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=300, special_tokens=list(ROBERTA), initial_alphabet=sorted(alphabet)
    )
    made.train_from_iterator(TEXTS * 3, trainer)
    made.post_processor = processors.RobertaProcessing(
        ("</s>", 2), ("<s>", 0), trim_offsets=True, add_prefix_space=False
    )
    return made


def unigram() -> Tokenizer:
    """Return a tokenizer as XLM-RoBERTa's."""
    made = Tokenizer(models.Unigram())
    made.normalizer = normalizers.NFKC()
    made.pre_tokenizer = pre_tokenizers.Metaspace()
    made.decoder = decoders.Metaspace()
    trainer = trainers.UnigramTrainer(
        vocab_size=150, special_tokens=list(ROBERTA), unk_token="<unk>"
    )
    made.train_from_iterator(TEXTS * 3, trainer)
    made.post_processor = processors.TemplateProcessing(
        "<s> $A </s>", "<s> $A </s> </s> $B </s>", [("<s>", 0), ("</s>", 2)]
    )
    return made


KINDS = {
    "wordpiece": (wordpiece, "Bert", BERT),
    "byte-bpe": (byte_bpe, "Roberta", ROBERTA),
    "unigram": (unigram, "Roberta", ROBERTA),
}


def write_model(name: str) -> Path:
    """Write one model's folder."""
    tokenizer, family, special = KINDS[name]
    folder = FOLDER / name
    folder.mkdir(parents=True)
    made = tokenizer()
    made.save(str(folder / "tokenizer.json"))
    roles = ("pad_token", "unk_token", "cls_token", "sep_token", "mask_token")
    names = {role: special[at] for role, at in zip(roles, ROLES[family], strict=True)}
    about = {"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": 64, **names}
    (folder / "tokenizer_config.json").write_text(json.dumps(about, indent=1) + "\n")
    torch.manual_seed(5)
    config = getattr(transformers, f"{family}Config")(
        vocab_size=made.get_vocab_size(),
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=24,
        max_position_embeddings=66,
        pad_token_id=ROLES[family][0],
        type_vocab_size=2 if family == "Bert" else 1,
        initializer_range=0.8,
        id2label=dict(enumerate(LABELS)),
        label2id={label: index for index, label in enumerate(LABELS)},
    )
    model = getattr(transformers, f"{family}ForTokenClassification")(config).eval()
    model.save_pretrained(folder)
    return folder


def answers(folder: Path) -> dict[str, Any]:
    """Return what transformers answers to each call."""
    ask = transformers.pipeline("token-classification", model=str(folder))
    found: dict[str, Any] = {
        "ignored": ask(TEXTS, aggregation_strategy="simple"),
        "one": ask(TEXTS[0]),
    }
    found["ignored/B-PER,LOC"] = [
        ask(TEXTS, aggregation_strategy=strategy, ignore_labels=["B-PER", "LOC"])
        for strategy in ("none", "max")
    ]
    for strategy in STRATEGIES:
        options = {"aggregation_strategy": strategy, "ignore_labels": []}
        found[f"texts/{strategy}"] = ask(TEXTS + UNKNOWN, **options)
        split = {**options, "is_split_into_words": True}
        found[f"words/{strategy}"] = ask(WORDS, **split)
        found[f"list of words/{strategy}"] = ask(WORDS[1], **split, delimiter="--")
        if strategy != "none":
            found[f"stride/{strategy}"] = ask([LONG], **options, stride=10)
    found["cut"] = ask(LONG, ignore_labels=[])
    return found


def plain(value: Any) -> Any:
    """Return numpy's numbers as Python's, and a piece as the list of its values."""
    if isinstance(value, dict) and "score" in value:
        names = GROUP if "entity_group" in value else TOKEN
        assert tuple(value) == names, value
        return [plain(value[name]) for name in names]
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [plain(item) for item in value]
    return round(float(value), 6) if hasattr(value, "dtype") else value


def main() -> None:
    """Write the folder anew."""
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    transformers.logging.set_verbosity_error()
    shutil.rmtree(FOLDER, ignore_errors=True)
    made_by = {name: version(name) for name in ("tokenizers", "torch", "transformers")}
    about: dict[str, Any] = {
        "made_by": made_by,
        "texts": TEXTS + UNKNOWN,
        "words": WORDS,
        "long": LONG,
    }
    about["answers"] = {name: plain(answers(write_model(name))) for name in KINDS}
    text = json.dumps(about, ensure_ascii=False, separators=(",", ":"))
    (FOLDER / "expected.json").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
