"""The one way in: chunks of bytes of any format to records."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from legato.errors import InputError
from legato.stages._readers._csv import read_csv
from legato.stages._readers._jsonl import read_jsonl
from legato.stages._readers._kind import KINDS
from legato.stages._readers._parquet import read_parquet
from legato.stages._readers._record import Record, Rejected
from legato.stages._readers._txt import read_txt

MAX_RECORD_BYTES: Final = 1 << 20
"""No model reads a text of a mebibyte, so a longer line is a mistake in the file."""


def read_records(
    chunks: Iterable[bytes],
    *,
    kind: str,
    text_field: str = "text",
    id_field: str = "id",
    max_record_bytes: int = MAX_RECORD_BYTES,
) -> Iterator[Record | Rejected]:
    """Yield every record of the input in its order, accepted or rejected, exactly once.

    No record are: a UTF-8 byte order mark at the start, lines of only ASCII whitespace in JSONL
    and TXT, empty lines and the header row in CSV and TSV. A line ends with a line feed or with
    carriage return and line feed. An input without any record yields nothing.

    The id of a record that gives none (no field or column, or null) is ``line-<position>``, in
    Parquet ``row-<position>``. The cells of CSV are never null: an empty id is a bad one.

    Memory is bounded by a few times ``max_record_bytes`` and the ids, except for Parquet, which
    needs the whole file. A quote in CSV that is never closed makes one record of the rest.

    Args:
        chunks: The file's bytes, cut anywhere; what iterating over them raises is passed on.
        kind: ``jsonl``, ``csv``, ``tsv``, ``txt`` or ``parquet``, see :func:`kind_of`.
        text_field: Key or column of the text; not used by TXT.
        id_field: Key or column of the id; not used by TXT.
        max_record_bytes: Bytes that a line, a CSV row or a text in Parquet may have.

    Raises:
        InputError: An argument is wrong; while iterating: the header row of CSV or the Parquet
            file cannot be read, or has no column of the text.
    """
    if max_record_bytes < 1:
        msg = f"max_record_bytes is {max_record_bytes}; it must be at least 1"
        raise InputError(msg)
    if kind == "jsonl":
        return read_jsonl(
            chunks, text_field=text_field, id_field=id_field, max_record_bytes=max_record_bytes
        )
    if kind in {"csv", "tsv"}:
        return read_csv(
            chunks,
            text_field=text_field,
            id_field=id_field,
            max_record_bytes=max_record_bytes,
            delimiter="," if kind == "csv" else "\t",
        )
    if kind == "txt":
        return read_txt(chunks, max_record_bytes=max_record_bytes)
    if kind == "parquet":
        return read_parquet(
            chunks, text_field=text_field, id_field=id_field, max_record_bytes=max_record_bytes
        )
    msg = f"kind {kind!a} is unknown; use one of {', '.join(sorted(set(KINDS.values())))}"
    raise InputError(msg)
