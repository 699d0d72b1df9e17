"""Drive engines in turn: one process each, only one of them awake at a time."""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from legato.cli._bench.spec import Spec, Vectors

CODE = "import sys; sys.path.append(sys.argv[1]); from _bench.worker import main; main()"
FIRST = "The quick brown fox jumps over the lazy dog."
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "RAYON_NUM_THREADS")


# Loaded here, not between fork and exec.
LIBC = ctypes.CDLL(None)
PR_SET_PDEATHSIG = 1


def _end_with_parent() -> None:
    """Have the kernel end this process with its parent: a stopped one cannot see its input end."""
    LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


class EngineError(Exception):
    """An engine that cannot run here; the text says why."""


class Worker:
    """An engine's process.

    It is stopped while it is not its turn: some libraries' threads go on spinning after an answer.
    """

    def __init__(self, spec: Spec) -> None:
        """Start the process and wait for its first vector.

        Raises:
            EngineError: The library is missing, or does not load the model.
        """
        self.spec = spec
        start = time.perf_counter()
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the process
        self._process = subprocess.Popen(
            [sys.executable, "-c", CODE, str(Path(__file__).parent.parent)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
            preexec_fn=_end_with_parent,  # noqa: PLW1509 - it calls what is loaded, and allocates nothing
            env={**environment(spec.threads), **spec.options.get("env", {})},
        )
        try:
            self.batch: int | None = None
            self.loaded = self._call(
                {"spec": {**spec._asdict(), "options": dict(spec.options)}, "text": FIRST}
            )
        except BaseException:
            self.close()
            raise
        self.cold_s = time.perf_counter() - start
        self._process.send_signal(signal.SIGSTOP)

    def ask(self, do: str, **given: Any) -> dict[str, Any]:
        """Give the engine its turn."""
        self._process.send_signal(signal.SIGCONT)
        try:
            clock = "processor" if self.spec.threads == 1 else "wall"
            return self._call({"do": do, "batch": self.batch, "clock": clock, **given})
        finally:
            self._process.send_signal(signal.SIGSTOP)

    def timed_vectors(self, texts: Sequence[str]) -> tuple[float, Vectors]:
        """Return the seconds of one call, and the vectors that it gives, (n, H)."""
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "vectors.npy"
            asked = {"texts": list(texts), "path": str(path), "alone": False}
            took = self.ask("time", warm=0, least=1, seconds=0, **asked)["took_s"][0]
            vectors: Vectors = np.load(path)
        return took, vectors

    def cpu_s(self) -> float:
        """Return the processor time that the process has taken."""
        return _cpu_s(self._process.pid)

    def close(self) -> None:
        """End the process."""
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()
        self._process.communicate()
        self._log.close()

    def _call(self, given: dict[str, Any]) -> dict[str, Any]:
        if self._process.stdin is None or self._process.stdout is None:
            raise EngineError("its process has no pipes")
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(json.dumps(given) + "\n")
            self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise EngineError(f"its process ended with status {self._process.wait()}{self._said()}")
        found: dict[str, Any] = json.loads(line)
        if "error" in found:
            raise EngineError(found["error"])
        return found

    def _said(self) -> str:
        self._log.seek(0)
        lines = self._log.read().decode(errors="replace").strip().splitlines()
        return f": {lines[-1][:200]}" if lines else ""


class Contest:
    """Engines that take turns."""

    def __init__(self, specs: Sequence[Spec]) -> None:
        """Start those that can run; :attr:`missing` says why others cannot."""
        self.workers: dict[str, Worker] = {}
        self.missing: dict[str, str] = {}
        for spec in specs:
            try:
                self.workers[spec.name] = Worker(spec)
            except EngineError as error:
                self.missing[spec.name] = str(error)

    def __enter__(self) -> Contest:  # noqa: PYI034 - typing has Self from 3.11
        """Return itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End all processes."""
        for worker in self.workers.values():
            worker.close()

    def leave(self, name: str, why: str) -> None:
        """Go on without an engine."""
        self.workers.pop(name).close()
        self.missing[name] = why

    def turns(self, number: int) -> Iterator[tuple[str, Worker]]:
        """Yield each engine once; another one comes first in each round."""
        names = list(self.workers)
        turn = number % len(names) if names else 0
        for name in names[turn:] + names[:turn]:
            yield name, self.workers[name]

    def others(self) -> tuple[float, float]:
        """Return the processor time that others have taken so far, and the time it is."""
        ours = _cpu_s(os.getpid()) + sum(worker.cpu_s() for worker in self.workers.values())
        with Path("/proc/stat").open(encoding="ascii") as lines:
            user, nice, system, _, _, irq, soft, steal = map(int, lines.readline().split()[1:9])
        busy = (user + nice + system + irq + soft + steal) / os.sysconf("SC_CLK_TCK")
        return busy - ours, time.monotonic()


def _cpu_s(pid: int) -> float:
    """Return the processor time of a process."""
    # The name in parentheses may have spaces.
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def environment(threads: int) -> dict[str, str]:
    """Return the environment that holds every library to a number of threads."""
    return {
        **os.environ,
        **dict.fromkeys(THREADS, str(threads)),
        "LEGATO_NUM_THREADS": str(threads),
        "TOKENIZERS_PARALLELISM": "true" if threads > 1 else "false",
        "HF_HUB_OFFLINE": "1",
    }


def quartiles(values: Sequence[float]) -> tuple[float, float, float]:
    """Return the lower quartile, the median and the upper quartile."""
    if len(values) == 1:
        return values[0], values[0], values[0]
    low, middle, high = statistics.quantiles(values, n=4, method="inclusive")
    return low, middle, high


def cosine(ours: Vectors, theirs: Vectors) -> tuple[float, float, float]:
    """Return the mean and the least cosine of rows, and the largest difference of an element."""
    x, y = ours.astype(np.float64), theirs.astype(np.float64)
    found = (x * y).sum(1) / (np.linalg.norm(x, axis=1) * np.linalg.norm(y, axis=1))
    return float(found.mean()), float(found.min()), float(np.abs(x - y).max())
