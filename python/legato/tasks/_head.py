"""A model with a task's head, its labels, and texts encoded as it takes them."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np

from legato._native import ModelFiles, TaskEngine, Tokens
from legato.errors import InputError, ModelError

if TYPE_CHECKING:
    from numpy.typing import NDArray

Pair: TypeAlias = Mapping[str, str]
"""``text`` and, where there is a second one, ``text_pair``."""

LOG = logging.getLogger("legato")


class Counted:
    """Counts the texts that calls have cut to the model's limit; each such call logs how many."""

    def __init__(self) -> None:
        """Begin at none."""
        self.truncated = 0

    def count(self, truncated: int) -> None:
        """Count texts that were cut."""
        if truncated:
            self.truncated += truncated
            LOG.info("%d texts were cut to the model's limit", truncated)


class GivenLogits:
    """Stands for an engine where logits come from elsewhere: `answers` takes them for the tokens.

    Args:
        width: Logits of a text.
    """

    tokenizer = None

    def __init__(self, width: int) -> None:
        """Say how many logits a text has."""
        self.width = width

    @staticmethod
    def run(logits: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the logits, float32 (n, L), as an engine returns those that it computes."""
        return logits


class Head(Counted):
    """What the tasks with a head of their own share.

    `truncated` counts the texts that calls have cut to the model's limit.
    """

    def __init__(
        self,
        files: ModelFiles,
        task: str,
        *,
        device: str = "auto",
        dtype: str = "float32",
        engine: Any = None,
    ) -> None:
        """Load a model.

        Args:
            files: Its files; without weights where `engine` is given.
            task: Which head.
            device: Where to compute.
            dtype: What to compute in.
            engine: What computes, or stands for it, instead.

        Raises:
            ModelError: The files are no model that legato runs, or have no head for the task.
            DeviceError: The device or dtype is not available.
        """
        super().__init__()
        made = TaskEngine(files, task, device=device, dtype=dtype) if engine is None else engine
        self.engine: TaskEngine = made
        self.tokenizer = self.engine.tokenizer
        self.config: dict[str, Any] = files.read_json("config.json") or {}

    def labels(self) -> list[str]:
        """Return the label of each logit, as the config names them.

        Raises:
            ModelError: The config names other labels than 0 to L - 1.
        """
        names = self.config.get("id2label") or {}
        width = self.engine.width
        found = [names.get(str(index), f"LABEL_{index}") for index in range(width)]
        if names and len(names) != width:
            msg = f"id2label in config.json names {len(names)} labels, the head has {width}"
            raise ModelError(msg)
        return [str(name) for name in found]

    def encode(
        self,
        texts: Sequence[str],
        pairs: Sequence[str] | None = None,
        *,
        truncation: bool | Literal["only_first", "only_second"] = True,
        max_length: int | None = None,
    ) -> Tokens:
        """Encode texts, cut to what the model takes; `run` refuses those that stay too long."""
        limit = self.engine.max_length
        tokens = self.tokenizer.encode(
            texts,
            pairs=pairs,
            truncation=truncation,
            max_length=limit if max_length is None else min(max_length, limit),
        )
        self.count(tokens.truncated)
        return tokens


def listed(inputs: Any, what: str = "inputs") -> tuple[list[Any], bool]:
    """Return what a call was given as a list, and whether it was one text alone.

    Args:
        inputs: A text, a dict, or a sequence, an array, a series or an iterator of them.
        what: What the caller calls them, for the message.

    Raises:
        InputError: It is nothing that has an order and one dimension.
    """
    if isinstance(inputs, (str, Mapping)):
        return [inputs], True
    one_dimension = getattr(inputs, "ndim", 1) == 1
    ordered = hasattr(inputs, "ndim") or isinstance(inputs, (Sequence, Iterator))
    if not (one_dimension and ordered) or isinstance(inputs, (bytes, bytearray, memoryview)):
        kind = type(inputs).__name__
        msg = f"{what} must be a str, or a list, a series or an iterator of them, not {kind}"
        raise InputError(msg)
    return list(inputs), False


def texts_of(inputs: Any, what: str = "inputs") -> tuple[list[str], bool]:
    """Return texts as :func:`listed` does.

    Raises:
        InputError: Something is no text.
    """
    texts, single = listed(inputs, what)
    for index, text in enumerate(texts):
        if not isinstance(text, str):
            msg = f"{what}: {index} must be a str, not {type(text).__name__}"
            raise InputError(msg)
    return texts, single


def pairs_of(inputs: Sequence[str | Pair]) -> tuple[list[str], list[str] | None]:
    """Return first and second texts of a list of texts, or of dicts with text and text_pair.

    Raises:
        InputError: Some are pairs and others are not, or a dict has no text.
    """
    first: list[str] = []
    second: list[str] = []
    for index, item in enumerate(inputs):
        if isinstance(item, str):
            first.append(item)
            continue
        if not isinstance(item, Mapping) or "text" not in item:
            kind = type(item).__name__
            msg = f"input {index} must be a str or a dict with text and text_pair, not {kind}"
            raise InputError(msg)
        first.append(item["text"])
        if item.get("text_pair") is not None:
            second.append(item["text_pair"])
    if second and len(second) != len(first):
        msg = "some inputs are pairs and others are not; give them in two calls"
        raise InputError(msg)
    return first, second or None


def softmax(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return shares that add up to 1 over the last axis."""
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    shares: NDArray[np.float32] = powers / powers.sum(axis=-1, keepdims=True)
    return shares


def sigmoid(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return 1 / (1 + exp(-x)); a tanh cannot overflow."""
    shares: NDArray[np.float32] = np.float32(0.5) * (1 + np.tanh(np.float32(0.5) * logits))
    return shares


def descending(scores: NDArray[np.float32], top_k: int | None = None) -> NDArray[np.intp]:
    """Return the indices of the `top_k` highest scores; equal ones in their order."""
    return np.argsort(-scores, kind="stable")[:top_k]


def check_top_k(top_k: int | None) -> None:
    """Refuse what is no number of results.

    Raises:
        InputError: It is below 1.
    """
    if top_k is not None and top_k < 1:
        msg = f"top_k must be 1 or more, or None for all, not {top_k}"
        raise InputError(msg)
