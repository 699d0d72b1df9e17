"""Faults on the engine: a run ends well after retries, or fails clearly and keeps what is finished."""

from __future__ import annotations

import json
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import legato
from legato import Store
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


def finished(store: Store) -> set[str]:
    """The outputs that are there as a whole, one a task: their reference is written last."""
    ends = ("tokens.safetensors.ref", "vectors.safetensors.ref", "part.parquet.ref")
    return {key for stage in STAGES for key in store.list(f"{stage}/") if key.endswith(ends)}


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


def assert_rerun_finishes(stack: Stack, made: set[str], texts: Path) -> None:
    """What was finished is kept, another run makes only the rest, and gives what is right."""
    kept = {key: stack.store.get(key) for key in made}
    counts = assert_complete(stack, stack.run("--input", str(texts)), texts)
    for stage in STAGES:
        there = sum(key.startswith(f"{stage}/") for key in made)
        assert (counts[stage]["tasks"], counts[stage]["cached"]) == (SHARDS, there), stage
    assert {key: stack.store.get(key) for key in made} == kept


def test_killed_workers(fleet: Stack, texts: Path) -> None:
    killed: list[int] = []
    assert fleet.run("--text", "what starts processes").status == 0
    time.sleep(1)
    for stage in ("Preprocessing", "Inference", "Validation"):
        # In the middle of a task, when its output has been written and it does not know yet. Twice, as a crash is
        # tried again twice.
        fleet.proxy.plan.add(
            "delay_first",
            method="PUT",
            path=f"/{stage.lower()}/",
            skip=10,
            times=2,
            then=lambda stage=stage: killed.append(fleet.kill(stage)),
        )
    done = fleet.run("--input", str(texts))
    fleet.proxy.forget()
    assert_complete(fleet, done, texts)
    assert sum(killed) > 2
    assert set(fleet.failures(aws_stack.run_id(done))) == {"Runtime.ExitError"}


def test_throttled_functions(fleet: Stack, texts: Path) -> None:
    before = finished(fleet.store)
    with fleet.throttled("Validation", 0):
        failed = fleet.run("--input", str(texts))
    assert failed.status == 1
    # The emulator's name of Lambda.TooManyRequestsException.
    assert set(fleet.failures(aws_stack.run_id(failed))) == {"Lambda.Unknown"}
    made = finished(fleet.store) - before
    assert made
    assert_rerun_finishes(fleet, made, texts)


def test_few_executions_at_a_time(fleet: Stack, texts: Path) -> None:
    before = finished(fleet.store)
    with fleet.throttled("Inference", aws_stack.FLEET - 1):
        done = fleet.run("--input", str(texts))
    # Tried again twice under the emulator's name; on AWS eight times, under that of throttling.
    assert set(fleet.failures(aws_stack.run_id(done))) <= {"Lambda.Unknown"}
    if done.status == 0:
        assert_complete(fleet, done, texts)
    else:
        assert "TooManyRequestsException" in done.err
        assert_rerun_finishes(fleet, finished(fleet.store) - before, texts)


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


def test_an_outage_of_the_storage(fleet: Stack, texts: Path) -> None:
    # Longer than the client's own attempts, so that the engine has to try the task again.
    fleet.proxy.plan.add("internal_error", method="PUT", path="/inference/", times=40)
    done = fleet.run("--input", str(texts))
    fleet.proxy.forget()
    assert_complete(fleet, done, texts)
    assert set(fleet.failures(aws_stack.run_id(done))) == {"StoreUnavailableError"}


def test_a_shard_that_is_damaged_on_every_read(fleet: Stack, texts: Path) -> None:
    before = finished(fleet.store)
    fleet.proxy.plan.add("corrupt", method="GET", path="shard-00007.jsonl", times=None)
    failed = fleet.run("--input", str(texts))
    fleet.proxy.forget()
    assert failed.status == 1
    assert "CorruptObjectError" in failed.err
    assert "Preprocessing" in failed.err
    assert "shard-00007.jsonl" in failed.err
    # It is the store that reads again; a task that met it would meet it again.
    assert fleet.failures(aws_stack.run_id(failed)) == ["CorruptObjectError"]
    made = finished(fleet.store) - before
    assert len(made) == len(STAGES) * (SHARDS - 1)
    assert_rerun_finishes(fleet, made, texts)


def test_poisoned_records(fleet: Stack, texts: Path, tmp_path: Path) -> None:
    poisoned = tmp_path / "poisoned.jsonl"
    poison = [b"{", b'{"id": "a"}', b'{"id": "b", "text": 7}', b'"\xff"']
    poisoned.write_bytes(b"".join(line + b"\n" for line in poison) + texts.read_bytes())
    done = fleet.run("--input", str(poisoned))
    counts = assert_complete(fleet, done, texts)
    assert counts["ingestion"]["rejected"] == len(poison)
    assert "where and why:" in done.out


def test_an_output_that_is_too_large(fleet: Stack, texts: Path) -> None:
    before = finished(fleet.store)
    first = fleet.execution(fleet.run("--text", "any prompt"))
    event = json.loads(first["input"])
    event["run"]["note"] = "n" * 40_000
    name = f"{first['name']}-large"
    failed = fleet.execute(name, event)
    assert failed["status"] == "FAILED"
    assert failed["error"] == "OutputTooLargeError"
    assert fleet.failures(name) == ["OutputTooLargeError"]
    del event["run"]["note"]
    assert fleet.execute(f"{name}-not", event)["status"] == "SUCCEEDED"
    made = finished(fleet.store) - before
    assert len(made) == len(STAGES), made


def test_a_task_that_is_delivered_twice(fleet: Stack, texts: Path) -> None:
    before = finished(fleet.store)
    with fleet.throttled("Preprocessing", 0):
        failed = fleet.run("--input", str(texts))
    assert not finished(fleet.store) - before
    event = json.loads(fleet.children(aws_stack.run_id(failed))[0]["input"])
    for stage in ("Preprocessing", "Inference", "Validation"):
        with ThreadPoolExecutor(2) as pool:
            answers = list(pool.map(fleet.invoke, [stage] * 2, [event] * 2))
        answers.append(fleet.invoke(stage, event))
        counts = [answer.pop("counts")[stage.lower()] for answer in answers]
        # One of the first two may find what the other has written; both may compute, and one of them writes.
        assert counts[0]["cached"] + counts[1]["cached"] <= 1
        assert counts[2]["cached"] == 1
        assert answers[0] == answers[1] == answers[2]
        event = answers[0]
    made = finished(fleet.store) - before
    assert len(made) == len(STAGES)
    assert_rerun_finishes(fleet, made, texts)
