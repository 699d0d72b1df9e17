"""Just enough of HTTP/1.1 for a proxy that must not change a byte: signatures cover headers and bodies."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from dataclasses import dataclass, field
from urllib.parse import parse_qs, unquote, urlsplit

BLOCK = 1 << 16
HEAD_LIMIT = 1 << 16


class ClosedError(Exception):
    """The other side went away."""


@dataclass
class Head:
    """A request's or response's first line and headers, and the bytes that they came in."""

    raw: bytes
    first: str = field(init=False)
    headers: dict[str, str] = field(init=False)

    def __post_init__(self) -> None:
        self.first, *lines = self.raw.decode("latin-1").rstrip("\r\n").split("\r\n")
        pairs = (line.partition(":") for line in lines)
        self.headers = {name.strip().lower(): value.strip() for name, _, value in pairs}

    @property
    def method(self) -> str:
        return self.first.split(" ", 1)[0]

    @property
    def path(self) -> str:
        """Path of a request, decoded, without its query."""
        return unquote(urlsplit(self.first.split(" ")[1]).path)

    @property
    def query(self) -> dict[str, str]:
        query = urlsplit(self.first.split(" ")[1]).query
        return {name: values[0] for name, values in parse_qs(query, keep_blank_values=True).items()}

    @property
    def status(self) -> int:
        return int(self.first.split(" ")[1])

    @property
    def chunked(self) -> bool:
        return "chunked" in self.headers.get("transfer-encoding", "").lower()

    @property
    def length(self) -> int:
        return int(self.headers.get("content-length", "0"))

    @property
    def secured(self) -> bytes:
        """The head as what ends TLS passes it on."""
        return self.raw.removesuffix(b"\r\n") + b"x-forwarded-proto: https\r\n\r\n"

    def without(self, prefix: str) -> Head:
        """The same head less the headers whose names start so."""
        lines = self.raw.split(b"\r\n")
        kept = [line for line in lines if not line.lower().startswith(prefix.encode())]
        return Head(b"\r\n".join(kept))

    def with_length(self, length: int) -> Head:
        """The same head with another Content-Length."""
        head, _, _ = self.without("content-length:").raw.partition(b"\r\n\r\n")
        return Head(head + f"\r\nContent-Length: {length}\r\n\r\n".encode())


class Wire:
    """One side of a connection, read with a buffer."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self._buffer = b""
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def head(self) -> Head | None:
        """The next head, or None at the end of the connection."""
        while b"\r\n\r\n" not in self._buffer:
            more = self._receive()
            if not more:
                if self._buffer:
                    raise ClosedError
                return None
            self._buffer += more
            if len(self._buffer) > HEAD_LIMIT:
                raise ClosedError
        raw, _, self._buffer = self._buffer.partition(b"\r\n\r\n")
        return Head(raw + b"\r\n\r\n")

    def answer(self) -> Head:
        """The next final response; interim ones (100 Continue) are dropped."""
        while True:
            head = self.head()
            if head is None:
                raise ClosedError
            if head.status >= 200:
                return head

    def body(self, head: Head) -> Iterator[bytes]:
        """The bytes that follow a head, as they are on the wire, so with the frames of a chunked body."""
        if head.chunked:
            yield from self._chunked()
        else:
            yield from self._exactly(head.length)

    def _chunked(self) -> Iterator[bytes]:
        while True:
            line = self._line()
            yield line
            size = int(line.split(b";")[0], 16)
            if size == 0:
                while (line := self._line()) != b"\r\n":
                    yield line
                yield line
                return
            yield from self._exactly(size + 2)

    def _line(self) -> bytes:
        while b"\r\n" not in self._buffer:
            self._buffer += self._some()
        line, _, self._buffer = self._buffer.partition(b"\r\n")
        return line + b"\r\n"

    def _exactly(self, length: int) -> Iterator[bytes]:
        while length:
            block = self._buffer or self._some()
            self._buffer = block[length:]
            block = block[:length]
            length -= len(block)
            yield block

    def _some(self) -> bytes:
        data = self._receive()
        if not data:
            raise ClosedError
        return data

    def _receive(self) -> bytes:
        try:
            return self.sock.recv(BLOCK)
        except OSError as error:
            raise ClosedError from error

    def more(self) -> bool:
        """Throw away what has arrived; False at the end of the connection."""
        try:
            return bool(self.sock.recv(BLOCK))
        except OSError:
            return False

    def send(self, data: bytes) -> None:
        try:
            self.sock.sendall(data)
        except OSError as error:
            raise ClosedError from error
