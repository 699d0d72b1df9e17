"""``question-answering``: the span of a text that answers a question."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from legato._native import Encoding, ModelFiles
from legato.errors import InputError
from legato.tasks import _windows
from legato.tasks._head import Head, check_top_k, softmax

if TYPE_CHECKING:
    from numpy.typing import NDArray

_MAX_LENGTH = 384
_STRIDE = 128
_NEVER = np.float32(-10000.0)
"""The logit of a token that no answer begins or ends with, as transformers has it."""


class QuestionAnswering(Head):
    """Questions and the texts that answer them to spans, as transformers 4 gives them."""

    def __init__(self, files: ModelFiles, *, device: str = "auto", dtype: str = "float32") -> None:
        """Load a model with a head for the ends of answers."""
        super().__init__(files, "question-answering", device=device, dtype=dtype)

    def __call__(  # noqa: PLR0913 - transformers' own
        self,
        *,
        question: str | Sequence[str],
        context: str | Sequence[str],
        top_k: int = 1,
        doc_stride: int | None = None,
        max_answer_len: int = 15,
        max_seq_len: int | None = None,
        handle_impossible_answer: bool = False,
        align_to_words: bool = True,
    ) -> Any:
        """Find answers.

        Args:
            question: One question or a sequence of them.
            context: The text that answers it, or as many texts as there are questions.
            top_k: How many answers to return.
            doc_stride: Tokens that the windows of a long text share; None is 128, or half a window.
            max_answer_len: Most tokens of an answer.
            max_seq_len: Tokens of a window with its question; None is 384, or the model's limit.
            handle_impossible_answer: Let "there is none" be an answer: an empty one.
            align_to_words: Widen an answer to whole words.

        Returns:
            ``{"score", "start", "end", "answer"}``, where start and end count characters; a list of
            them, highest score first, if there are several; a list of these for several questions.

        Raises:
            InputError: Something is no text, or an argument is out of range.

        Example:
            >>> ask(question="Where?", context="I live in Berlin.")["answer"]  # doctest: +SKIP
            'Berlin'
        """
        check_top_k(top_k)
        if max_answer_len < 1:
            msg = f"max_answer_len must be 1 or more, not {max_answer_len}"
            raise InputError(msg)
        questions = [question] if isinstance(question, str) else list(question)
        contexts = [context] * len(questions) if isinstance(context, str) else list(context)
        if len(questions) != len(contexts):
            msg = f"there are {len(questions)} questions and {len(contexts)} contexts; give as many"
            raise InputError(msg)
        limit = self.engine.max_length
        width = min(_MAX_LENGTH if max_seq_len is None else max_seq_len, limit)
        windows = _windows.compute(
            self.engine,
            questions,
            text_pair=contexts,
            truncation="only_second",
            max_length=width,
            stride=min(width // 2, _STRIDE) if doc_stride is None else doc_stride,
        )
        found: list[list[dict[str, Any]]] = [[] for _ in questions]
        null = [1.0] * len(questions)
        for row, of in enumerate(windows.texts):
            encoding = windows.batch.row(row)
            starts, ends, inside, none = _shares(windows.logits[row], encoding)
            null[of] = min(null[of], none)
            for start, end, score in _spans(starts, ends, inside, max_answer_len, top_k):
                first, last = _characters(encoding, start, end, words=align_to_words)
                answer = {"score": score, "start": first, "end": last}
                found[of].append({**answer, "answer": contexts[of][first:last]})
        results = []
        for answers, none in zip(found, null, strict=True):
            if handle_impossible_answer:
                answers.append({"score": none, "start": 0, "end": 0, "answer": ""})
            best = sorted(answers, key=lambda answer: -answer["score"])[:top_k]
            results.append(best[0] if len(best) == 1 else best)
        return results[0] if isinstance(question, str) else results


def _shares(
    logits: NDArray[np.float32], encoding: Encoding
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.bool_], float]:
    """Return each token's shares as start and end, which are of the context, and that of none.

    The first token stands for "there is no answer", and is one of those that share.
    """
    inside = np.array([sequence == 1 for sequence in encoding.sequence_ids])
    sharing = inside.copy()
    sharing[0] = True
    starts, ends = softmax(np.where(sharing, logits.T, _NEVER))
    return starts, ends, inside, float(starts[0] * ends[0])


def _spans(
    starts: NDArray[np.float32],
    ends: NDArray[np.float32],
    inside: NDArray[np.bool_],
    longest: int,
    top_k: int,
) -> list[tuple[int, int, float]]:
    """Return the likeliest spans inside, of at most `longest` tokens."""
    at = np.flatnonzero(inside)
    # (T, longest): of each start, the ends from it on; beyond the text none.
    reach = at[:, None] + np.arange(longest)
    real = (reach < len(inside)) & inside[np.minimum(reach, len(inside) - 1)]
    joint = starts[at][:, None] * ends[np.minimum(reach, len(inside) - 1)]
    scores = np.where(real, joint, np.float32(-1)).ravel()
    best = np.argsort(-scores, kind="stable")[:top_k]
    found = ((*divmod(int(index), longest), float(scores[index])) for index in best)
    return [(int(at[i]), int(at[i]) + more, score) for i, more, score in found if score >= 0]


def _characters(encoding: Encoding, start: int, end: int, *, words: bool) -> tuple[int, int]:
    """Return where in the context a span of tokens is."""
    first, last = encoding.offsets[start], encoding.offsets[end]
    if words:
        of_first, of_last = encoding.token_to_word(start), encoding.token_to_word(end)
        if of_first is not None and of_last is not None:
            first = encoding.word_to_chars(of_first, 1) or first
            last = encoding.word_to_chars(of_last, 1) or last
    return first[0], last[1]
