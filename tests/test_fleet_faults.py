"""Faults on the engine: a run ends well after retries, or fails clearly and keeps what is finished."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import legato
from legato import Ref, Store
from legato.cli._load import load_workflow
from legato.results import Results
from tests import aws_stack
from tests.aws_stack import Done, Stack

SHARDS = 24
STAGES = ("preprocessing", "inference", "validation")


@pytest.fixture
def texts(tmp_path: Path) -> Path:
    """A dataset that no other test has run."""
    return aws_stack.write_texts(tmp_path / "texts.jsonl", 4 * SHARDS, about=tmp_path.name)


def finished(store: Store) -> dict[str, set[str]]:
    """The outputs of each stage that are there as a whole: their reference is written last."""
    return {
        stage: {key for key in store.list(f"{stage}/") if key.endswith(".ref")} for stage in STAGES
    }


def undisturbed(stack: Stack, texts: Path) -> Results:
    return legato.run(
        load_workflow(stack.definition), store=f"memory://{time.time_ns()}", input=texts
    ).results()


def assert_complete(stack: Stack, done: Done, texts: Path) -> dict[str, Any]:
    """The run gave what it gives where nothing goes wrong; returns the counts of its stages."""
    assert done.status == 0, done.err
    execution = stack.execution(done)
    found = Results.load(stack.store, aws_stack.result_of(execution))
    expected = undisturbed(stack, texts)
    assert found.ids == expected.ids
    assert np.array_equal(found.vectors, expected.vectors)
    counts: dict[str, Any] = json.loads(execution["output"])["counts"]
    return counts


def assert_rerun_finishes(stack: Stack, before: dict[str, set[str]], texts: Path) -> None:
    """What was finished is kept, another run makes only the rest, and gives what is right."""
    store = stack.store
    kept = {key: store.get(key) for keys in before.values() for key in keys}
    counts = assert_complete(stack, stack.run("--input", str(texts)), texts)
    for stage, keys in before.items():
        assert counts[stage]["cached"] == len(keys), stage
        assert counts[stage]["tasks"] == SHARDS
    assert kept == {key: store.get(key) for key in kept}


@contextmanager
def alongside(work: Any) -> Iterator[Any]:
    """Do something in a thread until the block ends, and raise what it raised."""
    stop = threading.Event()
    with ThreadPoolExecutor(1) as pool:
        doing = pool.submit(work, stop)
        try:
            yield doing
        finally:
            stop.set()
        doing.result()


def test_killed_workers(fleet: Stack, texts: Path) -> None:
    killed: list[str] = []

    def kill(stop: threading.Event) -> None:
        # Apart by more than a task takes: a crash is tried twice more, and no task shall meet all three.
        while not stop.wait(0.4) and len(killed) < 6:
            for stage in STAGES:
                if fleet.kill(stage):
                    killed.append(stage)
                    break

    with alongside(kill):
        done = fleet.run("--input", str(texts))
    assert_complete(fleet, done, texts)
    assert len(killed) > 2
    assert set(fleet.failures(aws_stack.run_id(done))) == {"Runtime.ExitError"}


def test_throttled_functions(fleet: Stack, texts: Path) -> None:
    with fleet.throttled("Validation", 0):
        failed = fleet.run("--input", str(texts))
    assert failed.status == 1
    assert set(fleet.failures(aws_stack.run_id(failed))) == {"Lambda.Unknown"}
    before = finished(fleet.store)
    assert_rerun_finishes(fleet, before, texts)


def test_storage_that_answers_badly_and_slowly(fleet: Stack, texts: Path) -> None:
    chances = {
        "slow_down": 0.04,
        "internal_error": 0.03,
        "reset": 0.02,
        "cut_rst": 0.01,
        "swallow": 0.01,
        "corrupt": 0.01,
        "delay_first": 0.05,
        "delay_middle": 0.02,
    }
    fleet.proxy.plan.draw(chances, seed=1, seconds=0.3)
    done = fleet.run("--input", str(texts))
    faults = fleet.proxy.faults.copy()
    fleet.proxy.forget()
    assert_complete(fleet, done, texts)
    assert faults.total() > SHARDS
    assert set(faults) >= {"slow_down", "internal_error", "delay_first"}
