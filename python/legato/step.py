"""``@legato.step``: a function becomes a state: references in, references out."""

from __future__ import annotations

import functools
import logging
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Protocol, overload

from legato._events import CARRIED, offload, resolve
from legato._home import allowed_stores, open_store
from legato._left import fetched, record_failure
from legato._lines import LambdaContext, about, failure_line, line, print_line
from legato._native import Ref, Store
from legato._scope import Scope
from legato.errors import InputError, LegatoError, SettingsError
from legato.settings import Settings

_AREA: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,63}")

_log = logging.getLogger("legato.step")


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
        """Return an object as its media type says: arrays, records, columns, JSON, or bytes.

        Raises:
            InputError: The object is not what its media type says.
            CorruptObjectError: Its bytes are not those of the reference.
        """
        return self.scope.bind(ref).load()

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
        try:
            settings, store = _from_environment()
        except LegatoError as error:
            print_line(failure_line(self.name, about(event, context), error))
            raise
        return self._handle(event, context, settings, store, print_line)

    def bind(
        self,
        settings: Settings,
        store: Store | None = None,
        *,
        log: Callable[[str], None] = _log.info,
    ) -> Handler:
        """Return a handler with these settings, for the embedded conductor and the worker.

        Args:
            settings: Instead of those of the environment.
            store: The store of the run; the settings' by default.
            log: Takes the lines that the step logs, each a JSON object.
        """
        store = store or open_store(settings.require("store"), settings)

        def handler(event: Any, context: LambdaContext | None = None) -> dict[str, Any]:
            return self._handle(event, context, settings, store, log)

        return handler

    def _handle(
        self,
        event: Any,
        context: LambdaContext | None,
        settings: Settings,
        store: Store,
        log: Callable[[str], None],
    ) -> dict[str, Any]:
        named = about(event, context)
        try:
            output, counts = self._run(event, settings, store)
        except Exception as error:
            failed = failure_line(self.name, named, error)
            log(failed)
            record_failure(store, event, self.name, failed)
            raise
        log(line("INFO", self.name, {**named, **counts}))
        return output

    def _run(
        self, event: Any, settings: Settings, store: Store
    ) -> tuple[dict[str, Any], dict[str, float]]:
        if not isinstance(event, dict):
            msg = f"the event of {self.name} is a {type(event).__name__}; send a JSON object"
            raise InputError(msg)
        allowed = allowed_stores(settings)
        scope = Scope.of(store, self.name, self.reads, self.writes, allowed)
        resolved = resolve(fetched(event, scope), scope)
        if not isinstance(resolved, dict):
            msg = f"the event of {self.name} is a reference; send a JSON object with it in a field"
            raise InputError(msg)
        for key in ("run", "counts"):
            if not isinstance(resolved.get(key, {}), dict):
                kind = type(resolved[key]).__name__
                msg = f"{key} in the event of {self.name} is a {kind}; send a JSON object"
                raise InputError(msg)
        task = Task(scope, settings, resolved.get("run", {}))
        result = self.function(resolved, task)
        if not isinstance(result, Mapping):
            msg = f"{self.name} returned a {type(result).__name__}; return a dict"
            raise InputError(msg)
        return offload({**self._carried(resolved, task), **result}, scope), task.counts

    def _carried(self, event: Mapping[str, Any], task: Task) -> dict[str, Any]:
        carried = {key: event[key] for key in CARRIED if key in event}
        if task.records:
            carried["counts"] = {**carried.get("counts", {}), self.name: task.counts}
        return carried


class Handler(Protocol):
    """A step with its settings; a call outside of a runtime needs no context."""

    def __call__(self, event: Any, context: LambdaContext | None = None) -> dict[str, Any]:
        """Handle an event."""


@overload
def step(function: Function, /) -> Step: ...
@overload
def step(
    *, reads: Sequence[str] = (), writes: Sequence[str] = (), name: str | None = None
) -> Callable[[Function], Step]: ...
def step(
    function: Function | None = None,
    /,
    *,
    reads: Sequence[str] = (),
    writes: Sequence[str] = (),
    name: str | None = None,
) -> Step | Callable[[Function], Step]:
    """Make a state of a function.

    The function gets the event, in which references are :class:`legato.Ref`, and a :class:`Task`;
    what it returns goes on to the next state, together with the context (run, shard, counts).
    Bytes, arrays and fields that are too large are stored and travel as references: large fields
    are put back on the next state's way in, bytes and arrays are what its ``task.load`` returns.

    Args:
        function: The function, where nothing is declared: ``@legato.step``.
        reads: Stages (or ``inputs``, ``runs``) whose objects the function reads.
        writes: Stages whose objects it writes; its own name by default. Anything else is refused.
        name: The state's name in keys and log lines; the function's name by default.

    Raises:
        InputError: A name is not made of letters, digits, ``-`` and ``_``.

    Example:
        >>> @legato.step(reads=["inference"])
        ... def thresholds(event, task):
        ...     vectors = task.load(event["vectors"])["vectors"]
        ...     return {"largest": vectors.max()}
    """

    def decorate(function: Function) -> Step:
        own = name or function.__name__
        _names("name", [own])
        return Step(
            function,
            own,
            _names("reads", reads),
            _names("writes", writes) or (own,),
        )

    return decorate if function is None else decorate(function)


def _names(field: str, names: Sequence[str]) -> tuple[str, ...]:
    if isinstance(names, str):
        msg = f"{field} of @legato.step is a text; write {field}=[{names!r}]"
        raise InputError(msg)
    for name in names:
        if not isinstance(name, str) or not _AREA.fullmatch(name):
            msg = (
                f"{field} of @legato.step has {name!r}; "
                "use 1 to 64 letters, digits, '-' and '_', and no digit first"
            )
            raise InputError(msg)
    return tuple(names)


@functools.cache
def _from_environment() -> tuple[Settings, Store]:
    settings = Settings.from_env()
    url = settings.require("store")
    try:
        return settings, open_store(url, settings)
    except InputError as error:
        msg = f"LEGATO_STORE cannot be used: {error}"
        raise SettingsError(msg) from None
