"""What tasks leave beside their run: why they failed, and outputs that no state passes on.

``runs/<run>/failures/<stage>-<shard>.json`` and ``runs/<run>/outputs/<stage>-<shard>.json``.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from typing import Any, Final

from legato._native import Ref, Store
from legato._scope import Scope
from legato.errors import CorruptObjectError, InputError, LegatoError, ObjectNotFoundError

FIELD: Final = "left"
"""Field of an event that says whose output is to be fetched: ``{"left": {"stage": ...}}``."""

_log = logging.getLogger("legato.step")

_STAGE: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,63}")


def is_unicode(text: str) -> bool:
    """Say whether a text has bytes: JSON can escape half of a surrogate pair, which has none."""
    return not any("\ud800" <= character <= "\udfff" for character in text)


def is_run_id(value: object) -> bool:
    """Say whether a value can name a run: one part of a key."""
    return isinstance(value, str) and bool(value) and "/" not in value and is_unicode(value)


def key_of(event: Mapping[str, Any], kind: str, stage: str) -> str:
    """Return where a task leaves something: ``runs/<run>/<kind>/<stage>-<shard>.json``.

    Args:
        event: The task's event; a prompt is shard 0.
        kind: ``failures`` or ``outputs``.
        stage: The name of the state's step.

    Raises:
        InputError: The event has no run, or its shard has no number.
    """
    run = event.get("run")
    run_id = run.get("id") if isinstance(run, Mapping) else None
    shard = event.get("shard", {"index": 0})
    index = shard.get("index") if isinstance(shard, Mapping) else None
    whole = isinstance(index, int) and not isinstance(index, bool) and index >= 0
    if not is_run_id(run_id) or not whole:
        msg = "the event has no run.id, or a shard without index; send {'run': {'id': ...}, ...}"
        raise InputError(msg)
    return f"runs/{run_id}/{kind}/{stage}-{index:05d}.json"


def leave(store: Store, event: Mapping[str, Any], stage: str, output: Mapping[str, Any]) -> Ref:
    """Store the output of a task whose state discards it; the next state's step fetches it."""
    return store.put(output, key_of(event, "outputs", stage), media_type="application/json")


def record_failure(store: Store, event: Any, stage: str, line: str) -> None:
    """Keep why a task failed beside its run; a history has only the error's name."""
    try:
        store.put(line.encode(), key_of(event, "failures", stage), media_type="application/json")
    except (LegatoError, AttributeError):
        # The event has no run, or the store is what failed: the error itself says so.
        _log.debug("no failure record was written")


def fetched(event: dict[str, Any], scope: Scope) -> dict[str, Any]:
    """Return an event with the output in it that it says was left; any other as it is.

    AWS Batch tells a state that a job has ended, and nothing of what it made.

    Raises:
        InputError: The field names no stage.
        ObjectNotFoundError: Nothing was left.
        CorruptObjectError: What was left is no output.
        AccessDeniedError: The step has not declared that it reads ``runs``.
    """
    if FIELD not in event:
        return event
    left = event[FIELD]
    stage = left.get("stage") if isinstance(left, Mapping) else None
    if not isinstance(stage, str) or not _STAGE.fullmatch(stage):
        msg = f"{FIELD} in the event of {scope.stage} names no stage; use {{'stage': 'inference'}}"
        raise InputError(msg)
    key = key_of(event, "outputs", stage)
    try:
        output = scope.get_json(key)
    except ObjectNotFoundError:
        msg = (
            f"{stage} has left no output at {scope.store.url}/{key}: its job ended without "
            "'python -m legato.worker'; check the image's command, and redrive the run"
        )
        raise ObjectNotFoundError(msg) from None
    if not isinstance(output, dict):
        msg = f"{scope.store.url}/{key} is no output of {stage}; run the state again"
        raise CorruptObjectError(msg)
    return {**{name: value for name, value in event.items() if name != FIELD}, **output}
