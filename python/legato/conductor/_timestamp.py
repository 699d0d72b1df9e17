"""Timestamps of the RFC 3339 profile that the Amazon States Language asks for."""

from __future__ import annotations

import re
from datetime import datetime, timedelta, timezone
from typing import Final

_FORM: Final = re.compile(
    r"(\d{4}-\d\d-\d\d)T(\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?(?:Z|([+-])(\d\d):(\d\d))", re.ASCII
)
_EPOCH: Final = datetime(1970, 1, 1)  # noqa: DTZ001 - both sides of the subtraction are UTC
_MAX_OFFSET_H: Final = 18


def parse_timestamp(value: object) -> int | None:
    """Return a timestamp as nanoseconds since 1970-01-01T00:00:00Z.

    Args:
        value: Such as ``2016-08-18T17:33:00.123Z``; the ``T`` and the ``Z`` are capitals, and a
            ``Z`` or an offset has to be there.

    Returns:
        The instant, or None where the value is no timestamp.
    """
    if not isinstance(value, str) or not (form := _FORM.fullmatch(value)):
        return None
    day, clock, fraction, sign, hours, minutes = form.groups()
    try:
        # Not fromisoformat with an offset: Python 3.10 reads only some of these forms.
        local = datetime.fromisoformat(f"{day}T{clock}")
    except ValueError:
        return None
    offset = timedelta()
    if sign:
        if int(hours) > _MAX_OFFSET_H or int(minutes) > 59:  # noqa: PLR2004 - minutes of an hour
            return None
        offset = timedelta(hours=int(hours), minutes=int(minutes)) * (-1 if sign == "-" else 1)
    elapsed = local - _EPOCH - offset
    seconds = elapsed.days * 86_400 + elapsed.seconds
    return seconds * 1_000_000_000 + int((fraction or "").ljust(9, "0"))


def format_timestamp(epoch_s: float) -> str:
    """Return seconds since 1970 as UTC text with milliseconds, as in AWS's context object."""
    moment = datetime.fromtimestamp(epoch_s, tz=timezone.utc)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
