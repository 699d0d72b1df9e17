"""A local Lambda: the real runtime client in a process of its own, against a Runtime API here.

An error comes back as Step Functions would see it: ``errorType`` is the name of the exception's
class, ``Runtime.ImportModuleError`` and the like where a handler cannot be loaded, and
``Runtime.ExitError`` where the process ended without an answer.
"""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import IO, Any

FUNCTION_NAME = "local"
FUNCTION_ARN = f"arn:aws:lambda:eu-central-1:123456789012:function:{FUNCTION_NAME}"

_PREFIX = "/2018-06-01/runtime/"


@dataclass(frozen=True)
class Result:
    """What one invocation gave: a payload, or an error."""

    payload: Any
    """The handler's return value, as JSON; None where there is an error."""
    error: dict[str, Any] | None
    """``errorType``, ``errorMessage`` and ``stackTrace`` as the Runtime API got them."""
    stdout: str
    """What the process wrote during this invocation, the first one's start included."""
    stderr: str

    @property
    def error_type(self) -> str | None:
        """The name that Retry and Catch compare."""
        return None if self.error is None else self.error["errorType"]


def invoke(
    handler: str,
    events: Sequence[dict[str, Any]],
    env: Mapping[str, str],
    *,
    folder: str | os.PathLike[str] | None = None,
    timeout_s: float = 60.0,
) -> list[Result]:
    """Invoke a handler with events, one after the other.

    As on Lambda, one process serves them all, and a new one the next event where it has ended.

    Args:
        handler: ``module.function``, as in a function's configuration.
        events: The inputs.
        env: Environment variables; of this process's none are handed down.
        folder: The function's code, which is the working folder too; None is an empty one.
        timeout_s: Longest that one invocation may take, the process's start included.

    Returns:
        A result for each event.

    Raises:
        TimeoutError: There was no answer in time; the message has what the process wrote.
    """
    results: list[Result] = []
    with tempfile.TemporaryDirectory() as empty:
        while len(results) < len(events):
            with start(handler, env, folder=folder or empty, timeout_s=timeout_s) as runtime:
                while runtime.alive and len(results) < len(events):
                    results.append(runtime.invoke(events[len(results)]))
    return results


@contextmanager
def start(
    handler: str,
    env: Mapping[str, str],
    *,
    folder: str | os.PathLike[str],
    timeout_s: float = 60.0,
) -> Iterator[Runtime]:
    """Start a function's process; at the end it and its children are killed.

    Args and Raises are those of :func:`invoke`.
    """
    # Files and not pipes: nobody has to read while it runs, and at an answer all is there.
    with (
        tempfile.TemporaryFile() as stdout,
        tempfile.TemporaryFile() as stderr,
        _Server() as server,
    ):
        process = subprocess.Popen(
            [sys.executable, "-m", "awslambdaric", handler],
            cwd=folder,
            env=_environment(handler, Path(folder), server.server_port) | dict(env),
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=stderr,
            start_new_session=True,
        )
        runtime = Runtime(process, server, (stdout, stderr), timeout_s)
        server.start()
        try:
            yield runtime
        finally:
            runtime.kill()
            server.stop()


class Runtime:
    """One execution environment: the process of a function and the Runtime API it asks."""

    def __init__(
        self,
        process: subprocess.Popen[bytes],
        server: _Server,
        written: tuple[IO[bytes], IO[bytes]],
        timeout_s: float,
    ) -> None:
        """Take what :func:`start` has started."""
        self._process = process
        self._server = server
        self._files = written
        self._read = [0, 0]
        self._timeout_s = timeout_s
        self.alive = True

    def invoke(self, event: dict[str, Any]) -> Result:
        """Hand one event to the process and wait for the answer.

        Args:
            event: The input.

        Raises:
            TimeoutError: There was no answer in time.
        """
        deadline = time.monotonic() + self._timeout_s
        self._server.waiting.put(_Invocation(str(uuid.uuid4()), event, self._timeout_s))
        while True:
            # Asked before the queue: what it answered before it ended is in the queue then.
            ended = self._has_ended()
            try:
                kind, body = self._server.answers.get(timeout=0 if ended else 0.05)
            except queue.Empty:
                if ended:
                    return self._exited()
                if time.monotonic() > deadline:
                    raise self._timed_out() from None
                continue
            if kind == "response":
                return Result(body, None, *self._written())
            self.alive = kind == "error"
            return Result(None, body, *self._written())

    def kill(self) -> None:
        """End the process and its children, also where it has ended and they have not."""
        if self._process.returncode is None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
        self.alive = False

    def _has_ended(self) -> bool:
        # Not poll: until it is waited for, nobody else gets the number of its process group.
        options = os.WEXITED | os.WNOHANG | os.WNOWAIT
        return os.waitid(os.P_PID, self._process.pid, options) is not None

    def _exited(self) -> Result:
        self.kill()
        status = self._process.returncode
        how = f"exit status {status}" if status >= 0 else f"signal: {signal.Signals(-status).name}"
        message = f"RequestId: local Error: Runtime exited with error: {how}"
        error = {"errorType": "Runtime.ExitError", "errorMessage": message, "stackTrace": []}
        return Result(None, error, *self._written())

    def _timed_out(self) -> TimeoutError:
        self.alive = False
        stdout, stderr = self._written()
        what = f"no answer after {self._timeout_s} s"
        return TimeoutError(f"{what}\n--- stdout\n{stdout}\n--- stderr\n{stderr}")

    def _written(self) -> tuple[str, str]:
        texts = []
        for index, file in enumerate(self._files):
            # Not seek and read: the process shares the file's position.
            size = os.fstat(file.fileno()).st_size
            data = os.pread(file.fileno(), size - self._read[index], self._read[index])
            self._read[index] += len(data)
            texts.append(data.decode("utf-8", errors="replace"))
        return texts[0], texts[1]


def _environment(handler: str, folder: Path, port: int) -> dict[str, str]:
    return {
        "PATH": os.defpath,
        "LANG": "C.UTF-8",
        "TZ": ":UTC",
        "PYTHONDONTWRITEBYTECODE": "1",
        "_HANDLER": handler,
        "LAMBDA_TASK_ROOT": str(folder),
        "AWS_LAMBDA_RUNTIME_API": f"127.0.0.1:{port}",
        "AWS_LAMBDA_FUNCTION_NAME": FUNCTION_NAME,
        "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "1024",
        "AWS_LAMBDA_LOG_GROUP_NAME": f"/aws/lambda/{FUNCTION_NAME}",
        "AWS_LAMBDA_LOG_STREAM_NAME": "local",
        "AWS_REGION": "eu-central-1",
    }


@dataclass(frozen=True)
class _Invocation:
    request_id: str
    event: dict[str, Any]
    timeout_s: float


class _Server(ThreadingHTTPServer):
    """The Runtime API of one process, on a port of the loopback interface."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.waiting: queue.SimpleQueue[_Invocation | None] = queue.SimpleQueue()
        self.answers: queue.SimpleQueue[tuple[str, Any]] = queue.SimpleQueue()
        self.running: _Invocation | None = None
        self._thread = threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        # Releases the thread in which the process was waiting for its next event.
        self.waiting.put(None)
        self.shutdown()
        self._thread.join()

    def handle_error(self, request: Any, client_address: Any) -> None:
        # A process that was killed breaks its connection; all else is a defect here.
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def do_GET(self) -> None:
        if self.path != f"{_PREFIX}invocation/next":
            self._answer(HTTPStatus.NOT_FOUND, b"{}")
            return
        invocation = self.server.waiting.get()
        if invocation is None:
            self.close_connection = True
            return
        self.server.running = invocation
        deadline_ms = int((time.time() + invocation.timeout_s) * 1000)
        headers = {
            "Lambda-Runtime-Aws-Request-Id": invocation.request_id,
            "Lambda-Runtime-Deadline-Ms": str(deadline_ms),
            "Lambda-Runtime-Invoked-Function-Arn": FUNCTION_ARN,
        }
        self._answer(HTTPStatus.OK, json.dumps(invocation.event).encode(), headers)

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        running = self.server.running
        kind = {
            f"{_PREFIX}init/error": "init",
            f"{_PREFIX}invocation/{running and running.request_id}/response": "response",
            f"{_PREFIX}invocation/{running and running.request_id}/error": "error",
        }.get(self.path)
        if kind is None:
            self._answer(HTTPStatus.NOT_FOUND, b"{}")
            return
        self.server.running = None
        self._answer(HTTPStatus.ACCEPTED, b'{"status":"OK"}')
        self.server.answers.put((kind, json.loads(body)))

    def _answer(
        self, status: HTTPStatus, body: bytes, headers: Mapping[str, str] | None = None
    ) -> None:
        self.send_response(status)
        # The runtime client fails without it.
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_arguments: Any) -> None:
        """Log nothing."""
