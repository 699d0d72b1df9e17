"""One execution: walks from state to state and moves the data between them."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final, Protocol

from legato.conductor._checkpoint import Checkpoint
from legato.conductor._clock import Clock
from legato.conductor._failure import (
    RESULT_PATH_MATCH_FAILURE,
    RUNTIME,
    OutOfTime,
    StateFailure,
    matches,
)
from legato.conductor._history import Recorder
from legato.conductor._model import Machine, State
from legato.conductor._path import NoMatchError, Path
from legato.conductor._payload import check_size
from legato.conductor._region import Region
from legato.conductor._retry import Retries
from legato.conductor._template import Scope
from legato.conductor._timestamp import format_timestamp

MAX_EVENTS: Final = 25_000
"""AWS's limit on the history of a STANDARD execution."""

_COUNTS_RETRIES: Final = frozenset({"Task", "Map"})

Handler = Callable[[Any, Any], Any]
"""A Lambda handler: ``handler(event, context)``."""

JobHandler = Callable[[Mapping[str, str], Any], Any]
"""What runs in a container: ``job(environment, context)``."""

Action = Callable[["Frame", Any, Scope], tuple[Any, "str | None"]]
"""What a type of state does: takes frame, state and data, returns its result and what is next."""


class ObjectStore(Protocol):
    """What an ItemReader and a ResultWriter ask of a bucket; ``legato.Store`` has it all."""

    def get(self, key: str, /) -> bytes:
        """Return an object."""

    def list(self, prefix: str, /) -> list[str]:
        """Return the keys with a prefix."""

    def put(self, value: bytes, key: str, /) -> object:
        """Store an object, replacing what was there."""


@dataclass(frozen=True, kw_only=True)
class Engine:
    """What all executions of a run share."""

    actions: Mapping[str, Action]
    functions: Mapping[str, Handler]
    jobs: Mapping[str, JobHandler]
    buckets: Mapping[str, ObjectStore]
    max_concurrency: int
    clock: Clock
    rng: random.Random
    recorder: Recorder


@dataclass(kw_only=True)
class Frame:
    """One execution, or one iteration of an inline map within it.

    Args:
        engine: What the whole run shares.
        region: Stops the execution.
        name: The execution's name.
        context: The context object, without ``State``.
        deadline: When its time is over, on the monotonic clock; None for never.
        events_left: How many events its history may still get; shared by its iterations.
        at: The state that it is at.
    """

    engine: Engine
    region: Region
    name: str
    context: dict[str, Any]
    deadline: float | None = None
    events_left: list[int] | None = field(default_factory=lambda: [MAX_EVENTS])
    at: Checkpoint = field(default_factory=Checkpoint)

    def run(self, machine: Machine, data: Any, resumed: Checkpoint | None = None) -> Any:
        """Run a machine to its end.

        Args:
            machine: The states.
            data: The input.
            resumed: Where an earlier attempt stopped; None begins at the start.

        Returns:
            The output of the last state.

        Raises:
            StateFailure: A state failed and nothing caught it.
            OutOfTime: The execution took longer than it may.
            Stopped: The run is being stopped.
        """
        self.at = Checkpoint(machine.start_at, data)
        if resumed is not None and resumed.state:
            # A copy: late threads of that attempt may still write to theirs.
            self.at = replace(resumed)
        while True:
            self.region.check()
            self.remaining_s()
            data, name = self._step(machine.states[self.at.state], self.at.data)
            if name is None:
                return data
            self.at = Checkpoint(name, data)

    def remaining_s(self) -> float | None:
        """Return how many seconds are left, None for no limit; raise OutOfTime at the end."""
        if self.deadline is None:
            return None
        remaining = self.deadline - self.engine.clock.monotonic()
        if remaining <= 0:
            raise OutOfTime
        return remaining

    def sleep(self, seconds: float) -> None:
        """Wait, and give up where the execution is stopped or its time is over."""
        remaining = self.remaining_s()
        capped = seconds if remaining is None else min(seconds, remaining)
        self.engine.clock.sleep(capped, self.region.stopped)
        self.region.check()
        self.remaining_s()

    def record(
        self,
        type_: str,
        state: str | None = None,
        output: bytes | None = None,
        *,
        counted: bool = True,
        **details: str | float,
    ) -> None:
        """Record an event of this execution.

        Args:
            type_: Its AWS name.
            state: The state that it belongs to.
            output: JSON for the listener.
            counted: Whether AWS has this event too, so that it counts against the limit.
            details: Small facts, none of them data.

        Raises:
            StateFailure: ``States.Runtime``, the history is full.
        """
        if counted and self.events_left is not None:
            # Racing iterations may miscount by a few, which no limit of 25,000 notices.
            self.events_left[0] -= 1
            if self.events_left[0] == 0:
                cause = f"the execution reached the maximum of {MAX_EVENTS:,} history events"
                raise StateFailure(RUNTIME, cause)
        self.engine.recorder.record(
            type_, execution=self.name, state=state, details=details, output=output
        )

    def iteration(self, region: Region, item: dict[str, Any]) -> Frame:
        """Return the frame of one iteration of an inline map."""
        context = {**self.context, "Map": {"Item": item}}
        return replace(self, region=region, context=context, at=Checkpoint())

    def _step(self, state: State, data: Any) -> tuple[Any, str | None]:
        if not self.at.entered:
            self.record(f"{state.type}StateEntered", state.name)
            self.at.entered = True
        retries = Retries(state.retry, self.engine.rng)
        known: dict[str, Any] = {
            "Name": state.name,
            "EnteredTime": format_timestamp(self.engine.clock.time()),
        }
        while True:
            if state.type in _COUNTS_RETRIES:
                known = {**known, "RetryCount": retries.total}
            try:
                output, following = self._attempt(state, data, {**self.context, "State": known})
                encoded = check_size(output, f"output of state {state.name}")
                break
            except StateFailure as failure:
                delay_s = retries.delay_s(failure.error)
                if delay_s is None:
                    output, following = _caught(state, data, failure)
                    encoded = check_size(output, f"error output of state {state.name}")
                    break
            self.sleep(delay_s)
            # Another attempt of a Map is another Map Run.
            self.at.map_run = None
        self.record(f"{state.type}StateExited", state.name, encoded)
        return output, following

    def _attempt(
        self,
        state: State,
        data: Any,
        context: dict[str, Any],
    ) -> tuple[Any, str | None]:
        flow, raw = state.flow, Scope(data, context)
        seen = {} if flow.input_path is None else raw.require(flow.input_path, "InputPath")
        result, following = self.engine.actions[state.type](self, state, Scope(seen, context))
        if flow.result_selector is not None:
            result = flow.result_selector(Scope(result, context))
        if flow.result_path is None:
            combined = data
        else:
            combined = _placed(state.name, flow.result_path, data, result)
        if flow.output_path is None:
            return {}, following
        return Scope(combined, context).require(flow.output_path, "OutputPath"), following


def _placed(state: str, path: Path, data: Any, result: Any) -> Any:
    try:
        return path.write(data, result)
    except NoMatchError:
        cause = (
            f"state {state}: ResultPath {path.text} leads through something that is not an object "
            "in the state's input; choose another place"
        )
        raise StateFailure(RESULT_PATH_MATCH_FAILURE, cause) from None


def _caught(state: State, data: Any, failure: StateFailure) -> tuple[Any, str]:
    for catcher in state.catch:
        if matches(catcher.error_equals, failure.error):
            if catcher.result_path is None:
                return data, catcher.next
            return _placed(state.name, catcher.result_path, data, failure.output()), catcher.next
    raise failure
