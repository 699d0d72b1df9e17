"""text-classification, text-ranking and zero-shot-classification, against the stored logits of transformers."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

import legato
from legato import ModelFiles, TaskEngine, Tokens
from legato.errors import InputError, ModelError
from tests import task_models

NAMES = {"0": "contradiction", "1": "neutral", "2": "entailment"}
TASKS = ["sequence-classification", "token-classification", "question-answering", "masked-lm"]


def softmax(x: NDArray[np.float32]) -> NDArray[np.float64]:
    powers = np.exp(x.astype(np.float64))
    return powers / powers.sum(-1, keepdims=True)


def sigmoid(x: NDArray[np.float32]) -> NDArray[np.float64]:
    return 1 / (1 + np.exp(-x.astype(np.float64)))


class TestTaskEngine:
    @pytest.mark.parametrize("task", TASKS)
    @pytest.mark.parametrize("name", ["bert", "distilbert", "roberta", "electra"])
    def test_logits_are_those_of_transformers(self, tmp_path: Path, name: str, task: str) -> None:
        made = task_models.make(tmp_path, name, task)
        engine = TaskEngine(ModelFiles.from_dir(made.path), task)
        tokens = Tokens.from_rows(made.rows, made.type_ids, tokenizer=engine.tokenizer)
        logits = engine.run(tokens)
        assert logits.dtype == np.float32
        assert logits.shape == made.logits.shape
        assert np.abs(logits - made.logits).max() < 1e-5
        assert engine.width == logits.shape[1]

    def test_chosen_tokens_are_rows_of_all(self, tmp_path: Path) -> None:
        made = task_models.make(tmp_path, "bert", "masked-lm")
        engine = TaskEngine(ModelFiles.from_dir(made.path), "masked-lm")
        tokens = Tokens.from_rows(made.rows, made.type_ids, tokenizer=engine.tokenizer)
        for only in ([0], [3, 7, 8, 40, len(made.logits) - 1], [], list(range(len(made.logits)))):
            chosen = engine.run(tokens, only=np.array(only, dtype=np.uint32))
            assert chosen.shape == (len(only), engine.width)
            assert np.allclose(chosen, made.logits[only], atol=1e-5)
        for wrong in ([1, 0], [2, 2], [len(made.logits)]):
            with pytest.raises(InputError, match="must ascend"):
                engine.run(tokens, only=np.array(wrong, dtype=np.uint32))

    def test_positions_are_not_for_texts(self, tmp_path: Path) -> None:
        made = task_models.make(tmp_path, "bert", "sequence-classification")
        engine = TaskEngine(ModelFiles.from_dir(made.path), "sequence-classification")
        tokens = Tokens.from_rows(made.rows, tokenizer=engine.tokenizer)
        with pytest.raises(InputError, match="one row a text"):
            engine.run(tokens, only=np.array([0], dtype=np.uint32))
        with pytest.raises(InputError, match="row by row"):
            Tokens.from_rows([[5, 6]], [[0]], tokenizer=engine.tokenizer)

    def test_a_head_that_is_not_there_is_named_with_those_that_are(self, tmp_path: Path) -> None:
        made = task_models.make(tmp_path, "distilbert", "question-answering")
        with pytest.raises(ModelError, match=r"no head for masked-lm.*has: question-answering"):
            legato.pipeline("fill-mask", model=made.path)
        other = task_models.make(
            tmp_path, "bert", "token-classification", architectures=["BertForTokenClassification"]
        )
        with pytest.raises(ModelError, match=r"has: token-classification"):
            legato.pipeline("text-classification", model=other.path)
        with pytest.raises(InputError, match="not supported; use"):
            legato.pipeline("summarization", model=made.path)


class TestTextClassification:
    @pytest.mark.parametrize(
        ("problem", "apply"),
        [
            (None, softmax),
            ("single_label_classification", softmax),
            ("multi_label_classification", sigmoid),
            ("regression", lambda x: x.astype(np.float64)),
        ],
    )
    def test_scores_and_order(self, tmp_path: Path, problem: str | None, apply: object) -> None:
        made = task_models.make(
            tmp_path, "distilbert", "sequence-classification", problem_type=problem, id2label=NAMES
        )
        classify = legato.pipeline("text-classification", model=made.path)
        expected = apply(made.logits)  # type: ignore[operator]
        found = classify(made.texts, top_k=None)
        for row, labels in zip(expected, found, strict=True):
            order = sorted(range(3), key=lambda i: -row[i])
            assert [one["label"] for one in labels] == [NAMES[str(i)] for i in order]
            assert np.allclose([one["score"] for one in labels], row[order], atol=1e-5)
        assert classify(made.texts) == [labels[0] for labels in found]
        assert classify(made.texts, top_k=2) == [labels[:2] for labels in found]

    def test_shapes_are_those_of_transformers(self, tmp_path: Path) -> None:
        made = task_models.make(tmp_path, "distilbert", "sequence-classification")
        classify = legato.pipeline("text-classification", model=made.path)
        text = made.texts[0]
        best = classify(text)
        assert isinstance(best, list)
        assert set(best[0]) == {"label", "score"}
        assert classify({"text": text}) == best[0]
        assert classify([{"text": text}]) == best
        assert classify(text, top_k=1) == best
        assert classify([text], top_k=1) == [best]
        assert classify([]) == []

    def test_pairs_and_functions(self, tmp_path: Path) -> None:
        made = task_models.make(tmp_path, "bert", "sequence-classification", special=True)
        classify = legato.pipeline("text-classification", model=made.path)
        engine = classify.engine
        logits = engine.run(engine.tokenizer.encode(["w5 w6"], pairs=["w7"]))[0]
        alone = engine.run(engine.tokenizer.encode(["w5 w6"]))[0]
        assert np.abs(logits - alone).max() > 1e-4
        pair = {"text": "w5 w6", "text_pair": "w7"}
        for function, apply in [("none", np.asarray), ("sigmoid", sigmoid), ("softmax", softmax)]:
            found = classify(pair, top_k=None, function_to_apply=function)
            scores = [one["score"] for one in found]
            assert np.allclose(scores, sorted(apply(logits), reverse=True), atol=1e-5)

    def test_long_texts_are_cut_and_counted_or_refused(self, tmp_path: Path) -> None:
        made = task_models.make(tmp_path, "distilbert", "sequence-classification")
        classify = legato.pipeline("text-classification", model=made.path)
        long = " ".join(["w9"] * 50)
        assert classify(long) == classify(" ".join(["w9"] * 40))
        assert classify.truncated == 1
        with pytest.raises(InputError, match="50 tokens, the model takes 40"):
            classify(long, truncation=False)

    @pytest.mark.parametrize(
        "arguments",
        [
            ("w5", {"top_k": 0}),
            ("w5", {"function_to_apply": "tanh"}),
            (["w5", {"text": "w5", "text_pair": "w6"}], {}),
            ([5], {}),
        ],
    )
    def test_wrong_arguments(
        self, tmp_path: Path, arguments: tuple[object, dict[str, object]]
    ) -> None:
        made = task_models.make(tmp_path, "distilbert", "sequence-classification")
        classify = legato.pipeline("text-classification", model=made.path)
        with pytest.raises(InputError):
            classify(arguments[0], **arguments[1])

    def test_labels_must_fit(self, tmp_path: Path) -> None:
        made = task_models.make(
            tmp_path,
            "distilbert",
            "sequence-classification",
            id2label={"a": "x", "b": "y", "1": "z"},
        )
        labels = legato.pipeline("text-classification", model=made.path)("w5", top_k=None)
        assert {one["label"] for one in labels} == {"LABEL_0", "z", "LABEL_2"}


class TestTextRanking:
    @pytest.mark.parametrize(
        "stored",
        [{}, {"sentence_transformers": {"activation_fn": "torch.nn.modules.linear.Identity"}}],
    )
    def test_scores_and_order(self, tmp_path: Path, stored: dict[str, object]) -> None:
        made = task_models.make(
            tmp_path, "distilbert", "sequence-classification", one_label=True, **stored
        )
        ranker = legato.pipeline("text-ranking", model=made.path)
        # Without special tokens, a pair's tokens are the text's.
        texts = [i for i, row in enumerate(made.rows) if len(row) > 1]
        pairs = [tuple(made.texts[i].split(" ", 1)) for i in texts]
        expected = made.logits[texts, 0] if stored else sigmoid(made.logits[texts, 0])
        scores = ranker(pairs)
        assert np.allclose(scores, expected, atol=1e-5)
        assert scores.dtype == np.float32
        assert ranker(pairs[0]) == pytest.approx(float(scores[0]), abs=1e-6)
        as_dicts = [{"text": query, "text_pair": document} for query, document in pairs]
        assert np.array_equal(ranker(as_dicts), scores)

        documents = [document for _, document in pairs]
        ranked = ranker.rank("w7", documents, return_documents=True)
        scores = ranker([("w7", document) for document in documents])
        assert [one["corpus_id"] for one in ranked] == np.argsort(-scores).tolist()
        assert np.allclose([one["score"] for one in ranked], np.sort(scores)[::-1], atol=1e-6)
        assert all(one["text"] == documents[one["corpus_id"]] for one in ranked)
        top = ranker.rank("w7", documents, top_k=2)
        assert [one["corpus_id"] for one in top] == [one["corpus_id"] for one in ranked[:2]]
        assert set(top[0]) == {"corpus_id", "score"}
        assert ranker.rank("w7", []) == []
        # Two documents are a list of pairs, and not one.
        assert len(ranker.rank("w7", documents[:2])) == 2

    def test_what_is_no_ranker_or_no_pair(self, tmp_path: Path) -> None:
        made = task_models.make(tmp_path, "distilbert", "sequence-classification")
        several = legato.pipeline("text-ranking", model=made.path)
        with pytest.raises(InputError, match="this one has 3"):
            several.rank("w5", ["w6"])
        made = task_models.make(tmp_path, "distilbert", "sequence-classification", one_label=True)
        ranker = legato.pipeline("text-ranking", model=made.path)
        for wrong in ("w5", ["w5", "w6", "w7"], [("w5",)], [{"text": "w5"}]):
            with pytest.raises(InputError, match="must be a pair"):
                ranker(wrong)
        for query, documents in (("w5", "w6"), (["w5"], ["w6"]), ("w5", [5]), ("w5", None)):
            with pytest.raises(InputError, match="documents"):
                ranker.rank(query, documents)
        with pytest.raises(InputError, match="activation_fn must be sigmoid, identity, tanh"):
            ranker(("w5", "w6"), activation_fn="relu")
        made = task_models.make(
            tmp_path, "distilbert", "sequence-classification", one_label=True,
            sentence_transformers={"activation_fn": "torch.nn.ReLU"},
        )  # fmt: skip
        with pytest.raises(ModelError, match="activation ReLU"):
            legato.pipeline("text-ranking", model=made.path)

    def test_several_labels_and_activations(self, tmp_path: Path) -> None:
        made = task_models.make(tmp_path, "distilbert", "sequence-classification")
        score = legato.pipeline("text-ranking", model=made.path)
        texts = [i for i, row in enumerate(made.rows) if len(row) > 1]
        pairs = [tuple(made.texts[i].split(" ", 1)) for i in texts]
        logits = made.logits[texts]
        assert np.allclose(score(pairs), logits, atol=1e-5)
        assert np.allclose(score(pairs, apply_softmax=True), softmax(logits), atol=1e-5)
        assert np.allclose(score(pairs, activation_fn="sigmoid"), sigmoid(logits), atol=1e-5)
        assert np.allclose(score(pairs[0], activation_fn="tanh"), np.tanh(logits[0]), atol=1e-5)
        saved = {"activation_fn": "torch.nn.modules.activation.Tanh", "default_prompt_name": None}
        file = made.path / "config_sentence_transformers.json"
        file.write_text(json.dumps(saved))
        stored = legato.pipeline("text-ranking", model=made.path)
        assert np.allclose(stored(pairs), np.tanh(logits), atol=1e-5)
        file.write_text(json.dumps(saved | {"prompts": {"a": "b"}, "default_prompt_name": "a"}))
        with pytest.raises(ModelError, match="asks for a prompt"):
            legato.pipeline("text-ranking", model=made.path)


class TestZeroShot:
    LABELS = ("w8", "w9 w10", "w30")

    @pytest.mark.parametrize("flipped", [False, True])
    def test_scores_and_order(self, tmp_path: Path, flipped: bool) -> None:
        names = {"0": "ENTAILMENT", "1": "neutral", "2": "contradiction"} if flipped else NAMES
        made = task_models.make(tmp_path, "distilbert", "sequence-classification", id2label=names)
        judge = legato.pipeline("zero-shot-classification", model=made.path)
        engine = judge.engine
        text = "w5 w6"
        joined = [f"{text} w20 {label}" for label in self.LABELS]
        logits = engine.run(engine.tokenizer.encode(joined))
        entails, contradicts = (0, 2) if flipped else (2, 0)
        alone = softmax(logits[:, [contradicts, entails]])[:, 1]
        for several, expected in [(False, softmax(logits[:, entails])), (True, alone)]:
            found = judge(text, self.LABELS, hypothesis_template="w20 {}", multi_label=several)
            order = np.argsort(-expected)
            assert found["sequence"] == text
            assert found["labels"] == [self.LABELS[i] for i in order]
            assert np.allclose(found["scores"], expected[order], atol=1e-5)
            listed = judge(
                [text], ", ".join(self.LABELS), hypothesis_template="w20 {}", multi_label=several
            )
            assert listed == [found]
        one = judge(text, ["w8"], hypothesis_template="w20 {}")
        assert one["scores"] == pytest.approx([alone[0]], abs=1e-5)

    def test_the_hypothesis_is_never_cut(self, tmp_path: Path) -> None:
        made = task_models.make(tmp_path, "distilbert", "sequence-classification", id2label=NAMES)
        judge = legato.pipeline("zero-shot-classification", model=made.path)
        long, cut = " ".join(["w9"] * 60), " ".join(["w9"] * 38)
        found = judge(long, ["w8"], hypothesis_template="w20 {}")
        assert found["scores"] == judge(cut, ["w8"], hypothesis_template="w20 {}")["scores"]
        assert judge.truncated == 1

    def test_wrong_models_and_arguments(self, tmp_path: Path) -> None:
        made = task_models.make(tmp_path, "distilbert", "sequence-classification")
        with pytest.raises(ModelError, match="no label of the model is entailment"):
            legato.pipeline("zero-shot-classification", model=made.path)
        made = task_models.make(tmp_path, "distilbert", "sequence-classification", id2label=NAMES)
        judge = legato.pipeline("zero-shot-classification", model=made.path)
        for texts, labels, template in [
            ([], ["w5"], "{}"),
            ("w5", " ,", "{}"),
            ("w5", ["w6"], "w7"),
            ("w5", ["w6"], "{} {}"),
        ]:
            with pytest.raises(InputError):
                judge(texts, labels, hypothesis_template=template)
