"""Store what a run reads."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path

from legato._events import JSONL
from legato._home import allowed_stores
from legato._native import Ref, Store
from legato._scope import adopt
from legato.errors import InputError, WorkflowError
from legato.settings import Settings
from legato.stages._readers import ending_of, kind_of
from legato.workflow import Workflow


@dataclass(frozen=True)
class Source:
    """What a run reads: the stored input, and its dataset's name and version, where it has one."""

    ref: Ref
    dataset: str
    version: str | None = None


def is_object(source: object) -> bool:
    """Say whether an input is an object of S3, which is read where it lies, and no path."""
    return isinstance(source, str) and source.startswith("s3://")


def store_source(
    store: Store, workflow: Workflow, given: str | os.PathLike[str] | None, text: str | None
) -> Source:
    """Store what a run reads: a prompt, the file that was given, or the workflow's dataset.

    An object, ``s3://bucket/key``, stays where it is.

    Raises:
        InputError: There is nothing to read, or it cannot be read.
        AccessDeniedError: An object lies outside of the run's store and LEGATO_ALLOWED_STORES.
        WorkflowError: The workflow's dataset is no path.
    """
    if text is not None:
        return Source(_store_prompt(store, workflow, text), "prompt")
    if given is not None:
        # Not the workflow's version: it speaks of its own dataset.
        return Source(_taken(store, given), str(given))
    source = workflow.dataset
    if source is None:
        msg = f"workflow {workflow.name} has no dataset; give --input FILE or --text TEXT"
        raise InputError(msg)
    found = source() if callable(source) else source
    if not isinstance(found, (str, os.PathLike)):
        kind = type(found).__name__
        msg = f"the dataset of workflow {workflow.name} returned a {kind}; return a path"
        raise WorkflowError(msg)
    return Source(_taken(store, found), str(found), workflow.dataset_version)


def _taken(store: Store, source: str | os.PathLike[str]) -> Ref:
    """Store a file, or take an object as it lies."""
    if not is_object(source):
        return _store_file(store, Path(source))
    uri = str(source)
    kind_of(uri)
    return adopt((store, *allowed_stores(Settings.from_env())), uri, None, "this run")


def _store_file(store: Store, path: Path) -> Ref:
    # Before the file is copied: a file of an unknown kind would be refused by Ingestion.
    kind_of(path.name)
    if path.exists() and not path.is_file():
        # It is read twice, so a pipe will not do.
        msg = f"input {path} is no regular file; save it to one"
        raise InputError(msg)
    digest = hashlib.sha256()
    try:
        with path.open("rb") as file:
            while chunk := file.read(1 << 20):
                digest.update(chunk)
    except OSError as error:
        msg = f"input {path} cannot be read ({error.strerror}); check the path"
        raise InputError(msg) from None
    key = f"inputs/{digest.hexdigest()}/data{ending_of(path.name)}"
    ref = store.put_file(path, key)
    if ref.sha256 != digest.hexdigest():
        # What is stored is not what its key says.
        store.delete(key)
        msg = f"input {path} changed while it was read; give a file that stays as it is"
        raise InputError(msg)
    return ref


def _store_prompt(store: Store, workflow: Workflow, text: str) -> Ref:
    record = {workflow.id_field: "prompt", workflow.text_field: text}
    try:
        data = json.dumps(record, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        msg = "the text has half of a surrogate pair; check the terminal's encoding, use UTF-8"
        raise InputError(msg) from None
    key = f"inputs/{hashlib.sha256(data).hexdigest()}/data.jsonl"
    return store.put(data, key, media_type=JSONL, records=1)
