"""``@legato.step``: a function becomes a state: references in, references out."""

from __future__ import annotations

import functools
import json
import logging
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any, Protocol

from legato._events import LOADERS, offload, resolve
from legato._native import Ref, Store
from legato._scope import Scope
from legato.errors import InputError, LegatoError
from legato.settings import Settings

CARRIED = ("run", "shard", "counts")
"""What travels from state to state without a state naming it: the context."""

_log = logging.getLogger("legato.step")


class LambdaContext(Protocol):
    """What a Lambda runtime passes beside the event."""

    function_name: str
    aws_request_id: str


@dataclass
class Task:
    """One call of a state: what its function is given besides the event."""

    scope: Scope
    settings: Settings
    run: Mapping[str, Any]
    started: float = field(default_factory=time.perf_counter)
    records: dict[str, int] = field(default_factory=dict)

    @property
    def counts(self) -> dict[str, float]:
        """What :meth:`count` was told, and the seconds since the task started."""
        return {**self.records, "seconds": round(time.perf_counter() - self.started, 6)}

    def get(self, ref: Ref) -> bytes:
        """Return the bytes of an object, verified."""
        return self.scope.get(ref)

    def load(self, ref: Ref) -> Any:
        """Return an object as its media type says: arrays, records, columns, JSON, or bytes."""
        return LOADERS.get(ref.media_type, bytes)(self.scope.get(ref))

    def count(self, *, records_in: int, out: int, cached: bool) -> None:
        """Say how many records came in and went out; the rest was rejected.

        Args:
            records_in: Records that this call was given.
            out: Records that are in its output.
            cached: Whether the output was already there.
        """
        self.records = {
            "in": records_in,
            "out": out,
            "rejected": records_in - out,
            "cached": int(cached),
        }


Function = Callable[[Mapping[str, Any], Task], Mapping[str, Any]]


@dataclass(frozen=True)
class Step:
    """A state's Lambda handler. Call it as Lambda does, or bind it to settings and call that."""

    function: Function
    name: str
    reads: tuple[str, ...]
    writes: tuple[str, ...]

    def __call__(self, event: Any, context: LambdaContext) -> dict[str, Any]:
        """Handle an event as a Lambda function: settings from the environment, log to stdout."""
        settings, store = _from_environment()
        return self._handle(event, context, settings, store, _print_line)

    def bind(self, settings: Settings, store: Store | None = None) -> Handler:
        """Return a handler with these settings, for the embedded conductor; it logs to `logging`."""
        store = store or Store.open(settings.require("store"))

        def handler(event: Any, context: LambdaContext) -> dict[str, Any]:
            return self._handle(event, context, settings, store, _log.info)

        return handler

    def _handle(
        self,
        event: Any,
        context: LambdaContext,
        settings: Settings,
        store: Store,
        log: Callable[[str], None],
    ) -> dict[str, Any]:
        scope = Scope(store, self.name, self.reads, self.writes)
        line = {"function_name": context.function_name, "function_request_id": context.aws_request_id}
        try:
            if not isinstance(event, dict):
                msg = f"the event of {self.name} is a {type(event).__name__}; send a JSON object"
                raise InputError(msg)
            run = event.get("run", {})
            if isinstance(run, dict):
                line["run_id"] = run.get("id")
            resolved = resolve(event, scope)
            task = Task(scope, settings, resolved.get("run", {}))
            result = self.function(resolved, task)
            output = offload(self._carry(resolved, result, task), scope)
        except Exception as error:
            failure = _line("ERROR", self.name, line, error=type(error).__name__, reason=_reason(error))
            log(failure)
            _record_failure(store, self.name, event, failure)
            raise
        log(_line("INFO", self.name, line, **task.counts))
        return output

    def _carry(
        self, event: Mapping[str, Any], result: Mapping[str, Any], task: Task
    ) -> dict[str, Any]:
        carried = {key: event[key] for key in CARRIED if key in event}
        if task.records:
            carried["counts"] = {**carried.get("counts", {}), self.name: task.counts}
        return {**carried, **result}


Handler = Callable[[Any, LambdaContext], dict[str, Any]]


def step(
    *, reads: Sequence[str] = (), writes: Sequence[str] = (), name: str | None = None
) -> Callable[[Function], Step]:
    """Make a state of a function.

    The function gets the event, in which references are :class:`legato.Ref`, and a :class:`Task`; what
    it returns goes on to the next state, together with the context (run, shard, counts). Bytes, arrays and
    values that are too large are stored and travel as references.

    Args:
        reads: Stages (or ``inputs``, ``runs``) whose objects the function reads.
        writes: Stages whose objects it writes; its own name by default. Anything else is refused.
        name: The state's name in keys and log lines; the function's name by default.

    Example:
        >>> @legato.step(reads=["inference"])
        ... def thresholds(event, task):
        ...     vectors = task.load(event["vectors"])["vectors"]
        ...     return {"largest": float(vectors.max())}
    """

    def decorate(function: Function) -> Step:
        own = name or function.__name__
        return Step(function, own, tuple(reads), tuple(writes) or (own,))

    return decorate


@functools.cache
def _from_environment() -> tuple[Settings, Store]:
    settings = Settings.from_env()
    return settings, Store.open(settings.require("store"))


def _record_failure(store: Store, name: str, event: Any, failure: str) -> None:
    """Keep why a task failed beside its run; the state machine's history has only the error's name."""
    try:
        shard = event.get("shard", {}).get("index", 0)
        key = f"runs/{event['run']['id']}/failures/{name}-{int(shard):05d}.json"
        store.put(key, failure.encode(), media_type="application/json")
    except (LegatoError, AttributeError, KeyError, TypeError, ValueError):
        # The event has no run, or the store is what failed: the error itself says so.
        _log.debug("no failure record was written")


def _reason(error: BaseException) -> str | None:
    # Our own messages hold no user text; those of other exceptions may.
    return str(error) if isinstance(error, LegatoError) else None


def _line(level: str, name: str, about: Mapping[str, Any], **more: Any) -> str:
    now = datetime.now(timezone.utc).isoformat(timespec="milliseconds")
    line = {"level": level, "service": "legato", "state": name, "timestamp": now, **about, **more}
    return json.dumps({key: value for key, value in line.items() if value is not None})


def _print_line(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()
