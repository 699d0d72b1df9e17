"""Validation: rules over the model's output; what passes becomes the shard's part of the result.

Writes ``part.parquet`` (id, text_sha256, vector), ``rejected.jsonl``, and the run's record of the
shard, from which Storage commits.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import legato._native as native
from legato._events import JSONL, PARQUET
from legato._native import Ref
from legato._scope import Folder
from legato.errors import InputError
from legato.stages import _models
from legato.stages._events import read_shard, read_vectors, ref_of, run_id, shard_index
from legato.step import Task, step

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

NORM_TOLERANCE = 1e-3
"""How far the length of a normalised vector may be from 1."""


@step(name="validation", reads=["ingestion", "inference"], writes=["validation", "runs"])
def handler(event: Mapping[str, Any], task: Task) -> Mapping[str, Any]:
    """Check the vectors of a shard, and write those that pass with ids and digests of the texts.

    Raises:
        InputError: Vectors and records do not fit together.
    """
    shard, vectors = ref_of(event, "shard", "ref"), ref_of(event, "vectors")
    record = f"runs/{run_id(task)}/shards/{shard_index(event):05d}.json"
    normalized = _models.model_files(task.settings).normalize
    folder = task.scope.folder(
        inputs=[shard, vectors],
        parameters={"norm_tolerance": NORM_TOLERANCE if normalized else None},
    )
    part = folder.find("part.parquet")
    cached = part is not None
    if part is None:
        part = _validate(task, folder, shard, vectors, normalized=normalized)
    task.count(records_in=shard.records or 0, out=part.records or 0, cached=cached)
    # Storage learns from this what became of the shard in this run.
    counts = {**event.get("counts", {}), task.scope.stage: task.counts}
    about = {"index": shard_index(event), "ref": part.to_dict(), "records": part.records}
    task.scope.put_json(record, {**about, "counts": counts})
    return {"result": part}


def _validate(task: Task, folder: Folder, shard: Ref, vectors: Ref, *, normalized: bool) -> Ref:
    ids, texts = read_shard(task, shard)
    rows = read_vectors(task, vectors)
    if len(rows) != len(ids):
        msg = (
            f"{shard.uri} has {len(ids):,} records, {vectors.uri} has {len(rows):,} vectors; "
            "run the shard again from Preprocessing"
        )
        raise InputError(msg)
    reasons = _reasons(rows, normalized=normalized)
    kept = [i for i, reason in enumerate(reasons) if reason is None]
    rejected = [
        json.dumps({"row": i, "id": ids[i], "reason": reason}) + "\n"
        for i, reason in enumerate(reasons)
        if reason is not None
    ]
    folder.commit(
        "rejected.jsonl", "".join(rejected).encode(), media_type=JSONL, records=len(rejected)
    )
    columns: dict[str, list[str] | NDArray[np.float32]] = {
        "id": [ids[i] for i in kept],
        "text_sha256": [hashlib.sha256(texts[i].encode()).hexdigest() for i in kept],
        "vector": rows[kept],
    }
    return folder.commit(
        "part.parquet",
        native.write_parquet(columns, metadata=_about(task)),
        media_type=PARQUET,
        records=len(kept),
    )


def _reasons(rows: NDArray[np.float32], *, normalized: bool) -> list[str | None]:
    import numpy as np

    norms = np.sqrt(np.einsum("ij,ij->i", rows, rows, dtype=np.float64))
    reasons: list[str | None] = []
    for norm in norms:
        if not np.isfinite(norm):
            reasons.append("not_finite")
        elif normalized and abs(norm - 1.0) > NORM_TOLERANCE:
            reasons.append("not_normalized")
        else:
            reasons.append(None)
    return reasons


def _about(task: Task) -> dict[str, str]:
    settings = task.settings
    about = {"task": settings.task, "model": settings.model_id, "revision": settings.model_revision}
    return {f"legato.{key}": value for key, value in about.items() if value is not None}
