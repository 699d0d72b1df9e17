"""State transitions and history events of a document, counted as AWS counts them.

Source: Step Functions Developer Guide, "Transitions" (each state entered, each retry, and each
child execution that a Distributed Map starts), and API reference, "HistoryEvent".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from legato.errors import WorkflowError

# Entered and exited, with what happens between.
_EVENTS: Final = {"Task": 5, "Pass": 2, "Choice": 2, "Wait": 2, "Succeed": 2, "Fail": 1}
_MAP_EVENTS: Final = 4
_MAP_RUN_EVENTS: Final = 2
_ITERATION_EVENTS: Final = 2
_EXECUTION_EVENTS: Final = 2
_ATTEMPT_EVENTS: Final = 3
_ASYNCHRONOUS: Final = (".sync", ".sync:2", ".waitForTaskToken")
_DEFAULT_ATTEMPTS: Final = 3

State = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Counts:
    """One execution's way: its states, and what they count.

    ``worst_*`` is where every task uses all its retries and then succeeds.
    """

    states: tuple[str, ...]
    transitions: int
    events: int
    worst_transitions: int
    worst_events: int


@dataclass(frozen=True, slots=True)
class DocumentCounts:
    """The parent's counts, a child's, and how the children run; no children without a fleet."""

    parent: Counts
    child: Counts | None
    map_state: State | None
    express: bool


def count_document(document: State, items: int, *, fleet: bool = True) -> DocumentCounts:
    """Count one run of a document.

    Args:
        document: In the Amazon States Language.
        items: Items of each Map, which are shards.
        fleet: Whether the way leads through a Map, where a Choice decides.

    Raises:
        WorkflowError: No way leads from the start to an end.
    """
    way = _way(document, fleet=fleet)
    maps = [state for _, state in way if _is_distributed(state)]
    child = _count(_way(_processor(maps[0]), fleet=fleet), items) if maps else None
    kind = _processor(maps[0])["ProcessorConfig"].get("ExecutionType") if maps else None
    return DocumentCounts(
        _count(way, items), child, maps[0] if maps else None, express=kind == "EXPRESS"
    )


def _processor(state: State) -> State:
    processor: State = state.get("ItemProcessor", state.get("Iterator", {}))
    return processor


def _is_distributed(state: State) -> bool:
    config = _processor(state).get("ProcessorConfig", {})
    return state.get("Type") == "Map" and config.get("Mode") == "DISTRIBUTED"


def _count(way: list[tuple[str, State]], items: int) -> Counts:
    transitions = worst_transitions = 0
    events = worst_events = _EXECUTION_EVENTS
    for _, state in way:
        own = _of_state(state, items)
        transitions += own[0]
        events += own[1]
        worst_transitions += own[2]
        worst_events += own[3]
    names = tuple(name for name, _ in way)
    return Counts(names, transitions, events, worst_transitions, worst_events)


def _of_state(state: State, items: int) -> tuple[int, int, int, int]:
    """Return transitions and events of a state, and both with all retries."""
    kind = str(state.get("Type"))
    if kind == "Map":
        return _of_map(state, items)
    events = _EVENTS.get(kind, 2)
    if kind != "Task":
        return 1, events, 1, events
    submitted = str(state.get("Resource", "")).endswith(_ASYNCHRONOUS)
    events += submitted
    attempts = _attempts(state)
    return 1, events, 1 + attempts, events + attempts * (_ATTEMPT_EVENTS + submitted)


def _of_map(state: State, items: int) -> tuple[int, int, int, int]:
    if _is_distributed(state):
        # A child's own states are its own: the parent pays for each start.
        events = _MAP_EVENTS + _MAP_RUN_EVENTS
        return 1 + items, events, 1 + items, events
    inner = _count(_way(_processor(state), fleet=True), items)
    extra = _ITERATION_EVENTS - _EXECUTION_EVENTS
    return (
        1 + items * inner.transitions,
        _MAP_EVENTS + items * (inner.events + extra),
        1 + items * inner.worst_transitions,
        _MAP_EVENTS + items * (inner.worst_events + extra),
    )


def _attempts(state: State) -> int:
    return sum(retrier.get("MaxAttempts", _DEFAULT_ATTEMPTS) for retrier in state.get("Retry", ()))


def _way(machine: State, *, fleet: bool) -> list[tuple[str, State]]:
    """Return the longest way to an end that has a Map, or has none, as far as a Choice decides."""
    ways = _ways(machine["States"], machine["StartAt"], ())
    if not ways:
        msg = "no way of the document leads from its start to an end; check Next and End"
        raise WorkflowError(msg)
    states = machine["States"]

    def rank(names: tuple[str, ...]) -> tuple[bool, int]:
        has_map = any(states[name]["Type"] == "Map" for name in names)
        return has_map == fleet, len(names)

    return [(name, states[name]) for name in max(ways, key=rank)]


def _ways(states: State, name: str, before: tuple[str, ...]) -> list[tuple[str, ...]]:
    if name in before:
        # Round again: how often, the document does not say.
        return []
    state, names = states[name], (*before, name)
    if state.get("End") is True or state["Type"] in {"Succeed", "Fail"}:
        return [names]
    targets = [rule["Next"] for rule in state.get("Choices", ())]
    targets += [state[field] for field in ("Default", "Next") if field in state]
    return [way for target in dict.fromkeys(targets) for way in _ways(states, target, names)]
