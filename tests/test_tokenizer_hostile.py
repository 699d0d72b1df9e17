"""Definitions of a tokenizer that are damaged or made to hurt: a typed error, and soon."""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from legato import Tokenizer, Tokens
from legato.errors import InputError, ModelError

TEXTS = [
    "",
    "a",
    "river aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaac",
    "a" * 3000,
    "東京 é",
    "the [MASK] river",
]
SECRET = "hunter2"  # stands for a user's words in the tests
BOUND_S = 10.0


@pytest.fixture(scope="module")
def definition(tiny_bert: Path) -> dict[str, Any]:
    return json.loads((tiny_bert / "tokenizer.json").read_bytes())


@pytest.fixture(autouse=True)
def _soon() -> Iterator[None]:
    start = time.monotonic()
    yield
    assert time.monotonic() - start < BOUND_S


def split(regex: str) -> dict[str, Any]:
    pattern = {"Regex": regex}
    return {"type": "Split", "pattern": pattern, "behavior": "Isolated", "invert": False}


def template(single: list[Any], special_tokens: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "TemplateProcessing",
        "single": single,
        "pair": [],
        "special_tokens": special_tokens,
    }


A = {"Sequence": {"id": "A", "type_id": 0}}
B = {"Sequence": {"id": "B", "type_id": 0}}
X = {"SpecialToken": {"id": "[X]", "type_id": 0}}


@pytest.mark.parametrize(
    "data",
    [
        b"", b"null", b"[]", b"5", b"{}", b"\0" * 10, b"\xff\xfe{}", b"[" * 100_000, b'{"a":' * 5000,
        b'{"normalizer":' + b'{"type":"Sequence","normalizers":[' * 5000,
    ],
    ids=lambda data: data[:12].hex(),
)  # fmt: skip
def test_no_definition(data: bytes) -> None:
    with pytest.raises(ModelError, match=r"tokenizer\.json: it cannot be read"):
        Tokenizer.from_bytes(data)


@pytest.mark.parametrize(
    "part",
    [
        {"model": None},
        {"model": "x"},
        {"model": {"type": "BPE", "vocab": {"a": 0}, "merges": [["a", "zz"]]}},
        # Merges whose result is no token: the crate panics.
        {"model": {"type": "BPE", "vocab": {"a": 0, "aa": 1}, "merges": ["a a", "aa aa"]}},
        {"model": {"type": "WordPiece", "unk_token": "[UNK]", "vocab": {"a": -1}}},
        {"model": {"type": "Unigram", "unk_id": 99, "vocab": [["a", -1.0]]}},
        {"normalizer": {"type": "Precompiled", "precompiled_charsmap": "AAAA"}},
        {"normalizer": {"type": "Precompiled", "precompiled_charsmap": ""}},
        {"pre_tokenizer": split("((")},
        {"pre_tokenizer": split("((a{1000}){1000}){1000}")},
        {"pre_tokenizer": split("(" * 50_000 + ")" * 50_000)},
        {"pre_tokenizer": {"type": "Metaspace", "replacement": "", "prepend_scheme": "always"}},
        {"added_tokens": [{"id": "x"}]},
    ],
    ids=lambda part: json.dumps(part)[:60],
)
def test_what_cannot_be_read(definition: dict[str, Any], part: dict[str, Any]) -> None:
    with pytest.raises(ModelError, match="it cannot be read"):
        Tokenizer.from_bytes(json.dumps(definition | part).encode())


@pytest.mark.parametrize(
    "part",
    [
        {"post_processor": template([X, A], {})},
        {"post_processor": template([B], {})},
        {"model": {"type": "WordLevel", "vocab": {"a": 0}, "unk_token": "?"}},
        {"model": {"type": "Unigram", "unk_id": None, "vocab": [["a", -1.0]]}},
        {"pre_tokenizer": {"type": "FixedLength", "length": 0}},
    ],
    ids=lambda part: json.dumps(part)[:60],
)
def test_what_cannot_encode_names_the_text(
    definition: dict[str, Any], part: dict[str, Any]
) -> None:
    tokenizer = Tokenizer.from_bytes(json.dumps(definition | part).encode())
    texts = [""] * 40 + [f"{SECRET} zz"]
    with pytest.raises(InputError, match=r"text \d+ cannot be encoded") as caught:
        tokenizer.encode(texts)
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize(
    "part",
    [
        {"pre_tokenizer": split("(a+)+(?=b)$")},
        {"pre_tokenizer": split(r"(?:(a|a)+)+(?!x)\1c")},
        {"pre_tokenizer": split("")},
        {"normalizer": {"type": "Replace", "pattern": {"String": ""}, "content": "x"}},
        {"post_processor": template([], {})},
        {"post_processor": template([A, A, A], {})},
        {
            "post_processor": template(
                [X, A], {"[X]": {"id": "[X]", "ids": [2**32 - 1], "tokens": ["[X]"]}}
            )
        },
        {
            "post_processor": template(
                [X, A], {"[X]": {"id": "[X]", "ids": [1, 2, 3], "tokens": ["a"]}}
            )
        },
        {
            "post_processor": {
                "type": "BertProcessing",
                "sep": ["[SEP]", 999],
                "cls": ["[CLS]", 2**32 - 1],
            }
        },
        {
            "truncation": {
                "direction": "Right",
                "max_length": 1,
                "strategy": "LongestFirst",
                "stride": 5,
            }
        },
    ],
    ids=lambda part: json.dumps(part)[:60],
)
def test_what_is_only_strange_stays_whole(definition: dict[str, Any], part: dict[str, Any]) -> None:
    tokenizer = Tokenizer.from_bytes(json.dumps(definition | part).encode())
    for tokens in (tokenizer.encode(TEXTS), tokenizer.encode(TEXTS, max_length=8)):
        assert len(tokens) == len(TEXTS)
        assert tokens.lengths.sum() == tokens.input_ids.size == tokens.token_type_ids.size
        tokens.pad()


def sequence(kind: str, steps: list[Any]) -> dict[str, Any]:
    return {"type": "Sequence", kind: steps}


def replace(pattern: dict[str, str], content: str) -> dict[str, Any]:
    return {"type": "Replace", "pattern": pattern, "content": content}


TWICE = replace({"String": "a"}, "aa")
BYTES = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False, "use_regex": False}
LONG = {"[X]": {"id": "[X]", "ids": [1] * 5000, "tokens": ["x"] * 5000}}


@pytest.mark.parametrize(
    ("part", "match"),
    [
        ({"normalizer": sequence("normalizers", [TWICE] * 40)}, r"normalizer .* \(Replace\)"),
        # Added tokens are normalized when the definition is read.
        (
            {
                "normalizer": sequence("normalizers", [sequence("normalizers", [TWICE] * 20)] * 2),
                "added_tokens": [
                    {"id": 5, "content": "aa", "special": False, "normalized": True, "single_word": False, "lstrip": False, "rstrip": False}
                ],
            },
            r"normalizer .* \(Replace\)",
        ),
        ({"normalizer": replace({"Regex": "b*"}, "x" * 100)}, "normalizer"),
        ({"normalizer": {"type": "Prepend", "prepend": "x" * 10**6}}, "normalizer adds"),
        ({"normalizer": sequence("normalizers", [{"type": "NFC"}] * 10_000)}, "steps"),
        ({"pre_tokenizer": sequence("pretokenizers", [BYTES] * 40)}, r"pre_tokenizer .* \(ByteLevel\)"),
        ({"decoder": sequence("decoders", [TWICE] * 40)}, r"decoder .* \(Replace\)"),
        ({"post_processor": template([X, A], LONG)}, "4096 tokens"),
        ({"post_processor": template([A] * 5000, {})}, "4096 tokens"),
        (
            {
                "model": {"type": "WordPiece", "unk_token": "a", "vocab": {"a": 0, "##a": 1}, "continuing_subword_prefix": "##", "max_input_chars_per_word": 10**9},
                "pre_tokenizer": {"type": "Whitespace"},
            },
            "max_input_chars_per_word",
        ),
    ],
    ids=lambda part: json.dumps(part)[:60],
)  # fmt: skip
def test_what_would_take_without_bound(
    definition: dict[str, Any], part: dict[str, Any], match: str
) -> None:
    with pytest.raises(ModelError, match=match):
        Tokenizer.from_bytes(json.dumps(definition | part).encode())


def test_a_definition_has_a_size() -> None:
    with pytest.raises(ModelError, match="the limit is"):
        Tokenizer.from_bytes(b" " * ((64 << 20) + 1))


@settings(max_examples=150, deadline=None)
@given(at=st.integers(0, 7000), byte=st.integers(0, 255), cut=st.booleans())
def test_damage_is_typed(tiny_bert: Path, at: int, byte: int, *, cut: bool) -> None:
    data = bytearray((tiny_bert / "tokenizer.json").read_bytes())
    if cut:
        del data[at:]
    else:
        data[at] = byte
    try:
        Tokenizer.from_bytes(bytes(data)).encode(TEXTS)
    except (ModelError, InputError):
        pass
    else:
        assert not cut


def test_only_a_regular_file_is_read(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    for path in (tmp_path / "none", tmp_path, pipe, Path("/dev/zero")):
        with pytest.raises(ModelError, match="check the path"):
            Tokenizer.from_file(path)
    huge = tmp_path / "huge"
    with huge.open("wb") as file:
        file.truncate(65 << 20)
    with pytest.raises(ModelError, match="larger than the limit"):
        Tokenizer.from_file(huge)


@settings(max_examples=200, deadline=None)
@given(data=st.binary(max_size=80), at=st.integers(0, 400), bit=st.integers(0, 7))
def test_token_files(engine: Any, data: bytes, at: int, bit: int) -> None:
    whole = bytearray(engine.tokenizer.encode(["river", "the sun"]).to_bytes())
    whole[at % len(whole)] ^= 1 << bit
    for hostile in (data, bytes(whole), bytes(whole[:at])):
        with contextlib.suppress(InputError):
            vectors = engine.run(Tokens.from_bytes(hostile))
            assert np.isfinite(vectors).all()
