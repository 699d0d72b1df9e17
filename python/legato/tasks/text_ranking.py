"""``text-ranking``: a cross-encoder reads a query and a document together."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np

from legato._native import ModelFiles, Tokenizer, Tokens
from legato.errors import InputError, ModelError
from legato.tasks._head import (
    Head,
    Pair,
    check_top_k,
    descending,
    listed,
    sigmoid,
    softmax,
    texts_of,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

Activation: TypeAlias = Literal["sigmoid", "identity", "tanh"]

_ACTIVATIONS: dict[str, Callable[[Any], Any] | None] = {
    "Sigmoid": sigmoid,
    "Identity": None,
    "Tanh": np.tanh,
}
"""By the names of torch's classes."""


class TextRanking(Head):
    """Pairs of texts to scores, and documents in the order of their scores."""

    def __init__(
        self,
        files: ModelFiles,
        *,
        device: str = "auto",
        dtype: str = "float32",
        engine: Any = None,
    ) -> None:
        """Load a cross-encoder.

        Raises:
            ModelError: Its files ask for an activation that is not known, or for a prompt.
        """
        super().__init__(
            files, "sequence-classification", device=device, dtype=dtype, engine=engine
        )
        saved = files.read_json("config_sentence_transformers.json") or {}
        if files.default_prompt_name is not None:
            msg = "config_sentence_transformers.json asks for a prompt; text-ranking has none"
            raise ModelError(msg)
        self._activation = _activation(saved, self.config, self.engine.width)

    def __call__(
        self,
        inputs: Pair | Sequence[str] | Sequence[Pair | Sequence[str]],
        *,
        activation_fn: Activation | None = None,
        apply_softmax: bool = False,
        truncation: bool = True,
        max_length: int | None = None,
    ) -> NDArray[np.float32] | float:
        """Score pairs, as ``CrossEncoder.predict`` does.

        Args:
            inputs: Pairs, each ``(query, document)`` or ``dict(text=..., text_pair=...)``, or one
                of them.
            activation_fn: ``sigmoid``, ``identity`` or ``tanh``; None takes what the model's files
                say, or else ``sigmoid`` for one logit and ``identity`` for several.
            apply_softmax: Of several scores a pair, make shares that add up to 1.
            truncation: Cut a pair that is too long; without it, it is refused.
            max_length: Tokens that a pair is cut to; None takes the model's own limit.

        Returns:
            float32 (n,) in the order of the pairs, a float for a single pair; (n, L) and (L,) of a
            model with L labels.

        Raises:
            InputError: Something is no pair, or an argument is out of range.

        Example:
            >>> 0 < ranker(("a query", "a document")) < 1
            True
        """
        lone = isinstance(inputs, Mapping) or _is_pair(inputs)
        given = [inputs] if lone else _listed(inputs)
        pairs = [_pair(item, i) for i, item in enumerate(given)]
        tokens = self.encode(
            [query for query, _ in pairs],
            [document for _, document in pairs],
            truncation=truncation,
            max_length=max_length,
        )
        scores = self._scores(tokens, activation_fn)
        if self.engine.width == 1:
            return float(scores[0, 0]) if lone else scores[:, 0]
        scores = softmax(scores) if apply_softmax else scores
        return scores[0] if lone else scores

    def _scores(self, tokens: Tokens, name: str | None) -> NDArray[np.float32]:
        activation = self._activation
        if name is not None:
            known = name.title() if isinstance(name, str) else ""
            if known not in _ACTIVATIONS:
                msg = f"activation_fn must be {', '.join(_ACTIVATIONS).lower()} or None"
                raise InputError(msg)
            activation = _ACTIVATIONS[known]
        logits = self.engine.run(tokens)
        return logits if activation is None else np.asarray(activation(logits))

    @staticmethod
    def tokens(
        tokenizer: Tokenizer,
        texts: Sequence[str],
        max_length: int | None,
        *,
        query: str,
        **_: Any,
    ) -> Tokens:
        """Encode a query with each document: the first half of a call, which needs no weights."""
        if not isinstance(query, str):
            msg = "query must be a str"
            raise InputError(msg)
        return tokenizer.encode([query] * len(texts), pairs=texts, max_length=max_length)

    def answers(
        self, tokens: Tokens, *, activation_fn: Activation | None = None, **_: Any
    ) -> list[Any]:
        """Score encoded pairs: the second half of a call; a float a pair, or a list of L."""
        scores = self._scores(tokens, activation_fn)
        found: list[Any] = (scores[:, 0] if self.engine.width == 1 else scores).tolist()
        return found

    def rank(  # noqa: PLR0913 - CrossEncoder's own
        self,
        query: str,
        documents: Sequence[str],
        top_k: int | None = None,
        return_documents: bool = False,  # noqa: FBT001, FBT002 - as CrossEncoder.rank has it
        *,
        activation_fn: Activation | None = None,
        truncation: bool = True,
        max_length: int | None = None,
    ) -> list[dict[str, Any]]:
        """Order documents by how well they answer a query.

        Args:
            query: The query.
            documents: The documents.
            top_k: How many to return; None for all.
            return_documents: Return each document's text too.
            activation_fn: As for a call.
            truncation: As for a call.
            max_length: As for a call.

        Returns:
            ``{"corpus_id": ..., "score": ...}`` and, where asked for, ``"text"``, highest score
            first.

        Raises:
            InputError: Something is no text, an argument is out of range, or the model has several
                labels.

        Example:
            >>> [list(one) for one in ranker.rank("a query", ["one", "other"], top_k=1)]
            [['corpus_id', 'score']]
        """
        check_top_k(top_k)
        if self.engine.width != 1:
            msg = f"rank needs a model with one label, this one has {self.engine.width}; "
            msg += "call the pipeline with pairs, and order by the score you want"
            raise InputError(msg)
        texts, single = texts_of(documents, "documents")
        if single or not isinstance(query, str):
            msg = "query must be a str, and documents a sequence of str, not one"
            raise InputError(msg)
        pairs = [(query, document) for document in texts]
        scores = self(
            pairs, activation_fn=activation_fn, truncation=truncation, max_length=max_length
        )
        results: list[dict[str, Any]] = [
            {"corpus_id": index, "score": float(scores[index])}  # type: ignore[index]
            for index in descending(scores, top_k).tolist()  # type: ignore[arg-type]
        ]
        if return_documents:
            for result in results:
                result["text"] = texts[result["corpus_id"]]
        return results


def _listed(inputs: Any) -> list[Any]:
    if isinstance(inputs, str):
        msg = "input 0 must be a pair: (query, document), or a dict with text and text_pair"
        raise InputError(msg)
    return listed(inputs)[0]


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


def _activation(
    saved: Mapping[str, Any], config: Mapping[str, Any], width: int
) -> Callable[[Any], Any] | None:
    """Return what scores pass: what sentence-transformers stored, or its default."""
    stored = saved.get("activation_fn")
    stored = stored or (config.get("sentence_transformers") or {}).get("activation_fn")
    stored = stored or config.get("sbert_ce_default_activation_function")
    name = str(stored or ("Sigmoid" if width == 1 else "Identity")).rsplit(".", 1)[-1]
    if name not in _ACTIVATIONS:
        msg = (
            f"the model's files ask for the activation {name}; {', '.join(_ACTIVATIONS)} are known"
        )
        raise ModelError(msg)
    return _ACTIVATIONS[name]
