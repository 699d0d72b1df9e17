"""Token ids against the tokenizers package, on real and on nasty texts, and hostile definitions."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from legato import Tokenizer, Tokens
from legato.errors import InputError

NASTY = [
    "",
    " ",
    "\t\r\n\v\f",
    "\0",
    "a\0b\x01\x7f\x85",
    "[CLS] [SEP] [PAD] [MASK] [UNK]",
    "[MASK][MASK]x[MASK]",
    "[ MASK ] [mask]",
    "##ing ##",
    "e\u0301 \u00e9 \u1e9b\u0323 \ufb01",
    "\u4e1c\u4eac\u6771\u4eac\uff21\uff22\uff23",
    "\u200b\u200c\u200d\ufeff\u2060\u00ad",
    "\u202eabc\u202c",
    "👩‍👩‍👧‍👦🇩🇪\U0010ffff\ufffd",
    "x" * 101 + " " + "y" * 100,
    "!?" * 300,
    "İstanbul ǅ ﬃ ß ẞ Σίσυφος",
    "a" * 5000,
    "नमस्ते สวัสดี مرحبا שלום",
    "\u2028line\u2029paragraph\u3000wide",
]


@pytest.fixture(scope="module")
def texts() -> list[str]:
    path = Path(__file__).parent / "data" / "parity" / "texts.jsonl"
    lines = path.read_text(encoding="utf-8").splitlines()
    return [json.loads(line)["text"] for line in lines] + NASTY


@pytest.fixture(scope="module", params=["tiny_bert", "minilm"])
def folder(request: pytest.FixtureRequest) -> Path:
    return request.getfixturevalue(request.param)


@pytest.fixture(scope="module")
def ours(folder: Path) -> Tokenizer:
    return Tokenizer.from_dir(folder)


@pytest.fixture(scope="module")
def original(folder: Path) -> Any:
    tokenizers = pytest.importorskip("tokenizers")
    tokenizer = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return tokenizer


def rows(tokens: Tokens) -> list[list[int]]:
    ends = np.cumsum(tokens.lengths)
    return [part.tolist() for part in np.split(tokens.input_ids, ends[:-1])]


class TestSameIds:
    def test_whole_texts(self, ours: Tokenizer, original: Any, texts: list[str]) -> None:
        tokens = ours.encode(texts, truncation=False)
        assert rows(tokens) == [encoding.ids for encoding in original.encode_batch(texts)]
        assert tokens.truncated == 0
        assert not tokens.token_type_ids.any()

    @pytest.mark.parametrize("limit", [3, 4, 17, 128, 512])
    def test_cut_texts(self, ours: Tokenizer, original: Any, texts: list[str], limit: int) -> None:
        tokens = ours.encode(texts, max_length=limit)
        whole = [encoding.ids for encoding in original.encode_batch(texts)]
        original.enable_truncation(limit)
        cut = [encoding.ids for encoding in original.encode_batch(texts)]
        original.no_truncation()
        assert rows(tokens) == cut
        assert tokens.truncated == sum(a != b for a, b in zip(whole, cut, strict=True)) > 0

    def test_without_special_tokens(self, ours: Tokenizer, original: Any, texts: list[str]) -> None:
        tokens = ours.encode(texts, truncation=False, add_special_tokens=False)
        expected = original.encode_batch(texts, add_special_tokens=False)
        assert rows(tokens) == [encoding.ids for encoding in expected]

    @settings(max_examples=150, deadline=None)
    @given(text=st.text(max_size=60) | st.text("ab #[]CLSMK\u0301\u4e1c\0", max_size=60))
    def test_any_text(self, ours: Tokenizer, original: Any, text: str) -> None:
        assert rows(ours.encode(text, truncation=False)) == [original.encode(text).ids]


class TestCalls:
    def test_three_ways_to_load(self, folder: Path, ours: Tokenizer) -> None:
        path = folder / "tokenizer.json"
        for other in (Tokenizer.from_file(path), Tokenizer.from_bytes(path.read_bytes())):
            assert other.digest == ours.digest
            assert other.vocab_size == ours.vocab_size
            assert other.max_length is None
        assert Tokenizer.from_dir(folder, max_length=7).max_length == 7
        assert Tokenizer.from_bytes(path.read_bytes(), max_length=9).encode("a " * 50).lengths == 9

    def test_the_limit_belongs_to_the_call(self, ours: Tokenizer) -> None:
        before = ours.encode("a " * 20).input_ids
        assert ours.encode("a " * 20, max_length=5).lengths.tolist() == [5]
        assert np.array_equal(ours.encode("a " * 20).input_ids, before)

    @pytest.mark.parametrize("limit", [0, 1, 2, -1, 2**70])
    def test_limits_without_room(self, ours: Tokenizer, limit: int) -> None:
        with pytest.raises(InputError, match=r"3 or more|0 or more"):
            ours.encode("a", max_length=limit)

    def test_tokens_survive_bytes(self, ours: Tokenizer) -> None:
        for texts in ([], ["a"], ["a", "", "b c " * 30]):
            tokens = ours.encode(texts, max_length=12)
            again = Tokens.from_bytes(tokens.to_bytes())
            assert rows(again) == rows(tokens)
            assert (again.truncated, again.tokenizer_digest, len(again)) == (
                tokens.truncated,
                ours.digest,
                len(texts),
            )
            assert again.to_bytes() == tokens.to_bytes()


class TestPad:
    def test_as_the_original(self, ours: Tokenizer, original: Any) -> None:
        texts = ["a", "", "one two three four"]
        for to, multiple_of in ((None, 1), (32, 1), (None, 8), (33, 8)):
            padded = ours.encode(texts).pad(to=to, multiple_of=multiple_of, pad_id=0)
            original.enable_padding(length=to, pad_to_multiple_of=multiple_of)
            encodings = original.encode_batch(texts)
            original.no_padding()
            assert padded["input_ids"].tolist() == [e.ids for e in encodings]
            assert padded["attention_mask"].tolist() == [e.attention_mask for e in encodings]
            assert padded["token_type_ids"].tolist() == [e.type_ids for e in encodings]
            assert {array.dtype for array in padded.values()} == {np.dtype(np.int64)}

    def test_of_nothing(self, ours: Tokenizer) -> None:
        assert ours.encode([]).pad()["input_ids"].shape == (0, 0)
        assert ours.encode([]).pad(to=5)["attention_mask"].shape == (0, 5)

    def test_pad_id(self, ours: Tokenizer) -> None:
        padded = ours.encode(["a", "a b c d"]).pad(pad_id=99)
        assert (padded["input_ids"][0, 3:] == 99).all()
        assert (padded["token_type_ids"] == 0).all()

    @pytest.mark.parametrize(
        "options",
        [{"to": 2}, {"multiple_of": 0}, {"to": 10**11, "pad_id": 1}, {"to": 2**63}, {"to": -1}],
    )
    def test_refusals(self, ours: Tokenizer, options: dict[str, int]) -> None:
        with pytest.raises(InputError):
            ours.encode(["a b c", "d"]).pad(**options)
