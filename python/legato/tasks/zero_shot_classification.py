"""``zero-shot-classification``: labels of the caller's own, judged by a model of entailment."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from legato._native import ModelFiles
from legato.errors import InputError, ModelError
from legato.tasks._head import Head, descending, softmax


class ZeroShotClassification(Head):
    """Texts to scores of labels that the model never saw."""

    def __init__(self, files: ModelFiles, *, device: str = "auto", dtype: str = "float32") -> None:
        """Load a model of natural language inference.

        Raises:
            ModelError: The config names no entailment label, or the head has one logit only.
        """
        super().__init__(files, "sequence-classification", device=device, dtype=dtype)
        labels = self.labels()
        found = [i for i, name in enumerate(labels) if name.lower().startswith("entail")]
        if not found or len(labels) == 1:
            msg = f"no label of the model is entailment; config.json names {', '.join(labels)}"
            raise ModelError(msg)
        self._entailment = found[0]

    def __call__(  # noqa: PLR0913 - transformers' own
        self,
        sequences: str | Sequence[str],
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
            truncation: Cut a text that is too long, never the hypothesis; without it, it is
                refused.
            max_length: Tokens that text and hypothesis are cut to; None takes the model's own
                limit.

        Returns:
            ``{"sequence": ..., "labels": [...], "scores": [...]}``, highest score first, for each
            text; not in a list for a single one.

        Raises:
            InputError: There are no texts or labels, or the template has no place for one.

        Example:
            >>> judge("I cannot log in", ["account", "weather"])["labels"][0]  # doctest: +SKIP
            'account'
        """
        texts = [sequences] if isinstance(sequences, str) else list(sequences)
        labels = candidate_labels
        if isinstance(labels, str):
            labels = [label.strip() for label in labels.split(",") if label.strip()]
        if not texts or not labels:
            msg = "there must be at least one text and one label"
            raise InputError(msg)
        hypotheses = [_fill(hypothesis_template, label) for label in labels]
        tokens = self.encode(
            [text for text in texts for _ in labels],
            hypotheses * len(texts),
            truncation="only_first" if truncation else False,
            max_length=max_length,
        )
        logits = self.engine.run(tokens).reshape(len(texts), len(labels), -1)
        if multi_label or len(labels) == 1:
            # Contradiction is the other end of the labels, as models of entailment have them.
            contradiction = -1 if self._entailment == 0 else 0
            scores = softmax(logits[..., [contradiction, self._entailment]])[..., 1]
        else:
            scores = softmax(np.ascontiguousarray(logits[..., self._entailment]))
        results = []
        for text, row in zip(texts, scores, strict=True):
            order = descending(row)
            names = [labels[i] for i in order]
            results.append({"sequence": text, "labels": names, "scores": row[order].tolist()})
        return results[0] if isinstance(sequences, str) else results


def _fill(template: str, label: str) -> str:
    try:
        hypothesis = template.format(label)
    except (IndexError, KeyError, ValueError):
        hypothesis = template
    if hypothesis == template:
        msg = "hypothesis_template must have one {} for the label"
        raise InputError(msg)
    return hypothesis
