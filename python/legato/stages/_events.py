"""What a stage needs of its event and of the objects that it names, checked."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

import legato._native as native
from legato._left import is_run_id, is_unicode
from legato._native import Ref
from legato.errors import InputError, WorkflowError
from legato.settings import Settings
from legato.step import Task

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

SHARD_STAGES: Final = ("preprocessing", "inference", "validation")
"""The stages that run once a shard."""

MAX_VERSION: Final = 1024
"""Most characters of a version id, as S3 makes them."""

MOST_COUNTED: Final = 1 << 53
"""Most that a count may say: above it sums with seconds are not exact."""

VECTORS: Final = "vectors"
"""Name of the array in a file of vectors."""


def ref_of(event: Mapping[str, Any], *path: str) -> Ref:
    """Return the reference at a path of the event.

    Raises:
        InputError: There is none.
    """
    value: Any = event
    for part in path:
        value = value.get(part) if isinstance(value, Mapping) else None
    if not isinstance(value, Ref):
        msg = f"the event has no reference at {'.'.join(path)}; send what the former state returned"
        raise InputError(msg)
    return value


def source_of(event: Mapping[str, Any], task: Task) -> Ref:
    """Return the run's input: a reference, or an object that is read where it lies.

    The second is ``{"uri": "s3://bucket/key"}`` with the key as it is, nothing in it
    percent-encoded, and may say a ``version``: its id or its etag.

    Raises:
        InputError: There is none, or the object is not the version that the event names.
        AccessDeniedError: The object lies outside of the stores that the run may read.
    """
    value = event.get("input")
    if not isinstance(value, Mapping):
        return ref_of(event, "input")
    uri, version = value.get("uri"), value.get("version") or ""
    if not isinstance(uri, str) or not isinstance(version, str) or len(version) > MAX_VERSION:
        msg = (
            "the event has no reference at input, nor where an object lies; send what legato "
            "stored, or {'uri': 's3://bucket/key'}"
        )
        raise InputError(msg)
    return task.scope.adopt(uri, version or None)


def dataset_of(event: Mapping[str, Any], task: Task, source: Ref) -> dict[str, Any]:
    """Return what the run reads, as its results name it: a deployment's own dataset is not it.

    What the event says; of an object that an event only points to, where it lies and its digest;
    otherwise the settings'.
    """
    told, settings = told_dataset(task), task.settings
    if told is not None and told.get("id"):
        name, version = told["id"], told.get("version")
    elif isinstance(event.get("input"), Mapping):
        name, version = source.uri, None
    else:
        return {"id": settings.dataset_id, "version": settings.dataset_version}
    return {"id": name, "version": version or f"sha256:{source.sha256}"}


def told_dataset(task: Task) -> Mapping[str, Any] | None:
    """Return what the event says of the run's dataset: its ``id`` and ``version``, None if nothing.

    Raises:
        InputError: It is no object, or one of the two is neither a text nor null.
    """
    told = task.run.get("dataset")
    if told is None:
        return None
    said = [told.get("id"), told.get("version")] if isinstance(told, Mapping) else [0]
    if not all(value is None or _is_text(value) for value in said):
        msg = "run.dataset of the event is no dataset; send {'id': ..., 'version': ...} of texts"
        raise InputError(msg)
    return {name: told[name] for name in ("id", "version") if name in told}


def _is_text(value: object) -> bool:
    return isinstance(value, str) and is_unicode(value)


def check_counts(counts: object) -> None:
    """Check what the stages of a shard have counted: finite numbers by name, by stage.

    Raises:
        InputError: One is something else; they could not be summed over the shards.
    """
    of = counts if isinstance(counts, Mapping) else {"counts": counts}
    for stage in (*SHARD_STAGES, *(["counts"] if of is not counts else [])):
        found = of.get(stage, {})
        if not isinstance(found, Mapping) or not all(map(_is_count, found.values())):
            msg = (
                f"the event has counts of {stage} that are no numbers; send what the state returned"
            )
            raise InputError(msg)


def _is_count(value: object) -> bool:
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return number and abs(value) <= MOST_COUNTED  # type: ignore[arg-type]


def definition(settings: Settings) -> str:
    """Return a digest of the settings that, with the model, decide what answers a run gives."""
    about = {
        "task": settings.task,
        "dtype": settings.dtype,
        "max_length": settings.max_length,
        "parameters": dict(settings.parameters),
    }
    return hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()


def with_enforced(task: Task, *, enforced: bool) -> dict[str, Any]:
    """Return the run's context with whether the revision of its model was enforced."""
    model = task.run.get("model")
    about = {**(model if isinstance(model, Mapping) else {}), "revision_enforced": enforced}
    return {**task.run, "model": about}


def check_definition(task: Task) -> None:
    """Refuse to go on with a run that another deployment of the workflow has begun.

    Raises:
        WorkflowError: Model, task or parameters are others than when Ingestion ran.
    """
    model, begun = task.run.get("model"), task.run.get("definition")
    revision = model.get("revision") if isinstance(model, Mapping) else None
    pinned = task.settings.model_revision
    # Who pins no revision takes any.
    other = revision is not None and pinned is not None and revision != pinned
    if other or (begun is not None and begun != definition(task.settings)):
        msg = (
            "the workflow was deployed with another model or other parameters since this run "
            "began; run it again: what is the same is not computed again"
        )
        raise WorkflowError(msg)


def run_id(task: Task) -> str:
    """Return the run's id.

    Raises:
        InputError: The event has none.
    """
    value: Any = task.run.get("id")
    if not is_run_id(value):
        msg = "the event has no run.id; send {'run': {'id': ...}, ...}"
        raise InputError(msg)
    return str(value)


def shard_index(event: Mapping[str, Any]) -> int:
    """Return the number of the event's shard.

    Raises:
        InputError: The event has none.
    """
    shard = event.get("shard")
    value = shard.get("index") if isinstance(shard, Mapping) else None
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        msg = "the event has no shard.index; send a line of Ingestion's manifest as shard"
        raise InputError(msg)
    return value


def read_shard(task: Task, shard: Ref) -> tuple[list[str], list[str]]:
    """Return ids and texts of a shard that Ingestion wrote.

    Raises:
        InputError: The object is no such shard.
    """
    try:
        records = [json.loads(line) for line in task.get(shard).splitlines()]
        return [record["id"] for record in records], [record["text"] for record in records]
    except (ValueError, KeyError, TypeError, RecursionError):
        # The parser's own message may quote the text.
        msg = f"{shard.uri} is no shard of records; send a line of Ingestion's manifest as shard"
        raise InputError(msg) from None


def read_answers(task: Task, answers: Ref) -> list[Any]:
    """Return what Inference wrote of a task that gives no vectors, one value a record.

    Raises:
        InputError: The object is no such file.
    """
    try:
        return [json.loads(line) for line in task.get(answers).splitlines()]
    except (ValueError, RecursionError):
        msg = f"{answers.uri} has no JSON lines; send what Inference returned"
        raise InputError(msg) from None


def read_vectors(task: Task, vectors: Ref) -> NDArray[np.float32]:
    """Return the vectors that Inference wrote, float32 (n, H).

    Raises:
        InputError: The object is no such file.
    """
    rows = native.read_safetensors(task.get(vectors))[0].get(VECTORS)
    if rows is None or rows.ndim != 2 or rows.dtype != "float32":  # noqa: PLR2004 - (n, H)
        msg = f"{vectors.uri} has no float32 array '{VECTORS}' (n, H); send what Inference returned"
        raise InputError(msg)
    return rows
