"""question-answering, against all spans tried one by one."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import legato
from legato import Tokens
from legato._native import read_safetensors, write_safetensors
from legato.errors import InputError
from tests import task_models
from tests.task_models import CLS, SEP

QUESTION, CONTEXT = "w20 w21", "w5 w9 w31 w7 w8 w12 w39"


@pytest.fixture
def ask(tmp_path: Path) -> legato.pipeline:
    made = task_models.make(tmp_path, "distilbert", "question-answering", special=True)
    return legato.pipeline("question-answering", model=made.path)


def spans(
    ask: legato.pipeline, context: str, longest: int
) -> tuple[list[dict[str, object]], float]:
    """All answers, best first, and the score of none; by loops and in float64."""
    words = context.split()
    row = [CLS, 20, 21, SEP, *(int(word[1:]) for word in words), SEP]
    types = [0] * 4 + [1] * (len(words) + 1)
    logits = ask.engine.run(Tokens.from_rows([row], [types], tokenizer=ask.tokenizer)).astype(float)
    kept = logits[[0, *range(4, 4 + len(words))]]
    start, end = (np.exp(kept) / np.exp(kept).sum(0)).T
    found = []
    for i in range(len(words)):
        for j in range(i, min(i + longest, len(words))):
            first = len(" ".join([*words[:i], ""]))
            answer = " ".join(words[i : j + 1])
            score = start[i + 1] * end[j + 1]
            found.append(
                {"score": score, "start": first, "end": first + len(answer), "answer": answer}
            )
    return sorted(found, key=lambda one: -one["score"]), start[0] * end[0]


def same(found: list[dict[str, object]], expected: list[dict[str, object]]) -> bool:
    return [{**one, "score": None} for one in found] == [
        {**one, "score": None} for one in expected
    ] and np.allclose(
        [one["score"] for one in found], [one["score"] for one in expected], atol=1e-5
    )


@pytest.mark.parametrize("longest", [1, 2, 15])
def test_the_best_spans(ask: legato.pipeline, longest: int) -> None:
    expected, _ = spans(ask, CONTEXT, longest)
    found = ask(question=QUESTION, context=CONTEXT, top_k=5, max_answer_len=longest)
    assert same(found, expected[:5])
    one = ask(question=QUESTION, context=CONTEXT, max_answer_len=longest)
    assert one == found[0]
    assert ask(question=[QUESTION] * 2, context=CONTEXT, max_answer_len=longest) == [one, one]
    # As in transformers 4, a list of one is answered as the one.
    assert ask(question=[QUESTION], context=[CONTEXT], max_answer_len=longest) == one
    example = {"question": QUESTION, "context": CONTEXT}
    assert ask(example, max_answer_len=longest) == one
    assert ask([example] * 2, max_answer_len=longest) == [one, one]


def test_no_answer(ask: legato.pipeline) -> None:
    expected, none = spans(ask, CONTEXT, 15)
    found = ask(question=QUESTION, context=CONTEXT, top_k=100, handle_impossible_answer=True)
    assert len(found) == len(expected) + 1
    empty = [one for one in found if one["answer"] == ""]
    assert len(empty) == 1
    assert empty[0]["score"] == pytest.approx(none, abs=1e-5)
    assert (empty[0]["start"], empty[0]["end"]) == (0, 0)


def test_long_texts_are_read_in_windows(ask: legato.pipeline) -> None:
    words = [f"w{5 + i * 7 % 35}" for i in range(60)]
    # 40 tokens: 2 of the question, 3 special, 35 of the context, of which 10 are shared.
    windows = [words[0:35], words[25:60]]
    # Of each window the best 2 top_k + 10 spans; those that read the same are one.
    scores: Counter[str] = Counter()
    for part in windows:
        for one in spans(ask, " ".join(part), 15)[0][:12]:
            scores[str(one["answer"])] += one["score"]
    answer, score = scores.most_common(1)[0]
    found = ask(question=QUESTION, context=" ".join(words), doc_stride=10)
    assert found["score"] == pytest.approx(score, abs=1e-5)
    assert found["answer"] == answer
    assert " ".join(words)[found["start"] : found["end"]] == found["answer"]


def test_wrong_arguments(ask: legato.pipeline) -> None:
    assert ask(question=[], context=[]) == []
    for wrong in (
        {"top_k": 0},
        {"max_answer_len": 0},
        {"context": [CONTEXT] * 2},
        {"context": ""},
        {"question": ""},
        {"question": None},
        {"context": 5},
        {"max_question_len": 0},
        {"doc_stride": 40},
    ):
        with pytest.raises(InputError):
            ask(**{"question": QUESTION, "context": CONTEXT, **wrong})
    for inputs in ([QUESTION], [{"question": QUESTION}], {"question": "w5", "context": 5}):
        with pytest.raises(InputError):
            ask(inputs)
    with pytest.raises(InputError, match="give question and context, or dicts"):
        ask({"question": QUESTION, "context": CONTEXT}, question=QUESTION)


def test_long_questions_are_cut_as_asked(ask: legato.pipeline) -> None:
    cut = ask(question=QUESTION, context=CONTEXT)
    long = QUESTION + " w22 w23"
    assert ask(question=long, context=CONTEXT) != cut
    assert ask.truncated == 0
    assert ask(question=long, context=CONTEXT, max_question_len=2) == cut
    assert ask.truncated == 1
    with pytest.raises(InputError):
        ask(question="w20 " * 50, context=CONTEXT)


DATA = Path(__file__).parent / "data"
EXPECTED = json.loads((DATA / "tiny-qa" / "expected.json").read_text(encoding="utf-8"))


def close(found: Any, wanted: Any) -> bool:
    if isinstance(wanted, dict):
        return found.keys() == wanted.keys() and all(close(found[k], wanted[k]) for k in wanted)
    if isinstance(wanted, list):
        return len(found) == len(wanted) and all(map(close, found, wanted))
    return abs(found - wanted) < 1e-4 if isinstance(wanted, float) else found == wanted


@pytest.mark.parametrize("kind", ["wordpiece", "byte-bpe", "unigram"])
def test_answers_are_those_of_transformers_4(tmp_path: Path, kind: str) -> None:
    source = DATA / "tiny-ner" / kind
    encoder, _ = read_safetensors((source / "model.safetensors").read_bytes())
    head, _ = read_safetensors((DATA / "tiny-qa" / f"{kind}.safetensors").read_bytes())
    tensors = {name: rows for name, rows in encoder.items() if not name.startswith("classifier")}
    (tmp_path / "model.safetensors").write_bytes(write_safetensors(tensors | head))
    config = json.loads((source / "config.json").read_text())
    del config["architectures"]
    (tmp_path / "config.json").write_text(json.dumps(config))
    about = json.loads((source / "tokenizer_config.json").read_text())
    if config["model_type"] == "roberta":
        about["model_input_names"] = ["input_ids", "attention_mask"]
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(about))
    shutil.copy(source / "tokenizer.json", tmp_path)
    ask = legato.pipeline("question-answering", model=tmp_path)
    questions, contexts = EXPECTED["questions"], EXPECTED["contexts"]
    for call, wanted in zip(EXPECTED["calls"], EXPECTED["answers"][kind], strict=True):
        found = [
            ask(question=questions, context=contexts, **call),
            ask(question=questions[0], context=contexts[2], **call),
            ask(question=[questions[0]], context=[contexts[0]], **call),
            ask({"question": questions[1], "context": contexts[1]}, **call),
            ask(question=questions, context=contexts[0], **call),
        ]
        for one, other in zip(found, wanted, strict=True):
            assert close(one, other), call
