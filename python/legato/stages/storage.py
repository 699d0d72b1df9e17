"""Storage: commits the result of a run.

The result is a manifest: it names every part (one Parquet file a shard) with its digest, and is
written last, once. Readers that start from it never see a run that is half done.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from legato._native import Ref
from legato.errors import CorruptObjectError, InputError
from legato.stages._events import (
    SHARD_STAGES,
    check_counts,
    check_definition,
    ref_of,
    run_id,
    told_dataset,
    with_enforced,
)
from legato.step import Task, step

MOST_MISSING = 20
"""Most missing shards that the output names; the result's manifest names all."""

READ_AT_ONCE = 1024
"""Records of shards whose bytes are in memory at the same time."""


@step(name="storage", reads=["ingestion", "runs"])
def handler(event: Mapping[str, Any], task: Task) -> Mapping[str, Any]:
    """Commit the parts that the shards of this run have written.

    Returns:
        ``status`` (``complete`` or ``incomplete``), ``result`` (the manifest's reference),
        ``missing`` (indices of shards without a part, up to 20) and ``counts`` of every stage.

    Raises:
        WorkflowError: Another deployment has begun the run.
        InputError: The event names no manifest of Ingestion.
        CorruptObjectError: A record of a shard is not what Validation writes.
    """
    check_definition(task)
    manifest = ref_of(event, "run", "manifest")
    dataset = told_dataset(task)
    shards = _shards(task, manifest)
    records = _records(task, [shard["index"] for shard in shards])
    parts = [record for record in records if record is not None]
    missing = [s["index"] for s, record in zip(shards, records, strict=True) if record is None]
    refs = [Ref.from_dict(part["ref"]) for part in parts]
    settings = task.settings
    about = {
        "workflow": settings.workflow,
        "task": settings.task,
        "model": {"id": settings.model_id, "revision": settings.model_revision},
        "dataset": dataset or {"id": settings.dataset_id, "version": settings.dataset_version},
        "status": "incomplete" if missing else "complete",
        "missing": missing,
        **_endpoints(parts),
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
    total = sum(shard["records"] for shard in shards)
    task.count(records_in=total, out=result.records or 0, cached=cached)
    return {
        "status": about["status"],
        "result": result,
        "missing": missing[:MOST_MISSING],
        "counts": {**event.get("counts", {}), **_totals(parts), task.scope.stage: task.counts},
        **_context(task, about),
    }


def _shards(task: Task, manifest: Ref) -> list[dict[str, Any]]:
    try:
        shards = [json.loads(line) for line in task.get(manifest).splitlines()]
        whole = all(_is_whole(shard[name]) for shard in shards for name in ("index", "records"))
    except (ValueError, KeyError, TypeError, RecursionError):
        whole = False
    if not whole:
        msg = f"{manifest.uri} is no manifest of shards; send what Ingestion returned as run"
        raise InputError(msg)
    return shards


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _records(task: Task, indices: Sequence[int]) -> list[dict[str, Any] | None]:
    """Return what the shards of this run have written, None of those that have not."""
    folder = f"runs/{run_id(task)}/shards/"
    there = set(task.scope.list(folder))
    keys = {index: f"{folder}{index:05d}.json" for index in indices}
    found: dict[int, dict[str, Any]] = {}
    wanted = [index for index in indices if keys[index] in there]
    for start in range(0, len(wanted), READ_AT_ONCE):
        some = wanted[start : start + READ_AT_ONCE]
        for index, record in zip(
            some, task.scope.get_many_json([keys[index] for index in some]), strict=True
        ):
            found[index] = _checked(task, keys[index], record)
    return [found.get(index) for index in indices]


def _checked(task: Task, key: str, record: Any) -> dict[str, Any]:
    try:
        Ref.from_dict(record["ref"])
        check_counts(record["counts"])
        whole = _is_whole(record["records"]) and _is_whole(record["index"])
    except (InputError, KeyError, TypeError):
        whole = False
    if not whole:
        msg = f"{task.scope.store.url}/{key} is no record of a shard; run Validation again"
        raise CorruptObjectError(msg)
    checked: dict[str, Any] = record
    return checked


def _endpoints(parts: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return what the shards say of the servers that computed them; nothing of the local engine."""
    told = {json.dumps(p["endpoint"], sort_keys=True): p["endpoint"] for p in parts if _called(p)}
    if not told:
        return {}
    found = [told[text] for text in sorted(told)]
    enforced = all(_called(part) for part in parts) and all(
        one.get("revision_enforced") is True for one in found
    )
    return {"endpoints": found, "revision_enforced": enforced}


def _called(part: Mapping[str, Any]) -> bool:
    return isinstance(part.get("endpoint"), dict)


def _context(task: Task, about: Mapping[str, Any]) -> dict[str, Any]:
    """Return the run with whether the model's revision was enforced, where a server computed it."""
    if "revision_enforced" not in about:
        return {}
    return {"run": with_enforced(task, enforced=about["revision_enforced"])}


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
