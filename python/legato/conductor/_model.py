"""A state machine as parsed: only what is supported can be said in these types."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from legato.conductor._path import Path
from legato.conductor._template import Scope, Template

Predicate = Callable[[Scope], bool]
"""A parsed choice rule."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Retrier:
    """One entry of ``Retry``; times in seconds."""

    error_equals: tuple[str, ...]
    interval_s: int = 1
    max_attempts: int = 3
    backoff_rate: float = 2.0
    max_delay_s: int | None = None
    full_jitter: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Catcher:
    """One entry of ``Catch``; ``result_path`` None discards the error output."""

    error_equals: tuple[str, ...]
    next: str
    result_path: Path | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Flow:
    """The data flow through a state; a path that is None stands for ``null``."""

    input_path: Path | None
    parameters: Template | None = None
    result_selector: Template | None = None
    result_path: Path | None
    output_path: Path | None


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """What every state has; ``next`` None ends the machine."""

    name: str
    type: str
    flow: Flow
    next: str | None = None
    retry: tuple[Retrier, ...] = ()
    catch: tuple[Catcher, ...] = ()

    def targets(self) -> list[tuple[str, str]]:
        """Return each field that names a following state, with that name."""
        own = [("Next", self.next)] if self.next is not None else []
        return own + [(f"Catch[{n}].Next", catcher.next) for n, catcher in enumerate(self.catch)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Task(State):
    """Call a function; ``function`` and ``payload`` make its ARN and its event."""

    resource: str
    function: Template
    static_function: str | None
    payload: Template
    wrapped: bool
    timeout_s: int | None = None
    timeout_path: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Job(State):
    """Run a container and wait for its end; ``parameters`` make the request that starts it."""

    resource: str
    batch: bool
    parameters: Template
    static_definition: str | None
    timeout_s: int | None = None
    timeout_path: Path | None = None
    heartbeat_s: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice(State):
    """Go where the first rule that holds points to."""

    rules: tuple[tuple[Predicate, str], ...]
    default: str | None

    def targets(self) -> list[tuple[str, str]]:
        """Return each field that names a following state, with that name."""
        chosen = [(f"Choices[{n}].Next", name) for n, (_, name) in enumerate(self.rules)]
        return chosen + ([("Default", self.default)] if self.default is not None else [])


@dataclass(frozen=True, slots=True, kw_only=True)
class Pass(State):
    """Hand on the data, or a fixed result."""

    result: Template


@dataclass(frozen=True, slots=True, kw_only=True)
class Wait(State):
    """Wait for seconds, or until a moment in nanoseconds since 1970."""

    seconds: int | None = None
    seconds_path: Path | None = None
    timestamp_ns: int | None = None
    timestamp_path: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Succeed(State):
    """End well."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fail(State):
    """End with an error; each part is fixed or read by a path."""

    error: str | None = None
    cause: str | None = None
    error_path: Path | None = None
    cause_path: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ItemReader:
    """Where a distributed map reads its items from."""

    operation: str
    parameters: Template
    static_bucket: str | None = None
    input_type: str | None = None
    csv_headers: tuple[str, ...] | None = None
    csv_delimiter: str = ","
    max_items: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ResultWriter:
    """Where a distributed map exports how its children ended."""

    parameters: Template
    static_bucket: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Map(State):
    """Run a machine for each item; ``max_concurrency`` 0 has no limit of its own."""

    processor: Machine
    distributed: bool
    express: bool = False
    label: str
    items_path: Path
    item_reader: ItemReader | None = None
    item_selector: Template | None = None
    result_writer: ResultWriter | None = None
    max_concurrency: int = 0
    tolerated_count: int | None = None
    tolerated_percentage: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """States, where they begin, and how long they may take in all, in seconds."""

    start_at: str
    states: dict[str, State] = field(default_factory=dict)
    timeout_s: int | None = None
