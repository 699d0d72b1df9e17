"""Measure what a user meets first, and write ``BENCHMARKS.md``: size, import time, the demo.

Run by ``make bench``. Each figure comes from the run itself; machine and versions stand above them.
"""

from __future__ import annotations

import argparse
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import NamedTuple

if __name__ == "__main__":
    # Run as a file, Python puts this folder first: `import tokenize` anywhere would find ours.
    sys.path[0] = str(Path(__file__).parent.parent)

from bench import _page

ROOT = Path(__file__).parent.parent
WORKFLOW = ROOT / "examples" / "stdlib" / "workflow.py"
IMPORTS = ("legato", "legato.stages.inference", "numpy", "tokenizers")
ROUNDS = 9
LAYER_BYTES = 250 << 20
OWN = ("Size", "Import", "Demo")
"""Sections that are made here. Other benchmarks make the rest, which takes longer, or people do."""


class Cost(NamedTuple):
    """What a process took: wall and processor time in seconds."""

    wall: float
    cpu: float


def main() -> None:
    """Measure, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--wheel", type=Path, required=True, help="the wheel that is installed")
    parser.add_argument("--output", type=Path, required=True, help="the page to write")
    arguments = parser.parse_args()
    sections = [head(), size(arguments.wheel), imports(), demo()]
    if arguments.output.exists():
        page = arguments.output.read_text(encoding="utf-8")
        found = re.split(r"^(?=## )", page, flags=re.MULTILINE)[1:]
        others = [old for old in found if old.partition("\n")[0][len("## ") :] not in OWN]
        sections += [old.strip() for old in others]
    arguments.output.write_text("\n\n".join(sections) + "\n", encoding="utf-8")
    print(arguments.output.read_text(encoding="utf-8"))


def head() -> str:
    """Name the machine and the versions."""
    return (
        "# Benchmarks\n\nMade by `make bench`; run it to have your own. "
        f"The machine is shared: compare within a table, not across machines.\n\n{_page.machine()}"
    )


def size(wheel: Path) -> str:
    """Weigh the wheel, as downloaded and as unpacked."""
    with zipfile.ZipFile(wheel) as archive:
        unpacked = sum(entry.file_size for entry in archive.infolist())
        native = max(entry.file_size for entry in archive.infolist())
    share = unpacked / LAYER_BYTES
    rows = [
        ("wheel", f"{mib(wheel.stat().st_size)} MiB"),
        ("unpacked", f"{mib(unpacked)} MiB, {share:.0%} of what Lambda unpacks at most (250 MiB)"),
        ("of it the native module", f"{mib(native)} MiB"),
    ]
    return "## Size\n\n" + _page.table(("what", "size"), rows)


def imports() -> str:
    """Time imports in fresh processes, in turn, less a process that imports nothing."""
    names = [name for name in IMPORTS if installed(name)]
    costs: dict[str, list[Cost]] = {name: [] for name in ("nothing", *names)}
    for _ in range(ROUNDS):
        for name, measured in costs.items():
            measured.append(process("pass" if name == "nothing" else f"import {name}"))
    bare = median(costs["nothing"])
    rows = []
    for name in names:
        cost = median(costs[name])
        wall, cpu = (1000 * (cost.wall - bare.wall), 1000 * (cost.cpu - bare.cpu))
        rows.append((f"`import {name}`", f"{wall:.0f} ms", f"{cpu:.0f} ms"))
    text = f"Median of {ROUNDS} fresh processes each, in turn, less one that imports nothing."
    return f"## Import\n\n{text}\n\n" + _page.table(("what", "wall", "processor"), rows)


def demo() -> str:
    """Run the demo on an empty store, and again on the one it has filled."""
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for what in ("first run, nothing stored", "second run, all stored"):
            output, seconds = legato_run(Path(folder).as_uri())
            records = int(re.search(r"([\d,]+) records in", output)[1].replace(",", ""))  # type: ignore[index]
            rows.append((what, f"{records:,}", f"{seconds:.1f} s", f"{records / seconds:,.0f}"))
    text = (
        "`legato run examples/stdlib/workflow.py` as a whole process: the docstrings of the "
        "standard library through all-MiniLM-L6-v2 (float32), five stages, two queries."
    )
    return f"## Demo\n\n{text}\n\n" + _page.table(("what", "records", "wall", "records/s"), rows)


def legato_run(store: str) -> tuple[str, float]:
    """Run the demo; return what it printed and the seconds that it took."""
    command = [sys.executable, "-m", "legato.cli", "run", str(WORKFLOW), "--store", store]
    started = time.perf_counter()
    done = subprocess.run(command, check=True, capture_output=True, text=True, cwd=ROOT)
    return done.stdout, time.perf_counter() - started


def process(code: str) -> Cost:
    """Run code in a fresh interpreter."""
    before = os.times()
    started = time.perf_counter()
    subprocess.run([sys.executable, "-c", code], check=True, cwd="/")
    wall = time.perf_counter() - started
    after = os.times()
    cpu = (
        after.children_user + after.children_system - before.children_user - before.children_system
    )
    return Cost(wall, cpu)


def median(costs: Sequence[Cost]) -> Cost:
    """Return the median of each figure."""
    return Cost(*(statistics.median(column) for column in zip(*costs, strict=True)))


def installed(name: str) -> bool:
    """Say whether a distribution is installed."""
    try:
        version(name.partition(".")[0])
    except PackageNotFoundError:
        return False
    return True


def mib(size: int) -> str:
    """Return bytes as MiB."""
    return f"{size / (1 << 20):.1f}"


if __name__ == "__main__":
    main()
