"""Requests to an endpoint: who asks, and what each status means."""

from __future__ import annotations

import json
import threading
from typing import Any, Final

from legato._endpoint._credentials import Credentials
from legato._endpoint._hosts import Allowed, Place
from legato._endpoint._http import Answer, Connections
from legato.errors import (
    AccessDeniedError,
    EndpointUnavailableError,
    InputError,
    LegatoError,
    ModelError,
)

OK: Final = 200
UNAUTHORIZED: Final = 401
NOT_THERE: Final = (404, 405)
TOO_LARGE: Final = 413
TRANSIENT: Final = frozenset({408, 429, 500, 502, 503, 504})
_LOOPBACK: Final = ("127.", "::1")
_MEANING: Final[dict[int, tuple[type[LegatoError], str]]] = {
    400: (InputError, "the request is refused; check the task and its parameters"),
    401: (AccessDeniedError, "the token is refused; check LEGATO_HF_CREDENTIALS"),
    402: (AccessDeniedError, "the account has no credit left"),
    403: (AccessDeniedError, "the token may not use this endpoint"),
    404: (ModelError, "there is no such model or route; check the endpoint's URL and task"),
    405: (ModelError, "there is no such route; check the endpoint's URL and task"),
    422: (InputError, "the server cannot read the texts or the parameters"),
    424: (ModelError, "the model fails on the server; see its log"),
}


class TooLargeError(Exception):
    """The server takes no batch as large as this; caught where batches are made."""


class Client:
    """Calls one endpoint.

    Args:
        place: Where it is.
        allowed: What may be called.
        credentials: Who asks.
        timeout_s: Seconds of a request.
        scale_up_s: Seconds that an endpoint which is scaled to zero may hold a request; whatever
            else it needs, the state machine waits for, and no function is billed.
    """

    def __init__(
        self,
        place: Place,
        allowed: Allowed,
        credentials: Credentials,
        *,
        timeout_s: float,
        scale_up_s: int,
    ) -> None:
        """Resolve the host, and check its addresses.

        Raises:
            AccessDeniedError: Host or address are not allowed, or a token would go in the clear.
            EndpointUnavailableError, SettingsError: The name does not resolve.
        """
        addresses = allowed.addresses(place)
        self._place, self._credentials = place, credentials
        self._secure = place.scheme == "https" or all(
            str(address).startswith(_LOOPBACK) for address in addresses
        )
        self._connections = Connections(place, addresses, timeout_s)
        self._scale_up_s = scale_up_s
        self._lock = threading.Lock()
        self._fresh: str | None = None

    def close(self) -> None:
        """Close the connections."""
        self._connections.close()

    def look(self, path: str) -> Any | None:
        """Return the JSON at a path; None where the server has nothing there.

        Raises:
            LegatoError: As :meth:`post`.
        """
        answer = self._send("GET", path, None)
        return None if answer.status in NOT_THERE else self._json(answer, path)

    def post(self, path: str, body: bytes) -> Any:
        """Return what the server makes of a JSON body.

        Raises:
            TooLargeError: 413.
            InputError: 400, 422.
            AccessDeniedError: 401 twice, 402, 403.
            ModelError: 404, 424, another status, or an answer that is no JSON.
            EndpointUnavailableError: 408, 429, 500, 502, 503, 504, or no whole answer in time.
        """
        return self._json(self._send("POST", path, body), path)

    def _send(self, method: str, path: str, body: bytes | None) -> Answer:
        token = self._token()
        answer = self._once(method, path, body, token)
        if answer.status != UNAUTHORIZED:
            return answer
        fresh = self._refreshed(token)
        return answer if fresh is None else self._once(method, path, body, fresh)

    def _once(self, method: str, path: str, body: bytes | None, token: str | None) -> Answer:
        headers = {"Accept": "application/json", "X-Scale-Up-Timeout": str(self._scale_up_s)}
        if body is not None:
            headers["Content-Type"] = "application/json"
        if token is not None:
            headers["Authorization"] = f"Bearer {token}"
        return self._connections.send(method, f"{self._place.path}{path}" or "/", headers, body)

    def _token(self) -> str | None:
        with self._lock:
            token = self._fresh or self._credentials.token()
        if token is not None and not self._secure:
            msg = f"no token is sent to http://{self._place.authority}; use https"
            raise AccessDeniedError(msg)
        return token

    def _refreshed(self, refused: str | None) -> str | None:
        """Return another token than the one that was refused; None where there is none."""
        with self._lock:
            # Several threads are refused at once, and one of them asks.
            if self._fresh is None:
                self._fresh = self._credentials.refresh()
            return self._fresh if self._fresh != refused else None

    def _json(self, answer: Answer, path: str) -> Any:
        where = f"endpoint {self._place.authority}{self._place.path}{path}"
        if answer.status != OK:
            raise _refusal(answer.status, where)
        try:
            return json.loads(answer.body)
        except (ValueError, RecursionError):
            if not answer.whole:
                msg = f"{where} gave no whole answer; try again"
                raise EndpointUnavailableError(msg) from None
            raise ModelError(f"{where} answers no JSON; is it a server of models?") from None


def _refusal(status: int, where: str) -> Exception:
    if status == TOO_LARGE:
        return TooLargeError()
    if status in TRANSIENT:
        return EndpointUnavailableError(f"{where} is busy, starting or failing: status {status}")
    redirect = "it redirects, and redirects are not followed; give the URL that it names"
    other = redirect if status // 100 == 3 else "no answer that is known"  # noqa: PLR2004 - 3xx
    kind, meaning = _MEANING.get(status, (ModelError, other))
    return kind(f"{where}: status {status}: {meaning}")
