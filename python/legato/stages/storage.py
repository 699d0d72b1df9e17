"""Storage: commits the result of a run.

The result is a manifest: it names every part (one Parquet file a shard) with its digest, and is
written last, once. Readers that start from it never see a run that is half done.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from legato._native import Ref
from legato.errors import ObjectNotFoundError
from legato.stages._events import ref_of, run_id
from legato.step import Task, step

SHARD_STAGES = ("preprocessing", "inference", "validation")
MOST_MISSING = 20
"""Most missing shards that the output names; the result's manifest names all."""


@step(name="storage", reads=["ingestion", "runs"])
def handler(event: Mapping[str, Any], task: Task) -> Mapping[str, Any]:
    """Commit the parts that the shards of this run have written.

    Returns:
        ``status`` (``complete`` or ``incomplete``), ``result`` (the manifest's reference),
        ``missing`` (indices of shards without a part, up to 20) and ``counts`` of every stage.
    """
    manifest = ref_of(event, "run", "manifest")
    lines = task.get(manifest).splitlines()
    shards = [json.loads(line) for line in lines]
    records = [_record(task, int(shard["index"])) for shard in shards]
    parts = [record for record in records if record is not None]
    missing = [s["index"] for s, record in zip(shards, records, strict=True) if record is None]
    refs = [Ref.from_dict(part["ref"]) for part in parts]
    settings = task.settings
    about = {
        "workflow": settings.workflow,
        "task": settings.task,
        "model": {"id": settings.model_id, "revision": settings.model_revision},
        "dataset": {"id": settings.dataset_id, "version": settings.dataset_version},
        "status": "incomplete" if missing else "complete",
        "missing": missing,
    }
    folder = task.scope.folder(inputs=[manifest, *refs], parameters=about)
    result = folder.find("manifest.json")
    cached = result is not None
    if result is None:
        content = {
            "legato_manifest": 1,
            **about,
            "records": sum(part["records"] for part in parts),
            "shards": manifest.to_dict(),
            "parts": [
                {
                    "index": part["index"],
                    "records": part["records"],
                    "key": task.scope.store.key_of(ref),
                    "ref": part["ref"],
                }
                for part, ref in zip(parts, refs, strict=True)
            ],
        }
        data = json.dumps(content, ensure_ascii=False, indent=1).encode()
        result = folder.commit(
            "manifest.json", data, media_type="application/json", records=content["records"]
        )
    total = sum(int(shard["records"]) for shard in shards)
    task.count(records_in=total, out=result.records or 0, cached=cached)
    return {
        "status": about["status"],
        "result": result,
        "missing": missing[:MOST_MISSING],
        "counts": {**event.get("counts", {}), **_totals(parts), task.scope.stage: task.counts},
    }


def _record(task: Task, index: int) -> dict[str, Any] | None:
    try:
        record: dict[str, Any] = task.scope.get_json(f"runs/{run_id(task)}/shards/{index:05d}.json")
    except ObjectNotFoundError:
        return None
    return record


def _totals(parts: list[dict[str, Any]]) -> dict[str, dict[str, float]]:
    totals: dict[str, dict[str, float]] = {}
    for stage in SHARD_STAGES:
        total: dict[str, float] = {"tasks": 0}
        for part in parts:
            counts = part["counts"].get(stage, {})
            total["tasks"] += 1
            for name, value in counts.items():
                total[name] = total.get(name, 0) + value
        totals[stage] = total
    return totals
