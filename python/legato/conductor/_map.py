"""Map states: run a machine for each item, within the execution or as children of their own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from legato.conductor._execution import Outcome, execute, execution_context
from legato.conductor._failure import StateFailure, Stopped
from legato.conductor._fleet import Fleet
from legato.conductor._frame import MAX_EVENTS, Frame
from legato.conductor._items import Items, open_items
from legato.conductor._model import Map
from legato.conductor._payload import check_size, encode
from legato.conductor._region import Region
from legato.conductor._results import Child, Results, new_map_run, open_results
from legato.conductor._tally import Tally
from legato.conductor._template import Scope
from legato.conductor._timestamp import format_timestamp

EXPRESS_MAX_S: Final = 300.0
"""The longest that an EXPRESS execution can run."""


def run_map(frame: Frame, state: Map, scope: Scope) -> tuple[Any, str | None]:
    """Run the state's machine for each item.

    Returns:
        The outputs in the order of the items; of a distributed map, those of the children that
        succeeded, or where they were exported to.

    Raises:
        StateFailure: An iteration failed, more children failed than tolerated, the outputs
            together are over the limit, or they cannot be exported.
    """
    try:
        results = _results(frame, state, scope)
        items = open_items(frame.engine, state, scope)
        frame.record("MapStateStarted", state.name, item_count=items.count)
        if state.distributed:
            frame.record("MapRunStarted", state.name, item_count=items.count)
        result = _run(frame, state, scope, items, results)
    except StateFailure as failure:
        if state.distributed:
            frame.record("MapRunFailed", state.name, error=failure.error)
        frame.record("MapStateFailed", state.name, error=failure.error)
        raise
    except Stopped:
        frame.record("MapStateAborted", state.name)
        raise
    if state.distributed:
        frame.record("MapRunSucceeded", state.name)
    frame.record("MapStateSucceeded", state.name)
    return result, state.next


def _results(frame: Frame, state: Map, scope: Scope) -> Results | None:
    if state.result_writer is None:
        return None
    return open_results(frame, state, state.result_writer, scope, new_map_run(frame, state))


def _run(frame: Frame, state: Map, scope: Scope, items: Items, results: Results | None) -> Any:
    tally = Tally(state, items.count, kept=results is None)

    def work(job: tuple[int, Any]) -> None:
        _Iteration(frame, state, scope, fleet.region, tally, results, *job).run()

    jobs = enumerate(items.values)
    fleet = Fleet(frame.region, jobs, work)
    wanted = state.max_concurrency or items.count
    size = min(wanted, items.count, frame.engine.max_concurrency)
    fleet.run(size, f"{frame.name}/{state.label}", frame.remaining_s)
    if results is None:
        return tally.result()
    # Where too many failed, nobody took the rest.
    for index, value in jobs:
        results.add_pending(_input(state, scope, index, value))
    results.close()
    tally.result()
    return results.exported()


def _input(state: Map, scope: Scope, index: int, value: Any) -> Any:
    if state.item_selector is None:
        return value
    context = {**scope.context, "Map": {"Item": {"Index": index, "Value": value}}}
    return state.item_selector(Scope(scope.data, context))


@dataclass(frozen=True, slots=True)
class _Iteration:
    """One item on its way through the machine of a Map."""

    frame: Frame
    state: Map
    scope: Scope
    region: Region
    tally: Tally
    results: Results | None
    index: int
    value: Any

    def run(self) -> None:
        started = self.frame.engine.clock.monotonic()
        self._record("Started")
        try:
            output = self._distributed() if self.state.distributed else self._inline()
        except StateFailure as failure:
            if self.tally.fail(failure):
                self.region.stop()
            self._record("Failed", encode(failure.output()), error=failure.error)
            return
        except Stopped:
            self._record("Aborted")
            raise
        encoded = encode(output)
        self.tally.succeed(self.index, output, len(encoded))
        duration_s = round(self.frame.engine.clock.monotonic() - started, 6)
        self._record("Succeeded", encoded, duration_s=duration_s)

    def _record(self, how: str, output: bytes | None = None, **details: str | float) -> None:
        self.frame.record(
            f"MapIteration{how}",
            self.state.name,
            output,
            counted=not self.state.distributed,
            index=self.index,
            **details,
        )

    def _inline(self) -> Any:
        item = {"Index": self.index, "Value": self.value}
        data = _input(self.state, self.scope, self.index, self.value)
        check_size(data, f"input of an item of state {self.state.name}")
        return self.frame.iteration(self.region, item).run(self.state.processor, data)

    def _distributed(self) -> Any:
        data = _input(self.state, self.scope, self.index, self.value)
        region = Region(self.region)
        child = self._child(region, data)
        outcome = Outcome(status="ABORTED")
        try:
            outcome = execute(child, self.state.processor, data)
        finally:
            region.close()
            self._export(child, data, outcome)
        if outcome.failure is not None:
            raise outcome.failure
        return outcome.output

    def _export(self, child: Frame, data: Any, outcome: Outcome) -> None:
        if self.results is not None:
            stopped = format_timestamp(child.engine.clock.time())
            by = "REDRIVABLE_BY_MAP_RUN" if self.state.express else "REDRIVABLE"
            told = Child(context=child.context, data=data, stopped=stopped, redrivable=by)
            self.results.add(told, outcome)

    def _child(self, region: Region, data: Any) -> Frame:
        clock, parent = self.frame.engine.clock, self.frame
        name = f"{parent.name}/{self.state.label}:{self.index}"
        machine = f"{parent.context['StateMachine']['Name']}/{self.state.label}"
        ends = [] if parent.deadline is None else [parent.deadline]
        if self.state.express:
            ends.append(clock.monotonic() + EXPRESS_MAX_S)
        return Frame(
            engine=parent.engine,
            region=region,
            name=name,
            context=execution_context(name, machine, data, format_timestamp(clock.time())),
            deadline=min(ends, default=None),
            # EXPRESS executions have no history to fill.
            events_left=None if self.state.express else [MAX_EVENTS],
        )
