"""JSON Lines: one object a line."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any, Final, NoReturn

from legato.stages._readers._admission import Admission
from legato.stages._readers._lines import Oversized, lines
from legato.stages._readers._record import Reason, Record, Rejected, not_utf8, over_limit

# Python's own limit, which can be set otherwise and is not there before 3.10.7; a number of a
# megabyte takes seconds to convert.
_MAX_DIGITS: Final = 4300


class _NotStrictError(ValueError):
    """JSON that Python reads and RFC 8259 or its strict reading (RFC 7493) does not allow."""


def read_jsonl(
    chunks: Iterable[bytes], *, text_field: str, id_field: str, max_record_bytes: int
) -> Iterator[Record | Rejected]:
    """Yield the records of JSON Lines.

    Args:
        chunks: The file's bytes, cut anywhere.
        text_field: Key of the text.
        id_field: Key of the id, which may be absent or null.
        max_record_bytes: Bytes that a line may have.
    """
    admit = Admission("line", max_record_bytes).admit
    decode = _decoder().decode
    for position, line in enumerate(lines(chunks, max_record_bytes), start=1):
        if isinstance(line, Oversized):
            detail = over_limit(line.size, max_record_bytes)
            yield Rejected(position, None, "too_long", detail)
            continue
        if not line or line.isspace():
            continue
        try:
            value = decode(line.decode())
        except UnicodeDecodeError as exc:
            yield not_utf8(position, exc.start)
        except (ValueError, RecursionError) as exc:
            reason, detail = _why(exc, line)
            yield Rejected(position, None, reason, detail)
        else:
            if isinstance(value, dict):
                yield admit(position, value.get(id_field), value.get(text_field))
            else:
                detail = f"the line is JSON of type {type(value).__name__}, not an object"
                yield Rejected(position, None, "not_an_object", detail)


def _why(exc: Exception, line: bytes) -> tuple[Reason, str]:
    # A block of NUL bytes is what a crash leaves in a file that was being written.
    nul = line.find(b"\0")
    if nul >= 0:
        return "nul_character", f"byte {nul + 1:,} of the line is NUL"
    if isinstance(exc, RecursionError):
        return "invalid_json", "nested too deeply"
    if isinstance(exc, json.JSONDecodeError):
        # Its own message may quote the line.
        return "invalid_json", f"not JSON at character {exc.pos + 1:,}"
    if isinstance(exc, _NotStrictError):
        return "invalid_json", str(exc)
    return "invalid_json", "not JSON"


def _decoder() -> json.JSONDecoder:
    return json.JSONDecoder(
        object_pairs_hook=_unique, parse_constant=_no_constant, parse_int=_integer
    )


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        msg = "a key occurs twice in one object"
        raise _NotStrictError(msg)
    return found


def _no_constant(_name: str) -> NoReturn:
    msg = "NaN and Infinity are not JSON"
    raise _NotStrictError(msg)


def _integer(digits: str) -> int:
    if len(digits) > _MAX_DIGITS:
        msg = f"a number has more than {_MAX_DIGITS:,} digits"
        raise _NotStrictError(msg)
    return int(digits)
