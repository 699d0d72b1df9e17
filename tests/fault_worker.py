"""A process of the fault run: randomised operations on a store, each journaled before and after."""

from __future__ import annotations

import argparse
import hashlib
import random
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from legato import Ref, Store
from legato.errors import LegatoError
from tests.fault_model import (
    MIB,
    RACED_BYTES,
    Committed,
    Follower,
    Journal,
    Operation,
    Own,
    content,
    operations,
    size,
)

T = TypeVar("T")
WRITER = {
    "put": 20, "commit": 20, "find": 12, "get": 20, "get_many": 6, "chunks": 10, "list": 5, "delete": 5,
    "exists": 2,
}  # fmt: skip
READER = {"find": 20, "get": 45, "get_many": 15, "chunks": 16, "list": 4}
OWN_KEYS = 40


class WrongError(Exception):
    """The store has said or given what cannot be."""


class Worker:
    """Keeps to its own keys where it replaces and deletes, and shares the outputs that it commits."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.name: str = options.name
        self.folder: Path = options.folder
        self.journal_path = self.folder / f"{self.name}.jsonl"
        self.done = operations(self.journal_path)
        self.journal = Journal(self.journal_path)
        self.dice = random.Random(f"{options.seed}-{self.name}-{len(self.done)}")
        self.weights = READER if options.reader else WRITER
        self.timeout_s: float = options.timeout_s
        self.outputs: int = options.outputs
        self.store = Store.open(options.url, timeout_s=options.timeout_s)
        self.own, self.committed = Own(), Committed()
        for each in self.done:
            self.own.take(each)
            self.committed.take(each)
        self._others: dict[Path, Follower] = {}

    def run(self, count: int) -> None:
        """Go on until `count` operations have ended, those of killed predecessors among them."""
        ended = sum(each.outcome is not None for each in self.done)
        for _ in range(count - ended):
            self.learn()
            self.step()

    def learn(self) -> None:
        """Now and then, look what the others have committed."""
        if self.dice.random() < 0.9:
            return
        for path in self.folder.glob("*.jsonl"):
            if path != self.journal_path:
                for each in self._others.setdefault(path, Follower(path)).more():
                    self.committed.take(each)

    def step(self) -> None:
        kind = self.dice.choices(list(self.weights), weights=list(self.weights.values()))[0]
        if kind in {"get", "get_many", "chunks"} and not self.known():
            kind = "find"
        key, token = self.aim(kind, len(self.done))
        now = Operation(self.name, len(self.done), kind, key, token)
        data = content(token) if token is not None else b""
        self.journal.write(phase="begin", id=now.id, kind=kind, key=key, token=token)
        try:
            getattr(self, kind)(now, data)
            now.outcome = "ok"
        except WrongError as error:
            now.outcome, now.wrong = "wrong", str(error)
        except LegatoError as error:
            now.outcome, now.message = type(error).__name__, str(error)
        self.journal.write(
            phase="end", id=now.id, outcome=now.outcome, ref=now.ref, seconds=now.seconds,
            limit_s=now.limit_s, wrong=now.wrong, message=now.message,
        )  # fmt: skip
        self.done.append(now)
        self.own.take(now)
        self.committed.take(now)

    def aim(self, kind: str, number: int) -> tuple[str, str | None]:
        """The key of an operation, and the token of what it writes."""
        if kind in {"put", "delete", "exists"}:
            key = f"{self.name}/{self.dice.randrange(OWN_KEYS)}"
            length = size(self.dice, 40 * MIB)
        elif self.dice.random() < 0.1:
            # Outputs that nobody else makes can be of any size.
            key = f"{self.name}/out/{self.dice.randrange(self.outputs)}"
            length = size(self.dice, 40 * MIB)
        else:
            key = f"out/{self.dice.randrange(self.outputs)}"
            length = size(self.dice, RACED_BYTES)
        return key, f"{self.name}-{number}-{length}" if kind in {"put", "commit"} else None

    def known(self) -> list[dict[str, Any]]:
        """References that must be readable."""
        return [refs[0] for refs in self.committed.returned.values()] + list(self.own.refs.values())

    def pick(self) -> Ref:
        return Ref.from_dict(self.dice.choice(self.known()))

    def timed(self, now: Operation, moved: int, call: Callable[[], T]) -> T:
        """Make a call that moves so many bytes; the operation keeps the one that came nearest to its deadline."""
        begin = time.monotonic()
        try:
            return call()
        finally:
            seconds, limit_s = time.monotonic() - begin, self.timeout_s + moved / MIB
            if seconds - limit_s > now.seconds - now.limit_s or now.limit_s == 0:
                now.seconds, now.limit_s = seconds, limit_s

    def put(self, now: Operation, data: bytes) -> None:
        ref = self.timed(now, len(data), lambda: self.store.put(data, now.key))
        self.check(ref, data)
        now.ref = ref.to_dict()

    def commit(self, now: Operation, data: bytes) -> None:
        # One that finds an object without a reference reads it.
        ref = self.timed(now, 2 * len(data), lambda: self.store.commit(now.key, data))
        now.ref = ref.to_dict()
        self.same(now)
        # Whoever won, its bytes are there from now on.
        if self.dice.random() < 0.2:
            self.check(ref, self.timed(now, ref.bytes, lambda: self.store.get(ref)))

    def find(self, now: Operation, _: bytes) -> None:
        ref = self.timed(now, 0, lambda: self.store.find(now.key))
        now.ref = None if ref is None else ref.to_dict()
        self.same(now)

    def same(self, now: Operation) -> None:
        former = self.committed.returned.get(now.key)
        if former and (now.ref is None or now.ref["sha256"] != former[0]["sha256"]):
            found = None if now.ref is None else now.ref["sha256"]
            raise WrongError(f"{now.key}: {now.kind} gave {found}, before {former[0]['sha256']}")

    def check(self, ref: Ref, data: bytes) -> None:
        found = hashlib.sha256(data).hexdigest()
        if len(data) != ref.bytes or found != ref.sha256:
            raise WrongError(f"corrupt: {ref.uri} gave {len(data)} bytes, {found}")

    def get(self, now: Operation, _: bytes) -> None:
        ref = self.pick()
        self.check(ref, self.timed(now, ref.bytes, lambda: self.store.get(ref)))

    def get_many(self, now: Operation, _: bytes) -> None:
        refs = [self.pick() for _ in range(self.dice.randint(1, 12))]
        moved = sum(ref.bytes for ref in refs)
        found = self.timed(now, moved, lambda: self.store.get_many(refs))
        for ref, data in zip(refs, found, strict=True):
            self.check(ref, data)

    def chunks(self, now: Operation, _: bytes) -> None:
        """Chunk by chunk, each of which is a call."""
        ref = self.pick()
        left = self.timed(now, 0, lambda: iter(self.store.chunks(ref)))
        found = b""
        while data := self.timed(now, 8 * MIB, lambda: next(left, b"")):
            found += data
        self.check(ref, found)

    def list(self, now: Operation, _: bytes) -> None:
        found = set(self.timed(now, 0, lambda: self.store.list(f"{self.name}/")))
        for key, tokens in self.own.possible.items():
            if (key in found and tokens == {None}) or (key not in found and None not in tokens):
                raise WrongError(f"{key}: listed {key in found}, may be {tokens}")

    def exists(self, now: Operation, _: bytes) -> None:
        tokens = self.own.of(now.key)
        found = self.timed(now, 0, lambda: self.store.exists(now.key))
        if (found and tokens == {None}) or (not found and None not in tokens):
            raise WrongError(f"{now.key}: exists {found}, may be {tokens}")

    def delete(self, now: Operation, _: bytes) -> None:
        self.timed(now, 0, lambda: self.store.delete(now.key))


def main() -> int:
    """Run as `python -m tests.fault_worker`."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--name", required=True)
    parser.add_argument("--url", required=True)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--seed", required=True)
    parser.add_argument("--operations", type=int, required=True)
    parser.add_argument("--outputs", type=int, required=True)
    parser.add_argument("--timeout-s", type=float, required=True)
    parser.add_argument("--reader", action="store_true")
    options = parser.parse_args()
    Worker(options).run(options.operations)
    return 0


if __name__ == "__main__":
    sys.exit(main())
