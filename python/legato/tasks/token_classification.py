"""``token-classification``: labels of tokens, or of the words and names that they make up."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np

from legato._native import ModelFiles
from legato.errors import InputError
from legato.tasks import _windows
from legato.tasks._head import Head, listed, softmax, texts_of

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
        self._prefix = files.subword_prefix
        stated = (files.read_json("tokenizer_config.json") or {}).get("unk_token")
        stated = stated.get("content") if isinstance(stated, Mapping) else stated
        unknown: str | int | None = stated or files.unknown_token
        self._unknown = self.tokenizer.token_to_id(unknown) if isinstance(unknown, str) else unknown

    def __call__(  # noqa: PLR0913 - transformers' own
        self,
        inputs: str | Iterable[str] | Iterable[Sequence[str]],
        *,
        aggregation_strategy: Strategy = "none",
        ignore_labels: Sequence[str] = ("O",),
        stride: int | None = None,
        truncation: bool = True,
        is_split_into_words: bool = False,
        delimiter: str = " ",
    ) -> Any:
        """Label the tokens of texts.

        Args:
            inputs: One text, or a sequence, an array, a series or an iterator of them.
            aggregation_strategy: ``none``: tokens. ``simple``: neighbours of one label together, B-
                and I- before a label read as its beginning and inside. ``first``, ``average`` and
                ``max`` first give each word one label: its first token's, that of the mean scores,
                or that of the token with the highest score.
            ignore_labels: Labels to leave out.
            stride: Read a long text in windows that share this many tokens; needs a strategy other
                than ``none``. None cuts it.
            truncation: Without it and without a stride, a text that is too long is refused.
            is_split_into_words: A text is a list of words, which tokens do not cross.
            delimiter: What words are joined by to the text that start and end count in.

        Returns:
            For each text a list of ``{"entity", "score", "index", "word", "start", "end"}``, or,
            with a strategy, of ``{"entity_group", "score", "word", "start", "end"}``; start and end
            count characters. Not in a list for a single text.

        Raises:
            InputError: Something is no text, or the strategy or the stride is not possible.

        Example:
            >>> names = name("I live in Berlin", aggregation_strategy="simple", ignore_labels=[])
            >>> list(names[0])
            ['entity_group', 'score', 'word', 'start', 'end']
        """
        if aggregation_strategy not in {"none", "simple", *_OF_WORD}:
            msg = "aggregation_strategy must be none, simple, first, average or max"
            raise InputError(msg)
        if stride is not None and aggregation_strategy == "none":
            msg = "stride needs an aggregation_strategy: simple, first, average or max"
            raise InputError(msg)
        texts, single = _texts(inputs, words=is_split_into_words)
        if not texts:
            return []
        options: dict[str, Any] = {"truncation": True, "max_length": self.engine.max_length}
        windows = _windows.compute(
            self.engine,
            texts,
            stride=stride,
            return_offsets_mapping=True,
            return_special_tokens_mask=True,
            is_split_into_words=is_split_into_words,
            **(options if truncation or stride is not None else {"truncation": False}),
        )
        self.count(windows.truncated)
        found: list[list[dict[str, Any]]] = [[] for _ in texts]
        for index, of in enumerate(windows.texts):
            text = texts[of]
            words = text if is_split_into_words else None
            whole = delimiter.join(text) if is_split_into_words else text
            row = _Row(windows, index, whole, words, len(delimiter))
            pieces = self._pieces(row, aggregation_strategy)
            kinds = [piece.get("entity_group", piece.get("entity")) for piece in pieces]
            kept = zip(pieces, kinds, strict=True)
            found[of] += [piece for piece, kind in kept if kind not in ignore_labels]
        for of, rows in Counter(windows.texts).items():
            if rows > 1:
                found[of] = _without_overlaps(found[of])
        return found[0] if single else found

    def _pieces(self, row: _Row, strategy: str) -> list[dict[str, Any]]:
        tokens = self._tokens(row)
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

    def _tokens(self, row: _Row) -> list[dict[str, Any]]:
        """Return the tokens of a row that are of the text, and whether each goes on a word."""
        columns = row.columns()
        tokens = []
        for index, scores in enumerate(softmax(row.logits)):
            if columns["special_tokens_mask"][index]:
                continue
            start, end = columns["offset_mapping"][index]
            token = columns["input_ids"][index]
            word = self.tokenizer.id_to_token(token) or ""
            if token == self._unknown:
                word, inside = row.text[start:end], False
            elif self._prefix:
                inside = len(word) != end - start
            else:
                # Nothing says where words begin but spaces.
                inside = start > 0 and " " not in row.text[start - 1 : start + 1]
            found = {"index": index, "word": word, "start": start, "end": end}
            tokens.append({**found, "scores": scores, "inside": inside})
        return tokens

    def _word(
        self,
        tokens: list[dict[str, Any]],
        of_word: Callable[[NDArray[np.float32]], NDArray[np.float32]],
    ) -> dict[str, Any]:
        scores = of_word(np.stack([token["scores"] for token in tokens]))
        word = self.tokenizer.convert_tokens_to_string([token["word"] for token in tokens])
        start, end = tokens[0]["start"], tokens[-1]["end"]
        return {"word": word, "start": start, "end": end, "scores": scores}

    def _group(self, tokens: list[dict[str, Any]]) -> dict[str, Any]:
        return {
            "entity_group": tokens[0]["entity"].split("-", 1)[-1],
            "score": sum(token["score"] for token in tokens) / len(tokens),
            "word": self.tokenizer.convert_tokens_to_string([token["word"] for token in tokens]),
            "start": tokens[0]["start"],
            "end": tokens[-1]["end"],
        }


@dataclass(frozen=True)
class _Row:
    """A row of tokens, and the text that its offsets count in."""

    windows: _windows.Windows
    index: int
    text: str
    words: Sequence[str] | None
    """What the text is made of, where the caller has split it."""
    between: int
    """Characters between words."""

    @property
    def logits(self) -> NDArray[np.float32]:
        return self.windows.logits[self.index]

    def columns(self) -> dict[str, list[Any]]:
        """Return ids, the mask of special tokens, and offsets in the text."""
        batch, row = self.windows.batch, self.windows.rows[self.index]
        columns = {
            name: batch[name][row]
            for name in ("input_ids", "special_tokens_mask", "offset_mapping")
        }
        if self.words is None:
            return columns
        starts = [0, *accumulate(len(word) + self.between for word in self.words)]
        offsets = zip(batch.word_ids(row), columns["offset_mapping"], strict=True)
        columns["offset_mapping"] = [
            (first, last) if of is None else (starts[of] + first, starts[of] + last)
            for of, (first, last) in offsets
        ]
        return columns


def _texts(inputs: Any, *, words: bool) -> tuple[list[Any], bool]:
    if not words:
        return texts_of(inputs)
    texts, single = listed(inputs)
    lone = bool(texts) and all(isinstance(text, str) for text in texts)
    if single or not (lone or all(isinstance(text, (list, tuple)) for text in texts)):
        msg = (
            "with is_split_into_words a text is a list of words; give one, or a list of such lists"
        )
        raise InputError(msg)
    # A list of one result also for one list of words, as transformers has it.
    return [texts] if lone else texts, False


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
