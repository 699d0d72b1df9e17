"""Compare the conductor with an emulator of Step Functions, on the same document and work.

Run by ``make bench-conductor`` (``--quick`` for a first look). Needs the ``dev`` extra.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Final, NamedTuple

if __name__ == "__main__":
    # Run as a file, Python puts this folder first: `import tokenize` anywhere would find ours.
    sys.path[0] = str(Path(__file__).parent.parent)

from bench import _conductor_engines, _page
from bench._conductor_engines import Spent
from legato.cli._load import load_workflow
from tests import aws_stack

TITLE: Final = "Conductor"
MODEL: Final = Path(__file__).parent.parent / "tests" / "data" / "tiny-bert"
RECORDS: Final = 4
"""Records in a shard."""

ABOUT: Final = (
    "Made by `make bench-conductor`. The document of one workflow, run by the conductor in a "
    "process and by ministack {ministack} with functions of the real Lambda runtime client in "
    "processes of their own: {shards:,} shards of {records} records, {fleet} at the same time. "
    "First with handlers that do nothing, so that all time is the engine's; then with the five "
    "stages and a model of 32 dimensions, both on the emulator's S3. Medians of {rounds} rounds, "
    "the engines in turn. The conductor's processor time has that of its handlers in it; the "
    "emulator's has that of its S3."
)


class Case(NamedTuple):
    """What was measured of a case, round by round."""

    title: str
    conductor: list[Spent]
    ministack: list[Spent]


def main() -> None:
    """Measure, and write the section."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="100 shards, one round")
    parser.add_argument("--output", type=Path, help="the page whose section is replaced")
    arguments = parser.parse_args()
    head = _page.machine()
    shards, rounds = (100, 1) if arguments.quick else (1000, 3)
    with tempfile.TemporaryDirectory() as folder:
        text = section(head, shards, rounds, list(measure(Path(folder), shards, rounds)))
    print(text)
    if arguments.output:
        old = arguments.output.read_text(encoding="utf-8")
        arguments.output.write_text(_page.replace(old, TITLE, text), encoding="utf-8")


def measure(folder: Path, shards: int, rounds: int) -> Iterator[Case]:
    """Measure both cases."""
    definition = aws_stack.write_workflow(
        folder, MODEL, records=shards * RECORDS, shard_records=RECORDS
    )
    workflow = load_workflow(definition)
    lines = "".join(json.dumps({"index": number}) + "\n" for number in range(shards)).encode()
    with _conductor_engines.ministack(folder / "engine") as engine:
        conductor = _conductor_engines.idle_conductor(workflow, lines)
        emulator = _conductor_engines.idle_ministack(engine, workflow, lines)
        say("handlers that do nothing")
        pairs = [(conductor(), emulator()) for _ in range(rounds)]
        yield Case("nothing", *map(list, zip(*pairs, strict=True)))
    with (
        _conductor_engines.ministack(folder / "stages") as engine,
        _conductor_engines.stages(engine, definition, workflow) as (here, there),
    ):
        say("the five stages")
        there(_texts(folder, 12, "the start"))
        pairs = []
        for number in range(rounds):
            dataset = _texts(folder, shards * RECORDS, f"round {number}")
            pairs.append((here(dataset), there(dataset)))
        yield Case("the five stages, tiny model", *map(list, zip(*pairs, strict=True)))


def section(head: str, shards: int, rounds: int, cases: list[Case]) -> str:
    """Return the section of the page."""
    about = ABOUT.format(
        ministack=version("ministack"),
        shards=shards,
        records=RECORDS,
        fleet=aws_stack.FLEET,
        rounds=rounds,
    )
    header = (
        "work of a task", "engine", "transitions", "a record", "wall", "transitions/s",
        "CPU: engine", "functions", "S3 beside it", "CPU in all, a transition",
    )  # fmt: skip
    rows = [row for case in cases for row in _rows(case, shards * RECORDS)]
    return f"## {TITLE}\n\n{head}\n\n{about}\n\n{_page.table(header, rows)}"


def _rows(case: Case, records: int) -> Iterator[tuple[str, ...]]:
    for name, series in (("conductor", case.conductor), ("ministack", case.ministack)):
        wall, engine, work, server, transitions = (
            statistics.median(column) for column in zip(*series, strict=True)
        )
        spent = engine + work + server
        yield (
            case.title,
            name,
            f"{transitions:,.0f}",
            f"{transitions / records:.2f}",
            f"{wall:.1f} s",
            f"{transitions / wall:,.0f}",
            f"{engine:.1f} s",
            f"{work:.1f} s" if work else "-",
            f"{server:.1f} s" if server else "-",
            f"{spent / transitions * 1e6:,.0f} µs",
        )


def _texts(folder: Path, records: int, about: str) -> Path:
    return aws_stack.write_texts(folder / "texts-of-a-round.jsonl", records, about=about)


def say(what: str) -> None:
    """Report progress beside the page."""
    print(what, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
