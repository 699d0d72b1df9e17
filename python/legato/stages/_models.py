"""Models that this process has loaded: a warm function loads nothing twice."""

from __future__ import annotations

import functools
import threading
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import legato._native as native
from legato import _mirror
from legato._native import Engine, ModelFiles, Tokenizer, Tokens
from legato.errors import SettingsError
from legato.pipeline import check_revision, task_class
from legato.settings import Settings
from legato.step import Task

VECTORS: Final = "feature-extraction"
"""The task whose results are vectors; those of all others are JSON values."""

_lock = threading.Lock()
_files: dict[tuple[str, str | None], ModelFiles] = {}
_tokenizers: dict[tuple[str, int | None], Tokenizer] = {}


class EngineKey(NamedTuple):
    """What makes one engine differ from another."""

    revision: str
    device: str
    dtype: str
    task: str = VECTORS


_engines: dict[EngineKey, Engine] = {}
_heads: dict[EngineKey, Any] = {}


def model_files(task: Task) -> ModelFiles:
    """Return the model's files, once they are those that the settings pin.

    Raises:
        SettingsError: LEGATO_MODEL_ID is not set.
        ModelError: The folder is no model, or its digest is not LEGATO_MODEL_REVISION.
    """
    folder, pinned = task.settings.require("model_id"), task.settings.model_revision
    if _mirror.is_mirror(folder):
        return _mirrored(task, weights=True)
    with _lock:
        files = _files.get((folder, None))
        # A notebook may have installed another revision since: then they are read once more.
        if files is None or (pinned is not None and files.digest != pinned):
            files = ModelFiles.from_dir(folder)
            check_revision(files, folder, pinned, "LEGATO_MODEL_REVISION")
            _files[folder, None] = files
    return files


def pinned_files(task: Task) -> ModelFiles:
    """Return the files but the weights, of the model that the settings pin.

    Of a mirror the weights are not read; of a folder they are, where there is a pin to compare.

    Raises:
        SettingsError, ModelError: As :func:`model_files`.
    """
    if _mirror.is_mirror(task.settings.require("model_id")):
        return _mirrored(task, weights=False)
    return model_files(task)


def text_files(task: Task) -> ModelFiles:
    """Return the files by which texts become tokens; of a folder no pin is compared.

    Raises:
        SettingsError: LEGATO_MODEL_ID is not set.
        ModelError: The folder is no model.
    """
    folder = task.settings.require("model_id")
    if _mirror.is_mirror(folder):
        return _mirrored(task, weights=False)
    key = (folder, f"texts of {task.settings.model_revision}")
    with _lock:
        if key not in _files:
            _files[key] = ModelFiles.from_dir(folder, weights=False)
        return _files[key]


def _mirrored(task: Task, *, weights: bool) -> ModelFiles:
    url, pinned = task.settings.require("model_id"), task.settings.model_revision
    key = (url, f"{pinned} {weights}")
    with _lock:
        if key not in _files:
            _files[key] = _mirror.copied(task.scope, url, pinned, weights=weights)
        return _files[key]


def tokenizer(files: ModelFiles, settings: Settings) -> Tokenizer:
    """Return the model's tokenizer, loaded on first use."""
    key = (files.tokenizer_digest, files.max_length)
    with _lock:
        if key not in _tokenizers:
            native.set_num_threads(settings.num_threads)
            _tokenizers[key] = Tokenizer.from_files(files)
        return _tokenizers[key]


def engine(task: Task) -> Engine:
    """Return the model's engine, loaded on first use, with the settings' number of threads."""
    files, settings = model_files(task), task.settings
    key = EngineKey(files.digest, settings.device, settings.dtype)
    with _lock:
        if key not in _engines:
            native.set_num_threads(settings.num_threads)
            _engines[key] = Engine(files, device=settings.device, dtype=settings.dtype)
        return _engines[key]


def head(task: Task) -> Any:
    """Return the model with the head of the settings' task, loaded on first use."""
    files, settings = model_files(task), task.settings
    key = EngineKey(files.digest, settings.device, settings.dtype, settings.task)
    with _lock:
        if key not in _heads:
            native.set_num_threads(settings.num_threads)
            made = task_class(settings.task)(files, device=settings.device, dtype=settings.dtype)
            _heads[key] = made
        return _heads[key]


def prompt(settings: Settings, files: ModelFiles) -> str:
    """Return what is put before texts of which vectors are made: the model's default prompt."""
    name = files.default_prompt_name
    return files.prompts[name] if name is not None and settings.task == VECTORS else ""


def encode(
    settings: Settings, files: ModelFiles, texts: Sequence[str], length: int | None
) -> Tokens:
    """Encode texts as the settings' task takes them.

    Raises:
        InputError: A parameter of the task is wrong.
    """
    if settings.task == VECTORS:
        before = prompt(settings, files)
        texts = [before + text for text in texts] if before else texts
        return tokenizer(files, settings).encode(texts, max_length=length)
    encoded: Tokens = task_class(settings.task).tokens(
        tokenizer(files, settings), texts, length, **of_texts(settings, files).get("parameters", {})
    )
    return encoded


class Counter:
    """Counts the tokens that Inference will compute of each text.

    Attributes:
        rows: Rows of tokens that the task makes of a text.
    """

    def __init__(self, settings: Settings, files: ModelFiles, length: int | None) -> None:
        """Count as `encode` with these arguments encodes."""
        self._encode = functools.partial(encode, settings, files, length=length)
        self.rows = len(self._encode([""]))

    def __call__(self, texts: Sequence[str]) -> list[int]:
        """Return the tokens of each text: of all its rows, cut to the limit, with the prompt."""
        lengths = self._encode(texts).lengths.reshape(len(texts), self.rows)
        counts: list[int] = lengths.sum(axis=1, dtype="int64").tolist()
        return counts


def of_texts(settings: Settings, files: ModelFiles) -> dict[str, Any]:
    """Return what besides tokenizer and limit decides how texts become tokens, by name.

    Nothing where a tokenizer alone decides: such tokens serve several tasks.
    """
    if settings.task == VECTORS:
        before = prompt(settings, files)
        return {"prompt": before} if before else {}
    if settings.task == "text-classification":
        # All that it may be told is of scores.
        return {}
    return {"task": settings.task, "parameters": dict(settings.parameters)}


def max_length(settings: Settings, files: ModelFiles) -> int | None:
    """Return the tokens that a text is cut to: the setting, or the model's own limit.

    Raises:
        SettingsError: The setting is above what the model takes.
    """
    if settings.max_length is None:
        return files.max_length
    most = files.max_positions
    if most is not None and settings.max_length > most:
        msg = f"max_length is {settings.max_length:,}, the model takes {most:,} tokens; lower it"
        raise SettingsError(msg)
    return settings.max_length
