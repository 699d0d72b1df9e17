"""JSON at the boundaries: what goes in and out of a state is text of at most 256 KiB."""

from __future__ import annotations

import json
from typing import Any, Final

from legato.conductor._failure import DATA_LIMIT_EXCEEDED, RUNTIME, StateFailure

MAX_PAYLOAD_BYTES: Final = 262_144
"""AWS's limit on the input and output of a state, in bytes of UTF-8."""


def encode(value: object) -> bytes:
    """Serialise a value to compact JSON.

    Args:
        value: What the ``json`` module can serialise; NaN and infinities are refused.

    Returns:
        UTF-8 bytes.

    Raises:
        ValueError: The value is not JSON: wrong type, NaN, a lone surrogate, a cycle or too deep.
    """
    try:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        return text.encode("utf-8")
    except UnicodeEncodeError:
        # The original message quotes the text, which may be the user's.
        msg = "a string holds a lone surrogate, which UTF-8 cannot carry"
        raise ValueError(msg) from None
    except (TypeError, ValueError, RecursionError) as exc:
        msg = f"not serialisable as JSON ({type(exc).__name__})"
        raise ValueError(msg) from None


def decode(data: str | bytes) -> Any:
    """Parse JSON text strictly.

    Args:
        data: One JSON value; NaN and infinities are refused, as they are by AWS.

    Raises:
        ValueError: The text is not JSON, is not UTF-8, or is nested too deeply.
    """
    try:
        return json.loads(data, parse_constant=_refuse_constant)
    except RecursionError:
        msg = "nested too deeply"
        raise ValueError(msg) from None


def check_size(value: object, what: str) -> bytes:
    """Refuse a payload over the limit of 262,144 bytes.

    Args:
        value: The input or output of a state.
        what: What it is, for the message, e.g. ``output of state Inference``.

    Returns:
        The payload as compact JSON.

    Raises:
        StateFailure: ``States.DataLimitExceeded``, or ``States.Runtime`` where it is not JSON.
    """
    try:
        data = encode(value)
    except ValueError as exc:
        raise StateFailure(RUNTIME, f"the {what} is not JSON: {exc}") from None
    if len(data) > MAX_PAYLOAD_BYTES:
        cause = (
            f"the {what} has {len(data):,} bytes, the limit of Step Functions is "
            f"{MAX_PAYLOAD_BYTES:,}; store the data and hand over a reference"
        )
        raise StateFailure(DATA_LIMIT_EXCEEDED, cause)
    return data


def _refuse_constant(name: str) -> None:
    msg = f"{name} is not JSON"
    raise ValueError(msg)
