"""Ingestion: an input file to shards of records, and the manifest that the fleet reads.

Reads ``input`` (a reference to JSONL, also compressed with zstd, CSV, TXT or Parquet, or where an
object lies that somebody else has stored), writes shards, ``manifest.jsonl`` (one line a shard),
``rejected.jsonl`` (where and why, never the text) and ``summary.json``.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from typing import Any

from legato._events import JSON, JSONL
from legato._native import Ref, inflate
from legato._scope import Folder, bucket_key
from legato.errors import InputError
from legato.settings import Settings
from legato.stages import _models
from legato.stages._at_once import mapped
from legato.stages._events import dataset_of, definition, run_id, source_of
from legato.stages._readers import COMPRESSED, Rejected, kind_of, read_records
from legato.stages._shards import BATCH_BYTES, Limits, Shard, cut
from legato.step import Task, step

MAX_SHARDS = 80_000
"""Most shards of a run: the empty outputs of more would not fit into the Map's 256 KiB."""

MANIFEST, SUMMARY, REJECTED = "manifest.jsonl", "summary.json", "rejected.jsonl"


@step(name="ingestion", reads=["inputs", "models"])
def handler(event: Mapping[str, Any], task: Task) -> Mapping[str, Any]:
    """Split the input into shards.

    Raises:
        InputError: The input is empty, of an unknown kind, or none of its records can be used.
    """
    source = source_of(event, task)
    settings = task.settings
    kind = kind_of(source.uri)
    files = _models.text_files(task)
    length = _models.max_length(settings, files)
    folder = task.scope.folder(
        inputs=[source],
        parameters={
            "kind": kind,
            "text_field": settings.text_field,
            "id_field": settings.id_field,
            "shard_records": settings.shard_records,
            "shard_tokens": settings.shard_tokens,
            # How many tokens a text has.
            "tokenizer": files.tokenizer_digest,
            "max_length": length,
            **_models.of_texts(settings, files),
            "max_record_bytes": settings.max_record_bytes,
            # The manifest holds references, which name the store.
            "store": task.scope.store.url,
            # The same bytes are other records; nothing is said of plain ones, whose keys stay.
            **({"compressed": "zstd"} if _is_compressed(source) else {}),
        },
    )
    found = _finished(task, folder)
    cached = found is not None
    if found is None:
        found = _split(source, kind, _models.Counter(settings, files, length), task, folder)
    manifest, summary = found
    task.count(records_in=summary["in"], out=summary["out"], cached=cached)
    run = {
        **task.run,
        "dataset": dataset_of(event, task, source),
        "model": {"id": settings.model_id, "revision": settings.model_revision},
        "definition": definition(settings),
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
    found = mapped(lambda name: task.scope.find(name), names)  # noqa: PLW0108 - named as granted
    if any(ref is None for ref in found):
        return None
    return manifest, json.loads(task.get(summary))


def _split(
    source: Ref, kind: str, count: _models.Counter, task: Task, folder: Folder
) -> tuple[Ref, dict[str, Any]]:
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
    limits = Limits(settings.shard_tokens, settings.shard_records)
    shards = cut(records, rejected, count, limits, batch_bytes=BATCH_BYTES // count.rows)

    def store(numbered: tuple[int, Shard]) -> tuple[str, int]:
        index, shard = numbered
        if index == MAX_SHARDS:
            raise InputError(_too_many(settings))
        data = "".join(_line({"id": r.id, "text": r.text}) for r in shard.records).encode()
        size = len(shard.records)
        ref = folder.commit(f"shard-{index:05d}.jsonl", data, media_type=JSONL, records=size)
        about = {"index": index, "records": size, "tokens": shard.tokens}
        return _line({**about, "ref": ref.to_dict()}), size

    stored = list(mapped(store, enumerate(shards)))
    total = sum(size for _, size in stored)
    _refuse_nothing(source, total, rejected)
    reasons = Counter(r.reason for r in rejected)
    summary = {"in": total + len(rejected), "out": total, "rejected": dict(sorted(reasons.items()))}
    refused = "".join(_line(_about(r)) for r in rejected).encode()
    folder.commit(REJECTED, refused, media_type=JSONL, records=len(rejected))
    folder.commit(SUMMARY, _line(summary).encode(), media_type=JSON)
    # Last: a run that finds the manifest finds everything that it names.
    data = "".join(line for line, _ in stored).encode()
    return folder.commit(MANIFEST, data, media_type=JSONL, records=len(stored)), summary


def _too_many(settings: Settings) -> str:
    return (
        f"the input makes more than {MAX_SHARDS:,} shards of {settings.shard_tokens:,} tokens or "
        f"{settings.shard_records:,} records; raise the one that is too small"
    )


def _is_compressed(source: Ref) -> bool:
    return source.uri.lower().endswith(COMPRESSED)


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
