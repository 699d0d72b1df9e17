"""Events between states: references to objects on the way in, and back on the way out."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

import legato._native as native
from legato._native import Ref, Tokens
from legato._scope import Scope
from legato.errors import InputError, OutputTooLargeError

CARRIED: Final = ("run", "shard", "counts")
"""The context: it travels from state to state without a state naming it, and is never offloaded,
because Choice states and item readers look into it."""

MAX_OUTPUT_BYTES: Final = 32 * 1024
"""Most bytes that a state returns: far below the 262,144 of Step Functions."""

MIN_OFFLOADED_BYTES: Final = 1024
"""A smaller value stays: a reference to it would hardly be shorter."""

_MEDIA: Final = native.MEDIA_TYPES

VALUE: Final = _MEDIA["value"]
"""An event value that was too large to travel; it is put back on the way in."""

TENSORS: Final = _MEDIA["tensors"]
"""Named arrays."""

TOKENS: Final = _MEDIA["tokens"]
JSON: Final = _MEDIA["json"]
JSONL: Final = _MEDIA["jsonl"]
PARQUET: Final = _MEDIA["parquet"]


def resolve(event: Any, scope: Scope) -> Any:
    """Return an event with references as :class:`legato.Ref`, and offloaded values put back.

    Raises:
        InputError: A reference in the event is not valid, or the event is nested too deeply.
    """
    try:
        return _resolved(event, scope)
    except RecursionError:
        msg = f"the event of {scope.stage} is nested too deeply; send a flatter one"
        raise InputError(msg) from None


def _resolved(event: Any, scope: Scope) -> Any:
    if isinstance(event, dict):
        if "legato_ref" in event:
            ref = scope.bind(Ref.from_dict(event))
            return ref if ref.media_type != VALUE else _resolved(ref.load(), scope)
        return {key: _resolved(value, scope) for key, value in event.items()}
    if isinstance(event, list):
        return [_resolved(value, scope) for value in event]
    return event


def offload(result: Mapping[str, Any], scope: Scope) -> dict[str, Any]:
    """Return a result as JSON of at most 32 KiB: bytes, arrays and large values become references.

    Of a field that is too large the value goes that makes it so, however deep it lies; what is
    small beside it stays where Choice states look for it.

    Raises:
        InputError: A value has no JSON form.
        OutputTooLargeError: What cannot be stored is over the limit.
    """
    output = {_key(key): _plain_field(key, value, scope) for key, value in result.items()}
    sizes = {key: len(_dump(key, value)) for key, value in output.items()}
    total = len(_dump("output", output))
    while total > MAX_OUTPUT_BYTES:
        # The largest first: what Choice states look at is small and stays.
        large = [key for key in output if key not in CARRIED and _is_large(output[key], sizes[key])]
        if not large:
            raise _too_large(scope, total)
        key = max(large, key=sizes.__getitem__)
        output[key] = _without_largest(key, output[key], sizes[key], scope)
        before, sizes[key] = sizes[key], len(_dump(key, output[key]))
        total += sizes[key] - before
    return output


def _is_large(value: Any, size: int) -> bool:
    return size >= MIN_OFFLOADED_BYTES and not _is_ref(value)


def _without_largest(key: str, value: Any, size: int, scope: Scope) -> Any:
    """Store the value, or the one in it that has most of its bytes, and put a reference there."""
    inner = value.items() if isinstance(value, dict) else enumerate(value)
    sizes = {} if isinstance(value, str) else {at: len(_dump(key, child)) for at, child in inner}
    at = max(sizes, key=sizes.__getitem__, default=None)
    # Many values of a size go together: one object, and one request to put them back.
    if at is None or not _is_large(value[at], sizes[at]) or 2 * sizes[at] < size:
        return scope.put(_dump(key, value), media_type=VALUE).to_dict()
    rest = dict(value) if isinstance(value, dict) else list(value)
    rest[at] = _without_largest(key, value[at], sizes[at], scope)
    return rest


def _too_large(scope: Scope, total: int) -> OutputTooLargeError:
    return OutputTooLargeError(
        f"the output of {scope.stage} has {total:,} bytes, the limit is {MAX_OUTPUT_BYTES:,}, "
        f"and no field but the context ({', '.join(CARRIED)}) is large enough to be stored; "
        "return fewer fields, or commit the data and return its reference"
    )


def _plain_field(key: str, value: Any, scope: Scope) -> Any:
    try:
        return _plain(value, scope)
    except RecursionError:
        raise _no_json(key, "it is nested too deeply or contains itself") from None


def _plain(value: Any, scope: Scope) -> Any:
    if isinstance(value, Mapping):
        return {_key(key): _plain(inner, scope) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(inner, scope) for inner in value]
    if isinstance(value, Ref):
        return value.to_dict()
    if getattr(value, "shape", None) == () and hasattr(value, "__array_interface__"):
        # A number of numpy is a number.
        return value.item()
    if isinstance(value, _STORED) or hasattr(value, "__array__"):
        return scope.put(value).to_dict()
    return value


_STORED: Final = (bytes, bytearray, memoryview, Tokens)
"""What has no JSON form, besides arrays and tables (which are arrays of a kind, too)."""


def _key(key: Any) -> str:
    # str() of other keys could make two of them one, and lose a value.
    if not isinstance(key, str):
        msg = f"a state returned a mapping with a key of type {type(key).__name__}; use texts"
        raise InputError(msg)
    return key


def _is_ref(value: Any) -> bool:
    return isinstance(value, dict) and "legato_ref" in value


def _dump(key: str, value: Any) -> bytes:
    try:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        return text.encode()
    except UnicodeEncodeError:
        raise _no_json(key, "a text in it has half of a surrogate pair") from None
    except TypeError as error:
        # It names the type of what is in the way, and quotes nothing.
        raise _no_json(key, str(error)) from None
    except (ValueError, RecursionError):
        raise _no_json(key, "it has NaN or an infinity, or is nested too deeply") from None


def _no_json(key: str, reason: str) -> InputError:
    return InputError(f"field {key!a} that a state returned has no JSON form: {reason}")
