"""``question-answering``: the span of a text that answers a question."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from legato._native import Encoding, ModelFiles
from legato.errors import InputError
from legato.tasks import _windows
from legato.tasks._head import Head, check_top_k, listed, softmax, texts_of

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
        inputs: Mapping[str, str] | Iterable[Mapping[str, str]] | None = None,
        /,
        *,
        question: str | Sequence[str] | None = None,
        context: str | Sequence[str] | None = None,
        top_k: int = 1,
        doc_stride: int | None = None,
        max_answer_len: int = 15,
        max_seq_len: int | None = None,
        max_question_len: int | None = None,
        handle_impossible_answer: bool = False,
        align_to_words: bool = True,
    ) -> Any:
        """Find answers.

        Args:
            inputs: ``dict(question=..., context=...)``, or a sequence of them, instead of the two
                that follow.
            question: One question or a sequence of them.
            context: The text that answers it, or as many texts as there are questions.
            top_k: How many answers to return.
            doc_stride: Tokens that the windows of a long text share; None is 128, or half a window.
            max_answer_len: Most tokens of an answer.
            max_seq_len: Tokens of a window with its question; None is 384, or the model's limit.
            max_question_len: Tokens that a question is cut to, and counted; None keeps all, as
                transformers' fast tokenizers do.
            handle_impossible_answer: Let "there is none" be an answer: an empty one.
            align_to_words: Widen an answer to whole words.

        Returns:
            ``{"score", "start", "end", "answer"}``, where start and end count characters; a list of
            them, highest score first, if there are several; a list of these for several questions.
            As in transformers, answers that read the same are one, and their scores add up; unlike
            there, spans that end before they begin are none, also where `top_k` is not reached.

        Raises:
            InputError: Something is no text or empty, or an argument is out of range.

        Example:
            >>> context = "I live in Berlin"
            >>> found = ask(question="Where?", context=context)
            >>> context[found["start"] : found["end"]] == found["answer"]
            True
        """
        check_top_k(top_k)
        if max_answer_len < 1:
            msg = f"max_answer_len must be 1 or more, not {max_answer_len}"
            raise InputError(msg)
        questions, contexts = _examples(inputs, question, context)
        if not questions:
            return []
        limit = self.engine.max_length
        width = min(_MAX_LENGTH if max_seq_len is None else max_seq_len, limit)
        windows = _windows.compute(
            self.engine,
            questions if max_question_len is None else self._cut(questions, max_question_len),
            text_pair=contexts,
            truncation="only_second",
            max_length=width,
            stride=min(width // 2, _STRIDE) if doc_stride is None else doc_stride,
        )
        found: list[dict[str, dict[str, Any]]] = [{} for _ in questions]
        null = [1.0] * len(questions)
        # Several spans may widen to the same words.
        candidates = 2 * top_k + 10 if align_to_words else top_k
        for row, of in enumerate(windows.texts):
            encoding = windows.batch.row(row)
            starts, ends, inside, none = _shares(windows.logits[row], encoding)
            null[of] = min(null[of], none)
            for start, end, score in _spans(starts, ends, inside, max_answer_len, candidates):
                first, last = _characters(encoding, start, end, words=align_to_words)
                text = contexts[of][first:last]
                answer = {"score": 0.0, "start": first, "end": last, "answer": text}
                found[of].setdefault(text.lower(), answer)["score"] += score
        results = []
        for by_text, none in zip(found, null, strict=True):
            answers = list(by_text.values())
            if handle_impossible_answer:
                answers.append({"score": none, "start": 0, "end": 0, "answer": ""})
            best = sorted(answers, key=lambda answer: -answer["score"])[:top_k]
            results.append(best[0] if len(best) == 1 else best)
        # As in transformers, a sequence of one is answered as the one.
        return results[0] if len(results) == 1 else results

    def _cut(self, questions: list[str], most: int) -> list[str]:
        """Return questions of at most `most` tokens."""
        tokens = self.tokenizer(questions, add_special_tokens=False, return_offsets_mapping=True)
        spans = tokens["offset_mapping"]
        if most < 1:
            msg = f"max_question_len must be 1 or more, not {most}"
            raise InputError(msg)
        self.count(sum(len(of) > most for of in spans))
        kept = zip(questions, spans, strict=True)
        return [text if len(of) <= most else text[: of[most - 1][1]] for text, of in kept]


def _examples(inputs: Any, question: Any, context: Any) -> tuple[list[str], list[str]]:
    """Return questions and their contexts.

    Raises:
        InputError: They are not as many as each other, or something is no text, or empty.
    """
    if inputs is not None:
        examples, _ = listed(inputs)
        if question is not None or context is not None or not all(map(_is_example, examples)):
            msg = "give question and context, or dicts of these two"
            raise InputError(msg)
        question = [example["question"] for example in examples]
        context = [example["context"] for example in examples]
    questions, _ = texts_of(question, "question")
    contexts, one = texts_of(context, "context")
    contexts = contexts * len(questions) if one else contexts
    if len(questions) != len(contexts):
        msg = f"there are {len(questions)} questions and {len(contexts)} contexts; give as many"
        raise InputError(msg)
    for index, pair in enumerate(zip(questions, contexts, strict=True)):
        if not all(pair):
            msg = f"question or context {index} is empty; leave the pair out"
            raise InputError(msg)
    return questions, contexts


def _is_example(value: Any) -> bool:
    return isinstance(value, Mapping) and {"question", "context"} <= value.keys()


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
            left, right = encoding.word_to_chars(of_first, 1), encoding.word_to_chars(of_last, 1)
            if left is not None and right is not None:
                first, last = left, right
    return first[0], last[1]
