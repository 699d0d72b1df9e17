"""Small tokenizers of the four families, trained in a few seconds, and random variants of them."""

from __future__ import annotations

import copy
import json
import random
import unicodedata
from collections.abc import Callable, Sequence
from typing import Any, Final

from tokenizer_texts import NASTY

Definition = dict[str, Any]

GPT2: Final = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
QWEN: Final = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
    r"|\s+(?!\S)|\s+"
)
LLAMA3: Final = QWEN.replace(r"\p{N}|", r"\p{N}{1,3}|", 1)
GPT4O: Final = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
    r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
    r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
SPLITS: Final = (GPT2, QWEN, LLAMA3, GPT4O)
BYTES: Final = [f"<0x{byte:02X}>" for byte in range(256)]
VOCABULARY: Final = 1500


def split(pattern: str, behavior: str = "Isolated", *, invert: bool = False) -> Definition:
    """Return a Split pre-tokenizer."""
    return {"type": "Split", "pattern": {"Regex": pattern}, "behavior": behavior, "invert": invert}


def trained(corpus: Sequence[str]) -> dict[str, Definition]:
    """Train one small tokenizer of each family, with the parts that real ones have."""
    lines = [*corpus, *NASTY]
    return {
        "WordPiece": _wordpiece(lines),
        "byte BPE": _byte_bpe(lines),
        "SentencePiece BPE": _sentencepiece_bpe(lines),
        "Unigram": _unigram(lines),
    }


def _train(model: Any, trainer: Any, lines: Sequence[str], **parts: Any) -> Definition:
    from tokenizers import Tokenizer

    tokenizer = Tokenizer(model)
    for name, part in parts.items():
        setattr(tokenizer, name, part)
    tokenizer.train_from_iterator(lines, trainer)
    return json.loads(tokenizer.to_str())


def _wordpiece(lines: Sequence[str]) -> Definition:
    from tokenizers import models, normalizers, pre_tokenizers, processors, trainers

    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    trainer = trainers.WordPieceTrainer(
        vocab_size=VOCABULARY, special_tokens=special, show_progress=False
    )
    return _train(
        models.WordPiece(unk_token="[UNK]"),
        trainer,
        lines,
        normalizer=normalizers.BertNormalizer(),
        pre_tokenizer=pre_tokenizers.BertPreTokenizer(),
        post_processor=processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2)),
    )


def _byte_bpe(lines: Sequence[str]) -> Definition:
    from tokenizers import models, pre_tokenizers, processors, trainers

    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=["<|endoftext|>", "<|im_start|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    definition = _train(
        models.BPE(),
        trainer,
        lines,
        pre_tokenizer=pre_tokenizers.ByteLevel(add_prefix_space=False),
        post_processor=processors.ByteLevel(trim_offsets=False),
    )
    level = {
        "type": "ByteLevel",
        "add_prefix_space": False,
        "trim_offsets": False,
        "use_regex": False,
    }
    definition["pre_tokenizer"] = {"type": "Sequence", "pretokenizers": [split(QWEN), level]}
    definition["normalizer"] = {"type": "NFC"}
    return definition


def _sentencepiece_bpe(lines: Sequence[str]) -> Definition:
    from tokenizers import models, pre_tokenizers, processors, trainers

    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=["<unk>", "<s>", "</s>", *BYTES],
        limit_alphabet=300,
        show_progress=False,
    )
    definition = _train(
        models.BPE(unk_token="<unk>", fuse_unk=True, byte_fallback=True),
        trainer,
        lines,
        pre_tokenizer=pre_tokenizers.Metaspace(),
        post_processor=processors.TemplateProcessing(
            single="<s> $A", pair="<s> $A <s>:1 $B:1", special_tokens=[("<s>", 1)]
        ),
    )
    # Llama's way: no pre-tokenizer, a normalizer that writes the spaces, bytes that are no added tokens.
    definition["added_tokens"] = [added for added in definition["added_tokens"] if added["id"] < 3]
    definition["pre_tokenizer"] = None
    definition["normalizer"] = {
        "type": "Sequence",
        "normalizers": [
            {"type": "Prepend", "prepend": "▁"},
            {"type": "Replace", "pattern": {"String": " "}, "content": "▁"},
        ],
    }
    return definition


def _unigram(lines: Sequence[str]) -> Definition:
    from tokenizers import models, normalizers, pre_tokenizers, processors, trainers

    characters = set(unicodedata.normalize("NFKC", "".join(lines)))
    trainer = trainers.UnigramTrainer(
        vocab_size=VOCABULARY + len(characters),
        special_tokens=["<s>", "<pad>", "</s>", "<unk>"],
        unk_token="<unk>",
        show_progress=False,
    )
    return _train(
        models.Unigram(),
        trainer,
        lines,
        normalizer=normalizers.NFKC(),
        pre_tokenizer=pre_tokenizers.Metaspace(),
        post_processor=processors.TemplateProcessing(
            single="<s> $A </s>",
            pair="<s> $A </s> </s> $B </s>",
            special_tokens=[("<s>", 0), ("</s>", 2)],
        ),
    )


def variant(rng: random.Random, base: Definition, charsmap: str | None = None) -> Definition:
    """Return a definition with some parts replaced at random; not each of them can be loaded."""
    definition = copy.deepcopy(base)
    if rng.random() < 0.6:
        definition["normalizer"] = _maybe(rng, lambda: _normalizer(rng, charsmap))
    if rng.random() < 0.5:
        definition["pre_tokenizer"] = _maybe(rng, lambda: _pre_tokenizer(rng))
    if rng.random() < 0.3:
        definition["post_processor"] = _maybe(rng, lambda: _post_processor(rng, definition))
    if rng.random() < 0.7:
        _add_tokens(rng, definition)
    _change_model(rng, definition["model"])
    return definition


def _maybe(rng: random.Random, make: Callable[[], Definition]) -> Definition | None:
    return None if rng.random() < 0.15 else make()


def _flag(rng: random.Random) -> bool:
    return rng.random() < 0.5


def _normalizer(rng: random.Random, charsmap: str | None, depth: int = 0) -> Definition:
    if depth == 0 and rng.random() < 0.4:
        parts = []
        for _ in range(rng.choice((0, 1, 2, 2, 3))):
            parts.append(_normalizer(rng, charsmap, 1))
            if parts[-1]["type"] == "Precompiled":
                charsmap = None  # legato refuses a second one: texts could grow without bound
        return {"type": "Sequence", "normalizers": parts}
    bert = {"type": "BertNormalizer", "clean_text": _flag(rng), "handle_chinese_chars": _flag(rng)}
    bert |= {"strip_accents": rng.choice((None, True, False)), "lowercase": _flag(rng)}
    replace = rng.choice(
        (
            ({"String": " "}, "▁"),
            ({"String": "``"}, '"'),
            ({"String": "a"}, "bb"),
            ({"Regex": " {2,}"}, " "),
            ({"Regex": r"\s+"}, " "),
            ({"Regex": r"[\u0300-\u036f]"}, ""),
            ({"Regex": r"\p{N}"}, "0"),
        )
    )
    choices: list[Definition] = [
        *(
            {"type": name}
            for name in ("Lowercase", "NFC", "NFD", "NFKC", "NFKD", "StripAccents", "Nmt")
        ),
        *(bert, bert),
        {"type": "Strip", "strip_left": _flag(rng), "strip_right": _flag(rng)},
        {"type": "Prepend", "prepend": rng.choice(("▁", "x", " "))},
        *([{"type": "Replace", "pattern": replace[0], "content": replace[1]}] * 2),
    ]
    if charsmap:
        choices += [{"type": "Precompiled", "precompiled_charsmap": charsmap}] * 3
    return rng.choice(choices)


def _pre_tokenizer(rng: random.Random, depth: int = 0) -> Definition:
    if depth == 0 and rng.random() < 0.4:
        parts = [_pre_tokenizer(rng, 1) for _ in range(rng.choice((1, 2, 2, 3)))]
        return {"type": "Sequence", "pretokenizers": parts}
    behaviors = ("Isolated", "Removed", "MergedWithPrevious", "MergedWithNext", "Contiguous")
    metaspace = {"type": "Metaspace", "replacement": "▁", "split": _flag(rng)}
    metaspace["prepend_scheme"] = rng.choice(("always", "first", "never"))
    level = {"type": "ByteLevel", "add_prefix_space": _flag(rng), "trim_offsets": _flag(rng)}
    level["use_regex"] = _flag(rng)
    patterns = (*SPLITS, r"\s+", r"\p{N}{1,3}", r"[一-龥]", r"\w+|[^\w\s]+")
    choices: list[Definition] = [
        *(
            {"type": name}
            for name in ("BertPreTokenizer", "Whitespace", "WhitespaceSplit", "UnicodeScripts")
        ),
        *(metaspace, metaspace, level, level),
        {"type": "Punctuation", "behavior": rng.choice(behaviors)},
        {"type": "Digits", "individual_digits": _flag(rng)},
        {"type": "CharDelimiterSplit", "delimiter": rng.choice(" -x")},
        *(split(pattern) for pattern in SPLITS),
        split(rng.choice(patterns), rng.choice(behaviors), invert=_flag(rng)),
        {
            **split("x"),
            "pattern": {"String": rng.choice((" ", "▁", "ab"))},
            "behavior": rng.choice(behaviors),
        },
    ]
    return rng.choice(choices)


def _post_processor(rng: random.Random, definition: Definition) -> Definition:
    names = {added["content"]: added["id"] for added in definition["added_tokens"]}
    if not names or rng.random() < 0.2:
        return {
            "type": "ByteLevel",
            "add_prefix_space": _flag(rng),
            "trim_offsets": _flag(rng),
            "use_regex": True,
        }
    first, last = (rng.choice(list(names.items())) for _ in range(2))
    kind = rng.randrange(3)
    if kind == 0:
        return {"type": "BertProcessing", "sep": list(last), "cls": list(first)}
    if kind == 1:
        flags = {"trim_offsets": _flag(rng), "add_prefix_space": _flag(rng)}
        return {"type": "RobertaProcessing", "sep": list(last), "cls": list(first)} | flags

    def special(name: str, type_id: int = 0) -> Definition:
        return {"SpecialToken": {"id": name, "type_id": type_id}}

    def sequence(name: str, type_id: int = 0) -> Definition:
        return {"Sequence": {"id": name, "type_id": type_id}}

    single = [special(first[0])] * _flag(rng) + [sequence("A")] + [special(last[0])] * _flag(rng)
    pair = [*single, *[special(first[0], 1)] * _flag(rng), sequence("B", rng.choice((0, 1, 2)))]
    tokens = {name: {"id": name, "ids": [id_], "tokens": [name]} for name, id_ in (first, last)}
    return {"type": "TemplateProcessing", "single": single, "pair": pair, "special_tokens": tokens}


ADDED: Final = (
    *(
        "<a>",
        "[X]",
        "<|x|>",
        "the",
        "in",
        " in",
        "ing",
        "é",
        "E",
        "▁",
        "▁▁",
        "\n",
        "\n\n",
        "  ",
        "ab",
        "aba",
    ),
    *(
        "bab",
        "0",
        "'s",
        "##s",
        "中",
        "中文",
        "👍",
        "İ",
        "ß",
        "e\u0301",
        "a b",
        ".",
        "...",
        "x" * 20,
    ),
)


def _add_tokens(rng: random.Random, definition: Definition) -> None:
    vocabulary = definition["model"]["vocab"]
    known = set(vocabulary) if isinstance(vocabulary, dict) else {piece for piece, _ in vocabulary}
    taken = {added["content"]: added["id"] for added in definition["added_tokens"]}
    new = max([len(vocabulary) - 1, *taken.values()]) + 1
    for content in rng.sample(ADDED, rng.choice((1, 2, 3, 6))):
        if content in known or content in taken:
            continue  # upstream would take the id that the vocabulary has; a file says it anyway
        names = ("single_word", "lstrip", "rstrip", "normalized", "special")
        flags = {name: rng.random() < 0.35 for name in names}
        definition["added_tokens"].append({"id": new, "content": content, **flags})
        new += 1
    for added in definition["added_tokens"]:
        if rng.random() < 0.1:
            added[rng.choice(("single_word", "lstrip", "rstrip", "normalized"))] = True


def _change_model(rng: random.Random, model: Definition) -> None:
    if model["type"] == "WordPiece" and rng.random() < 0.3:
        model["max_input_chars_per_word"] = rng.choice((1, 5, 20, 100))
    if model["type"] == "BPE" and rng.random() < 0.3:
        model["ignore_merges"] = _flag(rng)
        model["fuse_unk"] = _flag(rng)
        model["byte_fallback"] = _flag(rng)
    if model["type"] == "Unigram" and rng.random() < 0.2:
        model["byte_fallback"] = _flag(rng)
