"""Measure contestants in turn, in one process, on the same texts; compare what they return."""

from __future__ import annotations

import gc
import hashlib
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np

from bench import _peers
from bench._peers import CONTESTANTS, REFERENCE, Padded, Ready, Setup

ROOT: Final = Path(__file__).parent.parent
TABLE: Final = np.arange(1 << 15, dtype=np.uint64)
LIMIT: Final = "limit"
WARM: Final = 3


class Measured(NamedTuple):
    """What one case gave.

    Attributes:
        cpu_s: CPU seconds of each round, by contestant.
        size: UTF-8 bytes of a round, on average.
        texts: Texts that were compared.
        wrong: Of them those that differ from the reference, by contestant.
    """

    cpu_s: dict[str, list[float]]
    size: float
    texts: int
    wrong: dict[str, int]


def load(case: Setup) -> tuple[dict[str, Ready], dict[str, str]]:
    """Load the definition with each contestant; say why some cannot."""
    ready, reasons = {}, {}
    for name, contestant in CONTESTANTS.items():
        try:
            ready[name] = contestant(case)
            ready[name].batch(["one", "and another"])
        except Exception as error:  # noqa: BLE001 - each library has errors of its own
            ready.pop(name, None)
            reasons[name] = str(error).strip().partition("\n")[0][:200]
    return ready, reasons


def compete(ready: dict[str, Ready], rounds: Iterable[list[str]]) -> Measured:
    """Give each contestant the texts of each round; the first :data:`WARM` only warm them.

    A round has new texts: their words are mostly known to a cache, the texts are not. Each
    contestant gets strings of its own, or the first one would leave its UTF-8 to the others.
    """
    names = list(ready)
    cpu_s: dict[str, list[float]] = {name: [] for name in (*names, LIMIT)}
    wrong = dict.fromkeys(names, 0)
    sizes, texts = [], 0
    for number, batch in enumerate(rounds):
        results: dict[str, Padded] = {}
        turn = number % len(names)
        for name in names[turn:] + names[:turn]:
            seconds, results[name] = cpu_time(ready[name], fresh(batch))
            if number >= WARM:
                cpu_s[name].append(seconds)
        if number >= WARM:
            cpu_s[LIMIT].append(limit(batch))
            sizes.append(sum(len(text.encode()) for text in batch))
        texts += len(batch)
        for name in names:
            wrong[name] += differing(results[name], results[REFERENCE])
    return Measured(cpu_s, statistics.fmean(sizes), texts, wrong)


def cpu_time(contestant: Ready, batch: list[str]) -> tuple[float, Padded]:
    """Return the CPU seconds of all threads that one call takes, and its result."""
    gc.collect()
    gc.disable()
    try:
        before = time.process_time_ns()
        result = contestant.batch(batch)
        return (time.process_time_ns() - before) / 1e9, result
    finally:
        gc.enable()


def fresh(batch: Sequence[str]) -> list[str]:
    """Return the same texts as new strings."""
    return [text.encode().decode() for text in batch]


def differing(ours: Padded, expected: Padded) -> int:
    """Count the texts whose real ids, mask or type ids differ; what fills the rest is free."""
    rows = len(expected["input_ids"])
    if any(ours[name].dtype != np.int64 or len(ours[name]) != rows for name in expected):
        return rows
    if any(ours[name].shape != expected[name].shape for name in expected):
        found = (ours, expected)
        return sum(not alike(*(trimmed(one, row) for one in found)) for row in range(rows))
    free = expected["attention_mask"] == 0
    same = np.ones(rows, np.bool_)
    for name, values in expected.items():
        same &= ((ours[name] == values) | (free & (name == "input_ids"))).all(axis=1)
    return int(rows - same.sum())


def alike(ours: Padded, expected: Padded) -> bool:
    """Say whether two texts without padding are the same."""
    return all(np.array_equal(ours[name], values) for name, values in expected.items())


def trimmed(found: Padded, row: int) -> Padded:
    """Return one text without its padding."""
    width = int(found["attention_mask"][row].sum())
    return {name: values[row, :width] for name, values in found.items()}


def exact(ready: dict[str, Ready], texts: list[str]) -> dict[str, int]:
    """Count the texts that each contestant tokenizes otherwise than the reference, one by one."""
    wrong = dict.fromkeys(ready, 0)
    for start in range(0, len(texts), 64):
        batch = texts[start : start + 64]
        expected = ready[REFERENCE].batch(batch)
        for name, contestant in ready.items():
            wrong[name] += differing(contestant.batch(fresh(batch)), expected)
    return wrong


def limit(batch: list[str]) -> float:
    """Return the CPU seconds that no tokenizer can go below.

    Each byte is read once (no UTF-8 validation is faster than that), and a table that fits a core's
    cache is looked up once a word. What a word is costs nothing here, nor does writing the result.
    """
    data = np.frombuffer("".join(batch).encode(), np.uint8)
    words = sum(len(text.split()) for text in batch)
    places = np.random.default_rng(0).integers(0, len(TABLE), words, np.int64)
    found = np.empty(words, np.uint64)
    before = time.process_time_ns()
    data.max()
    TABLE.take(places, out=found, mode="wrap")
    return (time.process_time_ns() - before) / 1e9


def one_by_one(ready: dict[str, Ready], texts: Sequence[str]) -> dict[str, float]:
    """Return the median wall seconds of one string, by contestant; a tenth only warms them."""
    wall: dict[str, list[int]] = {name: [] for name in ready}
    for number, text in enumerate(texts):
        for name, contestant in ready.items():
            (own,) = fresh([text])
            before = time.perf_counter_ns()
            contestant.one(own)
            took = time.perf_counter_ns() - before
            if number >= len(texts) // 10:
                wall[name].append(took)
    return {name: statistics.median(times) / 1e9 for name, times in wall.items()}


def first_encoding(name: str, case: Setup) -> tuple[float, float]:
    """Return CPU and wall seconds from a tokenizer.json to the first ids, in a fresh process."""
    code = f"from bench import _contest; _contest.report_load({name!r})"
    given = json.dumps({**case._asdict(), "path": str(case.path)})
    done = subprocess.run(
        [sys.executable, "-c", code],
        check=True,
        capture_output=True,
        text=True,
        input=given,
        cwd=ROOT,
        env=environment(case.threads),
    )
    cpu_s, wall_s = json.loads(done.stdout)
    return cpu_s, wall_s


def report_load(name: str) -> None:
    """Load and encode once, in the process that :func:`first_encoding` starts."""
    given = json.load(sys.stdin)
    case = Setup(**{**given, "path": Path(given["path"])})
    _peers.imported(name)
    cpu, wall = time.process_time(), time.perf_counter()
    CONTESTANTS[name](case).one("The quick brown fox jumps over the lazy dog.")
    print(json.dumps([time.process_time() - cpu, time.perf_counter() - wall]))


def environment(threads: int) -> dict[str, str]:
    """Return the environment that holds every library to a number of threads."""
    many = "true" if threads > 1 else "false"
    names = ("RAYON_NUM_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS")
    return {**os.environ, **dict.fromkeys(names, str(threads)), "TOKENIZERS_PARALLELISM": many}


def gains(case: Setup, batches: Iterable[list[str]]) -> list[tuple[float, float]]:
    """Return what a second thread gains legato and a pure-compute loop, in wall time, by round.

    The loop is sha256 over two buffers that fit a core's cache. Both are measured in turn: two
    virtual CPUs may share one core, and other work may hold either.
    """
    from legato import _native

    contestant = CONTESTANTS["legato"](case)
    buffers = [bytes(1 << 18), bytes(1 << 18)]
    found = []
    with ThreadPoolExecutor(2) as pool:
        for batch in batches:
            took: list[float] = []
            for threads in (1, 2):
                _native.set_num_threads(threads)
                before = time.perf_counter()
                contestant.batch(batch)
                took.append(time.perf_counter() - before)
            for run in (map, pool.map):
                before = time.perf_counter()
                list(run(_digest, buffers))
                took.append(time.perf_counter() - before)
            found.append((took[0] / took[1], took[2] / took[3]))
    return found


def _digest(data: bytes) -> Any:
    digest = hashlib.sha256()
    for _ in range(256):
        digest.update(data)
    return digest
