"""Why a run on AWS failed: a Map says only that too many of its shards did."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

from legato import errors
from legato._aws_errors import explained, statement
from legato._failures import EXCEED_TOLERATED_FAILURE_THRESHOLD, Failures
from legato.conductor import Execution, HistoryEvent
from legato.deploy._granted import Place
from legato.errors import AccessDeniedError, LegatoError, WorkflowError
from legato.remote._target import Target
from legato.workflow import STAGES

_MS: Final = len("2026-01-01T00:00:00.000")
"""Times are compared to the millisecond: zones are written in two ways."""

MOST_READ: Final = 100
"""Failure records that are read to find the first."""

# As AWS says it, with or without the resource; and as the store's own messages do.
_DENIED: Final = re.compile(
    r"not authorized to perform: ([a-z0-9-]+:\w+)(?: on resource: \"?(arn:[^\s\"]+))?"
)
_STATE: Final = re.compile(r" failed in (?:Prompt)?([A-Z][a-z]+): ")
_ROLE: Final = re.compile(r"assumed-role/([^/\s]+)/")
_STORE: Final = re.compile(r"\b(s3:\w+) s3://.*? resource (arn:\S+?)(?:: |[;,)\s]|$)", re.DOTALL)


@dataclass(frozen=True)
class Failure:
    """Why one task failed.

    Attributes:
        error: The name of its class.
        reason: What it says.
        state: The stage, where it is known.
        shard: The shard, where it is known.
        when: RFC 3339; empty where it is not known.
    """

    error: str
    reason: str
    state: str = ""
    shard: int | None = None
    when: str = ""

    @property
    def retryable(self) -> bool:
        """Whether it may have gone well later."""
        return self.error in errors.retryable_names()


@dataclass(frozen=True)
class Reasons:
    """Looks for reasons: records of the stages, what the Map wrote, then its executions.

    Attributes:
        target: The deployed workflow.
        execution: How the run ended.
        map_runs: ARNs of its Map Runs, as far as they are known.
        since: RFC 3339; what was recorded before, such as before a redrive, is not the reason.
    """

    target: Target
    execution: Execution
    map_runs: Sequence[str] = ()
    since: str = ""

    def error(self, failures: Failures) -> LegatoError:
        """Return the error of the run, of the class that its state raised."""
        run, status = self.execution.name, self.execution.status
        if status == "ABORTED":
            msg = f"run {run} was stopped; finished shards are kept, run again to go on"
            return WorkflowError(msg)
        if self.execution.error == EXCEED_TOLERATED_FAILURE_THRESHOLD:
            found = self.first()
            if found is not None:
                cause = json.dumps({"errorMessage": found.reason})
                told = {"Error": found.error, "Cause": cause}
                for kind in ("TaskFailed", "MapIterationFailed"):
                    state = found.state.capitalize()
                    failures(_event(run, kind, state, told))
        return with_advice(failures.error(self.execution), self.target.place)

    def first(self) -> Failure | None:
        """Return the failure that most likely began it all."""
        for look in (self.records, self.written, self.children):
            found: list[Failure] = []
            with suppress(LegatoError):
                found = [f for f in look() if not f.when or f.when[:_MS] >= self.since[:_MS]]
            if found:
                return min(found, key=lambda f: (f.retryable, f.when, f.shard or 0))
        return None

    def records(self) -> Iterator[Failure]:
        """Iterate over what stages have left under ``runs/<run>/failures/``."""
        store, prefix = self.target.store, f"runs/{self.execution.name}/failures/"
        for key in store.list(prefix)[:MOST_READ]:
            with suppress(LegatoError, ValueError, KeyError, TypeError):
                line = json.loads(store.get(key))
                shard = int(key.rpartition("-")[2].removesuffix(".json"))
                yield Failure(
                    str(line["error"]),
                    str(line.get("reason") or "see its log"),
                    str(line.get("state", "")),
                    shard,
                    str(line.get("timestamp", "")),
                )

    def written(self) -> Iterator[Failure]:
        """Iterate over what the Map's ResultWriter has left of failed executions."""
        store = self.target.store
        for key in store.list(f"runs/{self.execution.name}/map/"):
            if not key.rpartition("/")[2].startswith("FAILED_"):
                continue
            for record in json.loads(store.get(key))[:MOST_READ]:
                yield _of_child(record.get("Error"), record.get("Cause"), record.get("Input"))

    def children(self) -> Iterator[Failure]:
        """Iterate over failed executions of the Map; those of EXPRESS cannot be described."""
        client = self.target.aws.client("stepfunctions")
        arn = self.target.execution(self.execution.name)
        with explained("states:ListMapRuns", arn):
            runs = list(self.map_runs) or [
                found["mapRunArn"] for found in client.list_map_runs(executionArn=arn)["mapRuns"]
            ]
        for run in runs:
            with explained("states:ListExecutions", run):
                failed = client.list_executions(
                    mapRunArn=run, statusFilter="FAILED", maxResults=MOST_READ
                )
            for child in failed["executions"]:
                with explained("states:DescribeExecution", child["executionArn"]):
                    found = client.describe_execution(executionArn=child["executionArn"])
                yield _of_child(found.get("error"), found.get("cause"), found.get("input"))


def _of_child(error: Any, cause: Any, given: Any) -> Failure:
    shard = None
    with suppress(ValueError, KeyError, TypeError):
        shard = int((json.loads(given) if isinstance(given, str) else given)["shard"]["index"])
    reason = str(cause or "")
    with suppress(ValueError, KeyError, TypeError):
        reason = str(json.loads(reason)["errorMessage"])
    return Failure(str(error or "States.TaskFailed"), reason, shard=shard)


def with_advice(error: LegatoError, place: Place) -> LegatoError:
    """Return an error that says of a denial which statement would allow it, and to which role.

    Args:
        error: What a run failed of.
        place: Where it ran: the statement is the one that its role should have, where there is one.
    """
    said = str(error)
    denied, ours = _DENIED.search(said), _STORE.search(said)
    if ours is None and denied is None:
        return error
    # AWS knows the action best, as reads of a version are another one; our message the resource.
    action = denied.group(1) if denied is not None else str(ours and ours.group(1))
    resource = ours.group(2) if ours is not None else str((denied and denied.group(2)) or "")
    role = _ROLE.search(said)
    whom = f"role {role.group(1)}" if role else "its role"
    if "explicit deny" in said:
        # No statement that allows can help against one that denies.
        return AccessDeniedError(f"{said}; a statement denies {action} to {whom}: change that one")
    made = place.covering(_stage(said, role.group(1) if role else ""), action, resource)
    if made is None:
        allowed = statement(action, resource)
        return AccessDeniedError(f"{said}; add to the policy of {whom}: {allowed}")
    advice = f"statement {made['Sid']} is missing in the policy of {whom}: deploy again, or add it"
    return AccessDeniedError(f"{said}; {advice}: {json.dumps(made)}")


def _stage(said: str, role: str) -> str | None:
    """Return the stage that was denied: the state that failed, or whose role it was."""
    state = _STATE.search(said)
    named = state.group(1) if state else next((s for s in STAGES if f"{s}Role" in role), None)
    return named.lower() if named else None


def _event(run: str, kind: str, state: str, output: Any) -> HistoryEvent:
    return HistoryEvent(id=0, timestamp="", type=kind, state=state, execution=run, output=output)
