"""What the fault run knows: which bytes belong to a token, what a writer has done, and what must be there now."""

from __future__ import annotations

import json
import os
import random
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

KIB, MIB = 1 << 10, 1 << 20
# Upper ends of sizes, and how many of a thousand objects end there.
SIZES = [(0, 30), (4 * KIB, 640), (256 * KIB, 250), (2 * MIB, 65), (12 * MIB, 12), (40 * MIB, 3)]
# Two conditional completions of one multipart upload can both succeed on SeaweedFS (on AWS they cannot): outputs
# that several writers race for are smaller than that.
RACED_BYTES = 2 * MIB


def size(dice: random.Random, limit: int) -> int:
    """A size of an object: most are small."""
    ends = [end for end, _ in SIZES]
    end = dice.choices(ends, weights=[weight for _, weight in SIZES])[0]
    below = ends[max(ends.index(end) - 1, 0)]
    return min(dice.randint(below, end), limit)


def content(token: str) -> bytes:
    """The bytes of a token, which ends with their number."""
    return random.Random(token).randbytes(int(token.rpartition("-")[2]))


class Journal:
    """A file in which a writer says what it begins and what has ended; kill -9 leaves it whole."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    def write(self, **entry: Any) -> None:
        # One write of a line: what is in the kernel stays.
        os.write(self._file, json.dumps(entry).encode() + b"\n")


@dataclass
class Operation:
    """An operation: as it began, and as it ended if it has."""

    worker: str
    id: int
    kind: str
    key: str
    token: str | None
    outcome: str | None = None
    ref: dict[str, Any] | None = None
    seconds: float = 0.0
    limit_s: float = 0.0
    wrong: str | None = None
    message: str | None = None


class Follower:
    """Reads a journal while it grows."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offset = 0
        self.begun: dict[int, Operation] = {}

    def more(self) -> list[Operation]:
        """The operations that have ended since the last call."""
        if not self._path.exists():
            return []
        with self._path.open("rb") as file:
            file.seek(self._offset)
            data = file.read()
        lines = data[: data.rfind(b"\n") + 1]
        self._offset += len(lines)
        return [ended for line in lines.splitlines() if (ended := self._take(json.loads(line)))]

    def _take(self, entry: dict[str, Any]) -> Operation | None:
        number = entry["id"]
        if entry["phase"] == "begin":
            self.begun[number] = Operation(
                self._path.stem, number, entry["kind"], entry["key"], entry["token"]
            )
            return None
        ended = self.begun[number]
        ended.outcome, ended.ref, ended.wrong = entry["outcome"], entry["ref"], entry["wrong"]
        ended.seconds, ended.limit_s = entry["seconds"], entry["limit_s"]
        ended.message = entry["message"]
        return ended


def operations(path: Path) -> list[Operation]:
    """The operations of a journal, in order: those that have ended, and those that were killed."""
    follower = Follower(path)
    follower.more()
    return list(follower.begun.values())


@dataclass
class Own:
    """The objects that one writer replaces and deletes: for each key the tokens that it may have now.

    None stands for no object. More than one are possible after a write that failed or was killed: it may have been
    made or not.
    """

    possible: dict[str, set[str | None]] = field(default_factory=dict)
    refs: dict[str, dict[str, Any]] = field(default_factory=dict)

    def of(self, key: str) -> set[str | None]:
        return self.possible.get(key, {None})

    def take(self, done: Operation) -> None:
        """Learn from an operation."""
        if done.kind not in {"put", "delete"}:
            return
        after = done.token if done.kind == "put" else None
        self.refs.pop(done.key, None)
        if done.outcome == "ok":
            self.possible[done.key] = {after}
            if done.ref is not None:
                self.refs[done.key] = done.ref
        else:
            self.possible[done.key] = self.of(done.key) | {after}


@dataclass
class Committed:
    """The outputs that all writers commit: who tried with what, and which references were returned."""

    tried: dict[str, set[str]] = field(default_factory=dict)
    returned: dict[str, list[dict[str, Any]]] = field(default_factory=dict)

    def take(self, done: Operation) -> None:
        """Learn from an operation."""
        if done.kind == "commit" and done.token is not None:
            self.tried.setdefault(done.key, set()).add(done.token)
        if done.kind in {"commit", "find"} and done.ref is not None:
            self.returned.setdefault(done.key, []).append(done.ref)
