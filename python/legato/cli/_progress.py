"""Progress of a run: records done, rate and time left, for each stage."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Protocol

from legato.conductor import HistoryEvent
from legato.workflow import STAGES

RATE_AFTER_S = 0.5
"""Seconds from which on a stage's rate is shown."""

LINE_EVERY_S = 5.0
"""Seconds between two lines where there is no terminal."""


class Display(Protocol):
    """Shows how many records of a stage are done."""

    def __enter__(self) -> Display: ...  # noqa: PYI034 - Self needs Python 3.11
    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...
    def update(self, stage: str, done: int, total: int | None) -> None:
        """Show that `done` of `total` records of a stage are done."""


class Progress:
    """A listener of a run's history that counts records and shows them."""

    def __init__(self, display: Display) -> None:
        self._display = display
        self._total: int | None = None
        self._done = dict.fromkeys(STAGES, 0)

    def __call__(self, event: HistoryEvent) -> None:
        """Take one event of the state machine."""
        stage = (event.state or "").removeprefix("Prompt")
        if stage not in self._done or event.type not in ("TaskStateEntered", "TaskSucceeded"):
            return
        if event.type == "TaskSucceeded":
            # Tasks other than functions return what their service says, or nothing.
            payload = (event.output or {}).get("Payload") or {}
            counts = payload.get("counts", {}).get(stage.lower(), {})
            self._done[stage] += int(counts.get("in", 0))
            if stage == "Ingestion":
                self._total = int(counts["out"])
        total = self._done[stage] if stage == "Ingestion" else self._total
        self._display.update(stage, self._done[stage], total)


def display() -> Display:
    """Return bars for a terminal that rich can draw on, lines for anything else."""
    if sys.stderr.isatty():
        try:
            return Bars()
        except ImportError:
            sys.stderr.write("legato: pip install 'legato[cli]' shows progress bars\n")
    return Lines()


class Lines:
    """One line now and then: for logs, and where rich is not installed."""

    def __init__(self) -> None:
        self._started: dict[str, float] = {}
        self._shown: dict[str, float] = {}

    def __enter__(self) -> Display:
        """Start."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop."""

    def update(self, stage: str, done: int, total: int | None) -> None:
        """Write a line when a stage ends, or when the last one is a while ago."""
        now = time.monotonic()
        started = self._started.setdefault(stage, now)
        ended = total is not None and done >= total
        if not done or (not ended and now - self._shown.get(stage, started) < LINE_EVERY_S):
            return
        self._shown[stage] = now
        rate = done / max(now - started, 1e-3)
        left = "" if total is None or ended else f", {(total - done) / rate:.0f} s left"
        of = "" if total is None else f" of {total:,}"
        shown = _rate(done, now - started)
        sys.stderr.write(f"{stage:<14}{done:>9,}{of} records{shown and ', '}{shown}{left}\n")


class Bars:
    """One bar a stage, drawn by rich."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
        from rich.progress import Progress as RichProgress

        self._bars = RichProgress(
            TextColumn("{task.description:<14}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]:>10}"),
            TimeRemainingColumn(compact=True),
            console=Console(stderr=True),
        )
        self._tasks: Mapping[str, Any] = {}
        self._started: dict[str, float] = {}

    def __enter__(self) -> Display:
        """Draw the bars."""
        self._bars.start()
        self._tasks = {
            stage: self._bars.add_task(stage, total=None, start=False, rate="") for stage in STAGES
        }
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Leave the last state on the screen."""
        self._bars.stop()

    def update(self, stage: str, done: int, total: int | None) -> None:
        """Move a stage's bar."""
        task = self._tasks[stage]
        if stage not in self._started:
            self._started[stage] = time.monotonic()
            self._bars.start_task(task)
        shown = _rate(done, time.monotonic() - self._started[stage])
        self._bars.update(task, completed=done, total=total, rate=shown)


def _rate(done: int, seconds: float) -> str:
    # What is over at once has no rate that means anything.
    return f"{done / seconds:,.0f}/s" if done and seconds >= RATE_AFTER_S else ""
