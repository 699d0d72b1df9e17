"""What a diagram says in words about a state, and about the rules of a Choice."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

_SERVICES: Final = {"lambda": "Lambda", "batch": "AWS Batch", "ecs": "Amazon ECS"}
_WAITS: Final = {".sync": "waits for the job", ".waitForTaskToken": "task token"}

_RESOURCE: Final = re.compile(
    r"arn:aws[a-z-]*:states:[^:]*:[^:]*:(?P<service>.+?):(?P<action>\w+)(?P<waits>\.\w+)?(:\d+)?"
)
_SIGNS: Final = {
    "Equals": "=",
    "LessThan": "<",
    "GreaterThan": ">",
    "LessThanEquals": "≤",
    "GreaterThanEquals": "≥",
    "Matches": "matches",
}
_COMPARISON: Final = re.compile(
    r"(String|Numeric|Timestamp|Boolean)(?P<order>[A-Z][A-Za-z]+?)(Path)?"
)
_UNITS: Final = ((86_400, "days"), (3600, "h"), (60, "min"))


def captions(state: Mapping[str, Any]) -> tuple[str, ...]:
    """Return one or two short lines about a state; none for a Choice."""
    describe = _DESCRIBED.get(state.get("Type", ""))
    lines = describe(state) if describe else [str(state.get("Type", ""))]
    return tuple(line for line in lines if line)


def rule_text(rule: Mapping[str, Any]) -> str:
    """Return a choice rule in words, such as ``run.mode = "prompt"``."""
    for name, word in (("And", " and "), ("Or", " or ")):
        if name in rule:
            return word.join(_nested(inner) for inner in rule[name])
    if "Not" in rule:
        return f"not {_nested(rule['Not'])}"
    variable = str(rule.get("Variable", "")).removeprefix("$.")
    for operator, value in rule.items():
        if operator.startswith("Is"):
            return f"{variable} is {'' if value else 'not '}{operator[2:].lower()}"
        found = _COMPARISON.fullmatch(operator)
        if found:
            shown = str(value).removeprefix("$.") if operator.endswith("Path") else _json(value)
            return f"{variable} {_SIGNS.get(found['order'], found['order'])} {shown}"
    return variable


def duration(seconds: float) -> str:
    """Return seconds in the largest unit that they are a whole number of, from two upwards."""
    for size, unit in _UNITS:
        if seconds >= size and seconds % size == 0:
            count = int(seconds // size)
            return f"{count:,} {'day' if count == 1 and unit == 'days' else unit}"
    return f"{seconds:g} s"


def _nested(rule: Mapping[str, Any]) -> str:
    text = rule_text(rule)
    return f"({text})" if "And" in rule or "Or" in rule else text


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)


def _joined(parts: Iterator[str]) -> list[str]:
    return [" · ".join(parts)]


def _of_task(state: Mapping[str, Any]) -> list[str]:
    return _joined(_task_parts(state))


def _task_parts(state: Mapping[str, Any]) -> Iterator[str]:
    resource = str(state.get("Resource", ""))
    found = _RESOURCE.fullmatch(resource)
    if found is None:
        yield "Lambda" if ":lambda:" in resource or "${" in resource else "Task"
    else:
        service, action = found["service"].removeprefix("aws-sdk:"), found["action"]
        yield _SERVICES.get(service, f"{service}:{action}")
        if found["waits"]:
            yield _WAITS.get(found["waits"], found["waits"][1:])
    if isinstance(state.get("TimeoutSeconds"), int):
        yield duration(state["TimeoutSeconds"])
    retries = sum(retrier.get("MaxAttempts", 3) for retrier in state.get("Retry", ()))
    if retries:
        yield f"≤ {retries} retries"


def _of_map(state: Mapping[str, Any]) -> list[str]:
    processor = state.get("ItemProcessor", state.get("Iterator", {}))
    config = processor.get("ProcessorConfig", {})
    distributed = config.get("Mode") == "DISTRIBUTED"
    kind = f"Distributed Map · {config.get('ExecutionType', '')} children" if distributed else "Map"
    return [kind, *_joined(_map_parts(state))]


def _map_parts(state: Mapping[str, Any]) -> Iterator[str]:
    most = state.get("MaxConcurrency", 0)
    yield f"{most:,} at once" if most else "as many at once as there are"
    if "ToleratedFailurePercentage" in state:
        yield f"{state['ToleratedFailurePercentage']:g}% may fail"
    if "ToleratedFailureCount" in state:
        yield f"{state['ToleratedFailureCount']:,} may fail"


def _of_wait(state: Mapping[str, Any]) -> list[str]:
    if "Seconds" in state:
        return [f"Wait · {duration(state['Seconds'])}"]
    until = state.get("Timestamp", state.get("TimestampPath", state.get("SecondsPath", "")))
    return [f"Wait · {str(until).removeprefix('$.')}"]


def _of_pass(state: Mapping[str, Any]) -> list[str]:
    path = state.get("ResultPath")
    return [f"Pass · sets {path[2:]}" if isinstance(path, str) and path[2:] else "Pass"]


def _of_fail(state: Mapping[str, Any]) -> list[str]:
    return [f"Fail · {state['Error']}" if "Error" in state else "Fail"]


_DESCRIBED: Final[Mapping[str, Callable[[Mapping[str, Any]], list[str]]]] = {
    "Choice": lambda _: [],
    "Fail": _of_fail,
    "Map": _of_map,
    "Pass": _of_pass,
    "Task": _of_task,
    "Wait": _of_wait,
}
