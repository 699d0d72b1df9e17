"""CSV as RFC 4180 describes it, with a header row; TSV is the same with tabs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from legato.errors import InputError
from legato.stages._readers._admission import Admission
from legato.stages._readers._lines import Oversized
from legato.stages._readers._record import Record, Rejected, not_utf8, over_limit
from legato.stages._readers._rows import Row, cells, rows

_SHOWN_COLUMNS: Final = 20
_SHOWN_CHARACTERS: Final = 40

_BROKEN: Final = "the row has a broken quoted cell or a lone carriage return"
_UNCLOSED: Final = (
    "the row at line {line} opens a quoted cell that is not closed until the end of the file; "
    "close the quote, or every record after it would be lost"
)


def read_csv(
    chunks: Iterable[bytes],
    *,
    text_field: str,
    id_field: str,
    max_record_bytes: int,
    delimiter: str = ",",
) -> Iterator[Record | Rejected]:
    """Yield the records of CSV.

    Args:
        chunks: The file's bytes, cut anywhere.
        text_field: Name of the text's column.
        id_field: Name of the id's column, which may be absent.
        max_record_bytes: Bytes that a row may have.
        delimiter: The character between cells, ASCII.

    Raises:
        InputError: The header row cannot be read, has no column of the text, or has one of the two
            columns twice; or a quoted cell is never closed.
    """
    found = rows(chunks, max_record_bytes, delimiter.encode())
    first = next(found, None)
    if first is None:
        return
    header = _header(first, delimiter)
    text_at = _column(header, text_field)
    if text_at is None:
        raise InputError(_no_column(header, text_field))
    id_at = _column(header, id_field)
    admit = Admission("line", max_record_bytes).admit
    for row in found:
        if not row.closed:
            # Whatever the rest of the file was meant to be, it is no one record to reject.
            raise InputError(_UNCLOSED.format(line=row.line))
        if isinstance(row.data, Oversized):
            detail = over_limit(row.data.size, max_record_bytes)
            yield Rejected(row.line, None, "too_long", detail)
            continue
        try:
            values = cells(row.data.decode(), delimiter)
        except UnicodeDecodeError as exc:
            yield not_utf8(row.line, exc.start)
            continue
        if values is None or len(values) != len(header):
            yield Rejected(row.line, None, "bad_row", _why(values, len(header)))
        else:
            yield admit(row.line, None if id_at is None else values[id_at], values[text_at])


def _why(values: list[str] | None, columns: int) -> str:
    if values is None:
        return _BROKEN
    return f"the row has {len(values):,} cells, the header has {columns:,}"


def _header(row: Row, delimiter: str) -> list[str]:
    where = f"the header row (line {row.line})"
    if isinstance(row.data, Oversized):
        msg = f"{where} has {row.data.size:,} bytes; give the file a header row"
        raise InputError(msg)
    try:
        names = cells(row.data.decode(), delimiter)
    except UnicodeDecodeError as exc:
        msg = f"byte {exc.start + 1:,} of {where} is not UTF-8; save the file as UTF-8"
        raise InputError(msg) from None
    if names is None:
        msg = (
            f"{where} has a broken quoted cell or a lone carriage return; "
            "write it as RFC 4180 says, with lines that end with a line feed"
        )
        raise InputError(msg)
    return names


def _column(header: Sequence[str], name: str) -> int | None:
    count = header.count(name)
    if count > 1:
        msg = f"the header row has {count} columns {name!a}; rename all but one"
        raise InputError(msg)
    return header.index(name) if count else None


def _no_column(header: Sequence[str], text_field: str) -> str:
    shown = ", ".join(_shown(name) for name in header[:_SHOWN_COLUMNS])
    more = f" and {len(header) - _SHOWN_COLUMNS:,} more" if len(header) > _SHOWN_COLUMNS else ""
    return (
        f"the header row has no column {text_field!a}; it has {shown}{more}; name the column of "
        "the text as text_field, or give the file a header row"
    )


def _shown(name: str) -> str:
    # A file without a header row has a text here, which must not get into a message.
    word = name.strip().replace("-", "_").replace(".", "_")
    if len(name) <= _SHOWN_CHARACTERS and word.isidentifier():
        return ascii(name)
    return f"(a cell of {len(name):,} characters)"
