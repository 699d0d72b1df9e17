"""How a run on AWS is: state by state, shards, and what failed last."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from datetime import datetime, timezone
from typing import Any, Final

from legato._aws_errors import explained
from legato._failures import Failures
from legato._native import Ref
from legato.conductor import Execution, HistoryEvent
from legato.errors import InputError, LegatoError
from legato.local import Run, run_of
from legato.remote._history import History, stamp
from legato.remote._shards import Shards
from legato.remote._target import Target
from legato.remote._why import Failure, Reasons

LAST: Final = 5
"""Most failures that are shown."""

RECENT: Final = 10
"""Most runs of a stack that are shown."""


@dataclass(frozen=True)
class State:
    """One visit of a state.

    Attributes:
        name: The state's name.
        status: ``running``, ``done`` or ``failed``.
        seconds: How long it took, or has taken.
        failed_attempts: Attempts that failed; a retry may have gone well since.
    """

    name: str
    status: str
    seconds: float
    failed_attempts: int = 0


@dataclass(frozen=True)
class Status:
    """A run at one moment.

    Attributes:
        run: Its id.
        execution: Its execution's ARN.
        status: As AWS says: ``RUNNING``, ``SUCCEEDED``, ``FAILED``, ``TIMED_OUT``, ``ABORTED``.
        started: RFC 3339, UTC.
        stopped: The same; empty while it runs.
        seconds: How long it took, or has taken.
        states: What it has visited, in order.
        shards: ``total``, ``done``, ``failed``, ``running``, as far as they are known.
        failures: The last failures, newest first.
        error: Why the run failed; None where it has not.
        redrives: How often it was redriven.
        redrivable: What AWS says of a redrive, ``REDRIVABLE`` or why not; empty where it does not.
        made: What it has made, as :func:`legato.run` returns it; None until it has succeeded.
    """

    run: str
    execution: str
    status: str
    started: str
    stopped: str
    seconds: float
    states: Sequence[State] = ()
    shards: Mapping[str, int] = field(default_factory=dict)
    failures: Sequence[Failure] = ()
    error: str | None = None
    redrives: int = 0
    redrivable: str = ""
    made: Run | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON."""
        plain = {name: value for name, value in vars(self).items() if name != "made"}
        plain["states"] = [asdict(state) for state in self.states]
        plain["failures"] = [asdict(failure) for failure in self.failures]
        plain["shards"] = dict(self.shards)
        if self.made is not None:
            plain["result"] = self.made.result.uri
            plain["complete"] = self.made.status == "complete"
            plain["missing"] = list(self.made.missing)
            plain["counts"] = {stage: dict(counts) for stage, counts in self.made.counts.items()}
        return plain


def status(target: Target, run: str) -> Status:
    """Ask how a run is; a handful of requests.

    Args:
        target: The deployed workflow.
        run: The run's id, or the ARN of its execution.

    Raises:
        InputError: There is no such run.
        AccessDeniedError: The caller may not look.
    """
    arn = target.execution(run)
    found = target.describe(arn)
    name = arn.rpartition(":")[2]
    failures = Failures(None)
    events = list(History(target.aws, arn).fresh())
    for event in events:
        failures(event)
    execution = _execution(name, found)
    reasons = Reasons(target, execution, since=stamp(found.get("redriveDate")))
    ended = found["status"] not in {"RUNNING", "PENDING_REDRIVE"}
    failed = ended and found["status"] != "SUCCEEDED"
    seconds = _seconds(found)
    return Status(
        run=name,
        execution=arn,
        status=str(found["status"]),
        started=stamp(found.get("startDate")),
        stopped=stamp(found.get("stopDate")),
        seconds=round(seconds, 3),
        states=_states(events, ended=ended),
        shards=_shards(target, arn, events),
        failures=_last(reasons),
        error=str(reasons.error(failures)) if failed else None,
        redrives=int(found.get("redriveCount") or 0),
        redrivable=str(found.get("redriveStatusReason") or found.get("redriveStatus") or ""),
        made=None if failed or not ended else run_of(target.store, execution, seconds),
    )


def stop(target: Target, run: str) -> None:
    """Stop a run and the executions of its shards; what is finished is kept.

    Raises:
        InputError: There is no such run, or it has ended.
    """
    arn, status = target.execution(run), target.describe(run)["status"]
    if status not in {"RUNNING", "PENDING_REDRIVE"}:
        msg = f"run {arn.rpartition(':')[2]} has ended ({status}); there is nothing to stop"
        raise InputError(msg)
    with explained("states:StopExecution", arn):
        target.aws.client("stepfunctions").stop_execution(
            executionArn=arn, error="Stopped", cause="legato status --stop"
        )


def recent(target: Target) -> list[dict[str, str]]:
    """Return the last runs of a stack, the newest first: ``run``, ``status``, ``started``."""
    with explained("states:ListExecutions", target.machine):
        found = target.aws.client("stepfunctions").list_executions(
            stateMachineArn=target.machine, maxResults=RECENT
        )
    return [
        {"run": each["name"], "status": each["status"], "started": stamp(each.get("startDate"))}
        for each in found["executions"]
    ]


def _execution(name: str, found: Mapping[str, Any]) -> Execution:
    return Execution(
        name=name,
        status=found["status"],
        output=json.loads(found["output"]) if found.get("output") else None,
        error=found.get("error"),
        cause=found.get("cause"),
        started=stamp(found.get("startDate")),
        stopped=stamp(found.get("stopDate")),
        history=(),
    )


def _seconds(found: Mapping[str, Any]) -> float:
    started: datetime = found["startDate"]
    stopped: datetime = found.get("stopDate") or datetime.now(timezone.utc)
    return max((stopped - started).total_seconds(), 1e-3)


def _states(events: Sequence[HistoryEvent], *, ended: bool) -> list[State]:
    visits: list[tuple[str, str, str, int]] = []
    for event in events:
        if event.type.endswith("StateEntered"):
            visits.append((event.state or "", event.timestamp, "", 0))
        elif visits and event.type.endswith("StateExited"):
            visits[-1] = (*visits[-1][:2], event.timestamp, visits[-1][3])
        elif visits and event.type in {"TaskFailed", "TaskTimedOut"}:
            visits[-1] = (*visits[-1][:3], visits[-1][3] + 1)
    last = events[-1].timestamp if events else ""
    unfinished = "failed" if ended else "running"
    return [
        State(name, "done" if left else unfinished, _between(entered, left or last), failed)
        for name, entered, left, failed in visits
    ]


def _between(start: str, end: str) -> float:
    with suppress(ValueError):
        first, last = (datetime.fromisoformat(t.replace("Z", "+00:00")) for t in (start, end))
        return round((last - first).total_seconds(), 3)
    return 0.0


def _shards(target: Target, arn: str, events: Sequence[HistoryEvent]) -> dict[str, int]:
    if not any(event.type == "MapStateEntered" for event in events):
        return {}
    counts: dict[str, int] = {}
    shards = Shards(target.store, arn.rpartition(":")[2])
    for event in events:
        if event.type == "TaskSucceeded" and event.state == "Ingestion":
            with suppress(LegatoError, KeyError, TypeError, ValueError):
                shards.read_manifest(Ref.from_dict(event.output["Payload"]["run"]["manifest"]))
    list(shards.fresh())
    if shards.known:
        counts["total"] = shards.total
    counts["done"] = shards.done
    with suppress(LegatoError):
        counts |= _map_runs(target, arn)
    return counts


def _map_runs(target: Target, arn: str) -> dict[str, int]:
    """Return what the Map Runs of an execution count; a redrive goes on with the same one."""
    client = target.aws.client("stepfunctions")
    with explained("states:ListMapRuns", arn):
        runs = client.list_map_runs(executionArn=arn)["mapRuns"]
    counts: dict[str, int] = {"failed": 0, "running": 0}
    for run in runs:
        with explained("states:DescribeMapRun", run["mapRunArn"]):
            items = client.describe_map_run(mapRunArn=run["mapRunArn"])["itemCounts"]
        counts["failed"] += items["failed"] + items["timedOut"] + items["aborted"]
        counts["running"] += items["running"]
    return counts if runs else {}


def _last(reasons: Reasons) -> list[Failure]:
    with suppress(LegatoError):
        found = sorted(reasons.records(), key=lambda failure: failure.when, reverse=True)
        return found[:LAST]
    return []
