"""Plain text: one text a line."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from legato.stages._readers._admission import Admission
from legato.stages._readers._lines import Oversized, lines
from legato.stages._readers._record import Record, Rejected, not_utf8, over_limit


def read_txt(chunks: Iterable[bytes], *, max_record_bytes: int) -> Iterator[Record | Rejected]:
    """Yield the lines of plain text; their ids are ``line-<position>``.

    Args:
        chunks: The file's bytes, cut anywhere.
        max_record_bytes: Bytes that a line may have.
    """
    admit = Admission("line", max_record_bytes).admit
    for position, line in enumerate(lines(chunks, max_record_bytes), start=1):
        if isinstance(line, Oversized):
            detail = over_limit(line.size, max_record_bytes)
            yield Rejected(position, None, "too_long", detail)
            continue
        if not line or line.isspace():
            continue
        try:
            text = line.decode()
        except UnicodeDecodeError as exc:
            yield not_utf8(position, exc.start)
        else:
            yield admit(position, None, text)
