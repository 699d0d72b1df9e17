"""Admit a record, or say why not: the rules for ids and texts that hold for every format."""

from __future__ import annotations

import re
from typing import Final, cast

from legato.stages._readers._record import Reason, Record, Rejected, over_limit

MAX_ID_BYTES: Final = 512

_NOT_IN_AN_ID: Final = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
_BAD_ID: Final = (
    "the id is not a string or integer of 1 to 512 bytes with a visible character "
    "and without control characters"
)
_NUMBER: Final = re.compile("[1-9][0-9]{0,17}")


class Admission:
    """The records of one input that were accepted, and the rules for the next one.

    A record without an id is called ``<prefix>-<position>``. Integers are ids too: ``7`` and
    ``"7"`` are the same one. Of the records with one id the first that is otherwise good stays: a
    record that was rejected takes no id.

    The ids must be remembered, about 100 bytes for each one that the input gives; for each one
    that is made here it is one bit.
    """

    __slots__ = ("_given", "_made", "_max_bytes", "_prefix")

    def __init__(self, prefix: str, max_bytes: int) -> None:
        """Start with no record.

        Args:
            prefix: What a position is called in an id: ``line`` or ``row``.
            max_bytes: Size of the longest text, in UTF-8.
        """
        self._prefix = f"{prefix}-"
        self._max_bytes = max_bytes
        self._given: set[str] = set()
        # A bit for each position, set where the id was made from it.
        self._made = bytearray()

    def admit(self, position: int, given_id: object, text: object) -> Record | Rejected:
        """Return the record, or its rejection.

        Args:
            position: Where it starts; grows from call to call.
            given_id: The value of the id field; None where there is none.
            text: The value of the text field; None where there is none.
        """
        record_id = f"{self._prefix}{position}" if given_id is None else _id_of(given_id)
        if record_id is None:
            return Rejected(position, None, "bad_id", _BAD_ID)
        fault = _fault(text, self._max_bytes)
        if fault is not None:
            return Rejected(position, record_id, *fault)
        if self._is_taken(record_id):
            detail = "an accepted record before this one has the same id"
            return Rejected(position, record_id, "duplicate_id", detail)
        if given_id is None:
            self._mark(position)
        else:
            self._given.add(record_id)
        # A str by now: everything else is a fault.
        return Record(record_id, cast("str", text), position)

    def _is_taken(self, record_id: str) -> bool:
        if record_id in self._given:
            return True
        if not self._made or not record_id.startswith(self._prefix):
            return False
        number = record_id[len(self._prefix) :]
        if not _NUMBER.fullmatch(number):
            return False
        byte, bit = divmod(int(number), 8)
        return byte < len(self._made) and bool(self._made[byte] >> bit & 1)

    def _mark(self, position: int) -> None:
        byte, bit = divmod(position, 8)
        if byte >= len(self._made):
            self._made.extend(bytes(byte + 1 - len(self._made)))
        self._made[byte] |= 1 << bit


def _id_of(given: object) -> str | None:
    # True is an int for Python, but nobody's id.
    if isinstance(given, int) and not isinstance(given, bool):
        given = str(given)
    if not isinstance(given, str) or not given or given.isspace():
        return None
    if not (given.isascii() and given.isprintable()) and _NOT_IN_AN_ID.search(given):
        return None
    return given if len(given.encode()) <= MAX_ID_BYTES else None


def _fault(text: object, max_bytes: int) -> tuple[Reason, str] | None:
    if not isinstance(text, str):
        if text is None:
            return "missing_text", "the text field is absent or null"
        return "text_not_a_string", f"the text is of type {type(text).__name__}, not a string"
    if not text or text.isspace():
        return "empty_text", "the text has no visible character"
    size = len(text)
    if not text.isascii():
        try:
            size = len(text.encode())
        except UnicodeEncodeError as exc:
            where = f"character {exc.start + 1:,} of the text"
            return "lone_surrogate", f"{where} is half of a surrogate pair"
    if size > max_bytes:
        return "too_long", over_limit(size, max_bytes)
    nul = text.find("\0")
    return ("nul_character", f"character {nul + 1:,} of the text is NUL") if nul >= 0 else None
