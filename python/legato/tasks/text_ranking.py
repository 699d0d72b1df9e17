"""``text-ranking``: a cross-encoder reads a query and a document together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from legato._native import ModelFiles
from legato.errors import InputError, ModelError
from legato.tasks._head import Head, Pair, check_top_k, descending, sigmoid

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_ACTIVATIONS = {"Identity": False, "Sigmoid": True}


class TextRanking(Head):
    """Pairs of texts to scores, and documents in the order of their scores."""

    def __init__(self, files: ModelFiles, *, device: str = "auto", dtype: str = "float32") -> None:
        """Load a cross-encoder.

        Raises:
            ModelError: The head has several labels, or an activation that is not known.
        """
        super().__init__(files, "sequence-classification", device=device, dtype=dtype)
        if self.engine.width != 1:
            msg = f"a model that ranks has one logit, this one has {self.engine.width}; "
            msg += "use text-classification"
            raise ModelError(msg)
        self._sigmoid = _is_sigmoid(self.config)

    def __call__(
        self,
        inputs: Pair | Sequence[str] | Sequence[Pair | Sequence[str]],
        *,
        truncation: bool = True,
        max_length: int | None = None,
    ) -> NDArray[np.float32] | float:
        """Score pairs.

        Args:
            inputs: Pairs, each ``(query, document)`` or ``dict(text=..., text_pair=...)``, or one
                of them.
            truncation: Cut a pair that is too long; without it, it is refused.
            max_length: Tokens that a pair is cut to; None takes the model's own limit.

        Returns:
            float32 (n,) in the order of the pairs; a float for a single pair.

        Raises:
            InputError: Something is no pair, or `max_length` is out of range.
        """
        lone = isinstance(inputs, Mapping) or _is_pair(inputs)
        pairs = [_pair(item, i) for i, item in enumerate([inputs] if lone else inputs)]
        tokens = self.encode(
            [query for query, _ in pairs],
            [document for _, document in pairs],
            truncation=truncation,
            max_length=max_length,
        )
        scores = self.engine.run(tokens)[:, 0]
        scores = sigmoid(scores) if self._sigmoid else scores
        return float(scores[0]) if lone else scores

    def rank(
        self,
        query: str,
        documents: Sequence[str],
        top_k: int | None = None,
        return_documents: bool = False,  # noqa: FBT001, FBT002 - as CrossEncoder.rank has it
    ) -> list[dict[str, Any]]:
        """Order documents by how well they answer a query.

        Args:
            query: The query.
            documents: The documents.
            top_k: How many to return; None for all.
            return_documents: Return each document's text too.

        Returns:
            ``{"corpus_id": ..., "score": ...}`` and, where asked for, ``"text"``, highest score
            first.

        Raises:
            InputError: Something is no text, or `top_k` is out of range.

        Example:
            >>> ranker.rank("a query", ["one", "other"], top_k=1)  # doctest: +SKIP
            [{'corpus_id': 1, 'score': 0.7}]
        """
        check_top_k(top_k)
        if isinstance(documents, str):
            msg = "documents must be a sequence of str, not one str"
            raise InputError(msg)
        scores = self([(query, document) for document in documents])
        order = [] if isinstance(scores, float) else descending(scores, top_k).tolist()
        results: list[dict[str, Any]] = [
            {"corpus_id": index, "score": float(scores[index])}  # type: ignore[index]
            for index in order
        ]
        if return_documents:
            for result in results:
                result["text"] = documents[result["corpus_id"]]
        return results


def _is_pair(inputs: Any) -> bool:
    return (
        isinstance(inputs, (tuple, list))
        and len(inputs) == len(("query", "document"))
        and all(isinstance(text, str) for text in inputs)
    )


def _pair(item: Any, index: int) -> tuple[str, str]:
    if isinstance(item, Mapping) and {"text", "text_pair"} <= item.keys():
        return item["text"], item["text_pair"]
    if _is_pair(item):
        return item[0], item[1]
    msg = f"input {index} must be a pair: (query, document), or a dict with text and text_pair"
    raise InputError(msg)


def _is_sigmoid(config: Mapping[str, Any]) -> bool:
    """Return whether scores pass a sigmoid: what sentence-transformers stored, or else yes."""
    stored = (config.get("sentence_transformers") or {}).get("activation_fn")
    stored = stored or config.get("sbert_ce_default_activation_function")
    name = str(stored or "Sigmoid").rsplit(".", 1)[-1]
    if name not in _ACTIVATIONS:
        msg = f"config.json asks for the activation {name}; {' and '.join(_ACTIVATIONS)} are known"
        raise ModelError(msg)
    return _ACTIVATIONS[name]
