"""Storage: the shards' records, listed and read at the same time."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from typing import Any

import pytest

import legato
from legato._scope import Scope
from legato.errors import CorruptObjectError, WorkflowError
from legato.settings import Settings
from legato.stages import inference, preprocessing, storage
from legato.stages._events import definition
from tests.servers.proxy import FaultProxy
from tests.test_stages import SHARD_STAGES


def fleet(store: legato.Store, shards: int, *, without: set[int] = frozenset()) -> dict[str, Any]:  # type: ignore[assignment]
    """Make what a run of so many shards has written; return Storage's event."""
    part = store.put(b"part", "validation/x/part.parquet", records=2).to_dict()
    ref = store.put(b"shard", "ingestion/x/shard.jsonl", records=2).to_dict()
    lines = [json.dumps({"index": i, "records": 2, "ref": ref}) + "\n" for i in range(shards)]
    manifest = store.put("".join(lines).encode(), "ingestion/x/manifest.jsonl", records=shards)
    counts = {stage.lower(): {"in": 2, "out": 2} for stage in SHARD_STAGES}
    store.put_many(
        {
            f"runs/r/shards/{i:05d}.json": {
                "index": i,
                "ref": part,
                "records": 2,
                "counts": counts,
            }
            for i in range(shards)
            if i not in without
        }
    )
    return {"run": {"id": "r", "manifest": manifest.to_dict()}}


def commit(store: legato.Store, event: dict[str, Any]) -> dict[str, Any]:
    return storage.handler.bind(Settings(store=store.url), store)(event)


@pytest.mark.parametrize("at_once", [1, 7, 1024])
def test_parts_and_missing_shards_are_in_order(
    at_once: int, store: legato.Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(storage, "READ_AT_ONCE", at_once)
    without = {0, 5, *range(20, 50)}
    done = commit(store, fleet(store, 60, without=without))
    assert done["status"] == "incomplete"
    assert done["missing"] == sorted(without)[:20]
    manifest = store.load(legato.Ref.from_dict(done["result"]))
    assert manifest["missing"] == sorted(without)
    there = [i for i in range(60) if i not in without]
    assert [part["index"] for part in manifest["parts"]] == there
    assert manifest["records"] == 2 * len(there)
    assert done["counts"]["inference"] == {"tasks": len(there), "in": 56, "out": 56}


def test_records_of_other_runs_and_strangers_are_left_alone(store: legato.Store) -> None:
    event = fleet(store, 3, without={1})
    store.put(b"not read", "runs/r/shards/00001.json.bak")
    store.put(b"not read", "runs/r2/shards/00001.json")
    store.put(b"not read", "runs/r/shards/00009.json")
    done = commit(store, event)
    assert done["missing"] == [1]
    store.put(b"{", "runs/r/shards/00001.json")
    with pytest.raises(CorruptObjectError, match=r"00001\.json is no JSON"):
        commit(store, event)


def test_a_run_without_any_shard(store: legato.Store) -> None:
    done = commit(store, fleet(store, 3, without={0, 1, 2}))
    assert (done["status"], done["missing"]) == ("incomplete", [0, 1, 2])


def test_requests_wait_for_s3_together(s3_url: str, proxy: FaultProxy) -> None:
    store = legato.Store.open(s3_url)
    event = fleet(store, 60)
    late_s = 0.1
    proxy.plan.add("delay_first", method="GET", path="/shards/", times=None, seconds=late_s)
    started = time.perf_counter()
    assert commit(store, event)["status"] == "complete"
    # One after the other they would take more than the waiting alone.
    assert time.perf_counter() - started < 60 * late_s


def test_the_records_are_those_of_the_plain_way(store: legato.Store) -> None:
    event = fleet(store, 40, without={3})
    scope = Scope.of(store, "storage", ["runs"], ["storage"])
    task = legato.Task(scope, Settings(store=store.url), event["run"])
    found = storage._records(task, range(40))
    assert found[3] is None
    for index in (i for i in range(40) if i != 3):
        assert found[index] == scope.get_json(f"runs/r/shards/{index:05d}.json")


def test_the_result_names_what_the_run_has_read(store: legato.Store) -> None:
    event = fleet(store, 1)
    event["run"]["dataset"] = {"id": "given.jsonl", "version": "sha256:1"}
    settings = Settings(store=store.url, dataset_id="deployed.jsonl", dataset_version="7")
    done = storage.handler.bind(settings, store)(event)
    found = store.load(legato.Ref.from_dict(done["result"]))["dataset"]
    assert found == {"id": "given.jsonl", "version": "sha256:1"}
    del event["run"]["dataset"]
    done = storage.handler.bind(settings, store)(event)
    found = store.load(legato.Ref.from_dict(done["result"]))["dataset"]
    assert found == {"id": "deployed.jsonl", "version": "7"}


@pytest.mark.parametrize("changed", [{"model_revision": "b"}, {"parameters": {"top_k": 2}}])
@pytest.mark.parametrize("stage", [preprocessing, inference, storage])
def test_a_run_that_another_deployment_has_begun(
    store: legato.Store, stage: Any, changed: dict[str, Any]
) -> None:
    settings = Settings(store=store.url, task="text-classification", model_revision="a")
    event = fleet(store, 1)
    event["run"]["definition"] = definition(settings)
    event["run"]["model"] = {"id": "model", "revision": "a"}
    if stage is storage:
        stage.handler.bind(settings, store)(event)
        stage.handler.bind(replace(settings, model_revision=None), store)(event)
    later = replace(settings, **changed)
    with pytest.raises(WorkflowError, match="was deployed with another model or other parameters"):
        stage.handler.bind(later, store)(event)
