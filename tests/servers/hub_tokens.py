"""What the Hugging Face Hub does with tokens: exchanges, tries and revokes them; and a second host that keeps bytes."""

from __future__ import annotations

import base64
import json
import secrets
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

COMMIT = "0123456789abcdef0123456789abcdef01234567"
FILE = f"acme/model@{COMMIT}/config.json"
PATH = f"/acme/model/resolve/{COMMIT}/config.json"
GRANT = "urn:ietf:params:oauth:grant-type:token-exchange"
SUBJECT_TYPE = "urn:huggingface:token-type:user-email"
SUBJECT = "robot@acme.example"
CLIENT_ID = "9a8b7c6d-client"


@dataclass
class HubServer:
    """A Hub that knows tokens and one gated file.

    `faults` says what the next requests get: a status, `before` (the connection ends, nothing done) or `after` (it ends
    when all is done), or None for what is right.
    """

    password: str = field(default_factory=lambda: f"hub-secret-{secrets.token_hex(12)}")
    valid: set[str] = field(default_factory=set)
    forbidden: set[str] = field(default_factory=set)
    minted: list[str] = field(default_factory=list)
    revoked: list[str] = field(default_factory=list)
    tried: list[str] = field(default_factory=list)
    requests: list[tuple[str, str, dict[str, str]]] = field(default_factory=list)
    faults: list[int | str | None] = field(default_factory=list)
    elsewhere: list[dict[str, str]] = field(default_factory=list)
    """Headers of what the second host was asked."""
    answer: str = "file"
    """How the file is answered: `file`, `other_host`, `renamed`, `renamed_away`, `login`, `loop`, `plain`."""
    endpoint: str = ""
    other: str = ""

    def make(self) -> str:
        """A user's token, as a person makes it on the Hub's pages."""
        token = f"hf_{secrets.token_hex(17)}"
        self.valid.add(token)
        return token

    # What the requests do; each returns status, headers and JSON.

    def exchange(self, headers: dict[str, str], fields: Any) -> tuple[int, dict[str, str], Any]:
        pair = base64.b64encode(f"{CLIENT_ID}:{self.password}".encode()).decode()
        if headers.get("authorization") != f"Basic {pair}":
            return 401, {}, {"error": "invalid_client"}
        asked = fields.get("grant_type"), fields.get("subject_token_type")
        if asked != (GRANT, SUBJECT_TYPE):
            return 400, {}, {"error": "invalid_request"}
        if fields.get("subject_token") != SUBJECT:
            return 400, {}, {"error": "invalid_grant", "error_description": f"no {fields}"}
        token = f"hf_oauth_{secrets.token_urlsafe(24)}"
        self.valid.add(token)
        self.minted.append(token)
        return (
            200,
            {},
            {"access_token": token, "token_type": "bearer", "expires_in": 28_800},
        )

    def revoke(self, fields: Any) -> tuple[int, dict[str, str], Any]:
        self.valid -= set(fields["credentials"])
        self.revoked += fields["credentials"]
        return 202, {}, {}

    def resolve(self, path: str, headers: dict[str, str]) -> tuple[int, dict[str, str], Any]:
        token = headers.get("authorization", "").removeprefix("Bearer ")
        if token not in self.valid:
            return 401, {}, {}
        if token in self.forbidden:
            return 403, {}, {}
        new = PATH.replace("/model/", "/new-name/")
        if path not in {PATH, new, "/login"}:
            return 404, {}, {}
        commit = {"X-Repo-Commit": COMMIT}
        on_the_old_name: dict[str, tuple[int, dict[str, str]]] = {
            "renamed": (307, {"Location": new}),
            "renamed_away": (307, {"Location": f"{self.other}{new}"}),
            "login": (302, {"Location": "/login"}),
            "loop": (302, {**commit, "Location": path}),
            "other_host": (302, {**commit, "Location": f"{self.other}/bytes?signature=1"}),
            "plain": (200, {}),
        }
        if path == PATH and self.answer in on_the_old_name:
            return *on_the_old_name[self.answer], {}
        if path == "/login":
            return 200, {}, {}
        self.tried.append(token)
        return 200, commit, {}

    def do(
        self, path: str, headers: dict[str, str], fields: Any
    ) -> tuple[int, dict[str, str], Any] | None:
        """Answer a request as the Hub does, or as the next fault says."""
        fault = self.faults.pop(0) if self.faults else None
        if fault == "before":
            return None
        if isinstance(fault, int):
            # What a proxy on the way might echo.
            return fault, {}, {"error": headers.get("authorization", ""), "fields": fields}
        if path == "/oauth/token":
            done = self.exchange(headers, fields)
        elif path == "/api/credentials/revoke":
            done = self.revoke(fields)
        else:
            done = self.resolve(path, headers)
        return None if fault == "after" else done


def _handler(server: HubServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self._answer(None)

        def do_POST(self) -> None:
            self._answer(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))

        def _answer(self, fields: Any) -> None:
            headers = {name.lower(): value for name, value in self.headers.items()}
            server.requests.append((self.command, self.path, headers))
            done = server.do(self.path, headers, fields)
            if done is None:
                return
            status, more, body = done
            data = b"" if self.command == "HEAD" else json.dumps(body).encode()
            self.send_response(status)
            for name, value in more.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: Any) -> None:
            pass

    return Handler


def _elsewhere(server: HubServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            server.elsewhere.append(dict(self.headers.items()))
            self.send_response(200)
            self.send_header("X-Repo-Commit", COMMIT)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    return Handler


@contextmanager
def start() -> Iterator[HubServer]:
    """Listen on loopback, twice."""
    server = HubServer()
    listening = [
        ThreadingHTTPServer(("127.0.0.1", 0), made)
        for made in (_handler(server), _elsewhere(server))
    ]
    server.endpoint, server.other = (f"http://127.0.0.1:{s.server_port}" for s in listening)
    threads = [
        threading.Thread(target=s.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        for s in listening
    ]
    for thread in threads:
        thread.start()
    try:
        yield server
    finally:
        for one, thread in zip(listening, threads, strict=True):
            one.shutdown()
            one.server_close()
            thread.join()
