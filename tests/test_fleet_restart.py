"""The engine is restarted in the middle of a run: what is finished is kept, and another run makes the rest."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

import legato
from legato.cli._load import load_workflow
from legato.results import Results
from tests import aws_stack
from tests.aws_stack import Stack
from tests.conftest import use
from tests.servers.proxy import FaultProxy

SHARDS = 32


@pytest.fixture
def kept(tiny_bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stack]:
    """A stack of its own, on an engine that keeps what it has on disk."""
    for needed in ("ministack", "awslambdaric", "boto3"):
        pytest.importorskip(needed)
    folder = tmp_path / "engine"
    server = aws_stack.start(folder, environ(folder))
    with closing(FaultProxy(server.port, secure=True)) as proxy:
        use(server.environ(), monkeypatch)
        definition = aws_stack.write_workflow(folder, tiny_bert, records=4 * SHARDS)
        stack = aws_stack.deploy(server, proxy, definition)
        use(stack.environ, monkeypatch)
        yield stack
        stack.server.server.stop()


def environ(folder: Path) -> dict[str, str]:
    return {
        "PERSIST_STATE": "1",
        "STATE_DIR": str(folder / "state"),
        "S3_PERSIST": "1",
        "S3_DATA_DIR": str(folder / "objects"),
    }


def restart(stack: Stack) -> None:
    """End the engine and start it again, as another process at the same place."""
    folder, port = stack.server.server.log.parent, stack.server.port
    aws_stack.shut_down(stack.server)
    stack.server = aws_stack.start(folder, environ(folder), port=port)


def parts(stack: Stack) -> set[str]:
    return {key for key in stack.store.list("validation/") if key.endswith("part.parquet.ref")}


def test_the_engine_restarts(kept: Stack) -> None:
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(kept.run)
        while len(parts(kept)) < SHARDS // 4:
            assert not running.done(), running.result()
            time.sleep(0.05)
        restart(kept)
        failed = running.result()
    assert failed.status == 1
    assert "States.ServiceRestart" in failed.err
    made = {key: kept.store.get(key) for key in parts(kept)}
    assert SHARDS // 4 <= len(made) < SHARDS
    done = kept.run()
    assert done.status == 0, done.err
    execution = kept.execution(done)
    counts = json.loads(execution["output"])["counts"]["validation"]
    assert (counts["tasks"], counts["cached"]) == (SHARDS, len(made))
    assert {key: kept.store.get(key) for key in made} == made
    found = Results.load(kept.store, aws_stack.result_of(execution))
    here = legato.run(load_workflow(kept.definition), store="memory://restarted").results()
    assert found.ids == here.ids
    assert np.array_equal(found.vectors, here.vectors)
