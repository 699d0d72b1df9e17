"""Parse the fields that states share: where they lead, how data flows, what errors do."""

from __future__ import annotations

from enum import Flag, auto
from typing import Any

from legato.conductor._failure import ALL, RESERVED
from legato.conductor._fields import MAX_SECONDS, Fields
from legato.conductor._model import Catcher, Flow, Retrier
from legato.conductor._path import parse_path
from legato.conductor._shown import shown

_MAX_DELAY_S = 31_622_399


class Shared(Flag):
    """The groups of fields that several types of state have."""

    NEXT = auto()
    PATHS = auto()
    PARAMETERS = auto()
    RESULT_SELECTOR = auto()
    RESULT_PATH = auto()
    ERRORS = auto()


def parse_common(name: str, fields: Fields, shared: Shared) -> dict[str, Any]:
    """Parse the shared fields of a state.

    Args:
        name: The state's name.
        fields: Its fields; those of its own type are read elsewhere.
        shared: Which groups of fields its type has.

    Returns:
        The keyword arguments that every state class takes.

    Raises:
        WorkflowError: A field is malformed, or neither Next nor End is there.
    """
    kind = fields.text("Type")
    fields.optional_text("Comment")
    flow = Flow(
        input_path=fields.nullable_path("InputPath") if Shared.PATHS in shared else parse_path("$"),
        output_path=fields.nullable_path("OutputPath")
        if Shared.PATHS in shared
        else parse_path("$"),
        parameters=fields.template("Parameters") if Shared.PARAMETERS in shared else None,
        result_selector=fields.template("ResultSelector")
        if Shared.RESULT_SELECTOR in shared
        else None,
        result_path=(
            fields.nullable_path("ResultPath", context=False)
            if Shared.RESULT_PATH in shared
            else parse_path("$")
        ),
    )
    return {
        "name": name,
        "type": kind,
        "flow": flow,
        "next": _parse_next(fields) if Shared.NEXT in shared else None,
        "retry": _parse_retry(fields) if Shared.ERRORS in shared else (),
        "catch": _parse_catch(fields) if Shared.ERRORS in shared else (),
    }


def _parse_next(fields: Fields) -> str | None:
    fields.only_one_of("Next", "End", required=True)
    if fields.has("Next"):
        return fields.text("Next")
    if not fields.flag("End"):
        raise fields.error("End must be true; to go on, name the next state in Next")
    return None


def _entries(fields: Fields, name: str) -> list[Fields]:
    raw = fields.take(name) if fields.has(name) else []
    if not isinstance(raw, list):
        raise fields.error(f"{name} must be a list")
    return [Fields(entry, f"{fields.where}, {name}[{n}]") for n, entry in enumerate(raw)]


def _parse_retry(fields: Fields) -> tuple[Retrier, ...]:
    entries = _entries(fields, "Retry")
    retriers = []
    for number, entry in enumerate(entries):
        interval_s = entry.integer("IntervalSeconds", low=1)
        max_attempts = entry.integer("MaxAttempts", low=0)
        backoff_rate = entry.number("BackoffRate", low=1.0, high=float(MAX_SECONDS))
        max_delay_s = entry.integer("MaxDelaySeconds", low=1, high=_MAX_DELAY_S)
        retrier = Retrier(
            error_equals=_parse_errors(entry, last=number == len(entries) - 1),
            interval_s=1 if interval_s is None else interval_s,
            max_attempts=3 if max_attempts is None else max_attempts,
            backoff_rate=2.0 if backoff_rate is None else backoff_rate,
            max_delay_s=max_delay_s,
            full_jitter=entry.choice("JitterStrategy", ("FULL", "NONE"), "NONE") == "FULL",
        )
        if max_delay_s is not None and max_delay_s <= retrier.interval_s:
            raise entry.error(
                f"MaxDelaySeconds {max_delay_s} must be over IntervalSeconds {retrier.interval_s}"
            )
        _finish(entry)
        retriers.append(retrier)
    return tuple(retriers)


def _parse_catch(fields: Fields) -> tuple[Catcher, ...]:
    entries = _entries(fields, "Catch")
    catchers = []
    for number, entry in enumerate(entries):
        catcher = Catcher(
            error_equals=_parse_errors(entry, last=number == len(entries) - 1),
            next=entry.text("Next"),
            result_path=entry.nullable_path("ResultPath", context=False),
        )
        _finish(entry)
        catchers.append(catcher)
    return tuple(catchers)


def _finish(entry: Fields) -> None:
    entry.optional_text("Comment")
    entry.finish()


def _parse_errors(entry: Fields, *, last: bool) -> tuple[str, ...]:
    names = entry.take("ErrorEquals")
    if not isinstance(names, list) or not names:
        raise entry.error("ErrorEquals must be a list of error names that is not empty")
    for name in names:
        if not isinstance(name, str) or not name:
            raise entry.error("ErrorEquals must hold texts that are not empty")
        if name.startswith("States.") and name not in RESERVED:
            raise entry.error(f"ErrorEquals has {shown(name)}, which is no error of Step Functions")
    if ALL in names and (len(names) > 1 or not last):
        raise entry.error(f"{ALL} must stand alone in ErrorEquals and in the last entry")
    return tuple(names)
