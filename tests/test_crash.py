"""Runs that are killed, interrupted, starved of space or doubled: a rerun completes, bit for bit."""

from __future__ import annotations

import contextlib
import os
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

import legato

pytestmark = pytest.mark.slow

RECORDS = 400
WORKFLOW = """
import legato
workflow = legato.Workflow(
    name="crash", task="feature-extraction", model={model!r}, shard_records={shard_records}
)
"""
WORDS = ("river", "rain", "wind", "old man", "sea", "lake", "city", "light", "people", "walk")


class Runs:
    """``legato run`` in processes of their own, on one input."""

    def __init__(self, folder: Path, model: Path, *, records: int, words: int, shard: int) -> None:
        self.folder = folder
        (folder / "w.py").write_text(WORKFLOW.format(model=str(model), shard_records=shard))
        rng = random.Random(7)
        texts = (" ".join(rng.choices(WORDS, k=words)) for _ in range(records))
        (folder / "in.txt").write_text("\n".join(texts))

    def start(self, store: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "legato.cli", "run", "w.py", "--input", "in.txt"]
        return subprocess.Popen(
            [*command, "--store", self.url(store)],
            cwd=self.folder,
            env={**os.environ, "PYTHONPATH": str(Path(legato.__file__).parents[1])},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def run(self, store: str) -> tuple[int, str, str]:
        """Run to the end; return status, stdout and stderr."""
        with self.start(store) as child:
            out, err = child.communicate(timeout=60)
        assert "Traceback" not in err
        return child.returncode, out, err

    def url(self, store: str) -> str:
        return (self.folder / store).as_uri()

    def complete(self, store: str) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
        """Run to the end, which must succeed; return the vectors."""
        status, out, err = self.run(store)
        assert status == 0, err
        return self.vectors(store, out)

    def vectors(self, store: str, out: str) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
        opened = legato.Store.open(self.url(store))
        uri = re.search(r"^result    (\S+)$", out, re.MULTILINE)
        assert uri is not None
        found = opened.find(uri[1].removeprefix(f"{opened.url}/"))
        assert found is not None
        results = legato.Results.load(opened, found)
        assert results.manifest["status"] == "complete"
        assert len(results.ids) == len(set(results.ids)) == results.manifest["records"]
        return results.vectors

    def objects(self, store: str, pattern: str) -> int:
        return len(list((self.folder / store).glob(pattern)))

    def wait_for(
        self, child: subprocess.Popen[str], store: str, pattern: str, count: int = 1
    ) -> None:
        """Wait until so many objects are there."""
        deadline = time.monotonic() + 30
        while self.objects(store, pattern) < count:
            assert child.poll() is None, child.communicate()
            assert time.monotonic() < deadline
            time.sleep(0.002)


def assert_whole(store: str, *, finished: bool) -> None:
    """Every object with a reference is what that says; of a finished run, every object has one."""
    opened = legato.Store.open(store)
    keys = set(opened.list())
    references = {key for key in keys if key.endswith(".ref")}
    for key in references:
        assert opened.find(key.removesuffix(".ref")) is not None, key
    if finished:
        outputs = {k for k in keys - references if not k.startswith(("runs/", "inputs/"))}
        assert {f"{key}.ref" for key in outputs} == references


def end(child: subprocess.Popen[str], number: int = signal.SIGKILL) -> tuple[int, str]:
    """Send a signal to the process and all that it has started; return its status and stderr."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child.pid, number)
    with child:
        _, err = child.communicate(timeout=30)
    return child.returncode, err


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory, tiny_bert: Path) -> Runs:
    folder = tmp_path_factory.mktemp("crash")
    return Runs(folder, tiny_bert, records=RECORDS, words=30, shard=10)


@pytest.fixture(scope="module")
def undisturbed(runs: Runs) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    """The vectors of a run that nobody disturbs."""
    vectors = runs.complete("undisturbed")
    assert vectors.shape == (RECORDS, 32)
    assert_whole(runs.url("undisturbed"), finished=True)
    return vectors


@pytest.mark.parametrize("seed", range(2))
def test_a_run_after_several_that_were_killed_completes_bit_for_bit(
    seed: int, runs: Runs, undisturbed: object
) -> None:
    # A new seed each day would find more, and fail where nobody can see why.
    rng = random.Random(seed)
    store = f"killed-{seed}"
    # How far a run is let go, in finished outputs (a whole run has over 160): a time would be too
    # long for one machine and too short for another.
    for low, high in ((1, 50), (51, 100), (101, 150)):
        child = runs.start(store)
        runs.wait_for(child, store, "**/*.ref", rng.randint(low, high))
        status, _ = end(child)
        assert status == -signal.SIGKILL
        assert_whole(runs.url(store), finished=False)
    np.testing.assert_array_equal(runs.complete(store), undisturbed)
    assert_whole(runs.url(store), finished=True)


@pytest.mark.parametrize(
    "pattern",
    [
        "ingestion/*/shard-00003.jsonl",
        "ingestion/*/manifest.jsonl",
        "preprocessing/*/tokens.safetensors",
        "validation/*/part.parquet",
    ],
)
def test_a_run_that_was_killed_once_an_object_is_there_is_completed(
    pattern: str, runs: Runs, undisturbed: object
) -> None:
    store = f"killed-at-{pattern.partition('/')[0]}-{pattern.rpartition('/')[2]}"
    child = runs.start(store)
    runs.wait_for(child, store, pattern)
    status, _ = end(child)
    assert status == -signal.SIGKILL
    assert_whole(runs.url(store), finished=False)
    np.testing.assert_array_equal(runs.complete(store), undisturbed)
    assert_whole(runs.url(store), finished=True)


@pytest.mark.parametrize(
    "pattern", ["ingestion/*/shard-00000.jsonl", "inference/*/vectors.safetensors"]
)
def test_control_c_stops_a_run_and_the_next_one_goes_on_from_there(
    pattern: str, runs: Runs, undisturbed: object
) -> None:
    store = f"stopped-{pattern.partition('/')[0]}"
    child = runs.start(store)
    runs.wait_for(child, store, pattern)
    stopped = time.monotonic()
    status, err = end(child, signal.SIGINT)
    assert status == 130, err
    assert time.monotonic() - stopped < 4
    assert err.splitlines()[-1].startswith("legato: stopped; finished shards are kept")
    assert "Traceback" not in err
    assert_whole(runs.url(store), finished=False)
    done, out, err = runs.run(store)
    assert done == 0, err
    assert pattern.startswith("ingestion") or "outputs were already there" in out
    np.testing.assert_array_equal(runs.vectors(store, out), undisturbed)
    assert_whole(runs.url(store), finished=True)


def test_control_c_in_the_middle_of_a_long_computation_is_quick(
    tmp_path: Path, minilm: Path
) -> None:
    long = Runs(tmp_path, minilm, records=2000, words=200, shard=2000)
    child = long.start("store")
    long.wait_for(child, "store", "preprocessing/*/tokens.safetensors.ref")
    time.sleep(0.7)  # the model is loaded, and computes
    stopped = time.monotonic()
    status, err = end(child, signal.SIGINT)
    assert status == 130, err
    assert time.monotonic() - stopped < 4
    assert "Traceback" not in err
    assert_whole(long.url("store"), finished=False)
    assert long.objects("store", "inference/*/*") == 0


def test_two_runs_at_once_give_the_same_result(runs: Runs, undisturbed: object) -> None:
    children = [runs.start("shared") for _ in range(2)]
    outs = []
    for child in children:
        with child:
            out, err = child.communicate(timeout=60)
        assert child.returncode == 0, err
        outs.append(out)
    results = {re.findall(r"^result    (\S+)$", out, re.MULTILINE)[0] for out in outs}
    assert len(results) == 1
    for out in outs:
        np.testing.assert_array_equal(runs.vectors("shared", out), undisturbed)
    assert_whole(runs.url("shared"), finished=True)


def test_a_run_beside_one_that_is_killed_completes(runs: Runs, undisturbed: object) -> None:
    victim, survivor = runs.start("beside"), runs.start("beside")
    runs.wait_for(victim, "beside", "preprocessing/*/tokens.safetensors")
    assert end(victim)[0] == -signal.SIGKILL
    with survivor:
        out, err = survivor.communicate(timeout=60)
    assert survivor.returncode == 0, err
    np.testing.assert_array_equal(runs.vectors("beside", out), undisturbed)
    assert_whole(runs.url("beside"), finished=True)


# Stores that refuse


@pytest.fixture
def mount(runs: Runs) -> Iterator[Callable[..., None]]:
    """Return a function that mounts a small file system as a store, or mounts it anew."""
    mounted: list[Path] = []

    def mount(store: str, options: str) -> None:
        folder = runs.folder / store
        folder.mkdir(exist_ok=True)
        options = f"remount,{options}" if folder in mounted else options
        command = ["mount", "-t", "tmpfs", "-o", options, "none", str(folder)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode and folder not in mounted:
            pytest.skip(f"a file system cannot be mounted here: {done.stderr.strip()}")
        assert done.returncode == 0, done.stderr
        mounted.append(folder)

    if os.geteuid() != 0:
        pytest.skip("only root can mount a file system of its own")
    yield mount
    for folder in set(mounted):
        subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.parametrize(
    "options",
    # Room for less and less of the run; the last one has room for bytes and not for files.
    ["size=1400k", "size=700k", "size=200k", "size=80k", "size=16k", "size=64m,nr_inodes=40"],
)
def test_a_full_store_is_said_to_be_full_and_a_run_with_room_completes(
    options: str, runs: Runs, undisturbed: object, mount: Callable[..., None]
) -> None:
    store = re.sub(r"\W", "-", f"full-{options}")
    mount(store, options)
    status, _, err = runs.run(store)
    assert status == 1, err
    last = err.splitlines()[-1]
    assert last.startswith("legato: StoreFullError: "), last
    assert runs.url(store) in last
    assert_whole(runs.url(store), finished=False)
    mount(store, "size=64m,nr_inodes=10000")
    np.testing.assert_array_equal(runs.complete(store), undisturbed)
    assert_whole(runs.url(store), finished=True)


def test_a_store_that_becomes_read_only_is_denied_and_then_completes(
    runs: Runs, undisturbed: object, mount: Callable[..., None]
) -> None:
    mount("read-only", "size=64m")
    child = runs.start("read-only")
    runs.wait_for(child, "read-only", "preprocessing/*/tokens.safetensors")
    end(child)
    mount("read-only", "ro")
    status, _, err = runs.run("read-only")
    assert status == 1, err
    assert err.splitlines()[-1].startswith("legato: AccessDeniedError: "), err
    mount("read-only", "rw")
    np.testing.assert_array_equal(runs.complete("read-only"), undisturbed)
    assert_whole(runs.url("read-only"), finished=True)


def test_a_folder_without_write_permission_is_denied(runs: Runs) -> None:
    if os.geteuid() == 0:
        pytest.skip("root may write everywhere; the read-only file system stands in")
    (runs.folder / "denied").mkdir(mode=0o500)
    status, _, err = runs.run("denied")
    assert status == 1
    assert err.splitlines()[-1].startswith("legato: AccessDeniedError: ")
