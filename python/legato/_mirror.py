"""Models in a store: ``<store>/models/<digest>/`` has a model's files and an index of them.

A function has its model in its package, or a mirror: what is too large for a package is copied to
the function's own disk, once, and compared with what the index says.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import shutil
import tempfile
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any, Final

from legato._events import JSON
from legato._native import ModelFiles, Ref, Store
from legato._scope import Scope, plain
from legato.errors import (
    AccessDeniedError,
    CorruptObjectError,
    LegatoError,
    ModelError,
    ObjectNotFoundError,
    SettingsError,
    StoreFullError,
)

AREA: Final = "models"
"""The area of mirrors in a store."""

INDEX: Final = "model.json"
FORMAT: Final = 1
WEIGHTS: Final = ".safetensors"


def is_mirror(model: str | os.PathLike[str]) -> bool:
    """Say whether a model's id is the URL of a mirror, and no folder."""
    return "://" in os.fspath(model)


def mirror_model(folder: str | os.PathLike[str], store: Store) -> str:
    """Store a model's files and an index of them, once.

    Args:
        folder: The model's folder.
        store: Where to; the files lie under ``models/<digest>/`` there.

    Returns:
        What LEGATO_MODEL_ID is set to, ``<store's URL>/models/<digest>``; LEGATO_MODEL_REVISION is
        ``sha256:<digest>``, the ``ModelFiles.digest`` of the folder.

    Raises:
        ModelError: The folder is no model, or changed meanwhile.
        AccessDeniedError, StoreFullError, StoreUnavailableError: As of every store.

    Example:
        >>> mirror_model(MODEL, legato.Store.open("memory://docs"))[:22]
        'memory://docs/models/'
    """
    files = ModelFiles.from_dir(folder)
    at = f"{AREA}/{files.digest.removeprefix('sha256:')}"
    if not _is_whole(store, at):
        refs = {name: store.put_file(path, f"{at}/{name}") for name, path in files.paths.items()}
        if _digest(refs) != files.digest:
            msg = f"model {os.fspath(folder)} changed while it was stored; deploy it again"
            raise ModelError(msg)
        listed = {name: ref.to_dict() for name, ref in refs.items()}
        index = {"legato_model": FORMAT, "digest": files.digest, "files": listed}
        # Last: who finds the index finds all that it names.
        store.put(json.dumps(index, indent=1).encode(), f"{at}/{INDEX}", media_type=JSON)
    return f"{store.url}/{at}"


def copied(scope: Scope, url: str, pinned: str | None, *, weights: bool) -> ModelFiles:
    """Return the files of a mirror, from this machine's disk; what is not there yet is copied.

    Args:
        scope: The state that needs them; it declares that it reads ``models``.
        url: As :func:`mirror_model` returned it.
        pinned: The digest that the model must have; None takes any.
        weights: Whether they are needed; else only what makes texts to tokens is copied.

    Raises:
        SettingsError: The URL is of no mirror in the run's store.
        ModelError: The model has another digest.
        CorruptObjectError: The mirror is damaged.
        StoreFullError: The disk has no room for it.
    """
    digest, files = _index(scope, url)
    if pinned not in (None, digest):
        msg = (
            f"model {url} has revision {digest}, LEGATO_MODEL_REVISION says {pinned}; "
            "deploy the workflow again"
        )
        raise ModelError(msg)
    if not weights:
        files = {name: ref for name, ref in files.items() if not name.endswith(WEIGHTS)}
    home = Path(tempfile.gettempdir(), "legato-models")
    folder = home / f"{digest.removeprefix('sha256:')}{'' if weights else '-texts'}"
    with _named(url, home), _alone(folder):
        found = _intact(folder, files, weights=weights)
        if found is None:
            _copy(scope, files, folder)
            found = _intact(folder, files, weights=weights)
    if found is None:
        msg = f"the copy of model {url} in {folder} changes by itself; check the disk"
        raise CorruptObjectError(msg)
    return found


def _index(scope: Scope, url: str) -> tuple[str, dict[str, Ref]]:
    """Return the digest of a mirror's model and its files, which make that digest."""
    own = f"{plain(scope.store.url)}/"
    key = plain(url).rstrip("/").removeprefix(own)
    if not key.startswith(f"{AREA}/"):
        msg = (
            f"LEGATO_MODEL_ID is {url}; a mirror lies below {own}{AREA}/, "
            "where legato deploy stores it"
        )
        raise SettingsError(msg)
    try:
        index = scope.get_json(f"{key}/{INDEX}")
    except ObjectNotFoundError:
        msg = f"LEGATO_MODEL_ID is {url}, where no model is; deploy the workflow again"
        raise SettingsError(msg) from None
    files, damaged = _files(index), f"the index of model {url} is damaged; deploy it again"
    if files is None:
        raise CorruptObjectError(damaged)
    return _digest(files), files


def _files(index: Any) -> dict[str, Ref] | None:
    """Return the files of an index, None of one that is damaged."""
    try:
        files = {name: Ref.from_dict(ref) for name, ref in index["files"].items()}
        # They become names of files here.
        whole = all(".." not in PurePosixPath(n).parts and not n.startswith("/") for n in files)
        return files if whole and _digest(files) == index["digest"] else None
    except (LegatoError, KeyError, TypeError, AttributeError):
        return None


def _digest(files: Mapping[str, Ref]) -> str:
    """Return what ``ModelFiles.digest`` is of files with these digests."""
    every = hashlib.sha256()
    for name in sorted(files):
        every.update(name.encode() + b"\0" + bytes.fromhex(files[name].sha256))
    return f"sha256:{every.hexdigest()}"


def _is_whole(store: Store, at: str) -> bool:
    sizes = {key: size for key, size, _ in store.entries(f"{at}/")}
    if f"{at}/{INDEX}" not in sizes:
        return False
    try:
        files = _files(json.loads(store.get(f"{at}/{INDEX}")))
    except ValueError:
        return False
    return files is not None and all(
        sizes.get(f"{at}/{name}") == ref.bytes for name, ref in files.items()
    )


def _intact(folder: Path, files: Mapping[str, Ref], *, weights: bool) -> ModelFiles | None:
    """Return a copy that is as the index says, None if it is not or is not there."""
    try:
        found = ModelFiles.from_dir(folder, weights=weights)
        # The engine, which reads the weights next, does not hash them again.
        digest = found.digest if weights else _digest_of(folder, files)
    except (ModelError, OSError):
        return None
    return found if digest == _digest(files) else None


def _digest_of(folder: Path, files: Mapping[str, Ref]) -> str:
    every = hashlib.sha256()
    for name in sorted(files):
        found = hashlib.sha256((folder / name).read_bytes())
        every.update(name.encode() + b"\0" + found.digest())
    return f"sha256:{every.hexdigest()}"


def _copy(scope: Scope, files: Mapping[str, Ref], folder: Path) -> None:
    """Copy files to a folder that is there with all of them, or not at all."""
    for left in folder.parent.glob(f".{folder.name}.*"):
        # Of a process that died.
        shutil.rmtree(left, ignore_errors=True)
    part = folder.parent / f".{folder.name}.{uuid.uuid4().hex}"
    try:
        for name, ref in files.items():
            path = part / name
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("wb") as file:
                for chunk in scope.chunks(ref):
                    file.write(chunk)
        shutil.rmtree(folder, ignore_errors=True)
        part.rename(folder)
    finally:
        shutil.rmtree(part, ignore_errors=True)


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Let one process of this machine after the other look at a copy; a dead one holds nothing."""
    folder.parent.mkdir(mode=0o700, exist_ok=True)
    with folder.with_name(f"{folder.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@contextlib.contextmanager
def _named(url: str, home: Path) -> Iterator[None]:
    """Name what the system refuses."""
    try:
        yield
    except OSError as error:
        where = f"model {url} cannot be copied to {home} ({error.strerror})"
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise StoreFullError(f"{where}; give the function more ephemeral storage") from None
        raise AccessDeniedError(f"{where}; set TMPDIR to a folder of its own") from None
