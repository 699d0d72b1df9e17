"""Map states: run a machine for each item, within the execution or as children of their own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from legato.conductor._checkpoint import MapRun, Resumption
from legato.conductor._execution import Outcome, execute, execution_context
from legato.conductor._failure import StateFailure, Stopped
from legato.conductor._fleet import Fleet
from legato.conductor._frame import MAX_EVENTS, Frame
from legato.conductor._items import Items, open_items
from legato.conductor._model import Map
from legato.conductor._payload import check_size, encode
from legato.conductor._region import Region
from legato.conductor._results import Child, Results, new_arn, open_results
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
    earlier = frame.at.map_run
    try:
        items = open_items(frame.engine, state, scope)
        map_run = _map_run(frame, state, items.count)
        results = None
        if state.result_writer is not None:
            results = open_results(frame, state, state.result_writer, scope, map_run)
        frame.at.map_run = map_run
        if earlier is None:
            frame.record("MapStateStarted", state.name, item_count=items.count)
        if state.distributed:
            how = "MapRunStarted" if earlier is None else "MapRunRedriven"
            frame.record(how, state.name, item_count=items.count)
        result = _run(frame, state, scope, items, map_run, results)
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


def _map_run(frame: Frame, state: Map, total: int) -> MapRun:
    if frame.at.map_run is not None:
        return frame.at.map_run.again(total)
    tally = Tally(state, total, kept=state.result_writer is None)
    return MapRun(new_arn(frame, state), tally)


def _run(  # noqa: PLR0913, PLR0917 - what a Map Run is made of
    frame: Frame, state: Map, scope: Scope, items: Items, map_run: MapRun, results: Results | None
) -> Any:
    def work(job: tuple[int, Any]) -> None:
        _Iteration(frame, state, scope, fleet.region, map_run, results, *job).run()

    done = map_run.tally.done
    jobs = (job for job in enumerate(items.values) if job[0] not in done)
    fleet = Fleet(frame.region, jobs, work)
    left = items.count - len(done)
    size = min(state.max_concurrency or left, left, frame.engine.max_concurrency)
    fleet.run(size, f"{frame.name}/{state.label}", frame.remaining_s)
    if results is None:
        return map_run.tally.result()
    # Where too many failed, nobody took the rest.
    for index, value in jobs:
        results.add_pending(_input(state, scope, index, value))
    results.close()
    map_run.tally.result()
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
    map_run: MapRun
    results: Results | None
    index: int
    value: Any

    def run(self) -> None:
        started = self.frame.engine.clock.monotonic()
        self._record("Started")
        try:
            output = self._distributed() if self.state.distributed else self._inline()
        except StateFailure as failure:
            if self.map_run.tally.fail(failure):
                self.region.stop()
            self._record("Failed", encode(failure.output()), error=failure.error)
            return
        except Stopped:
            self._record("Aborted")
            raise
        encoded = encode(output)
        self.map_run.tally.succeed(self.index, output, len(encoded))
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
        frame = self.frame.iteration(self.region, item)
        earlier = self.map_run.left.pop(self.index, None)
        try:
            resumed = earlier.checkpoint if earlier is not None else None
            return frame.run(self.state.processor, data, resumed)
        except BaseException:
            self.map_run.left[self.index] = Resumption.of(frame)
            raise

    def _distributed(self) -> Any:
        data = _input(self.state, self.scope, self.index, self.value)
        region = Region(self.region)
        earlier = self.map_run.left.pop(self.index, None)
        child = self._child(region, data, earlier)
        outcome = Outcome(status="ABORTED")
        try:
            resumed = earlier.checkpoint if earlier is not None else None
            outcome = execute(child, self.state.processor, data, resumed)
        finally:
            region.close()
            if outcome.status != "SUCCEEDED" and not self.state.express:
                self.map_run.left[self.index] = Resumption.of(child)
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

    def _child(self, region: Region, data: Any, earlier: Resumption | None) -> Frame:
        clock, parent = self.frame.engine.clock, self.frame
        name = f"{parent.name}/{self.state.label}:{self.index}"
        ends = [] if parent.deadline is None else [parent.deadline]
        if self.state.express:
            ends.append(clock.monotonic() + EXPRESS_MAX_S)
        # EXPRESS executions have no history to fill.
        events = None if self.state.express else MAX_EVENTS
        if earlier is None:
            machine = f"{parent.context['StateMachine']['Name']}/{self.state.label}"
            started = format_timestamp(clock.time())
            context = execution_context(name, machine, data, started)
        else:
            context, events = earlier.redriven, earlier.events_left
        return Frame(
            engine=parent.engine,
            region=region,
            name=name,
            context=context,
            deadline=min(ends, default=None),
            events_left=None if events is None else [events],
        )
