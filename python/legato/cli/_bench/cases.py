"""What is measured: latency, throughput, exactness, cold start and memory."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from legato.cli._bench.contest import Contest, EngineError, Worker, cosine, quartiles
from legato.cli._bench.spec import Spec, Vectors

QUIET: Final = 0.1
"""Processors that others may take in a round; a round with more of it is measured again."""
AGAIN: Final = 1.5
"""Rounds at most, as a multiple of those wanted; the quietest count."""
SLOW: Final = 1.6
"""Times the best peer's time above which an engine is not measured in every round."""
SIZES: Final = (4, 8, 16, 32)
"""Texts that are padded together, of which an engine gets what is best for it."""


class Timing(NamedTuple):
    """One engine in one round, in seconds: of the processor on one thread, of wall time on more.

    Attributes:
        took: From texts to vectors.
        alone: From token ids to vectors; None where the engine cannot tell.
    """

    took: float
    alone: float | None


class Series(NamedTuple):
    """The rounds of a case.

    Attributes:
        rounds: The timings of a round, by engine.
        others: Processors that other programs took, by round.
    """

    rounds: list[dict[str, Timing]]
    others: list[float]

    def median(self, name: str) -> float | None:
        """Return the median of an engine, in seconds; None where it was not measured."""
        found = [each[name].took for each in self.rounds if name in each]
        return statistics.median(found) if found else None

    def ratio(
        self, over: str, under: str, *, alone: bool = False
    ) -> tuple[float, float, float] | None:
        """Return the quartiles of the rounds' paired ratios of two engines."""
        paired = []
        for each in self.rounds:
            if over in each and under in each:
                a, b = (each[name].alone if alone else each[name].took for name in (over, under))
                paired += [a / b] if a and b else []
        return quartiles(paired) if paired else None


class Cold(NamedTuple):
    """What fresh processes took, medians.

    Attributes:
        wall_s: From the start of the process to the first vector.
        load_s: From the library's import to the loaded model.
        rss: Resident bytes after the first answer.
        peak: The most resident bytes there were.
    """

    wall_s: float
    load_s: float
    rss: float
    peak: float


def latency(contest: Contest, texts: Sequence[str], seconds: float = 0.08) -> Series:
    """Time one text at a time, another one in each round."""

    def turn(number: int, worker: Worker) -> Timing:
        return _timing(worker, [texts[number % len(texts)]], warm=1, least=2, seconds=seconds)

    return _series(contest, len(texts), turn, sure=2)


def throughput(
    contest: Contest, texts: Sequence[str], rounds: int
) -> tuple[Series, dict[str, Vectors]]:
    """Time all texts at once, and return the vectors too.

    Each engine first finds its best batch size on some of the texts.
    """
    for name, worker in list(contest.workers.items()):
        try:
            tune(worker, texts[: len(texts) // 8])
        except EngineError as error:
            contest.leave(name, str(error))
    vectors: dict[str, Vectors] = {}

    def turn(number: int, worker: Worker) -> Timing:
        del number
        took, vectors[worker.spec.name] = worker.timed_vectors(texts)
        return Timing(took, None)

    return _series(contest, rounds, turn, sure=1), vectors


def tune(worker: Worker, texts: Sequence[str]) -> None:
    """Set an engine's batch size to its best one, where it has one."""
    if not worker.loaded["batch"]:
        return
    took = {
        size: worker.ask(
            "time", texts=list(texts), batch=size, warm=0, least=2, seconds=0, alone=False
        )
        for size in SIZES
    }
    worker.batch = min(took, key=lambda size: min(took[size]["took_s"]))


def _timing(worker: Worker, texts: list[str], *, warm: int, least: int, seconds: float) -> Timing:
    found = worker.ask("time", texts=texts, warm=warm, least=least, seconds=seconds, alone=True)
    alone = found["alone_s"]
    return Timing(statistics.median(found["took_s"]), statistics.median(alone) if alone else None)


def _series(
    contest: Contest, count: int, turn: Callable[[int, Worker], Timing], *, sure: int
) -> Series:
    """Measure rounds until enough were quiet, and keep the quietest.

    After `sure` rounds, an engine that is much slower than the best peer keeps its best time.
    """
    found: list[tuple[float, dict[str, Timing]]] = []
    best: dict[str, Timing] = {}
    for number in range(int(count * AGAIN)):
        before, start = contest.others()
        timings = {}
        for name, worker in list(contest.turns(number)):
            limit = SLOW * _best(contest, best, worker.spec.dtype)
            if number >= sure and worker.spec.engine != "legato" and best[name].took > limit:
                timings[name] = best[name]
                continue
            try:
                timings[name] = turn(number, worker)
            except EngineError as error:
                # Its past processor time no longer counts as ours: this round seems busy.
                contest.leave(name, str(error))
                continue
            best[name] = min(best.get(name, timings[name]), timings[name], key=lambda one: one.took)
        after, end = contest.others()
        found.append(((after - before) / (end - start), timings))
        if sum(others < QUIET for others, _ in found) >= count:
            break
    kept = sorted(found, key=lambda each: each[0])[:count]
    return Series([timings for _, timings in kept], [others for others, _ in kept])


def _best(contest: Contest, found: dict[str, Timing], dtype: str) -> float:
    """Return the least time of a peer of a dtype."""
    return min(
        (
            found[name].took
            for name, worker in contest.workers.items()
            if name in found and worker.spec.dtype == dtype and worker.spec.engine != "legato"
        ),
        default=float("inf"),
    )


def exactness(vectors: dict[str, Vectors], reference: str) -> dict[str, tuple[float, float, float]]:
    """Return mean and least cosine and the largest difference to a reference, by engine."""
    return {
        name: cosine(found, vectors[reference])
        for name, found in vectors.items()
        if found.shape == vectors[reference].shape
    }


def cold(specs: Sequence[Spec], rounds: int) -> dict[str, Cold]:
    """Start each engine in fresh processes, in turn, and end it after its first vector."""
    taken: dict[str, list[Cold]] = {spec.name: [] for spec in specs}
    for _ in range(rounds):
        for spec in specs:
            try:
                worker = Worker(spec)
            except EngineError:
                continue
            found = worker.loaded
            taken[spec.name].append(
                Cold(worker.cold_s, found["load_s"], found["rss"], found["peak"])
            )
            worker.close()
    return {
        name: Cold(*(statistics.median(column) for column in zip(*each, strict=True)))
        for name, each in taken.items()
        if each
    }
