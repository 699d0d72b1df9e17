"""The floor of the store benchmark: curl, and requests written by hand over raw sockets."""

from __future__ import annotations

import os
import socket
import subprocess
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import numpy as np

from bench import _store_data
from bench._store_client import Contestant
from bench._store_data import BUCKET, Bytes


class Curl(Contestant):
    """curl, a process each time, unsigned; what it reads lies in a file in memory then."""

    def __init__(self) -> None:
        """Find its version."""
        super().__init__()
        done = subprocess.run(["curl", "--version"], capture_output=True, text=True, check=True)  # noqa: S607
        self.version = done.stdout.split()[1]
        self._url = f"{os.environ['AWS_ENDPOINT_URL_S3']}/{BUCKET}"
        shared = "/dev/shm" if Path("/dev/shm").is_dir() else None  # noqa: S108
        self._folder = tempfile.TemporaryDirectory(dir=shared)
        self.get = {"": self._get}
        self.many = {f"{count} at once": self._many(count) for count in (1, 8)}

    def _get(self, key: str, size: int) -> Bytes:
        path = Path(self._folder.name) / "object"
        subprocess.run(["curl", "-sSf", "-o", str(path), f"{self._url}/{key}"], check=True)  # noqa: S607
        return np.memmap(path, np.uint8, "r", shape=(size,))

    def _many(self, count: int) -> Callable[[list[str]], list[bytes]]:
        def run(keys: list[str]) -> list[bytes]:
            folder = Path(self._folder.name)
            lines = [f'url="{self._url}/{key}"\noutput="{folder / key}"\n' for key in keys]
            command = ["curl", "-sSf", "--parallel", "--parallel-max", str(count), "-K", "-"]
            subprocess.run(command, input="".join(lines).encode(), check=True)
            return [(folder / key).read_bytes() for key in keys]

        return run


class Sockets(Contestant):
    """The floor: a request written by hand, and ``recv_into`` a new array."""

    version = "of the standard library"
    _HEAD: Final = 64 << 10

    def __init__(self) -> None:
        """Open connections."""
        super().__init__()
        url = urlsplit(os.environ["AWS_ENDPOINT_URL_S3"])
        address = (url.hostname or "", url.port or 80)
        self._open = [socket.create_connection(address) for _ in range(4)]
        for each in self._open:
            each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._host = url.netloc
        self._pool = ThreadPoolExecutor(len(self._open))
        self.small = {"": self._small}
        self.put_small = {"": self._put}
        self.get = {f"{count} connections": self._parallel(count) for count in (1, 2, 4)}
        self.put = {"": self._put}
        self.many = {"1 connection": lambda keys: [self._small(key) for key in keys]}

    def _small(self, key: str) -> bytes:
        array = np.empty(_store_data.size(key), np.uint8)
        self._receive(self._open[0], f"GET /{BUCKET}/{key} HTTP/1.1", array.data)
        return array.data  # type: ignore[return-value]

    def _parallel(self, count: int) -> Callable[[str, int], Bytes]:
        def run(key: str, size: int) -> Bytes:
            array = np.empty(size, np.uint8)
            step = size // count

            def part(number: int) -> None:
                start, end = number * step, (number + 1) * step
                request = f"GET /{BUCKET}/{key} HTTP/1.1\r\nrange: bytes={start}-{end - 1}"
                self._receive(self._open[number], request, array.data[start:end])

            if count == 1:
                part(0)
            else:
                list(self._pool.map(part, range(count)))
            return array

        return run

    def _put(self, key: str, data: Any) -> None:
        view = memoryview(data)
        head = f"PUT /{BUCKET}/{key} HTTP/1.1\r\ncontent-length: {view.nbytes}"
        connection = self._open[0]
        connection.sendall(f"{head}\r\nhost: {self._host}\r\n\r\n".encode())
        connection.sendall(view)
        if not connection.recv(self._HEAD).startswith(b"HTTP/1.1 200"):
            raise OSError("the write was refused")

    def _receive(self, connection: socket.socket, request: str, into: memoryview) -> None:
        connection.sendall(f"{request}\r\nhost: {self._host}\r\n\r\n".encode())
        found = b""
        while b"\r\n\r\n" not in found:
            found += connection.recv(self._HEAD)
        head, _, start = found.partition(b"\r\n\r\n")
        if not head.startswith((b"HTTP/1.1 200", b"HTTP/1.1 206")):
            raise OSError("the read was refused")
        into[: len(start)] = start
        done = len(start)
        while done < len(into):
            done += connection.recv_into(into[done:])
