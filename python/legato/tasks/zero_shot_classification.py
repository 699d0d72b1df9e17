"""``zero-shot-classification``: labels of the caller's own, judged by a model of entailment."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from legato._native import ModelFiles, Tokenizer, Tokens
from legato.errors import InputError, ModelError
from legato.tasks._head import Head, descending, softmax, texts_of


class ZeroShotClassification(Head):
    """Texts to scores of labels that the model never saw."""

    def __init__(
        self,
        files: ModelFiles,
        *,
        device: str = "auto",
        dtype: str = "float32",
        engine: Any = None,
    ) -> None:
        """Load a model of natural language inference.

        Raises:
            ModelError: The config names no entailment label, or the head has one logit only.
        """
        super().__init__(
            files, "sequence-classification", device=device, dtype=dtype, engine=engine
        )
        labels = self.labels()
        found = [i for i, name in enumerate(labels) if name.lower().startswith("entail")]
        if not found or len(labels) == 1:
            msg = f"no label of the model is entailment; config.json names {', '.join(labels)}"
            raise ModelError(msg)
        self._entailment = found[0]

    def __call__(  # noqa: PLR0913 - transformers' own
        self,
        sequences: str | Iterable[str],
        candidate_labels: str | Sequence[str],
        *,
        hypothesis_template: str = "This example is {}.",
        multi_label: bool = False,
        truncation: bool = True,
        max_length: int | None = None,
    ) -> Any:
        """Score labels.

        Args:
            sequences: One text or a sequence of them.
            candidate_labels: The labels, as a sequence or separated by commas.
            hypothesis_template: A sentence with ``{}`` where a label goes.
            multi_label: Judge each label alone, entailment against contradiction; else their scores
                add up to 1.
            truncation: Cut a text that is too long, never the hypothesis, and count it once with
                each label; without it, it is refused.
            max_length: Tokens that text and hypothesis are cut to; None takes the model's own
                limit.

        Returns:
            ``{"sequence": ..., "labels": [...], "scores": [...]}``, highest score first, for each
            text; not in a list for a single one.

        Raises:
            InputError: There are no texts or labels, or the template has no place for one.

        Example:
            >>> sorted(judge("I cannot log in", ["account", "weather"])["labels"])
            ['account', 'weather']
        """
        texts, single = texts_of(sequences, "sequences")
        if not texts:
            msg = "there must be at least one text"
            raise InputError(msg)
        limit = self.engine.max_length
        tokens = self.tokens(
            self.tokenizer,
            texts,
            limit if max_length is None else min(max_length, limit),
            candidate_labels=candidate_labels,
            hypothesis_template=hypothesis_template,
            truncation=truncation,
        )
        self.count(tokens.truncated)
        found = self.answers(tokens, candidate_labels=candidate_labels, multi_label=multi_label)
        results = [{"sequence": text, **scores} for text, scores in zip(texts, found, strict=True)]
        return results[0] if single else results

    @staticmethod
    def tokens(  # noqa: PLR0913 - as the call
        tokenizer: Tokenizer,
        texts: Sequence[str],
        max_length: int | None,
        *,
        candidate_labels: str | Sequence[str],
        hypothesis_template: str = "This example is {}.",
        truncation: bool = True,
        **_: Any,
    ) -> Tokens:
        """Encode each text with each hypothesis: the first half of a call."""
        pairs = pairs_with(texts, candidate_labels, hypothesis_template)
        return tokenizer.encode(
            [text for text, _ in pairs],
            pairs=[hypothesis for _, hypothesis in pairs],
            truncation="only_first" if truncation else False,
            max_length=max_length,
        )

    def answers(
        self,
        tokens: Tokens,
        *,
        candidate_labels: str | Sequence[str],
        multi_label: bool = False,
        **_: Any,
    ) -> list[Any]:
        """Score the labels of encoded texts: the second half of a call, without the texts."""
        labels = labels_of(candidate_labels)
        logits = self.engine.run(tokens).reshape(-1, len(labels), self.engine.width)
        if multi_label or len(labels) == 1:
            # Contradiction is the other end of the labels, as models of entailment have them.
            contradiction = -1 if self._entailment == 0 else 0
            scores = softmax(logits[..., [contradiction, self._entailment]])[..., 1]
        else:
            scores = softmax(np.ascontiguousarray(logits[..., self._entailment]))
        orders = [descending(row) for row in scores]
        return [
            {"labels": [labels[i] for i in order], "scores": row[order].tolist()}
            for row, order in zip(scores, orders, strict=True)
        ]


def pairs_with(
    texts: Sequence[str], candidate_labels: str | Sequence[str], template: str
) -> list[tuple[str, str]]:
    """Return each text with the hypothesis of each label: the rows that the model reads.

    Raises:
        InputError: There are no labels, or the template has no place for one.
    """
    hypotheses = [_fill(template, label) for label in labels_of(candidate_labels)]
    return [(text, hypothesis) for text in texts for hypothesis in hypotheses]


def labels_of(given: str | Sequence[str]) -> list[str]:
    """Return labels as a list.

    Raises:
        InputError: There are none.
    """
    if isinstance(given, str):
        given = [label.strip() for label in given.split(",") if label.strip()]
    labels, _ = texts_of(given, "candidate_labels")
    if not labels:
        msg = "there must be at least one label in candidate_labels"
        raise InputError(msg)
    return labels


def _fill(template: str, label: str) -> str:
    try:
        hypothesis = template.format(label)
    except (IndexError, KeyError, ValueError):
        hypothesis = template
    if hypothesis == template:
        msg = "hypothesis_template must have one {} for the label"
        raise InputError(msg)
    return hypothesis
