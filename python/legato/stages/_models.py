"""Models that this process has loaded: a warm function loads nothing twice."""

from __future__ import annotations

import threading
from typing import NamedTuple

import legato._native as native
from legato._native import Engine, ModelFiles, Tokenizer
from legato.errors import SettingsError
from legato.pipeline import check_revision
from legato.settings import Settings

_lock = threading.Lock()
_files: dict[str, ModelFiles] = {}
_tokenizers: dict[str, Tokenizer] = {}


class EngineKey(NamedTuple):
    """What makes one engine differ from another."""

    revision: str
    device: str
    dtype: str


_engines: dict[EngineKey, Engine] = {}


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
