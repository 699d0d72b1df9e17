"""A server that lives as long as whoever started it, and not a moment longer."""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

PR_SET_PDEATHSIG = 1


def free_ports(count: int) -> list[int]:
    """Different loopback ports that nothing listens on now."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


class Server:
    """A command in a process group of its own.

    Between it and us stands a watcher (this file, run as a script): it kills the whole group when `stop` is called or
    when we die, also by kill -9, because both close the pipe that it reads.
    """

    def __init__(
        self, command: Sequence[str], *, log: Path, environ: Mapping[str, str] | None = None
    ) -> None:
        self.log = log
        self.pids = log.with_suffix(".pid")
        with log.open("wb") as output:
            self._watcher = subprocess.Popen(
                [sys.executable, __file__, str(self.pids), *command],
                stdin=subprocess.PIPE, stdout=output, stderr=output, start_new_session=True,
                env=dict(environ) if environ is not None else None, cwd=log.parent,
            )  # fmt: skip

    @property
    def pid(self) -> int:
        """Process id of the command, which is also the id of its group."""
        return int(self.pids.read_text())

    def wait_for(self, url: str, *, timeout_s: float = 60) -> None:
        """Wait until the server answers, with whatever status below 500."""
        end = time.monotonic() + timeout_s
        while time.monotonic() < end and self._watcher.poll() is None:
            try:
                with urllib.request.urlopen(url, timeout=5):
                    return
            except urllib.error.HTTPError as error:
                error.close()
                if error.code < 500:
                    return
            except OSError:
                pass
            time.sleep(0.05)
        self.stop()
        raise RuntimeError(f"no answer from {url}; its log ends with {self.tail()}")

    def tail(self) -> str:
        """The last kilobyte of what the server printed."""
        return self.log.read_bytes()[-1000:].decode(errors="replace")

    def signal(self, number: int) -> None:
        """Send a signal to the server itself, for tests of a server that stops answering."""
        os.kill(self.pid, number)

    def stop(self) -> None:
        """Kill the command and all that it has started."""
        if self._watcher.stdin is not None:
            self._watcher.stdin.close()
        self._watcher.wait(timeout=20)


def _die_with_parent() -> None:
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def _watch(pids: Path, command: list[str]) -> int:
    # The signal covers the death of the watcher itself; the group covers what the command has started.
    child = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        start_new_session=True,
        preexec_fn=_die_with_parent,  # noqa: PLW1509 (the watcher has one thread)
    )
    part = pids.with_suffix(".part")
    part.write_text(str(child.pid))
    part.rename(pids)
    sys.stdin.buffer.read()
    os.killpg(child.pid, signal.SIGKILL)
    child.wait()
    return 0


if __name__ == "__main__":
    sys.exit(_watch(Path(sys.argv[1]), sys.argv[2:]))
