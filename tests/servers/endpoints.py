"""A server of models on loopback: TEI, a pipeline of an Inference Endpoint, or the router's paths.

It computes with legato itself, obeys the limits that it tells, and misbehaves as it is asked to.
"""

from __future__ import annotations

import json
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import legato

SHA = "a" * 40


@dataclass
class Request:
    """What a client has sent."""

    method: str
    path: str
    headers: dict[str, str]
    body: Any
    size: int


@dataclass
class Behaviour:
    """What the server is, and what it does wrong."""

    kind: str = "tei"
    sha: str | None = SHA
    info: dict[str, Any] = field(default_factory=dict)
    max_rows: int = 32
    payload: int = 2_000_000
    token: str | None = None
    # Statuses of the next requests but those for /info; None serves one.
    statuses: list[int | None] = field(default_factory=list)
    # Changes what a model has answered.
    spoil: Callable[[Any], Any] = lambda answer: answer
    # Takes the handler and the body instead of answering; says whether it did.
    break_off: Callable[[BaseHTTPRequestHandler, bytes], bool] = lambda _handler, _body: False
    busy_s: float = 0.0


class Server:
    """The server, what it was sent, and how many requests it has had at the same time."""

    def __init__(self, model: Path, task: str, behaviour: Behaviour, tls: Path | None) -> None:
        self.behaviour, self.task = behaviour, task
        self.requests: list[Request] = []
        self.most = self.now = 0
        self.lock = threading.Lock()
        self.files = legato.ModelFiles.from_dir(model)
        name = "text-classification" if task == "zero-shot-classification" else task
        if behaviour.kind == "pipeline":
            name = task
        self.pipeline = legato.pipeline(name, model=model)
        handler = type("Handler", (_Handler,), {"owner": self})
        self.http = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.http.daemon_threads = True
        if tls is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(tls)
            self.http.socket = context.wrap_socket(self.http.socket, server_side=True)
        self.scheme = "http" if tls is None else "https"
        self.port: int = self.http.server_address[1]
        self.thread = threading.Thread(target=self.http.serve_forever, args=(0.02,), daemon=True)
        self.thread.start()

    @property
    def origin(self) -> str:
        return f"{self.scheme}://127.0.0.1:{self.port}"

    @property
    def computed(self) -> list[Request]:
        return [request for request in self.requests if request.method == "POST"]

    def endpoint(self, **changes: Any) -> legato.Endpoint:
        return legato.Endpoint(self.origin, **{"allowed_hosts": [self.origin], **changes})

    def close(self) -> None:
        self.http.shutdown()
        self.http.server_close()
        self.thread.join(10)

    def info(self) -> dict[str, Any]:
        pipeline: Any = self.pipeline
        if self.task == "feature-extraction":
            kind: dict[str, Any] = {"embedding": {"pooling": self.files.pooling}}
        else:
            kind = {"classifier" if pipeline.engine.width > 1 else "reranker": {"id2label": {}}}
        return {
            "model_id": "org/tiny",
            "model_sha": self.behaviour.sha,
            "model_dtype": "float32",
            "model_type": kind,
            "max_input_length": self.files.max_length or self.files.max_positions,
            "max_batch_tokens": 16_384,
            "max_client_batch_size": self.behaviour.max_rows,
            "auto_truncate": True,
            "version": "1.9.0",
            **self.behaviour.info,
        }

    def answer(self, path: str, body: Any) -> tuple[int, Any]:
        """Return status and answer to a body."""
        if self.behaviour.kind == "tei":
            return self._tei(path, body)
        return (200, self._pipelined(body)) if "inputs" in body else (400, None)

    def _tei(self, path: str, body: Any) -> tuple[int, Any]:
        inputs = body.get("texts" if path == "/rerank" else "inputs")
        if len(inputs) > self.behaviour.max_rows:
            return 413, {"error": "batch size", "error_type": "Validation"}
        run: Any = self.pipeline
        if path == "/embed":
            vectors = run(
                inputs, prompt="", normalize=body["normalize"], truncation=body["truncate"]
            )
            return 200, vectors.tolist()
        if path == "/rerank":
            pairs = [(body["query"], text) for text in inputs]
            scores = run(pairs, activation_fn="identity" if body["raw_scores"] else None)
            found = [{"index": i, "score": float(score)} for i, score in enumerate(scores)]
            return 200, sorted(found, key=lambda one: -one["score"])
        if path != "/predict":
            return 404, None
        return 200, self._predicted(inputs, raw=body["raw_scores"])

    def _predicted(self, inputs: list[list[str]], *, raw: bool) -> Any:
        run: Any = self.pipeline
        if self.task == "text-ranking":
            scores = run([tuple(pair) for pair in inputs], activation_fn="identity").tolist()
            labels = run.labels()
            return [
                [{"label": label, "score": s} for label, s in zip(labels, row, strict=True)]
                for row in scores
            ]
        given = [
            {"text": row[0], "text_pair": row[1]} if len(row) > 1 else row[0] for row in inputs
        ]
        return run(given, top_k=None, function_to_apply="none" if raw else None)

    def _pipelined(self, body: Any) -> Any:
        run: Any = self.pipeline
        if self.task == "feature-extraction":
            return run(body["inputs"], prompt="", normalize=body["normalize"]).tolist()
        options = {name: v for name, v in body["parameters"].items() if name != "truncation"}
        return run(body["inputs"], **options)


class _Handler(BaseHTTPRequestHandler):
    owner: Server
    protocol_version = "HTTP/1.1"
    timeout = 10

    def do_GET(self) -> None:
        self._take(b"")

    def do_POST(self) -> None:
        self._take(self.rfile.read(int(self.headers["Content-Length"])))

    def _take(self, data: bytes) -> None:
        owner, behaviour = self.owner, self.owner.behaviour
        with owner.lock:
            owner.now += 1
            owner.most = max(owner.most, owner.now)
            headers = {name.lower(): value for name, value in self.headers.items()}
            body = json.loads(data) if data else None
            owner.requests.append(Request(self.command, self.path, headers, body, len(data)))
        try:
            time.sleep(behaviour.busy_s)
            self._serve(data, body)
        finally:
            with owner.lock:
                owner.now -= 1

    def _serve(self, data: bytes, body: Any) -> None:
        owner, behaviour = self.owner, self.owner.behaviour
        said = self.headers.get("Authorization")
        if behaviour.token is not None and said != f"Bearer {behaviour.token}":
            self._reply(401, {"error": "unauthorized"})
        elif self.command == "GET":
            known = self.path == "/info" and behaviour.kind == "tei"
            self._reply(200 if known else 404, owner.info() if known else None)
        else:
            with owner.lock:
                status = behaviour.statuses.pop(0) if behaviour.statuses else None
            if status is not None:
                self._reply(status, {"error": f"secret text {data[:40]!r}"})
            elif len(data) > behaviour.payload:
                self._reply(413, None)
            elif not behaviour.break_off(self, data):
                status, answer = owner.answer(self.path, body)
                self._reply(status, behaviour.spoil(answer) if status == 200 else answer)

    def _reply(self, status: int, answer: Any) -> None:
        data = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
        self.send_response(status)
        if status // 100 == 3:
            self.send_header("Location", "http://127.0.0.2:1/elsewhere")
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: Any) -> None:
        pass


@contextmanager
def serve(
    model: Path, task: str = "feature-extraction", tls: Path | None = None, **behaviour: Any
) -> Iterator[Server]:
    """Serve a model while the block runs."""
    server = Server(model, task, Behaviour(**behaviour), tls)
    try:
        yield server
    finally:
        server.close()
