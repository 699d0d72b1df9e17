"""Models that this process has loaded: a warm function loads nothing twice."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import legato._native as native
from legato._native import Engine, ModelFiles, Tokenizer, Tokens
from legato.errors import SettingsError
from legato.pipeline import check_revision, task_class
from legato.settings import Settings

VECTORS: Final = "feature-extraction"
"""The task whose results are vectors; those of all others are JSON values."""

_lock = threading.Lock()
_files: dict[str, ModelFiles] = {}
_tokenizers: dict[str, Tokenizer] = {}


class EngineKey(NamedTuple):
    """What makes one engine differ from another."""

    revision: str
    device: str
    dtype: str
    task: str = VECTORS


_engines: dict[EngineKey, Engine] = {}
_heads: dict[EngineKey, Any] = {}


def model_files(settings: Settings) -> ModelFiles:
    """Return the model's files, once they are those that the settings pin.

    Raises:
        SettingsError: LEGATO_MODEL_ID is not set.
        ModelError: The folder is no model, or its digest is not LEGATO_MODEL_REVISION.
    """
    folder = settings.require("model_id")
    pinned = settings.model_revision
    with _lock:
        files = _files.get(folder)
        # A notebook may have installed another revision since: then they are read once more.
        if files is None or pinned not in (None, files.digest):
            files = ModelFiles.from_dir(folder)
            check_revision(files, folder, pinned, "LEGATO_MODEL_REVISION")
            _files[folder] = files
    return files


def tokenizer(settings: Settings) -> Tokenizer:
    """Return the model's tokenizer, loaded on first use."""
    files = model_files(settings)
    with _lock:
        if files.digest not in _tokenizers:
            native.set_num_threads(settings.num_threads)
            _tokenizers[files.digest] = Tokenizer.from_files(files)
        return _tokenizers[files.digest]


def engine(settings: Settings) -> Engine:
    """Return the model's engine, loaded on first use, with the settings' number of threads."""
    files = model_files(settings)
    key = EngineKey(files.digest, settings.device, settings.dtype)
    with _lock:
        if key not in _engines:
            native.set_num_threads(settings.num_threads)
            _engines[key] = Engine(files, device=settings.device, dtype=settings.dtype)
        return _engines[key]


def head(settings: Settings) -> Any:
    """Return the model with the head of the settings' task, loaded on first use."""
    files = model_files(settings)
    key = EngineKey(files.digest, settings.device, settings.dtype, settings.task)
    with _lock:
        if key not in _heads:
            native.set_num_threads(settings.num_threads)
            made = task_class(settings.task)(files, device=settings.device, dtype=settings.dtype)
            _heads[key] = made
        return _heads[key]


def prompt(settings: Settings) -> str:
    """Return what is put before texts of which vectors are made: the model's default prompt."""
    files = model_files(settings)
    name = files.default_prompt_name
    return files.prompts[name] if name is not None and settings.task == VECTORS else ""


def encode(settings: Settings, texts: Sequence[str], length: int | None) -> Tokens:
    """Encode texts as the settings' task takes them.

    Raises:
        InputError: A parameter of the task is wrong.
    """
    if settings.task == VECTORS:
        before = prompt(settings)
        texts = [before + text for text in texts] if before else texts
        return tokenizer(settings).encode(texts, max_length=length)
    encoded: Tokens = task_class(settings.task).tokens(
        tokenizer(settings), texts, length, **of_texts(settings).get("parameters", {})
    )
    return encoded


def of_texts(settings: Settings) -> dict[str, Any]:
    """Return what besides tokenizer and limit decides how texts become tokens, by name.

    Nothing where a tokenizer alone decides: such tokens serve several tasks.
    """
    if settings.task == VECTORS:
        before = prompt(settings)
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
