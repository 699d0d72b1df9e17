"""One request over HTTP, by the standard library: no redirect is followed, nothing is retried."""

from __future__ import annotations

import http.client
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from email.message import Message
from typing import Any, Final
from urllib.parse import urlsplit

from legato.errors import StoreUnavailableError

TIMEOUT_S: Final = 10.0
"""Longest wait for a connection, and for each part of an answer."""

MAX_BODY: Final = 65_536
"""Bytes of an answer that are read."""


@dataclass(frozen=True)
class Answer:
    """What a server said.

    Attributes:
        status: Of HTTP.
        headers: Of the answer; names in any case.
        body: At most :data:`MAX_BODY` bytes. It may hold a token, so it is in no message.
    """

    status: int
    headers: Message
    body: bytes

    def __repr__(self) -> str:
        """Show the status alone."""
        return f"Answer({self.status})"


class _NotFollowed(urllib.request.HTTPRedirectHandler):
    # urllib would send Authorization on to any host.
    def redirect_request(self, *_: Any) -> None:
        return None


_OPENER: Final = urllib.request.build_opener(_NotFollowed)


def ask(method: str, url: str, headers: Mapping[str, str], body: bytes | None = None) -> Answer:
    """Send a request to a server whose URL has been checked.

    Raises:
        StoreUnavailableError: There was no answer.
    """
    request = urllib.request.Request(url, data=body, method=method)  # noqa: S310 - Hub checks it
    for name, value in headers.items():
        request.add_unredirected_header(name, value)
    try:
        with _OPENER.open(request, timeout=TIMEOUT_S) as answer:
            return Answer(answer.status, answer.headers, answer.read(MAX_BODY))
    except urllib.error.HTTPError as error:
        with error:
            return Answer(error.code, error.headers, _read(error))
    except (OSError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", error)
        said = type(reason if isinstance(reason, BaseException) else error).__name__
        parts = urlsplit(url)
        msg = (
            f"{method} of {parts.scheme}://{parts.netloc}{parts.path} got no answer ({said}); "
            "check the function's way to the internet, and HF_ENDPOINT"
        )
        raise StoreUnavailableError(msg) from None


def _read(error: urllib.error.HTTPError) -> bytes:
    try:
        return error.read(MAX_BODY)
    except (OSError, http.client.HTTPException):
        return b""
