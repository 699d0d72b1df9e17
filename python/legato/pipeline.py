"""The face of legato in a notebook: ``legato.pipeline(task, model=...)``."""

from __future__ import annotations

import contextlib
import importlib
import os
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Literal, overload

from legato._native import ModelFiles
from legato.errors import InputError, ModelError

if TYPE_CHECKING:
    from legato.tasks.feature_extraction import FeatureExtraction
    from legato.tasks.fill_mask import FillMask
    from legato.tasks.question_answering import QuestionAnswering
    from legato.tasks.text_classification import TextClassification
    from legato.tasks.text_ranking import TextRanking
    from legato.tasks.token_classification import TokenClassification
    from legato.tasks.zero_shot_classification import ZeroShotClassification

_CLASSES = {
    "feature-extraction": "FeatureExtraction",
    "text-classification": "TextClassification",
    "text-ranking": "TextRanking",
    "zero-shot-classification": "ZeroShotClassification",
    "fill-mask": "FillMask",
    "token-classification": "TokenClassification",
    "question-answering": "QuestionAnswering",
}
"""The tasks, whose modules are imported on first use, and the names of their classes."""

TASKS = tuple(_CLASSES)

_ALIASES = {
    "ner": "token-classification",
    "sentiment-analysis": "text-classification",
}
"""Other names, as transformers has them."""


@overload
def pipeline(
    task: Literal["feature-extraction"],
    model: str | os.PathLike[str],
    *,
    revision: str | None = ...,
    device: str = ...,
    dtype: str = ...,
    pooling: str | None = ...,
    normalize: bool | None = ...,
    truncate_dim: int | None = ...,
    prompts: Mapping[str, str] | None = ...,
    default_prompt_name: str | None = ...,
) -> FeatureExtraction: ...
@overload
def pipeline(
    task: Literal["text-classification", "sentiment-analysis"],
    model: str | os.PathLike[str],
    *,
    revision: str | None = ...,
    device: str = ...,
    dtype: str = ...,
) -> TextClassification: ...
@overload
def pipeline(
    task: Literal["text-ranking"],
    model: str | os.PathLike[str],
    *,
    revision: str | None = ...,
    device: str = ...,
    dtype: str = ...,
) -> TextRanking: ...
@overload
def pipeline(
    task: Literal["zero-shot-classification"],
    model: str | os.PathLike[str],
    *,
    revision: str | None = ...,
    device: str = ...,
    dtype: str = ...,
) -> ZeroShotClassification: ...
@overload
def pipeline(
    task: Literal["fill-mask"],
    model: str | os.PathLike[str],
    *,
    revision: str | None = ...,
    device: str = ...,
    dtype: str = ...,
) -> FillMask: ...
@overload
def pipeline(
    task: Literal["token-classification", "ner"],
    model: str | os.PathLike[str],
    *,
    revision: str | None = ...,
    device: str = ...,
    dtype: str = ...,
) -> TokenClassification: ...
@overload
def pipeline(
    task: Literal["question-answering"],
    model: str | os.PathLike[str],
    *,
    revision: str | None = ...,
    device: str = ...,
    dtype: str = ...,
) -> QuestionAnswering: ...
@overload
def pipeline(
    task: str,
    model: str | os.PathLike[str],
    *,
    revision: str | None = ...,
    device: str = ...,
    dtype: str = ...,
    **options: Any,
) -> Any: ...
def pipeline(
    task: str,
    model: str | os.PathLike[str],
    *,
    revision: str | None = None,
    device: str = "auto",
    dtype: str = "float32",
    **options: Any,
) -> Any:
    """Load a model for a task.

    Args:
        task: ``feature-extraction``, ``text-classification``, ``text-ranking``,
            ``zero-shot-classification``, ``fill-mask``, ``token-classification`` or
            ``question-answering``; ``ner`` and ``sentiment-analysis`` are other names, as in
            transformers.
        model: Folder with config.json, tokenizer.json and model.safetensors.
        revision: Digest that the files must have (``ModelFiles.digest``); None takes what is there.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:N`` or ``metal``.
        dtype: ``float32``; on a CPU also ``int8``, on an accelerator ``float16`` or ``bfloat16``.
        options: Of ``feature-extraction``: `pooling`, `normalize`, `truncate_dim`, `prompts` and
            `default_prompt_name`; see :class:`legato.tasks.feature_extraction.FeatureExtraction`.

    Raises:
        InputError: The task or an option is not known.
        ModelError: The folder is no model that legato runs, has no head for
            the task, or is of another revision.
        DeviceError: The device or dtype is not available.

    Example:
        >>> legato.pipeline("feature-extraction", model=MODEL)(["one text", "another"]).shape
        (2, 384)
    """
    task = _ALIASES.get(task, task)
    if task not in TASKS:
        msg = f"task '{task}' is not supported; use {' or '.join(TASKS)}"
        raise InputError(msg)
    if task != "feature-extraction" and options:
        msg = f"{task} has no option {next(iter(options))} here; give it to the call"
        raise InputError(msg)
    files = ModelFiles.from_dir(model)
    with _pinned(files, model, revision):
        return task_class(task)(files, device=device, dtype=dtype, **options)


@contextlib.contextmanager
def _pinned(
    files: ModelFiles, model: str | os.PathLike[str], revision: str | None
) -> Iterator[None]:
    """Refuse another revision once it is loaded: loading has hashed the weights meanwhile.

    Where loading fails, that it is another revision is said first.
    """
    try:
        yield
    except ModelError:
        check_revision(files, model, revision, "revision")
        raise
    check_revision(files, model, revision, "revision")


def task_class(task: str) -> Any:
    """Return the class of a task in `TASKS`; its module is imported on first use."""
    module = importlib.import_module(f"legato.tasks.{task.replace('-', '_')}")
    return getattr(module, _CLASSES[task])


def check_revision(
    files: ModelFiles, model: str | os.PathLike[str], pinned: str | None, pinned_by: str
) -> None:
    """Refuse a model whose files are not those that were pinned.

    Args:
        files: The files.
        model: Their folder, for the message.
        pinned: The digest that they must have; None takes any.
        pinned_by: Who pins it, for the message.

    Raises:
        ModelError: They have another digest.
    """
    if pinned is not None and files.digest != pinned:
        msg = (
            f"model {os.fspath(model)} has revision {files.digest}, {pinned_by} says {pinned}; "
            "install that revision, or pin the one that is there"
        )
        raise ModelError(msg)
