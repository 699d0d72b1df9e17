"""The three calls of Step Functions that end or prolong a task, as far as a worker sees them."""

from __future__ import annotations

import json
import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

PREFIX = "AWSStepFunctions."
# What the service's model says: names and types of members, all required but error and cause.
MEMBERS = {
    "SendTaskHeartbeat": ({"taskToken"}, {"taskToken"}),
    "SendTaskSuccess": ({"taskToken", "output"}, {"taskToken", "output"}),
    "SendTaskFailure": ({"taskToken"}, {"taskToken", "error", "cause"}),
}
LIMITS = {"taskToken": 2048, "output": 262_144, "error": 256, "cause": 32_768}


@dataclass(frozen=True)
class Call:
    """A request that was understood: when it came, and what it said."""

    operation: str
    body: dict[str, str]
    at: float = field(default_factory=time.time)


class TokenServer:
    """Knows one token; answers as told, else as Step Functions does while the task is open."""

    def __init__(self, token: str) -> None:
        self.token = token
        self.calls: list[Call] = []
        self.faults: dict[str, list[str]] = {}
        """By operation, what the next calls get: a code, `drop`, or `after:N` codes for later ones."""
        self.ended = False
        self.refused: list[str] = []
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                size = int(self.headers["Content-Length"])
                target, body = self.headers["X-Amz-Target"], self.rfile.read(size)
                answer = server.answer(target, dict(self.headers), body)
                if answer is None:
                    self.close_connection = True
                    return
                status, content = answer
                data = json.dumps(content).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/x-amz-json-1.0")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *args: Any) -> None:
                pass

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._http.daemon_threads = True
        threading.Thread(target=self._http.serve_forever, daemon=True).start()

    @property
    def environ(self) -> dict[str, str]:
        """Environment of an SDK that talks to this server, and to nothing else."""
        return {
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{self._http.server_address[1]}",
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_REGION": "eu-central-1",
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_CONFIG_FILE": "/dev/null",
            "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
        }

    def of(self, operation: str) -> list[Call]:
        """The calls of an operation that were answered with success."""
        return [call for call in self.calls if call.operation == operation]

    def close(self) -> None:
        self._http.shutdown()
        self._http.server_close()

    def answer(
        self, target: str, headers: dict[str, str], body: bytes
    ) -> tuple[int, dict[str, str]] | None:
        operation = target.removeprefix(PREFIX)
        wrong = self._wrong(operation, headers, body)
        if wrong is not None:
            self.refused.append(wrong)
            return 400, {"__type": "ValidationException", "message": wrong}
        asked: dict[str, str] = json.loads(body)
        faults = self.faults.get(operation, [])
        fault = faults.pop(0) if faults else ""
        if fault == "drop":
            return None
        if fault:
            return (400 if fault != "InternalFailure" else 500), {"__type": fault, "message": fault}
        if asked["taskToken"] != self.token or self.ended:
            return 400, {"__type": "TaskTimedOut", "message": "Task Timed Out"}
        self.calls.append(Call(operation, asked))
        self.ended = operation != "SendTaskHeartbeat"
        return 200, {}

    @staticmethod
    def _wrong(operation: str, headers: dict[str, str], body: bytes) -> str | None:
        if not headers.get("Authorization", "").startswith("AWS4-HMAC-SHA256 Credential=test/"):
            return "the request is not signed"
        if "/states/aws4_request" not in headers["Authorization"]:
            return "the request is signed for another service"
        if operation not in MEMBERS:
            return f"operation {operation}"
        asked = json.loads(body)
        required, known = MEMBERS[operation]
        if not required <= set(asked) <= known:
            return f"members {sorted(asked)}"
        for name, value in asked.items():
            if not isinstance(value, str) or len(value) > LIMITS[name]:
                return f"member {name}"
        if operation == "SendTaskSuccess":
            json.loads(asked["output"])
        return None
