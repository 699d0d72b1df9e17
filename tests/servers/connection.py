"""One connection through the proxy: its requests, their faults, and what is left of the answers."""

from __future__ import annotations

import select
import socket
import threading
import time
from collections import Counter
from dataclasses import dataclass
from typing import Protocol

from .faults import BODY, ERRORS, IDLE, OBJECT, Fault, Plan
from .wire import BLOCK, ClosedError, Head, Wire

# A reset throws away what has not left yet.
FLUSH_S = 0.02
ACCESS_DENIED = (403, "AccessDenied")


class Proxy(Protocol):
    """What a connection needs of the proxy that it belongs to."""

    upstream: int
    owner: str | None
    secure: bool
    plan: Plan
    seen: list[Seen]
    faults: Counter[str]
    lock: threading.Lock
    closing: threading.Event


@dataclass
class Seen:
    """A request that arrived, and what became of it."""

    connection: int
    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    fault: str | None
    status: int | None = None

    @property
    def range(self) -> str | None:
        return self.headers.get("range")


class Connection:
    """A client's connection, and the one to the server that belongs to it."""

    def __init__(self, proxy: Proxy, client: socket.socket, number: int) -> None:
        self._proxy = proxy
        self._client = Wire(client)
        self._server: Wire | None = None
        self._number = number
        self._doom: str | None = None

    def serve(self) -> None:
        """Answer requests until one side ends the connection."""
        try:
            while not self._proxy.closing.is_set():
                request = self._client.head()
                if request is None:
                    break
                if self._doom is not None:
                    self._meet_doom(self._doom)
                    break
                if request.headers.get("expect") == "100-continue":
                    self._client.send(b"HTTP/1.1 100 Continue\r\n\r\n")
                fault = self._proxy.plan.choose(request)
                seen = self._note(request, fault)
                if not self._exchange(request, seen, fault):
                    break
        except (ClosedError, OSError):
            pass
        finally:
            self._client.sock.close()
            if self._server is not None:
                self._server.sock.close()

    def _note(self, request: Head, fault: Fault | None) -> Seen:
        kind = None if fault is None else fault.kind
        seen = Seen(
            self._number, request.method, request.path, request.query, request.headers, kind
        )
        with self._proxy.lock:
            self._proxy.seen.append(seen)
        return seen

    def _count(self, kind: str) -> None:
        with self._proxy.lock:
            self._proxy.faults[kind] += 1

    def _meet_doom(self, kind: str) -> None:
        self._count(kind)
        if kind == "reset_idle":
            self._reset()
        else:
            self._stall()

    def _exchange(self, request: Head, seen: Seen, fault: Fault | None) -> bool:
        """One request and its answer; False when the connection has ended."""
        kind = None if fault is None else fault.kind
        asked_owner = request.headers.get("x-amz-expected-bucket-owner", self._proxy.owner)
        if kind == "reset":
            self._count(kind)
            return self._reset()
        if fault is not None and kind == "cut_upload":
            self._count(kind)
            self._send_part(request, fault)
            return self._reset()
        own = ERRORS.get(kind or "")
        if self._proxy.owner is not None and asked_owner != self._proxy.owner:
            own = ACCESS_DENIED
        if own is not None:
            for _ in self._client.body(request):
                pass
            if own is not ACCESS_DENIED and kind is not None:
                self._count(kind)
            seen.status = own[0]
            self._client.send(error(request, *own))
            return True
        head = self._forward(request, fault)
        seen.status = head.status
        return self._answer(request, head, fault)

    def _send_part(self, request: Head, fault: Fault) -> None:
        self._open().send(request.raw)
        left = int(request.length * fault.at)
        for block in self._client.body(request):
            self._open().send(block[:left])
            left -= len(block)
            if left <= 0:
                break

    def _open(self) -> Wire:
        if self._server is None:
            self._server = Wire(socket.create_connection(("127.0.0.1", self._proxy.upstream), 30))
            self._server.sock.settimeout(None)
        return self._server

    def _forward(self, request: Head, fault: Fault | None) -> Head:
        server = self._open()
        server.send(request.secured if self._proxy.secure else request.raw)
        position = (
            int(request.length * fault.at) if fault and fault.kind == "corrupt_upload" else -1
        )
        for block in self._client.body(request):
            if 0 <= position < len(block):
                self._count("corrupt_upload")
            server.send(flip(block, position))
            position -= len(block)
        return server.answer()

    def _answer(self, request: Head, head: Head, fault: Fault | None) -> bool:
        """Pass the answer on, or what a fault leaves of it."""
        server = self._open()
        empty = request.method == "HEAD" or head.status in {204, 304}
        whole = b"".join(server.body(head)) if head.chunked and not empty else None
        size = 0 if empty else head.length if whole is None else len(whole)
        blocks = iter(()) if empty else server.body(head) if whole is None else iter([whole])
        kind = fault.kind if fault is not None else None
        if fault is None or not applies(fault, head, size):
            self._client.send(head.raw)
            for block in blocks:
                self._client.send(block)
            return head.headers.get("connection", "").lower() != "close"
        if kind in IDLE:
            self._client.send(head.raw)
            for block in blocks:
                self._client.send(block)
            self._doom = kind
            if kind == "close_idle":
                self._count(kind)
            return kind != "close_idle"
        self._count(fault.kind)
        return self._spoil(request, head, b"".join(blocks), fault)

    def _spoil(self, request: Head, head: Head, body: bytes, fault: Fault) -> bool:
        """Send what the fault leaves of an answer that has arrived whole."""
        if fault.then is not None:
            fault.then()
        if fault.kind == "swallow":
            return False
        if fault.kind == "stall_first":
            return self._stall()
        if fault.kind == "error_in_200":
            self._client.send(error(request, 200, "InternalError"))
            return True
        if fault.kind == "delay_first":
            time.sleep(fault.seconds)
        head, body = spoiled(head, body, fault)
        cut = position(len(body), fault) if fault.kind in BODY else len(body)
        self._client.send(head.raw)
        for start in range(0, cut, BLOCK):
            self._client.send(body[start : min(start + BLOCK, cut)])
        if fault.kind == "delay_middle":
            time.sleep(fault.seconds)
            self._client.send(body[cut:])
        if fault.kind == "cut_rst":
            return self._reset()
        if fault.kind == "stall_middle":
            return self._stall()
        return fault.kind not in {"cut_fin", "overlong"}

    def _reset(self) -> bool:
        time.sleep(FLUSH_S)
        linger = (1).to_bytes(4, "little") + bytes(4)
        self._client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        return False

    def _stall(self) -> bool:
        """Say nothing until the client goes away."""
        while not self._proxy.closing.is_set():
            if select.select([self._client.sock], [], [], 0.1)[0] and not self._client.more():
                break
        return False


def applies(fault: Fault, head: Head, size: int) -> bool:
    """Whether the answer has what the fault spoils: a body, and not that of an error."""
    if fault.kind in BODY or fault.kind in OBJECT:
        return size > 0 and head.status in {200, 206}
    return fault.kind != "corrupt_upload"


def position(size: int, fault: Fault) -> int:
    """Where in a body of that size the fault strikes: somewhere before its end, except for `overlong`."""
    return size if fault.kind == "overlong" else min(int(size * fault.at), max(size - 1, 0))


def spoiled(head: Head, body: bytes, fault: Fault) -> tuple[Head, bytes]:
    """The answer with another length, or with a bit changed."""
    where = position(len(body), fault)
    if fault.kind == "truncate":
        return head.with_length(where), body[:where]
    if fault.kind == "overlong":
        return head.with_length(len(body) + 100), body
    if fault.kind == "corrupt_stripped":
        return head.without("x-amz-checksum-"), flip(body, where)
    if fault.kind == "corrupt":
        return head, flip(body, where)
    return head, body


def flip(block: bytes, position: int) -> bytes:
    """The block with one bit changed at a position, where that lies inside."""
    if not 0 <= position < len(block):
        return block
    return block[:position] + bytes([block[position] ^ 1]) + block[position + 1 :]


def error(request: Head, status: int, code: str) -> bytes:
    """An S3 error, as AWS words it; without a body to HEAD."""
    text = f"<Error><Code>{code}</Code><Message>made by the fault proxy</Message></Error>"
    body = f'<?xml version="1.0" encoding="UTF-8"?>\n{text}'.encode()
    head = f"HTTP/1.1 {status} Fault\r\nContent-Type: application/xml\r\n"
    head += f"x-amz-request-id: FAULTPROXY\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + (b"" if request.method == "HEAD" else body)
