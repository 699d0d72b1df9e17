"""What can go wrong between a client and S3, and when it shall."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from .wire import Head

# Answers that the proxy gives by itself, without asking the server.
ERRORS = {
    "internal_error": (500, "InternalError"),
    "bad_gateway": (502, "BadGateway"),
    "slow_down": (503, "SlowDown"),
    "conflict": (409, "ConditionalRequestConflict"),
    "request_timeout": (400, "RequestTimeout"),
    "expired_token": (400, "ExpiredToken"),
}

# Every kind, and what happens to the request. `at` is a share of the body.
KINDS = {
    "internal_error": "500 InternalError",
    "bad_gateway": "502 from something between",
    "slow_down": "503 SlowDown",
    "conflict": "409 ConditionalRequestConflict to a conditional write",
    "request_timeout": "400 RequestTimeout",
    "expired_token": "400 ExpiredToken",
    "error_in_200": "200 whose body is an error (multipart completion)",
    "reset": "connection reset before any answer; the request is not forwarded",
    "swallow": "the request is done, its answer is lost",
    "cut_upload": "connection reset in the middle of the request's body",
    "corrupt_upload": "a byte of the request's body is changed",
    "cut_fin": "body ends early, by FIN",
    "cut_rst": "body ends early, by RST",
    "truncate": "body and Content-Length are both too short",
    "overlong": "Content-Length promises more than the body has, then FIN",
    "corrupt": "a byte of the body is changed, checksum headers stay",
    "corrupt_stripped": "a byte of the body is changed, checksum headers are removed",
    "delay_first": "the answer begins late",
    "delay_middle": "a pause in the middle of the body",
    "stall_first": "no answer, and the connection stays open",
    "stall_middle": "the body stops in the middle, and the connection stays open",
    "close_idle": "connection closed silently after the answer",
    "reset_idle": "the next request on the connection is answered by RST",
    "drop_idle": "the next request on the connection is never answered",
}

BODY = {"cut_fin", "cut_rst", "overlong", "delay_middle", "stall_middle"}
OBJECT = {"truncate", "corrupt", "corrupt_stripped"}
UPLOAD = {"cut_upload", "corrupt_upload"}
IDLE = {"close_idle", "reset_idle", "drop_idle"}


@dataclass(frozen=True)
class Fault:
    """One thing that goes wrong with one request."""

    kind: str
    at: float = 0.5
    seconds: float = 0.2
    then: Callable[[], object] | None = None

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"no fault {self.kind}")

    def fits(self, request: Head) -> bool:
        """Whether this can happen to such a request at all."""
        key = request.path.strip("/").partition("/")[2]
        method = request.method
        needs = {
            **dict.fromkeys(OBJECT, method == "GET" and bool(key)),
            **dict.fromkeys(BODY, method in {"GET", "POST"}),
            **dict.fromkeys(UPLOAD, method == "PUT" and bool(key) and request.length > 0),
            # Its code stands in the body, which an answer to HEAD has not.
            **dict.fromkeys(("request_timeout", "expired_token"), method != "HEAD"),
            "error_in_200": method == "POST" and "uploadId" in request.query,
            "conflict": "if-none-match" in request.headers,
        }
        return needs.get(self.kind, True)


@dataclass
class Rule:
    """A fault for the requests that match, so many times."""

    fault: Fault
    method: str | None = None
    path: str = ""
    query: str | None = None
    skip: int = 0
    times: int | None = 1
    then: Callable[[], object] | None = None

    def take(self, request: Head) -> bool:
        """Whether this request is hit; counts it."""
        matches = (
            self.fault.fits(request)
            and self.method in {None, request.method}
            and self.path in request.path
            and (self.query is None or self.query in request.query)
        )
        if not matches or self.times == 0:
            return False
        if self.skip:
            self.skip -= 1
            return False
        if self.times is not None:
            self.times -= 1
        return True


@dataclass
class Plan:
    """Which request meets which fault: rules in order first, chance after them."""

    rules: list[Rule] = field(default_factory=list)
    chances: Mapping[str, float] = field(default_factory=dict)
    seconds: float = 0.2

    def __post_init__(self) -> None:
        self._lock = threading.Lock()
        self._random = random.Random(0)

    def add(self, kind: str, *, at: float = 0.5, seconds: float = 0.2, **match: object) -> Rule:
        """Add a rule: `method`, `path` (part of it), `query` (name), `skip`, `times` (None: for ever), `then`.

        `then` is called after the server has answered and before the client hears of it.
        """
        rule = Rule(Fault(kind, at=at, seconds=seconds), **match)  # type: ignore[arg-type]
        with self._lock:
            self.rules.append(rule)
        return rule

    def draw(self, chances: Mapping[str, float], *, seed: int, seconds: float = 0.2) -> None:
        """From now on, let chance decide: the probability of each kind, for each request."""
        with self._lock:
            self.chances, self.seconds = chances, seconds
            self._random = random.Random(seed)

    def clear(self) -> None:
        """No more faults."""
        with self._lock:
            self.rules, self.chances = [], {}

    def choose(self, request: Head) -> Fault | None:
        """The fault of this request, if it meets one."""
        with self._lock:
            for rule in self.rules:
                if rule.take(request):
                    return replace(rule.fault, then=rule.then)
            drawn, at = self._random.random(), self._random.random()
            for kind, chance in self.chances.items():
                fault = Fault(kind, at=at, seconds=self.seconds)
                drawn -= chance if fault.fits(request) else 0
                if drawn < 0:
                    return fault
        return None
