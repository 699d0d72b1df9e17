"""Ingestion: an input file to shards of records, and the manifest that the fleet reads.

Reads ``input`` (a reference to JSONL, also compressed with zstd, CSV, TXT or Parquet), writes
shards, ``manifest.jsonl`` (one line a shard), ``rejected.jsonl`` (where and why, never the text)
and ``summary.json``.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from legato._events import JSON, JSONL
from legato._native import Ref, inflate
from legato._scope import Folder, bucket_key
from legato.errors import InputError
from legato.stages._events import ref_of, run_id
from legato.stages._readers import COMPRESSED, Record, Rejected, kind_of, read_records
from legato.step import Task, step

SHARD_BYTES = 4 << 20
"""Most bytes of text in a shard, whatever the number of records: a shard has minutes, not hours."""

MAX_SHARDS = 80_000
"""Most shards of a run: the empty outputs of more would not fit into the Map's 256 KiB."""

MANIFEST, SUMMARY, REJECTED = "manifest.jsonl", "summary.json", "rejected.jsonl"


@step(name="ingestion", reads=["inputs"])
def handler(event: Mapping[str, Any], task: Task) -> Mapping[str, Any]:
    """Split the input into shards.

    Raises:
        InputError: The input is empty, of an unknown kind, or none of its records can be used.
    """
    source = ref_of(event, "input")
    settings = task.settings
    kind = kind_of(source.uri)
    folder = task.scope.folder(
        inputs=[source],
        parameters={
            "kind": kind,
            "text_field": settings.text_field,
            "id_field": settings.id_field,
            "shard_records": settings.shard_records,
            "max_record_bytes": settings.max_record_bytes,
            # The manifest holds references, which name the store.
            "store": task.scope.store.url,
            # The same bytes are other records; nothing is said of plain ones, whose keys stay.
            **({"compressed": "zstd"} if _is_compressed(source) else {}),
        },
    )
    found = _finished(task, folder)
    cached = found is not None
    manifest, summary = found or _split(source, kind, task, folder)
    task.count(records_in=summary["in"], out=summary["out"], cached=cached)
    run = {
        **task.run,
        "manifest": manifest,
        "manifest_key": _key(task, manifest),
        "results_prefix": bucket_key(task.scope.store.url, f"runs/{run_id(task)}/map"),
    }
    if run.get("mode") != "prompt":
        return {"run": run}
    if summary["out"] != 1:
        msg = f"a prompt must be one record, the input has {summary['out']}; run it as a dataset"
        raise InputError(msg)
    return {"run": run, "shard": json.loads(task.get(manifest).splitlines()[0])}


def _finished(task: Task, folder: Folder) -> tuple[Ref, dict[str, Any]] | None:
    """Return manifest and summary of a finished split that is intact as a whole."""
    manifest, summary, rejected = map(folder.find, (MANIFEST, SUMMARY, REJECTED))
    if manifest is None or summary is None or rejected is None:
        return None
    lines = task.get(manifest).splitlines()
    names = (task.scope.store.key_of(Ref.from_dict(json.loads(line)["ref"])) for line in lines)
    if any(task.scope.find(name) is None for name in names):
        return None
    return manifest, json.loads(task.get(summary))


def _split(source: Ref, kind: str, task: Task, folder: Folder) -> tuple[Ref, dict[str, Any]]:
    settings = task.settings
    chunks = task.scope.chunks(source)
    records = read_records(
        inflate(chunks) if _is_compressed(source) else chunks,
        kind=kind,
        text_field=settings.text_field,
        id_field=settings.id_field,
        max_record_bytes=settings.max_record_bytes,
    )
    rejected: list[Rejected] = []
    lines: list[str] = []
    total = 0
    for shard in _shards(records, rejected, settings.shard_records):
        data = "".join(_line({"id": r.id, "text": r.text}) for r in shard).encode()
        name = f"shard-{len(lines):05d}.jsonl"
        if len(lines) == MAX_SHARDS:
            msg = (
                f"the input makes more than {MAX_SHARDS:,} shards of {settings.shard_records:,} "
                "records; raise shard_records"
            )
            raise InputError(msg)
        ref = folder.commit(name, data, media_type=JSONL, records=len(shard))
        total += len(shard)
        lines.append(_line({"index": len(lines), "records": len(shard), "ref": ref.to_dict()}))
    _refuse_nothing(source, total, rejected)
    reasons = Counter(r.reason for r in rejected)
    summary = {"in": total + len(rejected), "out": total, "rejected": dict(sorted(reasons.items()))}
    refused = "".join(_line(_about(r)) for r in rejected).encode()
    folder.commit(REJECTED, refused, media_type=JSONL, records=len(rejected))
    folder.commit(SUMMARY, _line(summary).encode(), media_type=JSON)
    # Last: a run that finds the manifest finds everything that it names.
    data = "".join(lines).encode()
    return folder.commit(MANIFEST, data, media_type=JSONL, records=len(lines)), summary


def _is_compressed(source: Ref) -> bool:
    return source.uri.lower().endswith(COMPRESSED)


def _shards(
    records: Iterator[Record | Rejected], rejected: list[Rejected], most: int
) -> Iterator[list[Record]]:
    shard: list[Record] = []
    size = 0
    for record in records:
        if isinstance(record, Rejected):
            rejected.append(record)
            continue
        length = len(record.text)
        if shard and (len(shard) == most or size + length > SHARD_BYTES):
            yield shard
            shard, size = [], 0
        shard.append(record)
        size += length
    if shard:
        yield shard


def _refuse_nothing(source: Ref, total: int, rejected: list[Rejected]) -> None:
    if total:
        return
    if not rejected:
        msg = f"input {source.uri} is empty: it has no records; check the file"
        raise InputError(msg)
    first = rejected[0]
    msg = (
        f"none of the {len(rejected):,} records of input {source.uri} can be used; the first, at "
        f"position {first.position}, was rejected: {first.reason} ({first.detail})"
    )
    raise InputError(msg)


def _about(rejected: Rejected) -> dict[str, Any]:
    return {
        "position": rejected.position,
        "id": rejected.id,
        "reason": rejected.reason,
        "detail": rejected.detail,
    }


def _key(task: Task, manifest: Ref) -> str:
    # As the state machine's item reader knows it: by bucket and key, not by store.
    return bucket_key(task.scope.store.url, task.scope.store.key_of(manifest))


def _line(value: Mapping[str, Any]) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")) + "\n"
