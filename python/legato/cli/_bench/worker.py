"""An engine in a process of its own: loads, then answers one JSON line with another.

Started by ``contest.Worker``, which appends the folder above to ``sys.path``: the import of
``legato.cli`` would be part of what a peer's cold start costs.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import re
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .spec import Engine, Vectors

SIZE = re.compile(r"^(\w+):\s+(\d+) kB", re.MULTILINE)


def main() -> None:
    """Load what the first line says, report, and answer until the input ends."""
    # Libraries print: only answers may go where the driver reads.
    answers = os.fdopen(os.dup(1), "w", buffering=1, encoding="utf-8")
    os.dup2(2, 1)

    def answer(**found: Any) -> None:
        answers.write(json.dumps(found) + "\n")

    try:
        engine = load(json.loads(sys.stdin.readline()), answer)
    except Exception as error:  # noqa: BLE001 - each library has errors of its own
        said = str(error).strip().partition("\n")[0][:200]
        answer(error=f"{type(error).__name__}: {said}")
        return
    for line in sys.stdin:
        asked = json.loads(line)
        if (batch := asked.get("batch")) and engine.batch:
            engine.batch = batch
        try:
            answer(**VERBS[asked["do"]](engine, asked))
        except Exception as error:  # noqa: BLE001 - the driver leaves this engine out, and says why
            answer(error=f"{type(error).__name__}: {str(error).strip()[:200]}")


def load(given: dict[str, Any], answer: Callable[..., None]) -> Engine:
    """Load the engine and give the first vector."""
    from .spec import Spec

    start = time.perf_counter()
    spec = Spec(**given["spec"])
    engine: Engine = importlib.import_module(f".engine_{spec.engine}", __package__).load(spec)
    loaded = time.perf_counter()
    engine.embed([given["text"]])
    answer(
        load_s=loaded - start,
        first_s=time.perf_counter() - loaded,
        version=engine.version,
        batch=engine.batch,
        **memory(),
    )
    return engine


def timed(engine: Engine, asked: dict[str, Any]) -> dict[str, Any]:
    """Time texts to vectors, and the model alone where the engine can tell."""
    texts: list[str] = asked["texts"]
    prepared = engine.encode(texts) if asked["alone"] else None
    for _ in range(asked["warm"]):
        engine.embed(texts)
    # One thread's processor time is what its wall time would be if nobody else were here.
    clock = time.process_time if asked["clock"] == "processor" else time.perf_counter
    took_s: list[float] = []
    alone_s: list[float] = []
    gc.collect()
    gc.disable()
    end = time.perf_counter() + asked["seconds"]
    while len(took_s) < asked["least"] or time.perf_counter() < end:
        start = clock()
        vectors = engine.embed(texts)
        took_s.append(clock() - start)
        if prepared is not None:
            start = clock()
            engine.run(prepared)
            alone_s.append(clock() - start)
    gc.enable()
    if asked.get("path"):
        save(asked["path"], vectors)
    return {"took_s": took_s, "alone_s": alone_s}


def save(path: str, vectors: Vectors) -> None:
    """Write vectors; numpy is imported by the engine already."""
    import numpy as np

    np.save(path, vectors)


def measured(engine: Engine, asked: dict[str, Any]) -> dict[str, Any]:
    """Return memory as it is now."""
    del engine, asked
    return memory()


def memory() -> dict[str, int]:
    """Return resident bytes of this process, now and at most, and what is its own of them."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    sizes = {name: 1024 * int(size) for name, size in SIZE.findall(status)}
    return {
        "rss": sizes.get("VmRSS", 0),
        "peak": sizes.get("VmHWM", 0),
        "own": sizes.get("RssAnon", 0),
    }


VERBS: dict[str, Callable[[Any, dict[str, Any]], dict[str, Any]]] = {
    "time": timed,
    "memory": measured,
}
