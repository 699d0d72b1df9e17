"""One client in a process of its own: does what it is told, says what that took.

A line of JSON in, a line of JSON out: ``{"do": "time", "verb": "get", ...}`` is answered by the
seconds of each operation, and by those of the processor.
"""

from __future__ import annotations

import gc
import http.client
import json
import os
import resource
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from bench import _store_data
from bench._store_client import Contestant
from bench._store_data import BUCKET
from bench._store_peers import CONTESTANTS

TOGETHER: Final = ("small", "put_small")
"""Verbs whose results are kept until the clock has stopped."""


def main() -> None:
    """Answer until the input ends; the outputs of libraries go to the log."""
    name = sys.argv[1]
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    for answer in serve(name):
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


def serve(name: str) -> Iterator[dict[str, Any]]:
    """Load the client, and yield an answer to each line; an error ends it."""
    try:
        client = CONTESTANTS[name]()
        verbs = ("small", "put_small", "get", "put", "many")
        yield {
            "version": client.version,
            "ways": {verb: list(getattr(client, verb)) for verb in verbs},
        }
        for line in sys.stdin:
            given = json.loads(line)
            yield ACTIONS[given.pop("do")](client, **given)
    except Exception as error:  # noqa: BLE001 - each library has errors of its own
        yield {"error": f"{type(error).__name__}: {error}".partition("\n")[0][:200]}


def seed(client: Contestant, keys: list[str]) -> dict[str, Any]:
    """Have the client store what it reads otherwise than the others, and return the references."""
    return {"refs": client.seed(keys)}


def adopt(client: Contestant, refs: dict[str, str]) -> dict[str, Any]:
    """Have the client know what another process of it has stored."""
    client.adopt(refs)
    return {}


def measure(client: Contestant, verb: str, way: str, keys: list[str], times: int) -> dict[str, Any]:
    """Time operations one after the other, and compare every byte when the clock stands.

    Args:
        client: Does them.
        verb: One of the client's.
        way: To do it.
        keys: Of objects, taken in turn; all at once for ``many``.
        times: Operations.

    Returns:
        Seconds of each operation, and mean seconds of the processor, all threads and children.
    """
    act = getattr(client, verb)[way]
    wall: list[float] = []
    cpu = 0.0
    gc.collect()
    gc.disable()
    step = times if verb in TOGETHER else 1
    for first in range(0, times, step):
        given = [arguments(verb, keys, number % len(keys)) for number in range(first, first + step)]
        found = []
        before = processor()
        for each in given:
            start = time.perf_counter_ns()
            found.append(act(*each))
            wall.append((time.perf_counter_ns() - start) / 1e9)
        cpu += processor() - before
        for each in given:
            compare(verb, each[0], found.pop(0), tail=client.tail)
    gc.enable()
    return {"wall_s": wall, "cpu_s": cpu / times}


def arguments(verb: str, keys: list[str], number: int) -> tuple[Any, ...]:
    """Return what an operation is given."""
    if verb == "many":
        return (keys,)
    key = keys[number]
    if verb == "get":
        return (key, _store_data.size(key))
    if verb == "small":
        return (key,)
    data = _store_data.make(key)
    return (key, data.tobytes() if verb == "put_small" else data)


def compare(verb: str, key: Any, found: Any, *, tail: bool) -> None:
    """Compare what was read, or what lies in the server after a write."""
    if verb == "many":
        for each, data in zip(key, found, strict=True):
            _store_data.check(each, data)
    elif verb in {"small", "get"}:
        _store_data.check(key, found)
    else:
        _store_data.check(key, stored(f"legato/{key}" if tail else key), tail=tail)


def stored(key: str) -> bytes:
    """Return what lies in the server."""
    url = urlsplit(os.environ["AWS_ENDPOINT_URL_S3"])
    connection = http.client.HTTPConnection(url.netloc)
    connection.request("GET", f"/{BUCKET}/{key}")
    answer = connection.getresponse()
    data = answer.read()
    connection.close()
    if answer.status != http.client.OK:
        raise _store_data.WrongBytesError(f"the server has no {key}")
    return data


def processor() -> float:
    """Return the processor time of all threads, and of children that have ended."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


def memory(client: Contestant, way: str, key: str) -> dict[str, Any]:
    """Return the most memory that reading an object takes above what the process had before."""
    gc.collect()
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    before = _kib("VmRSS")
    found = client.get[way](key, _store_data.size(key))
    most = _kib("VmHWM")
    compare("get", key, found, tail=client.tail)
    return {"peak": (most - before) << 10}


def _kib(name: str) -> int:
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))


ACTIONS: Final[dict[str, Callable[..., dict[str, Any]]]] = {
    "seed": seed,
    "adopt": adopt,
    "measure": measure,
    "memory": memory,
}


if __name__ == "__main__":
    main()
