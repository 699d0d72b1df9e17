"""Limits of Step Functions that a document is held to before anybody deploys it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from legato.errors import WorkflowError

MAX_DOCUMENT_BYTES: Final = 1_048_576
MAX_NAME_CHARS: Final = 80
MAX_LABEL_CHARS: Final = 40


def check_limits(document: Mapping[str, Any]) -> None:
    """Refuse a document that Step Functions would refuse for its size.

    Args:
        document: The state machine.

    Raises:
        WorkflowError: The document has more than 1,048,576 bytes, a state's name more than 80
            characters, or a Map's label more than 40.
    """
    size = len(json.dumps(document, ensure_ascii=False, indent=1).encode())
    if size > MAX_DOCUMENT_BYTES:
        limit = f"Step Functions takes {MAX_DOCUMENT_BYTES:,}"
        raise WorkflowError(f"the document has {size:,} bytes, {limit}; make it of fewer states")
    _check_states(document["States"])


def _check_states(states: Mapping[str, Mapping[str, Any]]) -> None:
    for name, state in states.items():
        _check(f"state name {name[:MAX_NAME_CHARS]!r}", name, MAX_NAME_CHARS)
        label = str(state.get("Label", ""))
        _check(f"label {label[:MAX_NAME_CHARS]!r} of state {name}", label, MAX_LABEL_CHARS)
        if "ItemProcessor" in state:
            _check_states(state["ItemProcessor"]["States"])


def _check(what: str, text: str, most: int) -> None:
    if len(text) > most:
        raise WorkflowError(f"{what} has {len(text)} characters, Step Functions takes {most}")
