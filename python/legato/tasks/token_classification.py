"""``token-classification``: labels of tokens, or of the words and names that they make up."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np

from legato._native import ModelFiles
from legato.errors import InputError
from legato.tasks import _windows
from legato.tasks._head import Head, softmax

if TYPE_CHECKING:
    from numpy.typing import NDArray

Strategy: TypeAlias = Literal["none", "simple", "first", "average", "max"]

_OF_WORD: dict[str, Callable[[NDArray[np.float32]], NDArray[np.float32]]] = {
    "first": lambda scores: scores[0],
    "average": lambda scores: np.asarray(scores.mean(axis=0)),
    "max": lambda scores: scores[int(scores.max(axis=1).argmax())],
}
"""Scores of a word's tokens (T, L) to the word's (L,)."""


class TokenClassification(Head):
    """Texts to labelled tokens, or to named spans."""

    def __init__(self, files: ModelFiles, *, device: str = "auto", dtype: str = "float32") -> None:
        """Load a model with a head for labels of tokens."""
        super().__init__(files, "token-classification", device=device, dtype=dtype)
        self._labels = self.labels()
        model = (files.read_json("tokenizer.json") or {}).get("model") or {}
        self._prefix = model.get("continuing_subword_prefix")
        self._unknown = model.get("unk_token")

    def __call__(
        self,
        inputs: str | Sequence[str],
        *,
        aggregation_strategy: Strategy = "none",
        ignore_labels: Sequence[str] = ("O",),
        stride: int | None = None,
        truncation: bool = True,
    ) -> Any:
        """Label the tokens of texts.

        Args:
            inputs: One text or a sequence of them.
            aggregation_strategy: ``none``: tokens. ``simple``: neighbours of one label together, B-
                and I- before a label read as its beginning and inside. ``first``, ``average`` and
                ``max`` first give each word one label: its first token's, that of the mean scores,
                or that of the token with the highest score.
            ignore_labels: Labels to leave out.
            stride: Read a long text in windows that share this many tokens; needs a strategy other
                than ``none``. None cuts it.
            truncation: Without it and without a stride, a text that is too long is refused.

        Returns:
            For each text a list of ``{"entity", "score", "index", "word", "start", "end"}``, or,
            with a strategy, of ``{"entity_group", "score", "word", "start", "end"}``; start and end
            count characters. Not in a list for a single text.

        Raises:
            InputError: Something is no text, or the strategy or the stride is not possible.

        Example:
            >>> name("I live in Berlin", aggregation_strategy="simple")  # doctest: +SKIP
            [{'entity_group': 'LOC', 'score': 0.9, 'word': 'Berlin', 'start': 10, 'end': 16}]
        """
        if aggregation_strategy not in {"none", "simple", *_OF_WORD}:
            msg = "aggregation_strategy must be none, simple, first, average or max"
            raise InputError(msg)
        if stride is not None and aggregation_strategy == "none":
            msg = "stride needs an aggregation_strategy: simple, first, average or max"
            raise InputError(msg)
        texts = [inputs] if isinstance(inputs, str) else list(inputs)
        windows = _windows.compute(
            self.engine, texts, **self._options(texts, stride, truncation=truncation)
        )
        found: list[list[dict[str, Any]]] = [[] for _ in texts]
        for row, of in enumerate(windows.texts):
            pieces = self._pieces(texts[of], windows, row, aggregation_strategy)
            kinds = [piece.get("entity_group", piece.get("entity")) for piece in pieces]
            kept = zip(pieces, kinds, strict=True)
            found[of] += [piece for piece, kind in kept if kind not in ignore_labels]
        for of in {of for of in windows.texts if windows.texts.count(of) > 1}:
            found[of] = _without_overlaps(found[of])
        return found[0] if isinstance(inputs, str) else found

    def _options(self, texts: list[str], stride: int | None, *, truncation: bool) -> dict[str, Any]:
        limit = self.engine.max_length
        options: dict[str, Any] = {
            "return_offsets_mapping": True,
            "return_special_tokens_mask": True,
            "return_token_type_ids": True,
        }
        if stride is not None:
            cut = {"truncation": True, "max_length": limit, "stride": stride}
            return options | cut | {"return_overflowing_tokens": True}
        if not truncation:
            return options | {"truncation": False}
        # The call does not count; encode does.
        self.encode(texts)
        return options | {"truncation": True, "max_length": limit}

    def _pieces(
        self, text: str, windows: _windows.Windows, row: int, strategy: str
    ) -> list[dict[str, Any]]:
        tokens = self._tokens(text, windows, row)
        if strategy in _OF_WORD:
            words: list[list[dict[str, Any]]] = []
            for token in tokens:
                if words and token["inside"]:
                    words[-1].append(token)
                else:
                    words.append([token])
            tokens = [self._word(word, _OF_WORD[strategy]) for word in words]
        for token in tokens:
            best = int(token["scores"].argmax())
            token["entity"], token["score"] = self._labels[best], float(token["scores"][best])
        if strategy == "none":
            names = ("entity", "score", "index", "word", "start", "end")
            return [{name: token[name] for name in names} for token in tokens]
        return [self._group(group) for group in _groups(tokens)]

    def _tokens(self, text: str, windows: _windows.Windows, row: int) -> list[dict[str, Any]]:
        """Return the tokens of a row that are of the text, and whether each goes on a word."""
        batch = windows.batch
        tokens = []
        for index, scores in enumerate(softmax(windows.logits[row])):
            if batch["special_tokens_mask"][row][index]:
                continue
            start, end = batch["offset_mapping"][row][index]
            word = self.tokenizer.id_to_token(batch["input_ids"][row][index]) or ""
            if word == self._unknown:
                word, inside = text[start:end], False
            elif self._prefix:
                inside = len(word) != end - start
            else:
                # Nothing says where words begin but spaces.
                inside = start > 0 and " " not in text[start - 1 : start + 1]
            token = {"index": index, "word": word, "start": start, "end": end}
            tokens.append({**token, "scores": scores, "inside": inside})
        return tokens

    def _word(
        self,
        tokens: list[dict[str, Any]],
        of_word: Callable[[NDArray[np.float32]], NDArray[np.float32]],
    ) -> dict[str, Any]:
        scores = of_word(np.stack([token["scores"] for token in tokens]))
        word = self._joined([token["word"] for token in tokens])
        start, end = tokens[0]["start"], tokens[-1]["end"]
        return {"word": word, "start": start, "end": end, "scores": scores}

    def _group(self, tokens: list[dict[str, Any]]) -> dict[str, Any]:
        return {
            "entity_group": tokens[0]["entity"].split("-", 1)[-1],
            "score": float(np.mean([token["score"] for token in tokens])),
            "word": self._joined([token["word"] for token in tokens]),
            "start": tokens[0]["start"],
            "end": tokens[-1]["end"],
        }

    def _joined(self, words: list[str]) -> str:
        """Return tokens, or words made of them, as text."""
        ids = [self.tokenizer.token_to_id(word) for word in words]
        known = [token for token in ids if token is not None]
        if len(known) == len(words):
            return self.tokenizer.decode(known)
        prefix = self._prefix
        if not prefix:
            return " ".join(" ".join(words).replace("▁", " ").split())
        return " ".join(words).replace(f" {prefix}", "").strip()


def _groups(tokens: list[dict[str, Any]]) -> list[list[dict[str, Any]]]:
    """Return neighbours of one label together; B- begins anew, no prefix goes on."""
    groups: list[list[dict[str, Any]]] = []
    last = None
    for token in tokens:
        name = token["entity"]
        label = name[2:] if name.startswith(("B-", "I-")) else name
        if groups and label == last and not name.startswith("B-"):
            groups[-1].append(token)
        else:
            groups.append([token])
        last = label
    return groups


def _without_overlaps(pieces: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return of pieces that overlap, as windows do, the longest; of these the best."""
    kept: list[dict[str, Any]] = []
    for piece in sorted(pieces, key=lambda piece: piece["start"]):
        if not kept or piece["start"] >= kept[-1]["end"]:
            kept.append(piece)
            continue
        rank = (piece["end"] - piece["start"], piece["score"])
        if rank > (kept[-1]["end"] - kept[-1]["start"], kept[-1]["score"]):
            kept[-1] = piece
    return kept
