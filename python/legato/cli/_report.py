"""The report at the end of a run."""

from __future__ import annotations

from collections.abc import Iterator

from legato.local import Run
from legato.workflow import STAGES, Workflow

REASONS = 5
"""Most reasons of rejection that are listed."""


def report(workflow: Workflow, run: Run) -> str:
    """Return what a run did: counts and time of each stage, and where the result lies."""
    return "\n".join([*_headline(workflow, run), "", *_table(run), "", *_places(run)]) + "\n"


def _headline(workflow: Workflow, run: Run) -> Iterator[str]:
    records = int(run.counts["ingestion"]["in"])
    rate = records / run.seconds
    yield f"{workflow.name}: {run.status}, {records:,} records in {run.seconds:.1f} s ({rate:,.0f} records/s)"
    tasks = sum(int(counts.get("tasks", 1)) for counts in run.counts.values())
    cached = sum(int(counts["cached"]) for counts in run.counts.values())
    if cached == tasks:
        yield f"nothing to do: all {tasks} outputs were already there, nothing was computed again"
    elif cached:
        yield f"{cached} of {tasks} outputs were already there and were not computed again"
    if run.missing:
        yield f"missing shards: {', '.join(map(str, run.missing))}; run again to complete the result"


def _table(run: Run) -> Iterator[str]:
    yield f"{'stage':<14}{'in':>10}{'out':>10}{'rejected':>10}{'tasks':>8}{'there':>8}{'seconds':>10}"
    for stage in STAGES:
        counts = run.counts.get(stage.lower(), {})
        cells = [f"{int(counts.get(name, 0)):>10,}" for name in ("in", "out", "rejected")]
        tasks = f"{int(counts.get('tasks', 1)):>8,}{int(counts.get('cached', 0)):>8,}"
        yield f"{stage:<14}{''.join(cells)}{tasks}{counts.get('seconds', 0.0):>10.2f}"


def _places(run: Run) -> Iterator[str]:
    rejections = run.rejections()
    if rejections:
        known = ", ".join(f"{n} {reason}" for reason, n in list(rejections.items())[:REASONS])
        yield f"rejected  {known}"
        yield f"          where and why: {run.rejected_uri}"
    yield f"result    {run.result.uri}"
    yield f"run       {run.id}"
