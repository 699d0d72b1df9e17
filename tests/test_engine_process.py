"""The engine in a process: threads, fork, signals and exit."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from legato import Engine, instruction_set, num_threads, set_num_threads
from legato.errors import InputError

TEXTS = ["river", "The quick old man walked quietly through the rain.", "", "the sun " * 60]
# About a second of work for the tiny model.
LONG = ["the sun and the rain"] * 40_000


class TestThreads:
    def test_several_at_once(self, engine: Engine) -> None:
        texts = [f"{text} {i}" for i in range(200) for text in TEXTS]
        expected = engine.embed(texts)
        with ThreadPoolExecutor(8) as pool:
            for vectors in pool.map(lambda _: engine.embed(texts), range(24)):
                assert np.abs(vectors - expected).max() <= 1e-6

    def test_other_threads_run_meanwhile(self, engine: Engine) -> None:
        ticks, done = 0, threading.Event()

        def tick() -> None:
            nonlocal ticks
            while not done.is_set():
                ticks += 1
                time.sleep(0.001)

        thread = threading.Thread(target=tick)
        thread.start()
        start = time.monotonic()
        engine.embed(LONG)
        elapsed_s, counted = time.monotonic() - start, ticks
        done.set()
        thread.join()
        assert counted > elapsed_s * 50

    def test_the_instruction_set_is_one_of_this_processor(self) -> None:
        name = instruction_set()
        assert name in {"avx512-vnni", "avx512", "avx2", "neon-dotprod", "neon", "portable"}
        if (info := Path("/proc/cpuinfo")).exists() and name.startswith("avx"):
            flags = set(info.read_text(encoding="utf-8").split())
            assert {"avx2": "avx2", "avx512": "avx512f"}.get(name, "avx512_vnni") in flags

    def test_the_number_of_threads_is_set(self, engine: Engine) -> None:
        before, expected = num_threads(), engine.embed(TEXTS)
        try:
            for threads in (1, 3):
                set_num_threads(threads)
                assert num_threads() == threads
                assert np.abs(engine.embed(TEXTS) - expected).max() <= 1e-6
        finally:
            set_num_threads(None)
        assert num_threads() == before == len(os.sched_getaffinity(0))

        def running() -> int:
            return len(list(Path("/proc/self/task").iterdir()))

        # Threads that were asked for no more end, if not at once.
        few = running()
        for i in range(40):
            set_num_threads(2 + i % 2)
            engine.embed(TEXTS)
        set_num_threads(None)
        end = time.monotonic() + 10
        while running() > few + 8 and time.monotonic() < end:
            time.sleep(0.01)
        assert running() <= few + 8
        for wrong in (0, -1, 1025, 2**70):
            with pytest.raises(InputError):
                set_num_threads(wrong)


def in_child(work: Callable[[], bool], *, within_s: float = 30) -> None:
    """Fail unless `work` is true in a fork of this process, soon."""
    child = os.fork()
    if child == 0:
        code = 3
        try:
            code = 0 if work() else 1
        finally:
            os._exit(code)
    end = time.monotonic() + within_s
    while time.monotonic() < end:
        pid, status = os.waitpid(child, os.WNOHANG)
        if pid:
            assert os.waitstatus_to_exitcode(status) == 0
            return
        time.sleep(0.01)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    pytest.fail("the child hangs")


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_child_after_fork(engine: Engine) -> None:
    expected = engine.embed(TEXTS)

    def same() -> bool:
        return bool(np.abs(engine.embed(TEXTS) - expected).max() <= 1e-6)

    in_child(same)
    in_child(lambda: in_child(same) is None and same())
    # In the parent nothing has changed, and a fork in the midst of work harms neither.
    with ThreadPoolExecutor(1) as pool:
        work = pool.submit(engine.embed, LONG)
        time.sleep(0.2)
        in_child(same)
        assert work.result().shape == (40_000, 32)
    assert same()


INTERRUPTED = """
import sys
from legato import Engine
engine = Engine.from_dir(sys.argv[1])
texts = ["the sun and the rain"] * 1_500_000
tokens = engine.tokenizer.encode(texts[:400_000])
print("ready", flush=True)
{call}
print("finished", flush=True)
"""


@pytest.mark.parametrize(
    "call", ["engine.embed(texts)", "engine.tokenizer.encode(texts * 4)", "engine.run(tokens)"]
)
def test_ctrl_c(tiny_bert: Path, call: str) -> None:
    command = [sys.executable, "-c", INTERRUPTED.format(call=call), str(tiny_bert)]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        time.sleep(0.7)
        sent = time.monotonic()
        process.send_signal(signal.SIGINT)
        stdout, stderr = process.communicate(timeout=30)
    assert time.monotonic() - sent < 2
    assert stdout == ""
    assert stderr.rstrip().endswith("KeyboardInterrupt")
    assert process.returncode == -signal.SIGINT


def test_a_signal_handler_may_use_the_engine(engine: Engine) -> None:
    shapes: list[tuple[int, ...]] = []
    before = signal.signal(signal.SIGALRM, lambda *_: shapes.append(engine.embed("x").shape))
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.1, 0.1)
        assert engine.embed(LONG).shape == (40_000, 32)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert shapes
    assert set(shapes) == {(1, 32)}


def test_an_exit_does_not_wait_for_a_daemon(tiny_bert: Path) -> None:
    code = """
import sys, threading, time
from legato import Engine
engine = Engine.from_dir(sys.argv[1])
texts = ["the sun and the rain"] * 1_500_000
threading.Thread(target=engine.embed, args=(texts,), daemon=True).start()
time.sleep(0.5)
"""
    done = subprocess.run(
        [sys.executable, "-c", code, str(tiny_bert)],
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
