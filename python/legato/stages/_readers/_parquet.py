"""Parquet: a column of texts, and one of ids where there is one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import repeat
from typing import Any

from legato.errors import InputError
from legato.stages._readers._admission import Admission
from legato.stages._readers._record import Record, Rejected


def read_parquet(
    chunks: Iterable[bytes], *, text_field: str, id_field: str, max_record_bytes: int
) -> Iterator[Record | Rejected]:
    """Yield the records of a Parquet file, which is held in memory as a whole.

    Args:
        chunks: The file's bytes, cut anywhere.
        text_field: Name of the text's column.
        id_field: Name of the id's column, which may be absent, as may be its cells.
        max_record_bytes: Bytes that a text may have.

    Raises:
        InputError: The file cannot be read, has no column of the text, or has one of another type
            than text or numbers.
    """
    data = b"".join(chunks)
    if not data:
        return
    texts, ids = _columns(data, text_field, id_field)
    admit = Admission("row", max_record_bytes).admit
    for position, (given_id, text) in enumerate(zip(ids, texts, strict=False), start=1):
        yield admit(position, given_id, text)


def _columns(data: bytes, text_field: str, id_field: str) -> tuple[list[Any], Iterable[Any]]:
    from legato._native import read_parquet as read

    try:
        found = read(data, columns=[text_field, id_field])
    except InputError as exc:
        # Only an id column that is absent is no mistake. One of a type that cannot be read is.
        if f"no column '{id_field}'" not in str(exc):
            raise
        found = read(data, columns=[text_field])
    for name, cells in found.items():
        if not isinstance(cells, list):
            msg = f"column {name!a} holds vectors; name a column of text as text_field"
            raise InputError(msg)
    return found[text_field], found.get(id_field, repeat(None))
