"""Calls as transformers has them, against the tokenizers package."""

from __future__ import annotations

import copy
import itertools
import json
import pickle
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from legato import Tokenizer
from legato.encoding import BatchEncoding
from legato.errors import InputError
from tokenizers_made import CORPUS, MAKERS, word_piece

TEXTS = [
    "",
    "a",
    " two  words ",
    "the quick brown fox, and 17 others, jumped over the lazy dog's back!",
    "东京 is 東京\u0301 \U0001f600 <s>x</s> [MASK] [SEP]",
    *CORPUS[:6],
]
PAIRS = [TEXTS[i] for i in (3, 1, 0, 5, 2, 4, 8, 3, 3, 0, 6)]


@pytest.fixture(scope="module", params=MAKERS, ids=lambda maker: maker.__name__)
def original(request: pytest.FixtureRequest) -> Any:
    return request.param()


@pytest.fixture(scope="module")
def ours(original: Any) -> Tokenizer:
    return Tokenizer.from_bytes(original.to_str().encode())


def expected(
    original: Any,
    texts: list[Any],
    *,
    add_special_tokens: bool = True,
    truncation: dict[str, Any] | None = None,
    padding: dict[str, Any] | None = None,
    overflow: bool = False,
    is_pretokenized: bool = False,
) -> dict[str, list[Any]]:
    """What tokenizers' encode_batch gives, by the names of transformers."""
    original.no_truncation()
    original.no_padding()
    if truncation:
        original.enable_truncation(**truncation)
    if padding:
        original.enable_padding(**padding)
    encodings = original.encode_batch(
        texts, add_special_tokens=add_special_tokens, is_pretokenized=is_pretokenized
    )
    rows = [
        (index, row)
        for index, encoding in enumerate(encodings)
        for row in [encoding, *(encoding.overflowing if overflow else [])]
    ]
    return {
        "input_ids": [row.ids for _, row in rows],
        "token_type_ids": [row.type_ids for _, row in rows],
        "attention_mask": [row.attention_mask for _, row in rows],
        "special_tokens_mask": [row.special_tokens_mask for _, row in rows],
        "offset_mapping": [row.offsets for _, row in rows],
        "length": [len(row.ids) for _, row in rows],
        "overflow_to_sample_mapping": [index for index, _ in rows],
        "tokens": [row.tokens for _, row in rows],
        "word_ids": [row.word_ids for _, row in rows],
        "sequence_ids": [row.sequence_ids for _, row in rows],
    }


def check(batch: BatchEncoding, wanted: dict[str, list[Any]], *, rows: bool = False) -> None:
    for name, values in batch.items():
        assert values == wanted[name], name
    if rows:
        assert batch.encodings is not None
        assert len(batch.encodings) == len(wanted["input_ids"])
        for row in range(len(batch.encodings)):
            assert batch.tokens(row) == wanted["tokens"][row]
            assert batch.word_ids(row) == wanted["word_ids"][row]
            assert batch.sequence_ids(row) == wanted["sequence_ids"][row]
            assert batch[row].ids == wanted["input_ids"][row]
            assert batch[row].type_ids == wanted["token_type_ids"][row]
            assert batch[row].offsets == wanted["offset_mapping"][row]
            assert batch[row].special_tokens_mask == wanted["special_tokens_mask"][row]
            assert batch[row].attention_mask == wanted["attention_mask"][row]


def all_of(name: str) -> dict[str, bool]:
    """Ask for everything, or for what the fast path can tell, or for ids alone."""
    few = {"return_special_tokens_mask": True, "return_length": True}
    return {"all": few | {"return_offsets_mapping": True}, "few": few, "ids": {}}[name]


@pytest.mark.parametrize("asked", ["all", "few", "ids"])
@pytest.mark.parametrize("pairs", [False, True], ids=["texts", "pairs"])
@pytest.mark.parametrize("special", [True, False], ids=["special", "plain"])
class TestSameRows:
    def test_whole(
        self, ours: Tokenizer, original: Any, asked: str, *, pairs: bool, special: bool
    ) -> None:
        inputs = list(zip(TEXTS, PAIRS, strict=True)) if pairs else TEXTS
        wanted = expected(original, inputs, add_special_tokens=special)
        options = all_of(asked) | {"add_special_tokens": special}
        check(ours(inputs, **options), wanted, rows=True)
        check(ours(TEXTS, PAIRS if pairs else None, **options), wanted)
        flat = ours.encode(
            TEXTS, pairs=PAIRS if pairs else None, truncation=False, add_special_tokens=special
        )
        assert flat.input_ids.tolist() == [i for ids in wanted["input_ids"] for i in ids]
        assert flat.token_type_ids.tolist() == [i for ids in wanted["token_type_ids"] for i in ids]
        assert flat.lengths.tolist() == wanted["length"]

    @pytest.mark.parametrize("strategy", ["longest_first", "only_first", "only_second"])
    @pytest.mark.parametrize("side", ["right", "left"])
    @pytest.mark.parametrize("overflow", [None, 0, 2], ids=lambda stride: f"stride-{stride}")
    def test_cut(
        self,
        ours: Tokenizer,
        original: Any,
        asked: str,
        strategy: str,
        side: str,
        overflow: int | None,
        *,
        pairs: bool,
        special: bool,
    ) -> None:
        # Short ones: upstream puts every window over one text together with every window over the other.
        texts = list(
            zip([text[:36] for text in TEXTS], [pair[:30] for pair in PAIRS], strict=True)
        )[1:8]
        for limit, (text, pair) in itertools.product((7, 10, 13), texts):
            inputs = [(text, pair)] if pairs else [text]
            cut = {
                "max_length": limit,
                "strategy": strategy,
                "direction": side,
                "stride": overflow or 0,
            }
            options = {
                "truncation": strategy,
                "max_length": limit,
                "truncation_side": side,
                "add_special_tokens": special,
                **all_of(asked),
            }
            if overflow is not None:
                options |= {"return_overflowing_tokens": True, "stride": overflow}
            try:
                wanted = expected(
                    original,
                    inputs,
                    add_special_tokens=special,
                    truncation=cut,
                    overflow=overflow is not None,
                )
            except BaseException:  # noqa: BLE001 - upstream's PanicException is no Exception
                with pytest.raises(InputError):
                    ours(inputs, **options)
                continue
            check(ours(inputs, **options), wanted, rows=overflow == 2)


class TestLongTexts:
    """A text that is cut is not read to its end: what stays must not depend on that."""

    @pytest.mark.parametrize("limit", [16, 17, 128, 511])
    @pytest.mark.parametrize("side", ["right", "left"])
    def test_cut(self, ours: Tokenizer, original: Any, limit: int, side: str) -> None:
        texts = [" ".join(CORPUS[start:])[:6000] for start in (0, 9, 21)]
        texts += ["x" * 3000, "don't " * 800, "东京" * 900, " " * 5000 + "a b", "a\n\n" * 800 + "é"]
        cut = {"max_length": limit, "direction": side}
        options: Any = {"truncation": True, "max_length": limit, "truncation_side": side}
        check(ours(texts, **options), expected(original, texts, truncation=cut))
        flat = ours.encode(texts, max_length=limit, truncation_side=side)
        assert flat.input_ids.tolist() == [
            i for ids in ours(texts, **options).input_ids for i in ids
        ]
        # Upstream makes as many windows as the product of both texts' windows, and drops them.
        texts = [text[: limit * 30] for text in texts]
        pairs = texts[::-1]
        both = list(zip(texts, pairs, strict=True))
        check(ours(texts, pairs, **options), expected(original, both, truncation=cut))

    def test_windows(self, ours: Tokenizer, original: Any) -> None:
        text = " ".join(CORPUS[:20])[:2000]
        cut = {"max_length": 40, "stride": 7}
        options: Any = {"truncation": True, "return_overflowing_tokens": True, **cut}
        wanted = expected(original, [text, "a"], truncation=cut, overflow=True)
        check(ours([text, "a"], **options), wanted)


class TestPadding:
    @pytest.mark.parametrize("side", ["right", "left"])
    @pytest.mark.parametrize("pairs", [False, True], ids=["texts", "pairs"])
    @pytest.mark.parametrize("overflow", [False, True], ids=["one", "windows"])
    @pytest.mark.parametrize(
        ("padding", "multiple"), [(True, None), (True, 8), ("max_length", None), ("max_length", 8)]
    )
    @pytest.mark.parametrize("dtype", [None, "int32"])
    def test_arrays_and_lists(
        self,
        ours: Tokenizer,
        original: Any,
        side: str,
        padding: Any,
        multiple: int | None,
        dtype: str | None,
        *,
        pairs: bool,
        overflow: bool,
    ) -> None:
        pad = {
            "direction": side,
            "pad_id": 4,
            "pad_token": ours.pad_token or "[PAD]",
            "pad_to_multiple_of": multiple,
        }
        if padding == "max_length":
            pad["length"] = 32
        inputs: list[Any] = [text[:100] for text in TEXTS]
        if pairs:
            inputs = list(zip(inputs, [pair[:80] for pair in PAIRS], strict=True))
        wanted = expected(
            original, inputs, truncation={"max_length": 32}, padding=pad, overflow=overflow
        )
        options: Any = {
            "padding": padding,
            "truncation": True,
            "max_length": 32,
            "pad_to_multiple_of": multiple,
            "padding_side": side,
            "pad_id": 4,
            "return_overflowing_tokens": overflow,
            **all_of("all"),
        }
        check(ours(inputs, **options), wanted, rows=True)
        if len(set(wanted["length"])) > 1:  # a template that has a text twice
            with pytest.raises(InputError, match="truncation=True"):
                ours(inputs, **options, return_tensors="np")
            return
        batch = ours(inputs, **options, return_tensors="np", dtype=dtype)
        for name, array in batch.items():
            assert array.tolist() == np.array(wanted[name]).tolist(), name
            asked = np.dtype(dtype or "int64")
            assert array.dtype == (np.int64 if name == "overflow_to_sample_mapping" else asked)
        assert batch.offset_mapping.shape == (*batch.input_ids.shape, 2)

    def test_only_what_is_asked_for(self, ours: Tokenizer) -> None:
        batch = ours(TEXTS, return_token_type_ids=False, return_attention_mask=False)
        assert list(batch) == ["input_ids"]
        batch = ours(
            TEXTS, truncation=True, max_length=9, return_overflowing_tokens=True, **all_of("all")
        )
        assert list(batch) == [
            "input_ids", "token_type_ids", "attention_mask", "special_tokens_mask", "offset_mapping", "length", "overflow_to_sample_mapping",
        ]  # fmt: skip


class TestDecode:
    def test_as_the_original(self, ours: Tokenizer, original: Any) -> None:
        original.no_padding()
        original.no_truncation()
        size = original.get_vocab_size()
        assert ours.vocab_size == size
        seeded = random.Random(5)
        rows = [original.encode(text, pair).ids for text, pair in zip(TEXTS, PAIRS, strict=True)]
        rows += [
            [seeded.randrange(size + 5) for _ in range(seeded.randrange(12))] for _ in range(300)
        ]
        for skip in (False, True):
            wanted = original.decode_batch(rows, skip_special_tokens=skip)
            assert ours.decode_batch(rows, skip_special_tokens=skip) == wanted
            assert [ours.decode(row, skip_special_tokens=skip) for row in rows[:20]] == wanted[:20]
        for i in range(0, size + 5, 7):
            token = original.id_to_token(i)
            assert ours.id_to_token(i) == token
            assert token is None or ours.token_to_id(token) == original.token_to_id(token)
        assert ours.token_to_id("no such token") is None

    def test_what_ids_may_be(self, ours: Tokenizer, original: Any) -> None:
        wanted = original.decode([5, 6, 7], skip_special_tokens=False)
        for ids in (
            [5, 6, 7],
            (5, 6, 7),
            np.array([5, 6, 7]),
            np.array([5, 6, 7], np.int32),
            [np.int64(5), 6, 7],
        ):
            assert ours.decode(ids) == wanted
            assert ours.decode_batch([ids, ids]) == [wanted, wanted]
        assert ours.decode_batch(np.array([[5, 6, 7]])) == [wanted]
        assert ours.decode(5) == original.decode([5], skip_special_tokens=False)
        assert ours.decode([]) == ""
        assert ours.decode_batch([]) == []
        for wrong in ([-1], [2**32], -1, ["5"], "5", b"5", [5.5], [[5]], None):
            with pytest.raises(InputError):
                ours.decode(wrong)
        for wrong in ([5], "55", 5, None, [[5], [-5]]):
            with pytest.raises(InputError):
                ours.decode_batch(wrong if wrong != [5] else [[["5"]]])


class TestWords:
    @pytest.mark.parametrize("limit", [None, 9])
    def test_already_split(self, ours: Tokenizer, original: Any, limit: int | None) -> None:
        texts = [text.split() for text in TEXTS[1:]]
        pairs = [text.split() for text in PAIRS[1:]]
        cut = {"max_length": limit} if limit else None
        options: Any = {
            "is_split_into_words": True,
            "truncation": bool(limit),
            "max_length": limit,
            **all_of("all"),
        }
        wanted = expected(original, texts, truncation=cut, is_pretokenized=True)
        check(ours(texts, **options), wanted, rows=True)
        if pairs[3]:
            both = list(zip(texts, pairs, strict=True))
            check(
                ours(texts, pairs, **options),
                expected(original, both, truncation=cut, is_pretokenized=True),
                rows=True,
            )
        one = ours(texts[2], is_split_into_words=True)
        assert one.input_ids == expected(original, texts[2:3], is_pretokenized=True)["input_ids"][0]


class TestRows:
    def test_look_ups(self, ours: Tokenizer, original: Any) -> None:
        original.no_padding()
        original.no_truncation()
        text, pair = TEXTS[3], TEXTS[4]
        batch, wanted = ours([text, "x"], [pair, "y"]), original.encode(text, pair)
        row = batch[0]
        assert len(row) == len(wanted.ids)
        for sequence, length in ((0, len(text)), (1, len(pair))):
            for at in range(length):
                assert row.char_to_token(at, sequence) == wanted.char_to_token(at, sequence)
                assert row.char_to_word(at, sequence) == wanted.char_to_word(at, sequence)
            for word in range(20):
                assert row.word_to_tokens(word, sequence) == wanted.word_to_tokens(word, sequence)
                assert row.word_to_chars(word, sequence) == wanted.word_to_chars(word, sequence)
        for token in range(len(row)):
            assert row.token_to_chars(token) == wanted.token_to_chars(token)
            assert row.token_to_word(token) == wanted.token_to_word(token)
            assert (
                batch.token_to_chars(0, token)
                == batch.token_to_chars(token)
                == row.token_to_chars(token)
            )
        assert batch.char_to_token(0, 2, 1) == row.char_to_token(2, 1)
        assert batch[-1].ids == batch["input_ids"][1]
        assert row is batch[0]
        assert batch.encodings is not None
        assert batch.encodings[0] is row
        made = BatchEncoding(dict(batch), batch.encodings)
        assert (made, made[0]) == (batch, row)
        assert type(made) is type(batch)
        for index in (2, -3):
            with pytest.raises(IndexError):
                batch[index]


@pytest.fixture(scope="module")
def bert() -> Tokenizer:
    return Tokenizer.from_bytes(word_piece().to_str().encode())


class TestShapes:
    def test_of_one_text(self, bert: Tokenizer) -> None:
        lists = bert("the dog")
        assert lists["input_ids"][0] == 2
        assert np.array(lists["input_ids"]).ndim == 1
        arrays = bert("the dog", return_tensors="np")
        assert arrays.input_ids.shape == (1, len(lists.input_ids))
        assert np.array(bert(["the dog"])["input_ids"]).ndim == 2
        assert bert("a b", "c")["token_type_ids"] == [0, 0, 0, 0, 1, 1]
        assert bert("a b", "").input_ids == bert("a b").input_ids
        assert bert(("a", "b")).input_ids == bert(["a", "b"]).input_ids
        assert bert([["a", "b"]]).input_ids == [bert("a", "b").input_ids]
        windows = bert("a b c d e f", truncation=True, max_length=4, return_overflowing_tokens=True)
        assert np.array(windows["input_ids"]).shape == (3, 4)
        assert bert("a b", return_length=True)["length"] == [4]
        assert isinstance(lists, dict)
        assert lists.offset_mapping if "offset_mapping" in lists else True

    def test_of_nothing(self, bert: Tokenizer) -> None:
        assert bert([]) == {"input_ids": [], "token_type_ids": [], "attention_mask": []}
        assert bert([], padding=True, return_tensors="np").input_ids.shape == (0, 0)
        assert bert(
            [], padding="max_length", max_length=5, return_tensors="np"
        ).input_ids.shape == (0, 5)

    def test_max_length_alone_cuts(self, bert: Tokenizer) -> None:
        assert len(bert("a b c d e f", max_length=4).input_ids) == 4
        assert len(bert("a b c d e f", max_length=4, truncation=False).input_ids) == 8
        assert len(bert("a b c d e f", max_length=4, padding=True).input_ids) == 8
        assert len(bert("a b c d e f", truncation=True).input_ids) == 8
        limited = Tokenizer.from_bytes(word_piece().to_str().encode(), max_length=6)
        assert len(limited("a b c d e f").input_ids) == 8
        assert len(limited("a b c d e f", truncation=True).input_ids) == 6
        assert len(limited("a", padding="max_length").input_ids) == 6
        assert len(bert("a", padding="max_length").input_ids) == 3

    @pytest.mark.parametrize(
        ("arguments", "match"),
        [
            ({"text": ["a", "a b"], "return_tensors": "np"}, "padding=True"),
            ({"text": ["a b c", "a"], "padding": "max_length", "max_length": 3, "return_tensors": "np"}, "truncation=True"),
            ({"text": "a", "return_tensors": "pt"}, "from_numpy"),
            ({"text": "a", "return_tensors": 5}, "'np'"),
            ({"text": "a", "dtype": "int32"}, "return_tensors='np'"),
            ({"text": "a", "dtype": "float32", "return_tensors": "np"}, "int64 or int32"),
            ({"text": "a", "padding": "sometimes"}, "padding must be"),
            ({"text": "a", "truncation": "middle"}, "truncation must be"),
            ({"text": "a", "truncation": 1}, "truncation must be"),
            ({"text": "a", "padding_side": "up"}, "'left' or 'right'"),
            ({"text": "a", "pad_to_multiple_of": 0, "padding": True}, "1 or more"),
            ({"text": "a", "pad_to_multiple_of": 2**63, "padding": True}, "too great"),
            ({"text": "a", "pad_to_multiple_of": 8, "padding": True, "truncation": True, "max_length": 12}, "no multiple"),
            ({"text": "a", "truncation": True, "max_length": 2}, "3 or more"),
            ({"text": "a", "text_pair": "b", "truncation": True, "max_length": 3}, "4 or more"),
            ({"text": "a", "truncation": True, "max_length": 8, "stride": 6, "return_overflowing_tokens": True}, "less than the 6"),
            ({"text": "a", "max_length": -1}, "0 or more"),
            ({"text": "a", "stride": -1}, "0 or more"),
            ({"text": "a", "padding": "max_length", "max_length": 10**11, "return_tensors": "np"}, "memory"),
            ({"text": "a", "pad_id": -1, "padding": True}, "whole number"),
            ({"text": 5}, "must be a str or a sequence"),
            ({"text": b"abc"}, "must be a str or a sequence"),
            ({"text": None}, "must be a str or a sequence"),
            ({"text": ["a", 5]}, "text 1 must be a str"),
            ({"text": ["a", ("a", "b")]}, "two calls"),
            ({"text": [("a", "b"), "a"]}, "two calls"),
            ({"text": [("a", "b", "c")]}, "text 0 must be a str"),
            ({"text": ["a"], "text_pair": "b"}, "as long as text"),
            ({"text": ["a"], "text_pair": ["b", "c"]}, "as many"),
            ({"text": "a", "text_pair": ["b"]}, "must be a str"),
            ({"text": "a", "is_split_into_words": True}, "list of words"),
            ({"text": [["a"], "b"], "is_split_into_words": True}, "text 1 must be a list of words"),
            ({"text": "a\ud800"}, "lone surrogate"),
        ],
        ids=str,
    )  # fmt: skip
    def test_refusals(self, bert: Tokenizer, arguments: dict[str, Any], match: str) -> None:
        with pytest.raises(InputError, match=match):
            bert(**arguments)

    def test_what_cannot_be_cut(self, bert: Tokenizer) -> None:
        cut: Any = {"max_length": 8}
        with pytest.raises(InputError, match="text 1 leaves no room"):
            bert(["a", "b"], ["c", "c d e f g h"], truncation="only_first", **cut)
        with pytest.raises(InputError, match="text 0 is too long and has no second"):
            bert(["a b c d e f g h i"], truncation="only_second", **cut)

    def test_a_batch_is_a_dict_that_travels(self, bert: Tokenizer) -> None:
        batch = bert(["a", "b c"], padding=True)
        for other in (pickle.loads(pickle.dumps(batch)), copy.copy(batch), copy.deepcopy(batch)):
            assert isinstance(other, BatchEncoding)
            assert other == batch == dict(batch)
            with pytest.raises(LookupError, match="pickled"):
                other.tokens()
        with pytest.raises(AttributeError, match="input_ids, token_type_ids"):
            _ = batch.pixel_values
        assert BatchEncoding({"a": [1]}).encodings is None
        with pytest.raises(KeyError):
            batch["pixel_values"]

    def test_windows_without_bound_are_refused(self, bert: Tokenizer) -> None:
        long = "a " * 60_000
        options: Any = {
            "truncation": True,
            "max_length": 400,
            "stride": 190,
            "return_overflowing_tokens": True,
        }
        with pytest.raises(InputError, match="too many"):
            bert(long, long, **options)
        with pytest.raises(InputError, match="too many"):
            bert(
                long * 20,
                truncation=True,
                max_length=512,
                stride=509,
                return_overflowing_tokens=True,
            )


class TestPadToken:
    def test_where_it_comes_from(self, tiny_bert: Path, tmp_path: Path) -> None:
        made = word_piece()
        assert Tokenizer.from_bytes(made.to_str().encode()).pad_id == 0
        made.enable_padding(pad_id=4, pad_token="[MASK]", pad_type_id=1, direction="left")
        embedded = Tokenizer.from_bytes(made.to_str().encode())
        assert (embedded.pad_id, embedded.pad_token) == (4, "[MASK]")
        batch = embedded(["a", "a b"], padding=True)
        assert batch["input_ids"][0][0] == 4
        assert batch["token_type_ids"][0][0] == 1
        for name in ("config.json", "model.safetensors"):
            (tmp_path / name).write_bytes((tiny_bert / name).read_bytes())
        (tmp_path / "tokenizer.json").write_text(made.to_str())
        config = {
            "pad_token": {"content": "[SEP]"},
            "padding_side": "right",
            "tokenizer_class": "DistilBertTokenizer",
        }
        (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
        named = Tokenizer.from_dir(tmp_path)
        assert (named.pad_id, named.pad_token) == (3, "[SEP]")
        batch = named(["a", "a b"], padding=True)
        assert batch["input_ids"][0][-1] == 3
        assert "token_type_ids" not in batch
        assert "token_type_ids" in named("a", return_token_type_ids=True)

    def test_none_is_no_zero(self) -> None:
        made = word_piece()
        definition = json.loads(made.to_str().replace("[PAD]", "[NIL]"))
        tokenizer = Tokenizer.from_bytes(json.dumps(definition).encode())
        assert tokenizer.pad_id is None
        with pytest.raises(InputError, match="pad_id"):
            tokenizer(["a", "b c"], padding=True)
        assert tokenizer(["a", "b c"], padding=True, pad_id=7)["input_ids"][0][-1] == 7
