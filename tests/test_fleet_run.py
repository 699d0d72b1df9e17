"""One prompt and a fleet on the engine: what it gives is what the conductor gives, bit for bit."""

from __future__ import annotations

import re
import time

import numpy as np

import legato
from legato.cli._load import load_workflow
from legato.cli._report import report
from legato.local import Run
from legato.results import Results
from tests import aws_stack
from tests.aws_stack import Done, Stack

SHARDS = 200


def local(stack: Stack, **source: str) -> Run:
    return legato.run(load_workflow(stack.definition), store=f"memory://{time.time_ns()}", **source)


def remote(stack: Stack, done: Done) -> Results:
    return Results.load(stack.store, aws_stack.result_of(stack.execution(done)))


def without_times(text: str) -> str:
    """A report less what differs from run to run: seconds, rates, ids and the store's URL."""
    text = re.sub(r"(s3|memory)://\S*/", "STORE/", text)
    text = re.sub(r"run-\S+", "RUN", text)
    text = re.sub(r"in [0-9.]+ s \([0-9,]+ records/s\)", "in SECONDS", text)
    return re.sub(r" +[0-9]+\.[0-9]{2}$", " SECONDS", text, flags=re.MULTILINE)


def test_one_prompt(fleet: Stack) -> None:
    done = fleet.run("--text", "a prompt of its own")
    assert done.status == 0, done.err
    here = local(fleet, text="a prompt of its own")
    assert np.array_equal(remote(fleet, done).vectors, here.results().vectors)
    expected = report(load_workflow(fleet.definition).name, here)
    assert without_times(done.out).strip().startswith(without_times(expected).strip())
    # No text travels in a state, nor in the history.
    told = str(fleet.events(aws_stack.run_id(done))) + str(fleet.execution(done))
    assert "a prompt of its own" not in told


def test_a_fleet(fleet: Stack) -> None:
    done = fleet.run()
    assert done.status == 0, done.err
    here = local(fleet)
    found, expected = remote(fleet, done), here.results()
    assert found.ids == expected.ids
    assert np.array_equal(found.vectors, expected.vectors)
    assert (
        without_times(done.out).strip()
        == without_times(report(load_workflow(fleet.definition).name, here)).strip()
    )
    assert "preprocessing" in done.err.lower()
    name = aws_stack.run_id(done)
    children = fleet.children(name)
    assert len(children) == SHARDS
    assert {child["status"] for child in children} == {"SUCCEEDED"}
    assert fleet.failures(name) == []
