"""Outputs that a state discards, and that the next state's step fetches."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

import legato
from legato.errors import (
    AccessDeniedError,
    CorruptObjectError,
    InputError,
    ObjectNotFoundError,
)
from legato.local import STEPS
from legato.settings import Settings
from legato.worker import Job
from tests.test_stages import Chain


@legato.step(name="after", reads=["runs"])
def after(event: Mapping[str, Any], task: legato.Task) -> Mapping[str, Any]:
    return {"seen": sorted(event), "answer": event.get("answer")}


def handle(store: legato.Store, event: Any, step: Any = after) -> Any:
    return step.bind(Settings(store=store.url), store)(event)


def test_it_is_merged_before_the_function_sees_the_event(store: legato.Store) -> None:
    store.put({"answer": 42, "run": {"id": "r"}}, "runs/r/outputs/inference-00007.json")
    event = {"run": {"id": "r"}, "shard": {"index": 7}, "tokens": 1, "left": {"stage": "inference"}}
    got = handle(store, event)
    assert got["answer"] == 42
    assert got["seen"] == ["answer", "run", "shard", "tokens"]


def test_a_prompt_is_shard_0(store: legato.Store) -> None:
    store.put({"answer": 42}, "runs/r/outputs/inference-00000.json")
    event = {"run": {"id": "r"}, "left": {"stage": "inference"}}
    assert handle(store, event)["answer"] == 42


def test_references_in_it_are_resolved(store: legato.Store) -> None:
    @legato.step(name="after", reads=["runs", "inference"])
    def reader(event: Mapping[str, Any], task: legato.Task) -> Mapping[str, Any]:
        return {"answer": task.get(event["data"]).decode()}

    ref = store.put(b"of inference", "inference/x")
    store.put({"data": ref.to_dict()}, "runs/r/outputs/inference-00000.json")
    event = {"run": {"id": "r"}, "left": {"stage": "inference"}}
    assert handle(store, event, reader)["answer"] == "of inference"


def test_what_is_missing_or_wrong_is_said(store: legato.Store) -> None:
    event = {"run": {"id": "r"}, "shard": {"index": 7}, "left": {"stage": "inference"}}
    with pytest.raises(ObjectNotFoundError, match=r"has left no output at .*inference-00007\.json"):
        handle(store, event)
    for data, error in ((b"[]", CorruptObjectError), (b"{", CorruptObjectError)):
        store.put(data, "runs/r/outputs/inference-00007.json")
        with pytest.raises(error):
            handle(store, event)
    for left in ("inference", {}, {"stage": "../x"}, {"stage": 7}, None):
        with pytest.raises(InputError, match="names no stage"):
            handle(store, {**event, "left": left})
    for run in ({}, {"id": "a/b"}, {"id": 7}, "r"):
        with pytest.raises(InputError, match=r"run\.id"):
            handle(store, {**event, "run": run})
    for shard in ({}, {"index": -1}, {"index": "7"}, {"index": True}, 7):
        with pytest.raises(InputError, match="shard without index"):
            handle(store, {**event, "shard": shard})


def test_a_step_that_does_not_declare_runs_is_refused(store: legato.Store) -> None:
    @legato.step(name="after")
    def other(event: Mapping[str, Any], task: legato.Task) -> Mapping[str, Any]:
        return {}

    store.put({"answer": 42}, "runs/r/outputs/inference-00000.json")
    with pytest.raises(AccessDeniedError, match=r"add 'runs' to reads=\[\.\.\.\]"):
        handle(store, {"run": {"id": "r"}, "left": {"stage": "inference"}}, other)


def test_inference_as_a_job_gives_what_it_gives_as_a_function(
    store: legato.Store, tiny_bert: Path
) -> None:
    chain = Chain(store, tiny_bert)
    event = chain.until("Inference")
    direct = chain.call("Validation", chain.call("Inference", event))
    job = Job(STEPS["Inference"], event, chain.settings, store)
    job.leave(json.loads(json.dumps(job.run())))
    # As the document does it: the result is discarded, and "left" is put beside the state's input.
    left = chain.call("Validation", {**event, "left": {"stage": "inference"}})
    seconds = [out["counts"].pop("validation")["seconds"] for out in (direct, left)]
    assert all(seconds)
    assert direct["result"] == left["result"]
    assert "left" not in left
    assert "tokens" not in left
