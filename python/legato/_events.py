"""Events between states: references to objects on the way in, and back on the way out."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
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

VALUE: Final = "application/vnd.legato.value+json"
"""An event value that was too large to travel; it is put back on the way in."""

ARRAY: Final = "application/vnd.legato.array+safetensors"
"""One array that a state returned."""

TENSORS: Final = "application/vnd.safetensors"
"""Named arrays."""

TOKENS: Final = "application/vnd.legato.tokens+safetensors"
JSON: Final = "application/json"
JSONL: Final = "application/jsonl"
PARQUET: Final = "application/vnd.apache.parquet"
BINARY: Final = "application/octet-stream"

_SUFFIXES: Final = {VALUE: ".json", ARRAY: ".safetensors", BINARY: ".bin"}


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
            ref = Ref.from_dict(event)
            if ref.media_type != VALUE:
                return ref
            return _resolved(load(ref, scope.get(ref)), scope)
        return {key: _resolved(value, scope) for key, value in event.items()}
    if isinstance(event, list):
        return [_resolved(value, scope) for value in event]
    return event


def offload(result: Mapping[str, Any], scope: Scope) -> dict[str, Any]:
    """Return a result as JSON of at most 32 KiB: bytes, arrays and large fields become references.

    Raises:
        InputError: A value has no JSON form.
        OutputTooLargeError: What cannot be stored is over the limit.
    """
    output = {_key(key): _plain_field(key, value, scope) for key, value in result.items()}
    sizes = {key: len(_dump(key, value)) for key, value in output.items()}
    total = len(_dump("output", output))
    # The largest first: what Choice states look at is small and stays.
    for key in sorted(output, key=sizes.__getitem__, reverse=True):
        if total <= MAX_OUTPUT_BYTES or sizes[key] < MIN_OFFLOADED_BYTES:
            break
        if key not in CARRIED and not _is_ref(output[key]):
            output[key] = _store(_dump(key, output[key]), VALUE, scope)
            total += len(_dump(key, output[key])) - sizes[key]
    if total > MAX_OUTPUT_BYTES:
        msg = (
            f"the output of {scope.stage} has {total:,} bytes, the limit is {MAX_OUTPUT_BYTES:,}, "
            f"and no field but the context ({', '.join(CARRIED)}) is large enough to be stored; "
            "return fewer fields, or commit the data and return its reference"
        )
        raise OutputTooLargeError(msg)
    return output


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
    if isinstance(value, (bytes, bytearray, memoryview)):
        return _store(bytes(value), BINARY, scope)
    return _plain_array(value, scope) if hasattr(value, "__array_interface__") else value


def _plain_array(array: Any, scope: Scope) -> Any:
    if array.shape == ():
        # A number of numpy is a number.
        return array.item()
    about = {"dtype": str(array.dtype), "shape": list(array.shape)}
    return _store(native.write_safetensors({"array": array}), ARRAY, scope, **about)


def _key(key: Any) -> str:
    # str() of other keys could make two of them one, and lose a value.
    if not isinstance(key, str):
        msg = f"a state returned a mapping with a key of type {type(key).__name__}; use texts"
        raise InputError(msg)
    return key


def _store(data: bytes, media_type: str, scope: Scope, **about: Any) -> dict[str, Any]:
    import hashlib  # and OpenSSL: not for those who only compute

    digest = hashlib.sha256(data).hexdigest()
    # With the suffix, because the same bytes can be a value for one state and plain bytes for
    # another, and the first reference would stay.
    key = f"{scope.writes[0]}/values/{digest}{_SUFFIXES[media_type]}"
    return scope.commit(key, data, media_type=media_type, **about).to_dict()


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


def load(ref: Ref, data: bytes) -> Any:
    """Return what the bytes of an object are by its media type; bytes where that is not known.

    Raises:
        InputError: They are not what the media type says.
    """
    loader = _LOADERS.get(ref.media_type)
    if loader is None:
        return data
    try:
        return loader(data)
    except (ValueError, RecursionError):
        # Not the message of the parser, which may quote the data.
        msg = f"object {ref.uri} is no {ref.media_type}; store it with the media type that it has"
        raise InputError(msg) from None


_LOADERS: Final[Mapping[str, Callable[[bytes], Any]]] = {
    VALUE: json.loads,
    JSON: json.loads,
    JSONL: lambda data: [json.loads(line) for line in data.splitlines()],
    ARRAY: lambda data: native.read_safetensors(data)[0]["array"],
    TENSORS: lambda data: native.read_safetensors(data)[0],
    TOKENS: Tokens.from_bytes,
    PARQUET: native.read_parquet,
}
