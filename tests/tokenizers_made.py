"""Small tokenizers of every family, trained on the spot, as `tokenizer.json` bytes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import tokenizers
from tokenizers import (
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)

CORPUS = [json.loads(line)["text"] for line in (Path(__file__).parent / "data" / "parity" / "texts.jsonl").read_text("utf-8").splitlines()]  # fmt: skip
BERT = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
LLAMA = ["<unk>", "<s>", "</s>", "<pad>"]


def _trained(tokenizer: Tokenizer, trainer: Any) -> Tokenizer:
    tokenizer.train_from_iterator(CORPUS, trainer)
    return tokenizer


def word_piece() -> Tokenizer:
    """BERT as it is."""
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    _trained(
        tokenizer,
        trainers.WordPieceTrainer(vocab_size=900, special_tokens=BERT, show_progress=False),
    )
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    return tokenizer


def byte_level() -> Tokenizer:
    """RoBERTa: byte-level BPE, offsets trimmed, segment ids all 0."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=800, special_tokens=LLAMA, initial_alphabet=alphabet, show_progress=False
    )
    _trained(tokenizer, trainer)
    tokenizer.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 1))
    return tokenizer


def gpt() -> Tokenizer:
    """GPT-2: byte-level BPE and no special tokens, but a processor that trims offsets."""
    tokenizer = byte_level()
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=True)
    return tokenizer


def sentence_piece() -> Tokenizer:
    """Llama: BPE over marked spaces with byte fallback, a template, padding from the left."""
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
    )
    tokens = [*LLAMA, *(f"<0x{byte:02X}>" for byte in range(256))]
    _trained(
        tokenizer, trainers.BpeTrainer(vocab_size=900, special_tokens=tokens, show_progress=False)
    )
    definition = json.loads(tokenizer.to_str())
    definition["added_tokens"] = definition["added_tokens"][:4]
    tokenizer = Tokenizer.from_str(json.dumps(definition))
    tokenizer.decoder = decoders.Sequence(
        [
            decoders.Replace("▁", " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Strip(" ", 1, 0),
        ]
    )
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", pair="<s> $A <s>:1 $B:1", special_tokens=[("<s>", 1)]
    )
    tokenizer.enable_padding(direction="left", pad_id=3, pad_type_id=0, pad_token="<pad>")
    return tokenizer


def unigram() -> Tokenizer:
    """XLM-R: Unigram with Metaspace, and a template that stands twice between the texts of a pair."""
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.NFKC(), normalizers.Replace(tokenizers.Regex(" {2,}"), " ")]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    trainer = trainers.UnigramTrainer(
        vocab_size=600, special_tokens=LLAMA, unk_token="<unk>", show_progress=False
    )
    _trained(tokenizer, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>",
        pair="<s> $A </s> </s> $B </s>",
        special_tokens=[("<s>", 1), ("</s>", 2)],
    )
    return tokenizer


def words() -> Tokenizer:
    """Whole words, and no post-processor."""
    tokenizer = Tokenizer(models.WordLevel(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    return _trained(
        tokenizer,
        trainers.WordLevelTrainer(vocab_size=500, special_tokens=BERT, show_progress=False),
    )


def odd_template() -> Tokenizer:
    """A template that gives segment ids of its own, and the first text after the second."""
    tokenizer = word_piece()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS]:3 $A:2 [SEP]:1",
        pair="$B:4 [SEP]:1 [SEP] $A:3",
        special_tokens=[("[CLS]", 2), ("[SEP]", 3)],
    )
    return tokenizer


def twice() -> Tokenizer:
    """A template that has the first text twice, after another processor."""
    tokenizer = words()
    tokenizer.post_processor = processors.Sequence(
        [
            processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2)),
            processors.TemplateProcessing(single="$A $A:1", pair="$A $B:1 $A:2", special_tokens=[]),
        ]
    )
    return tokenizer


MAKERS = [word_piece, byte_level, gpt, sentence_piece, unigram, words, odd_template, twice]
