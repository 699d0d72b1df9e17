"""A proxy in front of an S3 server that makes faults, and remembers what was asked."""

from __future__ import annotations

import socket
import threading
from collections import Counter

from .connection import Connection, Seen
from .faults import Plan


class FaultProxy:
    """Listens on loopback, forwards to `upstream` (a port on loopback), and follows `plan`.

    Requests and answers pass unchanged, so that signatures hold, except where a fault is meant. `owner` is the account
    that owns all buckets: no server that runs here checks `x-amz-expected-bucket-owner`, so the proxy does.
    `secure` says of every request that it came by TLS, as a proxy that ends TLS does: policies may ask for it.
    Use it in `contextlib.closing`.
    """

    def __init__(
        self,
        upstream: int,
        *,
        plan: Plan | None = None,
        owner: str | None = None,
        secure: bool = False,
    ) -> None:
        self.upstream = upstream
        self.plan = plan or Plan()
        self.owner = owner
        self.secure = secure
        self.seen: list[Seen] = []
        self.faults: Counter[str] = Counter()
        self.lock = threading.Lock()
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.port: int = self._listener.getsockname()[1]
        self.closing = threading.Event()
        self._accepting = threading.Thread(target=self._accept, daemon=True)
        self._accepting.start()

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def asked(self, method: str, path: str = "") -> list[Seen]:
        """The requests so far of a method, whose path contains `path`."""
        with self.lock:
            return [seen for seen in self.seen if seen.method == method and path in seen.path]

    def forget(self) -> None:
        """Forget requests, counts and faults that are still planned."""
        self.plan.clear()
        with self.lock:
            self.seen.clear()
            self.faults.clear()

    def close(self) -> None:
        self.closing.set()
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._accepting.join(timeout=5)

    def _accept(self) -> None:
        number = 0
        while not self.closing.is_set():
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            number += 1
            connection = Connection(self, client, number)
            threading.Thread(target=connection.serve, daemon=True).start()
