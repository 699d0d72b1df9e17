"""Validation: rules over the model's output; what passes becomes the shard's part of the result.

Writes ``part.parquet`` (id, text_sha256, and vector, or answer as JSON), ``rejected.jsonl``, and
the run's record of the shard, from which Storage commits.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import legato._native as native
from legato._events import JSONL, PARQUET
from legato._native import Ref
from legato._scope import Folder
from legato.errors import InputError
from legato.stages import _models
from legato.stages._events import (
    check_counts,
    read_answers,
    read_shard,
    read_vectors,
    ref_of,
    run_id,
    shard_index,
)
from legato.step import Task, step

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

NOT_FINITE = "not_finite"
ANSWER = "answer"
"""Name of the column of answers."""

NORM_TOLERANCE = 1e-3
"""How far the length of a normalised vector may be from 1."""


@step(name="validation", reads=["ingestion", "inference", "models"], writes=["validation", "runs"])
def handler(event: Mapping[str, Any], task: Task) -> Mapping[str, Any]:
    """Check the vectors or answers of a shard, and write those that pass with ids and digests.

    Raises:
        InputError: Vectors or answers, and records, do not fit together, or the event's counts are
            no numbers.
    """
    check_counts(event.get("counts", {}))
    of_vectors = task.settings.task == _models.VECTORS
    shard = ref_of(event, "shard", "ref")
    outputs = ref_of(event, "vectors" if of_vectors else "answers")
    record = f"runs/{run_id(task)}/shards/{shard_index(event):05d}.json"
    normalized = of_vectors and _models.pinned_files(task).normalize
    folder = task.scope.folder(
        inputs=[shard, outputs],
        parameters={"norm_tolerance": NORM_TOLERANCE if normalized else None},
    )
    part = folder.find("part.parquet")
    cached = part is not None
    if part is None:
        part = _validate(task, folder, shard, outputs, normalized=normalized)
    task.count(records_in=shard.records or 0, out=part.records or 0, cached=cached)
    # Storage learns from this what became of the shard in this run.
    counts = {**event.get("counts", {}), task.scope.stage: task.counts}
    about = {"index": shard_index(event), "ref": part.to_dict(), "records": part.records}
    # Not of the part, which is the same whoever has computed it.
    told = event.get("endpoint")
    endpoint = {"endpoint": told} if isinstance(told, Mapping) else {}
    task.scope.put_json(record, {**about, **endpoint, "counts": counts})
    return {"result": part}


def _validate(task: Task, folder: Folder, shard: Ref, outputs: Ref, *, normalized: bool) -> Ref:
    ids, texts = read_shard(task, shard)
    of_vectors = task.settings.task == _models.VECTORS
    rows = read_vectors(task, outputs) if of_vectors else read_answers(task, outputs)
    if len(rows) != len(ids):
        kind = "vectors" if of_vectors else "answers"
        msg = (
            f"{shard.uri} has {len(ids):,} records, {outputs.uri} has {len(rows):,} {kind}; "
            "run the shard again from Preprocessing"
        )
        raise InputError(msg)
    reasons = (
        [None if _is_finite(row) else NOT_FINITE for row in rows]
        if isinstance(rows, list)
        else _reasons(rows, normalized=normalized)
    )
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
    }
    if isinstance(rows, list):
        columns[ANSWER] = [json.dumps(rows[i], ensure_ascii=False) for i in kept]
    else:
        columns["vector"] = rows[kept]
    return folder.commit(
        "part.parquet",
        native.write_parquet(columns, metadata=_about(task)),
        media_type=PARQUET,
        records=len(kept),
    )


def _is_finite(answer: Any) -> bool:
    if isinstance(answer, dict):
        return all(map(_is_finite, answer.values()))
    if isinstance(answer, list):
        return all(map(_is_finite, answer))
    return not isinstance(answer, float) or math.isfinite(answer)


def _reasons(rows: NDArray[np.float32], *, normalized: bool) -> list[str | None]:
    import numpy as np

    norms = np.sqrt(np.einsum("ij,ij->i", rows, rows, dtype=np.float64))
    reasons: list[str | None] = []
    for norm in norms:
        if not np.isfinite(norm):
            reasons.append(NOT_FINITE)
        elif normalized and abs(norm - 1.0) > NORM_TOLERANCE:
            reasons.append("not_normalized")
        else:
            reasons.append(None)
    return reasons


def _about(task: Task) -> dict[str, str]:
    settings = task.settings
    about = {"task": settings.task, "model": settings.model_id, "revision": settings.model_revision}
    return {f"legato.{key}": value for key, value in about.items() if value is not None}
