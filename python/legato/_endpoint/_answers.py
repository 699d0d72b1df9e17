"""What servers answer, checked: rows of numbers, labels with scores."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

from legato.errors import ModelError

Rows: TypeAlias = list[list[float]]
Read: TypeAlias = Callable[[Any, int], Rows]
"""Makes rows of an answer, of which there must be as many as texts were sent."""


def read_vectors(answer: Any, count: int) -> Rows:
    """Read a vector for each text: a list of lists, or ``{"embeddings": ...}``.

    Raises:
        ModelError: It is none, has another number of them, or vectors of several lengths.
    """
    if isinstance(answer, dict):
        answer = answer.get("embeddings")
    rows = [_numbers(row) for row in _items(answer, count)]
    if not rows[0] or any(len(row) != len(rows[0]) for row in rows):
        raise _wrong("vectors of several lengths, or of none")
    return rows


def labelled(labels: Sequence[str]) -> Read:
    """Return a reader of labels with scores: a row has the scores in the order of `labels`."""
    order = {label: index for index, label in enumerate(labels)}
    if len(order) != len(labels):
        raise ModelError("two labels have one name, by which alone an endpoint tells them")

    def read(answer: Any, count: int) -> Rows:
        return [_by_label(one, order) for one in _items(_flat(answer, count), count)]

    return read


def read_ranking(answer: Any, count: int) -> Rows:
    """Read ``[{"index": ..., "score": ...}]`` in any order.

    Raises:
        ModelError: It is none, or an index is missing.
    """
    scores: dict[int, float] = {}
    for one in _items(answer, count):
        index = one.get("index") if isinstance(one, dict) else None
        if isinstance(index, bool) or not isinstance(index, int):
            raise _wrong("no index of a text")
        scores[index] = _number(one.get("score"))
    if sorted(scores) != list(range(count)):
        raise _wrong("not one score for each text")
    return [[scores[index]] for index in range(count)]


def zero_shot(labels: Sequence[str]) -> Read:
    """Return a reader of the answer to one text: in either form that pipelines have."""
    read = labelled(labels)

    def read_one(answer: Any, count: int) -> Rows:
        listed = isinstance(answer, list) and len(answer) == 1 and isinstance(answer[0], dict)
        if listed and "labels" in answer[0]:
            answer = answer[0]
        if isinstance(answer, dict):
            names, scores = answer.get("labels"), answer.get("scores")
            if not isinstance(names, list) or not isinstance(scores, list):
                raise _wrong("no labels and scores")
            if len(names) != len(scores):
                raise _wrong("labels and scores of several lengths")
            answer = [
                {"label": name, "score": score} for name, score in zip(names, scores, strict=True)
            ]
        return read(answer, count)

    return read_one


def check_shares(rows: Rows, *, one: bool) -> None:
    """Refuse scores that were asked for as shares and are none: logits, or of another function.

    Args:
        rows: Scores.
        one: Whether those of a row add up to 1.

    Raises:
        ModelError: They are none.
    """
    for row in rows:
        finite = all(map(math.isfinite, row))
        if not finite:
            continue  # Validation rejects it, as it does what is computed here.
        in_range = all(-TOLERANCE <= score <= 1 + TOLERANCE for score in row)
        if not in_range or (one and abs(sum(row) - 1) > TOLERANCE):
            raise _wrong("scores that are not of the function that was asked for")


TOLERANCE = 1e-3
"""How far servers round."""


def _by_label(one: Any, order: dict[str, int]) -> list[float]:
    found: dict[int, float] = {}
    for pair in one if isinstance(one, list) else [one]:
        label = pair.get("label") if isinstance(pair, dict) else None
        if not isinstance(label, str) or label not in order:
            raise _wrong("a label that config.json does not have")
        found[order[label]] = _number(pair.get("score"))
    if len(found) != len(order):
        raise _wrong("not a score for each label of config.json")
    return [found[index] for index in range(len(order))]


def _flat(answer: Any, count: int) -> Any:
    """Return an answer with one item a text: pipelines wrap a single one, or all, once more."""
    if count == 1 and isinstance(answer, list) and answer and isinstance(answer[0], dict):
        return [answer]
    while (
        isinstance(answer, list)
        and len(answer) == 1
        and isinstance(answer[0], list)
        and answer[0]
        and (count != 1 or isinstance(answer[0][0], list))
    ):
        answer = answer[0]
    return answer


def _items(answer: Any, count: int) -> list[Any]:
    if not isinstance(answer, list) or len(answer) != count:
        raise _wrong(f"no list of {count:,} results, one for each text")
    return answer


def _numbers(row: Any) -> list[float]:
    if not isinstance(row, list):
        raise _wrong("a vector that is no list")
    if row and isinstance(row[0], list):
        raise _wrong("a vector for each token; it needs a pipeline that pools them")
    return [_number(value) for value in row]


def _number(value: Any) -> float:
    # Servers write null where a number is not finite, which JSON cannot say.
    if value is None:
        return math.nan
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise _wrong("a value that is no number")
    try:
        return float(value)
    except OverflowError:
        return math.inf


def _wrong(what: str) -> ModelError:
    return ModelError(f"the endpoint answers {what}; check its model and task")
