"""Events between states: references to objects on the way in, and back on the way out."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from typing import Any

import legato._native as native
from legato._native import Ref
from legato._scope import Scope
from legato.errors import InputError, OutputTooLargeError

MAX_OUTPUT_BYTES = 32 * 1024
"""Most bytes that a state returns: far below the 262,144 of Step Functions."""

VALUE = "application/vnd.legato.value+json"
"""Media type of an event value that was too large to travel; it is put back on the way in."""

TENSORS = "application/vnd.safetensors"
"""Media type of named arrays."""


def resolve(event: Any, scope: Scope) -> Any:
    """Return an event with references as :class:`legato.Ref`, and offloaded values put back.

    Raises:
        InputError: A reference in the event is not valid.
    """
    if isinstance(event, dict):
        if "legato_ref" in event:
            ref = Ref.from_dict(event)
            return json.loads(scope.get(ref)) if ref.media_type == VALUE else ref
        return {key: resolve(value, scope) for key, value in event.items()}
    if isinstance(event, list):
        return [resolve(value, scope) for value in event]
    return event


def offload(result: Mapping[str, Any], scope: Scope) -> dict[str, Any]:
    """Return a result as JSON of at most 32 KiB: bytes, arrays and large values become references.

    Raises:
        InputError: A value has no JSON form.
        OutputTooLargeError: The references alone are over the limit.
    """
    output = {key: _plain(value, scope) for key, value in result.items()}
    # The largest first: what Choice states look at is small and stays.
    for key in sorted(output, key=lambda key: _size(output[key]), reverse=True):
        if _size(output) <= MAX_OUTPUT_BYTES:
            break
        if not _is_ref(output[key]):
            output[key] = _store(_dump(output[key]), VALUE, scope)
    if (size := _size(output)) > MAX_OUTPUT_BYTES:
        msg = (
            f"the output of {scope.stage} has {size:,} bytes, the limit is {MAX_OUTPUT_BYTES:,}; "
            "commit the data and return its reference"
        )
        raise OutputTooLargeError(msg)
    return output


def _plain(value: Any, scope: Scope) -> Any:
    if isinstance(value, Ref):
        return value.to_dict()
    if isinstance(value, (bytes, bytearray, memoryview)):
        return _store(bytes(value), "application/octet-stream", scope)
    if hasattr(value, "__array_interface__"):
        about = {"dtype": str(value.dtype), "shape": list(value.shape)}
        return _store(native.write_safetensors({"array": value}), TENSORS, scope, **about)
    if isinstance(value, Mapping):
        return {str(key): _plain(inner, scope) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(inner, scope) for inner in value]
    return value


def _store(data: bytes, media_type: str, scope: Scope, **about: Any) -> dict[str, Any]:
    digest = hashlib.sha256(data).hexdigest()
    key = f"{scope.writes[0] if scope.writes else scope.stage}/values/{digest}"
    return scope.commit(key, data, media_type=media_type, **about).to_dict()


def _is_ref(value: Any) -> bool:
    return isinstance(value, dict) and "legato_ref" in value


def _size(value: Any) -> int:
    return len(_dump(value))


def _dump(value: Any) -> bytes:
    try:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        return text.encode()
    except (TypeError, ValueError, RecursionError) as error:
        # The message of json may quote the value; its class says enough.
        msg = f"a state returned a value that has no JSON form ({type(error).__name__})"
        raise InputError(msg) from None


Load = Callable[[bytes], Any]

LOADERS: Mapping[str, Load] = {
    VALUE: json.loads,
    "application/json": json.loads,
    "application/jsonl": lambda data: [json.loads(line) for line in data.splitlines()],
    TENSORS: lambda data: native.read_safetensors(data)[0],
    "application/vnd.apache.parquet": native.read_parquet,
}
"""What :meth:`legato.step.Task.load` makes of a media type; anything else stays bytes."""
