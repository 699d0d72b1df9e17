"""The report at the end of a run."""

from __future__ import annotations

import sys
from collections.abc import Iterator

from legato.local import Run
from legato.workflow import STAGES

INCOMPLETE = 3
"""Exit status of a run whose result lacks shards."""

REASONS = 5
"""Most reasons of rejection that are listed."""


def report(name: str, run: Run) -> str:
    """Return what a run did: counts and time of each stage, and where the result lies.

    Args:
        name: The workflow's.
        run: What it has made.
    """
    return "\n".join([*_headline(name, run), "", *_table(run), "", *_places(run)]) + "\n"


def finish(name: str, run: Run) -> int:
    """Print the report of a run; return the exit status."""
    sys.stdout.write("\n" + report(name, run))
    return 0 if run.status == "complete" else INCOMPLETE


def _headline(name: str, run: Run) -> Iterator[str]:
    records = int(run.counts["ingestion"]["in"])
    rate = records / run.seconds
    noun = "record" if records == 1 else "records"
    took = f"{records:,} {noun} in {run.seconds:.1f} s ({rate:,.0f} records/s)"
    yield f"{name}: {run.status}, {took}"
    tasks = sum(int(counts.get("tasks", 1)) for counts in run.counts.values())
    cached = sum(int(counts["cached"]) for counts in run.counts.values())
    if cached == tasks and not run.missing:
        yield f"nothing to do: all {tasks} outputs were already there, nothing was computed again"
    elif cached:
        yield f"{cached} of {tasks} outputs were already there and were not computed again"
    if run.missing:
        shards = ", ".join(map(str, run.missing))
        yield f"missing shards: {shards}; run again to complete the result"
        yield f"          why: {run.store.url}/runs/{run.id}/failures/"


def _table(run: Run) -> Iterator[str]:
    columns = ("in", "out", "rejected", "tasks", "there")
    yield f"{'stage':<14}{''.join(f'{name:>10}' for name in columns)}{'task s':>10}"
    for stage in STAGES:
        # A stage that runs once has one task, and does not count it.
        counts = {"tasks": 1, **run.counts.get(stage.lower(), {})}
        cells = (counts.get(name, 0) for name in ("in", "out", "rejected", "tasks", "cached"))
        shown = "".join(f"{int(count):>10,}" for count in cells)
        yield f"{stage:<14}{shown}{counts.get('seconds', 0.0):>10.2f}"


def _places(run: Run) -> Iterator[str]:
    rejections = run.rejections()
    if rejections:
        known = ", ".join(f"{n:,} {reason}" for reason, n in list(rejections.items())[:REASONS])
        more = sum(list(rejections.values())[REASONS:])
        known += f", {more:,} for other reasons" if more else ""
        yield f"rejected  {known}"
        yield f"          where and why: {run.rejected_uri}"
    yield f"result    {run.result.uri}"
    yield f"run       {run.id}"
