"""One request over HTTP, bounded in time and in size.

Of the standard library: a function needs nothing more. No redirect is followed, no proxy of the
environment is used, and nothing is sent a second time here.
"""

from __future__ import annotations

import contextlib
import http.client
import socket
import ssl
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from legato._endpoint._hosts import Address, Place
from legato.errors import EndpointUnavailableError, ModelError

MAX_ANSWER_BYTES: Final = 32 << 20
"""Longest answer: 512 vectors of 4,096 numbers still fit."""

CONNECT_S: Final = 10.0
_PIECE: Final = 1 << 16


@dataclass(frozen=True)
class Answer:
    """What a server answered.

    Attributes:
        status: The status.
        body: Its bytes; those of an error are not read.
        whole: Whether the server said how long the body is, so that a cut one is told.
    """

    status: int
    body: bytes
    whole: bool


class Connections:
    """Connections to one place, each used by one thread at a time and kept for the next request.

    Args:
        place: Where to.
        addresses: Its addresses, checked; tried in their order.
        timeout_s: Seconds that a request may take in all, connecting included.
    """

    def __init__(self, place: Place, addresses: Sequence[Address], timeout_s: float) -> None:
        """Open nothing yet."""
        self._place, self._addresses, self._timeout_s = place, addresses, timeout_s
        self._tls = ssl.create_default_context() if place.scheme == "https" else None
        self._free: list[http.client.HTTPConnection] = []
        self._lock = threading.Lock()

    def close(self) -> None:
        """Close those that are kept."""
        with self._lock:
            for connection in self._free:
                connection.close()
            self._free.clear()

    def send(
        self, method: str, path: str, headers: Mapping[str, str], body: bytes | None = None
    ) -> Answer:
        """Send one request, once.

        Raises:
            EndpointUnavailableError: No whole answer came in time.
            ModelError: The answer is longer than any could be.
        """
        deadline = _Deadline(self._timeout_s)
        with deadline, self._faults(deadline):
            connection = self._taken(deadline)
            try:
                said = {"Host": self._place.authority, "Accept-Encoding": "identity", **headers}
                connection.request(method, path, body, said)
                response = connection.getresponse()
                answer = self._read(response)
            except BaseException:
                connection.close()
                raise
            if answer.whole and not response.will_close and not deadline.passed:
                with self._lock:
                    self._free.append(connection)
            else:
                connection.close()
            return answer

    def _taken(self, deadline: _Deadline) -> http.client.HTTPConnection:
        with self._lock:
            connection = self._free.pop() if self._free else None
        if connection is None:
            connection = http.client.HTTPConnection(self._place.host, self._place.port)
            # It must never connect by itself: by name, that is to an address nobody has checked.
            connection.auto_open = 0
            connection.sock = self._connected(deadline)
        deadline.watch(connection.sock)
        return connection

    def _connected(self, deadline: _Deadline) -> socket.socket:
        *others, last = self._addresses
        raw = None
        for address in others:
            with contextlib.suppress(OSError):
                raw = self._socket(address)
                break
            if deadline.passed:
                raise TimeoutError
        raw = self._socket(last) if raw is None else raw
        deadline.watch(raw)
        if self._tls is None:
            return raw
        try:
            return self._tls.wrap_socket(raw, server_hostname=self._place.host)
        except BaseException:
            raw.close()
            raise

    def _socket(self, address: Address) -> socket.socket:
        limit = min(CONNECT_S, self._timeout_s)
        raw = socket.create_connection((str(address), self._place.port), limit)
        raw.settimeout(self._timeout_s)
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return raw

    @contextlib.contextmanager
    def _faults(self, deadline: _Deadline) -> Iterator[None]:
        """Say what a fault means; what the library says may quote the answer."""
        where = f"endpoint {self._place.authority}"
        try:
            yield
        except ssl.SSLCertVerificationError as error:
            msg = f"{where} has a certificate that is not trusted ({error.verify_message})"
            raise ModelError(msg) from None
        except (OSError, http.client.HTTPException) as error:
            if deadline.passed or isinstance(error, TimeoutError):
                msg = f"{where} gave no whole answer in {self._timeout_s:g} s; try again"
            else:
                msg = f"{where} gave no whole answer ({type(error).__name__}); try again"
            raise EndpointUnavailableError(msg) from None

    def _read(self, response: http.client.HTTPResponse) -> Answer:
        length, chunked = response.length, response.chunked
        whole = length is not None or bool(chunked)
        if response.status != http.client.OK:
            # What an error says may quote the texts, and nothing but its status is used.
            kept = length is not None and length <= _PIECE
            if kept:
                response.read(length)
            return Answer(response.status, b"", kept)
        if length is not None and length > MAX_ANSWER_BYTES:
            raise self._too_long()
        pieces, size = [], 0
        while piece := response.read(_PIECE):
            pieces.append(piece)
            size += len(piece)
            if size > MAX_ANSWER_BYTES:
                raise self._too_long()
        if length is not None and size != length:
            raise http.client.IncompleteRead(b"", length - size)
        return Answer(response.status, b"".join(pieces), whole)

    def _too_long(self) -> ModelError:
        msg = f"endpoint {self._place.authority} answers more than {MAX_ANSWER_BYTES:,} bytes"
        return ModelError(f"{msg}; is it a server of models?")


class _Deadline:
    """Ends a request by cutting its connection: a limit of each read is none of all together."""

    def __init__(self, seconds: float) -> None:
        self.passed = False
        self._lock = threading.Lock()
        self._socket: socket.socket | None = None
        self._timer = threading.Timer(seconds, self._cut)
        self._timer.daemon = True

    def watch(self, watched: socket.socket) -> None:
        with self._lock:
            self._socket = watched
            if self.passed:
                raise TimeoutError

    def _cut(self) -> None:
        with self._lock:
            self.passed = True
            if self._socket is not None:
                # Of the plain socket: TLS would first forget its state, which is being read.
                with contextlib.suppress(OSError):
                    socket.socket.shutdown(self._socket, socket.SHUT_RDWR)

    def __enter__(self) -> None:
        self._timer.start()

    def __exit__(self, *_: object) -> None:
        self._timer.cancel()
        with self._lock:
            self._socket = None
