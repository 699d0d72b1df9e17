"""What is installed, and what the processor can do at most."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parent.parent
KINDS: Final = {"float32": "avx512 f32", "int8": "avx512-vnni int8"}
TRIES: Final = 3
OLDER: Final = {"float32": "avx2 f32"}


def package_bytes() -> int:
    """Return the bytes of legato as it is installed, without numpy."""
    import legato

    folder = Path(legato.__file__).parent
    return sum(
        path.stat().st_size
        for path in folder.rglob("*")
        if path.is_file() and path.suffix != ".pyc"
    )


def set_bytes(*roots: str) -> tuple[int, list[str]]:
    """Return the bytes of packages with all that they need but numpy, and their names."""
    total, names = 0, sorted(_closure(roots))
    for name in names:
        for file in distribution(name).files or ():
            path = Path(str(distribution(name).locate_file(file)))
            if path.suffix != ".pyc" and path.is_file():
                total += path.stat().st_size
    return total, names


def _closure(roots: tuple[str, ...]) -> Iterator[str]:
    found: set[str] = set()
    waiting = list(roots)
    while waiting:
        name = waiting.pop().lower().replace("_", "-")
        if name in found or name == "numpy":
            continue
        try:
            needs = distribution(name).requires or ()
        except PackageNotFoundError:
            continue  # for another system or Python
        found.add(name)
        yield name
        for need in needs:
            needed, _, marker = need.partition(";")
            if "extra" not in marker:
                waiting.append(re.split(r"[\s<>=!~\[(]", needed.strip(), maxsplit=1)[0])


class Peak:
    """The program that measures what registers alone can do; it is built on the first use."""

    def __init__(self, program: Path | None = None) -> None:
        """Build it, unless it is there."""
        command = ["cargo", "bench", "--bench", "kernels", "--no-run", "--message-format=json"]
        self.why = ""
        self._program = None if program is None else str(program)
        if program is not None:
            return
        try:
            done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
        except (OSError, subprocess.CalledProcessError) as error:
            self.why = f"the peak was not measured: {type(error).__name__}"
            return
        for line in done.stdout.splitlines():
            found = json.loads(line)
            if found.get("target", {}).get("name") == "kernels" and found.get("executable"):
                self._program = found["executable"]

    def measure(self, threads: int) -> dict[str, float]:
        """Return the most operations a second of as many processes at once as there are threads."""
        best: dict[str, float] = {}
        for _ in range(TRIES if self._program else 0):
            for kind, rate in self._once(threads).items():
                best[kind] = max(rate, best.get(kind, 0.0))
        return best

    def _once(self, threads: int) -> dict[str, float]:
        running = [
            subprocess.Popen(
                [str(self._program), "peak", "--bench"], stdout=subprocess.PIPE, text=True
            )
            for _ in range(threads)
        ]
        total: dict[str, float] = {}
        for process in running:
            said, _ = process.communicate()
            line = next((line for line in said.splitlines() if line.startswith("peak:")), "")
            rates = dict(re.findall(r"  (\S.*?) (\d+)(?=  |$)", line.removeprefix("peak:")))
            for kind, name in KINDS.items():
                rate = rates.get(name) or rates.get(OLDER.get(kind, ""), 0)
                total[kind] = total.get(kind, 0.0) + float(rate) * 1e9
        return {kind: rate for kind, rate in total.items() if rate}


if __name__ == "__main__":
    sys.stdout.write(f"{Peak().measure(1)}\n")
