"""fill-mask, against the stored logits of transformers."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import legato
from legato import Tokens
from legato.errors import InputError, ModelError
from tests import task_models
from tests.task_models import MASK, WORDS


@pytest.fixture
def fill(tmp_path: Path) -> legato.pipeline:
    return legato.pipeline(
        "fill-mask", model=task_models.make(tmp_path, "distilbert", "masked-lm").path
    )


def probabilities(fill: legato.pipeline, rows: list[list[int]]) -> np.ndarray:
    """Of every token, by another way: all rows at once, and float64."""
    logits = fill.engine.run(Tokens.from_rows(rows, tokenizer=fill.tokenizer)).astype(np.float64)
    powers = np.exp(logits)
    return powers / powers.sum(-1, keepdims=True)


def test_words_and_scores(fill: legato.pipeline) -> None:
    rows = [[5, MASK, 7], [MASK, 9], [8, 8, 8, 8, MASK]]
    shares = probabilities(fill, rows)[[1, 3, 9]]
    found = fill([" ".join(WORDS[i] for i in row) for row in rows], top_k=4)
    for row, share, words in zip(rows, shares, found, strict=True):
        order = np.argsort(-share)[:4]
        assert [one["token"] for one in words] == order.tolist()
        assert np.allclose([one["score"] for one in words], share[order], atol=1e-5)
        for one in words:
            filled = [one["token"] if i == MASK else i for i in row]
            assert one["token_str"] == WORDS[one["token"]]
            skipped = [WORDS[i] for i in filled if i not in {0, 2, 3, 4}]
            assert one["sequence"].split() == skipped
    assert fill("w5 [MASK] w7", top_k=4) == found[0]
    assert len(fill("w5 [MASK]")) == 5
    # As transformers has it.
    assert fill(["w5 [MASK] w7"], top_k=4) == found[0]


def test_several_gaps(fill: legato.pipeline) -> None:
    row = [MASK, 6, MASK]
    shares = probabilities(fill, [row])
    first, second = fill("[MASK] w6 [MASK]", top_k=1)
    assert first[0]["token"] == shares[0].argmax()
    assert second[0]["token"] == shares[2].argmax()
    assert first[0]["sequence"] == f"{WORDS[first[0]['token']]} w6 [MASK]"


def test_targets(fill: legato.pipeline) -> None:
    shares = probabilities(fill, [[5, MASK]])[1]
    found = fill("w5 [MASK]", targets=["w30", "w31", "w30"])
    assert {one["token"] for one in found} == {30, 31}
    assert [one["score"] for one in found] == pytest.approx(
        sorted(shares[[30, 31]], reverse=True), abs=1e-5
    )
    assert len(fill("w5 [MASK]", targets="w12")) == 1
    for wrong in ([], [""]):
        with pytest.raises(InputError, match="no target is a token"):
            fill("w5 [MASK]", targets=wrong)


def test_a_target_that_is_no_token_stands_for_its_first_one(
    fill: legato.pipeline, caplog: pytest.LogCaptureFixture
) -> None:
    first = fill("w5 [MASK]", targets=["w30"])
    assert not caplog.records
    assert fill("w5 [MASK]", targets=["w30 secret"]) == first
    assert [r.getMessage() for r in caplog.records] == [
        "target 0 is no token of the vocabulary; its first token stands for it"
    ]
    both = fill("w5 [MASK]", targets=["", "w30", "w31"])
    assert {one["token"] for one in both} == {30, 31}
    assert "left out" in caplog.records[-1].getMessage()


def test_texts_without_a_gap_are_refused(fill: legato.pipeline) -> None:
    assert fill([]) == []
    with pytest.raises(InputError, match=r"text 1 has no \[MASK\]"):
        fill(["[MASK]", "w5"])
    with pytest.raises(InputError, match="top_k"):
        fill("[MASK]", top_k=0)
    # It is cut off.
    with pytest.raises(InputError, match="within the model's limit"):
        fill(" ".join(["w5"] * 45) + " [MASK]")
    assert fill.truncated == 1


def test_the_mask_token_is_the_tokenizer_configs(tmp_path: Path) -> None:
    made = task_models.make(tmp_path, "distilbert", "masked-lm")
    config = made.path / "tokenizer_config.json"
    config.write_text(json.dumps({"mask_token": {"content": "w39"}}))
    fill = legato.pipeline("fill-mask", model=made.path)
    assert fill.mask_token == "w39"
    assert len(fill("w5 w39")) == 5
    config.write_text(json.dumps({"mask_token": "nothing"}))
    with pytest.raises(ModelError, match="no mask token"):
        legato.pipeline("fill-mask", model=made.path)
