"""Check that everything a machine names is bound."""

from __future__ import annotations

from collections.abc import Container, Iterator

from legato.conductor._model import Job, Machine, Map, Task
from legato.conductor._shown import shown
from legato.errors import WorkflowError


def check_bindings(
    machine: Machine, functions: Container[str], jobs: Container[str], buckets: Container[str]
) -> None:
    """Refuse a machine that names a function, a job or a bucket that is not bound.

    Names that are made from data are looked up when they are known.

    Raises:
        WorkflowError: One is not bound; the message names the state.
    """
    for state in _work(machine):
        for kind, name, bound in _named(state, functions, jobs, buckets):
            if name is not None and name not in bound:
                raise WorkflowError(f"state {state.name}: no {kind} {shown(name)}")


def _named(
    state: Task | Job | Map,
    functions: Container[str],
    jobs: Container[str],
    buckets: Container[str],
) -> Iterator[tuple[str, str | None, Container[str]]]:
    if isinstance(state, Task):
        yield "handler is bound to function", state.static_function, functions
    elif isinstance(state, Job):
        yield "job is bound to", state.static_definition, jobs
    else:
        for place in (state.item_reader, state.result_writer):
            if place is not None:
                yield "store is bound to bucket", place.static_bucket, buckets


def _work(machine: Machine) -> Iterator[Task | Job | Map]:
    for state in machine.states.values():
        if isinstance(state, (Task, Job, Map)):
            yield state
        if isinstance(state, Map):
            yield from _work(state.processor)
