"""Follow an execution on AWS to its end, with few requests."""

from __future__ import annotations

import json
import logging
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

from legato._failures import Failures, Listener
from legato._native import Ref
from legato.conductor import Execution, HistoryEvent
from legato.errors import LegatoError, StoreUnavailableError
from legato.local import Run, run_of
from legato.remote._history import History, stamp
from legato.remote._shards import Shards
from legato.remote._target import Target
from legato.remote._why import Reasons

BETWEEN_S: Final = 1.0
"""Seconds between two looks at an execution, of which each takes two or three requests."""

FIRST_S: Final = 0.25
"""The first pause; each is twice the one before, up to `BETWEEN_S`: a prompt takes a second."""

SLOWER_AFTER_S: Final = 120.0
SLOWER_S: Final = 5.0
"""Seconds between two looks at one that takes long."""

MOST_MISSED: Final = 30
"""Looks in a row that may fail before following ends: the run does not depend on it."""

_log = logging.getLogger("legato.remote")


@dataclass
class Followed:
    """An execution that has ended.

    Attributes:
        execution: How it ended.
        seconds: Wall time, as AWS says.
        failures: What its tasks said.
        map_runs: ARNs of its Map Runs.
        since: When it was last redriven; empty where it was not.
    """

    execution: Execution
    seconds: float
    failures: Failures
    map_runs: list[str]
    since: str = ""


class Follower:
    """Tells a listener what happens, until the end.

    Args:
        target: The deployed workflow.
        run: The run's id, or the execution's ARN.
        listener: Called with each event: those of the machine, and one of each stage of a shard.
        between_s: Seconds between two looks.
    """

    def __init__(
        self,
        target: Target,
        run: str,
        listener: Listener | None = None,
        *,
        between_s: float = BETWEEN_S,
    ) -> None:
        self._target = target
        self._arn = target.execution(run)
        self._run = self._arn.rpartition(":")[2]
        self._listener = listener
        self._between_s = between_s
        self._history = History(target.aws, self._arn)
        self._shards = Shards(target.store, self._run)
        self._failures = Failures(self._tell)
        self._map_runs: list[str] = []
        self._mapping = False

    def follow(self) -> Followed:
        """Wait for the end.

        Raises:
            LegatoError: The execution cannot be looked at.
        """
        began = time.monotonic()
        missed, pause = 0, FIRST_S
        while True:
            try:
                found = self.describe()
                self._look()
                missed = 0
            except StoreUnavailableError:
                missed += 1
                if missed > MOST_MISSED:
                    raise
            else:
                if found["status"] not in {"RUNNING", "PENDING_REDRIVE"}:
                    return self._ended(found)
            slow = time.monotonic() - began > SLOWER_AFTER_S
            longest = max(self._between_s, SLOWER_S if slow else 0.0)
            # A list of 10,000 shards is ten requests: one a second stays the rule.
            time.sleep(max(min(pause, longest), float(self._shards.requests - 1)))
            pause *= 2

    def describe(self) -> dict[str, Any]:
        """Return what AWS says of the execution."""
        return self._target.describe(self._arn)

    def _look(self) -> None:
        for event in self._history.fresh():
            if event.type == "MapStateExited":
                # The shards are done before Storage begins, also where both are seen at once.
                self._look_at_shards()
            self._failures(event)
            arn = event.details.get("mapRunArn")
            if arn:
                self._map_runs.append(str(arn))
            self._note(event)
        self._look_at_shards()

    def _look_at_shards(self) -> None:
        for shard in self._shards.fresh() if self._mapping else ():
            self._failures(shard)

    def _note(self, event: HistoryEvent) -> None:
        if event.type == "TaskSucceeded" and event.state == "Ingestion":
            with suppress(LegatoError, KeyError, TypeError, ValueError):
                self._shards.read_manifest(
                    Ref.from_dict(event.output["Payload"]["run"]["manifest"])
                )
        if event.type == "MapStateEntered":
            self._mapping = True
            for started in self._shards.started():
                self._failures(started)

    def _tell(self, event: HistoryEvent) -> None:
        if self._listener is None:
            return
        try:
            self._listener(event)
        except Exception as error:  # noqa: BLE001 - a broken listener must not break the run
            self._listener = None
            _log.warning("the listener raised %s and is not called again", type(error).__name__)

    def _ended(self, found: dict[str, Any]) -> Followed:
        started, stopped = found.get("startDate"), found.get("stopDate")
        seconds = (stopped - started).total_seconds() if started and stopped else 0.0
        execution = Execution(
            name=self._run,
            status=found["status"],
            output=json.loads(found["output"]) if found.get("output") else None,
            error=found.get("error"),
            cause=found.get("cause"),
            started=stamp(started),
            stopped=stamp(stopped),
            history=(),
        )
        since = stamp(found.get("redriveDate"))
        return Followed(execution, max(seconds, 1e-3), self._failures, self._map_runs, since)


def follow(
    target: Target,
    run: str,
    *,
    listener: Listener | None = None,
    between_s: float = BETWEEN_S,
) -> Run:
    """Follow a run to its end.

    Args:
        target: The deployed workflow.
        run: The run's id, or the ARN of its execution.
        listener: Called with each event, as of :func:`legato.run`.
        between_s: Seconds between two looks.

    Raises:
        LegatoError: Of the class that the failing state raised, with the state and the run in its
            message; WorkflowError where that is no error of legato, or the run was stopped.
    """
    ended = Follower(target, run, listener, between_s=between_s).follow()
    if ended.execution.status != "SUCCEEDED":
        reasons = Reasons(target, ended.execution, ended.map_runs, ended.since)
        raise reasons.error(ended.failures)
    return run_of(target.store, ended.execution, ended.seconds)
