"""What a reader yields: a record, or why the input holds none there.

The reasons of a rejection:

=================  ===========================================================  =================
reason             when                                                         formats
=================  ===========================================================  =================
invalid_json       not strict JSON: syntax, NaN or Infinity, a key twice in     JSONL
                   one object, nested too deeply, a number over 4,300 digits
not_an_object      JSON, but no object                                          JSONL
bad_row            a broken quoted cell, a lone carriage return, or another     CSV, TSV
                   number of cells than the header has
missing_text       the text field is absent or null                             JSONL, Parquet
text_not_a_string  the text is a number, a list, ...                            JSONL, Parquet
empty_text         the text is empty or only whitespace                         all
not_utf8           the line or row is not UTF-8                                 JSONL, CSV, TSV, TXT
nul_character      the text, or a line of broken JSON, has a NUL character      all
lone_surrogate     the text has half of a surrogate pair, which UTF-8 cannot    JSONL
                   carry
too_long           the line, row or text has more than ``max_record_bytes``     all
bad_id             the id is no string or integer, is blank, has a control      JSONL, CSV, TSV,
                   character or half a surrogate pair, or over 512 bytes        Parquet
duplicate_id       an accepted record before it has the same id                 JSONL, CSV, TSV,
                                                                                Parquet
=================  ===========================================================  =================
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, get_args

Reason = Literal[
    "invalid_json",
    "not_an_object",
    "bad_row",
    "missing_text",
    "text_not_a_string",
    "empty_text",
    "not_utf8",
    "nul_character",
    "lone_surrogate",
    "too_long",
    "bad_id",
    "duplicate_id",
]

REASONS: Final[tuple[Reason, ...]] = get_args(Reason)
"""Every reason, in the order of the table above."""


@dataclass(frozen=True, slots=True)
class Record:
    """A text with its id.

    ``position`` is the line where the record starts, or its row in a Parquet file; both from 1.
    """

    id: str
    text: str
    position: int


@dataclass(frozen=True, slots=True)
class Rejected:
    """A record that cannot be used.

    ``id`` is None where the record has no valid one. ``detail`` says more than the reason in
    numbers and names of fields, never in words of the text, so it can be logged.
    """

    position: int
    id: str | None
    reason: Reason
    detail: str


def over_limit(size: int, limit: int) -> str:
    """Return the detail of a record that is too long.

    Args:
        size: Bytes that it has.
        limit: Bytes that it may have.
    """
    return f"the record has {size:,} bytes, the limit is {limit:,}"


def not_utf8(position: int, start: int) -> Rejected:
    """Return the rejection of a line or row that cannot be decoded.

    Args:
        position: Where the record starts.
        start: Offset of the first wrong byte in the record, from 0.
    """
    return Rejected(position, None, "not_utf8", f"byte {start + 1:,} of the record is not UTF-8")
