"""token-classification, against the stored logits of transformers."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

import legato
from legato.errors import InputError
from tests import task_models

LABELS = {"0": "O", "1": "B-X", "2": "I-X"}


def shares(logits: np.ndarray) -> np.ndarray:
    powers = np.exp(logits.astype(np.float64))
    return powers / powers.sum(-1, keepdims=True)


def sub_words() -> bytes:
    """WordPiece: odd ids go on the word of the id before them."""
    words = [f"##{chr(97 + i % 26)}{i}" if i % 2 else w for i, w in enumerate(task_models.WORDS)]
    words[:5] = task_models.WORDS[:5]
    made = Tokenizer(models.WordPiece({word: i for i, word in enumerate(words)}, unk_token="[UNK]"))
    made.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    made.decoder = decoders.WordPiece()
    return made.to_str().encode()


@pytest.fixture
def made(tmp_path: Path) -> task_models.Fixture:
    return task_models.make(tmp_path, "distilbert", "token-classification", id2label=LABELS)


def test_tokens_with_scores_and_offsets(made: task_models.Fixture) -> None:
    label = legato.pipeline("token-classification", model=made.path)
    found = label(made.texts, ignore_labels=[])
    expected = shares(made.logits)
    ends = np.cumsum([len(row) for row in made.rows])[:-1]
    for text, row, scores, tokens in zip(
        made.texts, made.rows, np.split(expected, ends), found, strict=True
    ):
        assert [token["index"] for token in tokens] == list(range(len(row)))
        assert [token["entity"] for token in tokens] == [LABELS[str(i)] for i in scores.argmax(-1)]
        assert np.allclose([token["score"] for token in tokens], scores.max(-1), atol=1e-5)
        assert [text[token["start"] : token["end"]] for token in tokens] == text.split()
        assert [token["word"] for token in tokens] == text.split()
    without = label(made.texts)
    assert without == [[token for token in tokens if token["entity"] != "O"] for tokens in found]
    assert label(made.texts[0]) == without[0]
    assert {token["entity"] for tokens in without for token in tokens} == {"B-X", "I-X"}


def test_simple_groups_neighbours(made: task_models.Fixture) -> None:
    label = legato.pipeline("token-classification", model=made.path)
    text = made.texts[5]
    tokens = label(text, ignore_labels=[])
    groups = label(text, aggregation_strategy="simple", ignore_labels=[])
    begins = [
        i for i, token in enumerate(tokens)
        if i == 0 or token["entity"] == "B-X" or (token["entity"] == "O") != (tokens[i - 1]["entity"] == "O")
    ]  # fmt: skip
    assert 1 < len(begins) < len(tokens)
    assert len(groups) == len(begins)
    for (begin, end), group in zip(pairwise([*begins, len(tokens)]), groups, strict=True):
        part = tokens[begin:end]
        assert group["entity_group"] == ("O" if part[0]["entity"] == "O" else "X")
        assert group["score"] == pytest.approx(np.mean([token["score"] for token in part]))
        assert (group["start"], group["end"]) == (part[0]["start"], part[-1]["end"])
        assert group["word"] == text[group["start"] : group["end"]]


@pytest.mark.parametrize("strategy", ["first", "average", "max"])
def test_words_have_one_label(made: task_models.Fixture, strategy: str) -> None:
    (made.path / "tokenizer.json").write_bytes(sub_words())
    label = legato.pipeline("token-classification", model=made.path)
    vocabulary = [label.tokenizer.id_to_token(i) for i in range(40)]
    rows = [[6, 7, 9], [8], [10, 11], [12, 13, 15, 17], [14], [20, 21]]
    text = " ".join("".join(vocabulary[i].removeprefix("##") for i in row) for row in rows)
    tokens = label(text, ignore_labels=[])
    assert [token["word"] for token in tokens] == [vocabulary[i] for row in rows for i in row]
    from legato import Tokens

    flat = [i for row in rows for i in row]
    scores = shares(label.engine.run(Tokens.from_rows([flat], tokenizer=label.tokenizer)))
    of_words = np.split(scores, np.cumsum([len(row) for row in rows])[:-1])
    pick = {
        "first": lambda s: s[0],
        "average": lambda s: s.mean(0),
        "max": lambda s: s[np.unravel_index(s.argmax(), s.shape)[0]],
    }[strategy]
    words = [pick(s) for s in of_words]
    groups = label(text, aggregation_strategy=strategy, ignore_labels=[])
    names = [LABELS[str(word.argmax())] for word in words]
    expected: list[list[int]] = []
    for i, name in enumerate(names):
        if expected and name != "B-X" and name[-1] == names[i - 1][-1]:
            expected[-1].append(i)
        else:
            expected.append([i])
    assert len(groups) == len(expected)
    split = text.split()
    for group, members in zip(groups, expected, strict=True):
        assert text[group["start"] : group["end"]] == " ".join(split[i] for i in members)
        assert group["word"] == " ".join(split[i] for i in members)
        assert group["score"] == pytest.approx(np.mean([words[i].max() for i in members]), abs=1e-5)


def test_long_texts(made: task_models.Fixture) -> None:
    label = legato.pipeline("token-classification", model=made.path)
    text = " ".join(f"w{5 + i * 7 % 35}" for i in range(100))
    cut = label(text, ignore_labels=[])
    assert len(cut) == 40
    assert label.truncated == 1
    with pytest.raises(InputError, match="100 tokens, the model takes 40"):
        label(text, truncation=False)
    whole = label(text, aggregation_strategy="simple", stride=10, ignore_labels=[])
    assert whole[0]["start"] == 0
    assert whole[-1]["end"] == len(text)
    assert all(a["end"] <= b["start"] for a, b in pairwise(whole))
    assert label.truncated == 1
    short = made.texts[0]
    assert label([short, text], aggregation_strategy="simple", stride=10) == [
        label(short, aggregation_strategy="simple"),
        [group for group in whole if group["entity_group"] != "O"],
    ]


def test_wrong_arguments(made: task_models.Fixture) -> None:
    label = legato.pipeline("token-classification", model=made.path)
    assert label([]) == []
    with pytest.raises(InputError, match="stride needs"):
        label("w5", stride=3)
    with pytest.raises(InputError, match="must be none, simple"):
        label("w5", aggregation_strategy="last")


NER = Path(__file__).parent / "data" / "tiny-ner"
EXPECTED = json.loads((NER / "expected.json").read_text(encoding="utf-8"))
TOKEN = ("entity", "score", "index", "word", "start", "end")
GROUP = ("entity_group", "score", "word", "start", "end")


def values(pieces: list[Any]) -> list[Any]:
    """Pieces as the lists of their values, in the order of their keys."""
    if pieces and isinstance(pieces[0], list):
        return [values(of_text) for of_text in pieces]
    for piece in pieces:
        assert tuple(piece) in {TOKEN, GROUP}
    return [list(piece.values()) for piece in pieces]


def close(found: Any, expected: Any) -> bool:
    if isinstance(expected, list):
        return len(found) == len(expected) and all(map(close, found, expected))
    return abs(found - expected) < 1e-4 if isinstance(expected, float) else found == expected


@pytest.mark.parametrize("kind", ["wordpiece", "byte-bpe", "unigram"])
def test_answers_are_those_of_transformers(kind: str) -> None:
    label = legato.pipeline("ner", model=NER / kind)
    texts, words, long = EXPECTED["texts"], EXPECTED["words"], EXPECTED["long"]
    known = texts[:8]
    for call, expected in EXPECTED["answers"][kind].items():
        what, _, strategy = call.partition("/")
        options = {"aggregation_strategy": strategy, "ignore_labels": []}
        split = {**options, "is_split_into_words": True}
        found = {
            "ignored": lambda: label(known, aggregation_strategy="simple"),
            "one": lambda: label(known[0]),
            "texts": lambda: label(texts, **options),  # noqa: B023 - called at once
            "words": lambda: label(words, **split),  # noqa: B023
            "list of words": lambda: label(words[1], **split, delimiter="--"),  # noqa: B023
            "stride": lambda: label([long], **options, stride=10),  # noqa: B023
            "cut": lambda: label(long, ignore_labels=[]),
        }
        if call == "ignored/B-PER,LOC":
            ignored = ["B-PER", "LOC"]
            of = [
                label(known, aggregation_strategy=each, ignore_labels=ignored)
                for each in ("none", "max")
            ]
            assert close([values(one) for one in of], expected)
            continue
        assert close(values(found[what]()), expected), call


def test_words_must_be_lists() -> None:
    label = legato.pipeline("ner", model=NER / "wordpiece")
    for wrong in ("one text", [["a"], "b"], [5]):
        with pytest.raises(InputError, match="a text is a list of words"):
            label(wrong, is_split_into_words=True)
    assert label([], is_split_into_words=True) == []
