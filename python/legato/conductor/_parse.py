"""Parse a definition into a state machine; what cannot be run is refused here, by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from legato.conductor._fields import MAX_SECONDS, Fields
from legato.conductor._flow import Shared, parse_common
from legato.conductor._graph import check_graph
from legato.conductor._model import Choice, Fail, Machine, Pass, State, Succeed, Wait
from legato.conductor._parse_choice import parse_rule
from legato.conductor._parse_map import parse_map
from legato.conductor._parse_task import parse_task
from legato.conductor._shown import shown
from legato.conductor._template import Template
from legato.conductor._timestamp import parse_timestamp

MAX_NAME_CHARS: Final = 80


def parse_machine(document: Mapping[str, Any]) -> Machine:
    """Parse a whole definition.

    Args:
        document: The definition in the Amazon States Language, placeholders replaced.

    Raises:
        WorkflowError: The definition is wrong or needs what is not supported; the message names
            the state and the field.
    """
    fields = Fields(document, "the document")
    fields.choice("Version", ("1.0",), "1.0")
    timeout_s = fields.integer("TimeoutSeconds", low=1)
    return _parse_states(fields, set(), timeout_s)


def _parse_states(fields: Fields, names: set[str], timeout_s: int | None = None) -> Machine:
    fields.optional_text("Comment")
    start_at = fields.text("StartAt")
    raw_states = fields.take("States")
    if not isinstance(raw_states, Mapping) or not raw_states:
        raise fields.error("States must be an object that is not empty")
    fields.finish()
    states: dict[str, State] = {}
    for name, raw in raw_states.items():
        if not 1 <= len(name) <= MAX_NAME_CHARS:
            raise fields.error(
                f"state name {shown(name)} must have 1 to {MAX_NAME_CHARS} characters"
            )
        if name in names:
            raise fields.error(f"state name {shown(name)} is used twice in the machine; rename one")
        names.add(name)
        states[name] = _parse_state(name, Fields(raw, f"state {name}"), names)
    machine = Machine(start_at=start_at, states=states, timeout_s=timeout_s)
    check_graph(machine, fields.where)
    return machine


def _parse_state(name: str, fields: Fields, names: set[str]) -> State:
    kind = fields.text("Type")
    if kind == "Map":
        state: State = parse_map(name, fields, lambda inner: _parse_states(inner, names))
    elif kind in _PARSERS:
        state = _PARSERS[kind](name, fields)
    else:
        supported = ", ".join(sorted([*_PARSERS, "Map"]))
        raise fields.error(f"type {shown(kind)} is not supported; use one of {supported}")
    fields.finish()
    return state


def _parse_pass(name: str, fields: Fields) -> Pass:
    shared = Shared.NEXT | Shared.PATHS | Shared.PARAMETERS | Shared.RESULT_PATH
    common = parse_common(name, fields, shared)
    result: Template = common["flow"].parameters or (lambda scope: scope.data)
    if fields.has("Result"):
        fixed = fields.take("Result")
        result = lambda _: fixed  # noqa: E731 - one of three
    return Pass(**common, result=result)


def _parse_wait(name: str, fields: Fields) -> Wait:
    fields.only_one_of("Seconds", "SecondsPath", "Timestamp", "TimestampPath", required=True)
    timestamp = fields.optional_text("Timestamp")
    timestamp_ns = None if timestamp is None else parse_timestamp(timestamp)
    if timestamp is not None and timestamp_ns is None:
        raise fields.error(
            f"Timestamp {shown(timestamp)} is not RFC 3339, e.g. 2016-03-14T01:59:00Z"
        )
    return Wait(
        **parse_common(name, fields, Shared.NEXT | Shared.PATHS),
        seconds=fields.integer("Seconds", low=0, high=MAX_SECONDS),
        seconds_path=fields.path("SecondsPath"),
        timestamp_ns=timestamp_ns,
        timestamp_path=fields.path("TimestampPath"),
    )


def _parse_choice(name: str, fields: Fields) -> Choice:
    common = parse_common(name, fields, Shared.PATHS)
    raw = fields.take("Choices")
    if not isinstance(raw, list) or not raw:
        raise fields.error("Choices must be a list of rules that is not empty")
    rules = []
    for number, inner in enumerate(raw):
        rule = Fields(inner, f"{fields.where}, Choices[{number}]")
        target = rule.text("Next")
        rules.append((parse_rule(rule), target))
    default = fields.text("Default") if fields.has("Default") else None
    return Choice(**common, rules=tuple(rules), default=default)


def _parse_succeed(name: str, fields: Fields) -> Succeed:
    return Succeed(**parse_common(name, fields, Shared.PATHS))


def _parse_fail(name: str, fields: Fields) -> Fail:
    fields.only_one_of("Error", "ErrorPath")
    fields.only_one_of("Cause", "CausePath")
    return Fail(
        **parse_common(name, fields, Shared(0)),
        error=fields.optional_text("Error"),
        cause=fields.optional_text("Cause"),
        error_path=fields.path("ErrorPath"),
        cause_path=fields.path("CausePath"),
    )


_PARSERS: Final[dict[str, Callable[[str, Fields], State]]] = {
    "Choice": _parse_choice,
    "Fail": _parse_fail,
    "Pass": _parse_pass,
    "Succeed": _parse_succeed,
    "Task": parse_task,
    "Wait": _parse_wait,
}
