"""The section of the store benchmark: goals beside results."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Final, NamedTuple

from bench import _page
from bench._store_contest import Series, Spent
from bench._store_data import GIB, KIB, MANY, MANY_BYTES, MIB

TITLE: Final = "Store"
OURS: Final = "legato"
FLOOR: Final = "raw sockets"
ABOUT: Final = (
    "Made by `make bench-store`. A small S3 server in memory (bench/s3_memory.rs) on loopback, "
    "every client in a process of its own, in turn, each in its fastest way; medians of rounds, "
    "ratios are medians of the rounds' paired ratios with quartiles. Processor time is that of the "
    "client's process, all threads. Every byte that was read, and every object that was written, "
    "is compared in the run. legato's reads are by reference and verified by CRC-64/NVME (there "
    "are no others of arrays), its writes hash what they write (sha256 and CRC-64/NVME: the "
    "reference has both); the peers verify nothing (`when_required`), and may leave payloads "
    "unsigned. "
    "curl and raw sockets sign nothing either: they are the floor."
)


class Case(NamedTuple):
    """A case: how it is called, and the bytes of an operation (0: a count of seconds only)."""

    title: str
    verb: str
    bytes: int


CASES: Final[dict[str, Case]] = {
    "get-1k": Case("GET 1 KiB", "small", KIB),
    "put-1k": Case("PUT 1 KiB", "put_small", KIB),
    "get-64m": Case("GET 64 MiB into a new numpy array", "get", 64 * MIB),
    "put-64m": Case("PUT 64 MiB from a numpy array", "put", 64 * MIB),
    "get-1g": Case("GET 1 GiB into a new numpy array", "get", GIB),
    "many": Case(f"GET {MANY:,} objects of {MANY_BYTES // KIB} KiB", "many", MANY * MANY_BYTES),
    "cold": Case("cold start: a process to its first 1 KiB", "", 0),
}


class Goal(NamedTuple):
    """A goal, in times: of a peer's wall or processor time, or of memory, or in CPU s/GiB.

    Attributes:
        case: Of :data:`CASES`, or ``memory``.
        what: ``wall``, ``cpu``, ``cpu/GiB`` or ``memory``.
        peer: Whom legato is compared with; empty for a limit.
        times: The goal: the peer's over legato's at least, or legato's over the peer's at most.
        most: Whether it is the latter.
        note: What else is to be said.
    """

    case: str
    what: str
    peer: str
    times: float
    most: bool = False
    note: str = ""


GOALS: Final = (
    Goal("get-1k", "cpu", "boto3", 12),
    Goal("put-1k", "cpu", "boto3", 8),
    Goal("get-64m", "wall", "boto3", 1.8),
    Goal("get-64m", "cpu", "boto3", 1.5),
    Goal("cold", "cpu", "boto3", 15),
    Goal("get-64m", "wall", "obstore", 1.6),
    Goal("get-64m", "cpu", "obstore", 2),
    Goal("get-1g", "wall", "obstore", 1.8),
    Goal("get-1k", "cpu", "obstore", 1.5, most=True, note=" (stretch: 1)"),
    Goal("cold", "wall", "obstore", 1, most=True),
    Goal("cold", "cpu", "obstore", 1, most=True),
    Goal("get-64m", "cpu/GiB", "", 0.8, most=True),
    Goal("get-1g", "cpu/GiB", "", 0.8, most=True),
    Goal("memory", "memory", "", 1.05, most=True),
    Goal("get-64m", "wall", FLOOR, 0.9),
)


@dataclass
class Measured:
    """What was measured.

    Attributes:
        versions: Of the clients.
        series: By case.
        memory: Most memory above the process's, by client, in bytes.
        missing: Why something was not measured.
    """

    versions: dict[str, str] = field(default_factory=dict)
    series: dict[str, Series] = field(default_factory=dict)
    memory: dict[str, int] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)


def section(head: str, measured: Measured) -> str:
    """Return the section."""
    versions = ", ".join(f"{name} {version}" for name, version in measured.versions.items())
    busy = [share for series in measured.series.values() for share in series.others]
    others = (
        f"Other programs took {sum(busy) / len(busy):.2f} processors on average in the rounds that "
        "count."
        if busy
        else ""
    )
    parts = [
        f"{head} Clients: {versions}. {others}".rstrip(),
        ABOUT,
        _page.table(
            ("what", "of", "legato", "beside", "result", "goal", "met"), list(_goals(measured))
        ),
        "All clients, wall and processor time of the client:",
        _page.table(("case", *measured.versions), list(_all(measured))),
        *_ways(measured),
        *(f"Not measured: {name}: {why}." for name, why in measured.missing.items()),
    ]
    return f"## {TITLE}\n\n" + "\n\n".join(parts)


def _goals(measured: Measured) -> Iterator[tuple[str, ...]]:
    for goal in GOALS:
        title = CASES[goal.case].title if goal.case in CASES else "peak memory of GET 64 MiB"
        of = {"cpu/GiB": "processor", "cpu": "processor"}.get(goal.what, goal.what)
        bound = f"{'at most' if goal.most else 'at least'} {goal.times:g}{goal.note}"
        found = _found(measured, goal)
        if found is None:
            yield (title, of, *["not measured"] * 3, bound, "-")
            continue
        ours, beside, value, shown = found
        met = value <= goal.times if goal.most else value >= goal.times
        yield (title, of, ours, beside, shown, bound, "yes" if met else "no")


def _found(measured: Measured, goal: Goal) -> tuple[str, str, float, str] | None:
    """Return what legato took, what it is compared with, and the result as number and as text."""
    if goal.what == "memory":
        return _memory(measured)
    series = measured.series.get(goal.case)
    ours = series.median(OURS) if series else None
    if series is None or ours is None:
        return None
    case = CASES[goal.case]
    if goal.what == "cpu/GiB":
        value = ours.cpu * GIB / case.bytes
        return f"{value:.2f} CPU s/GiB", "-", value, f"{value:.2f} CPU s/GiB"
    theirs = series.median(goal.peer)
    over, under = (OURS, goal.peer) if goal.most else (goal.peer, OURS)
    ratio = series.ratio(over, under, goal.what)
    if theirs is None or ratio is None:
        return None
    low, middle, high = ratio
    show = _shown(case, goal.what)
    result = f"{middle:.2f} ({low:.2f} to {high:.2f})"
    return show(ours), f"{goal.peer} {show(theirs)}", middle, result


def _memory(measured: Measured) -> tuple[str, str, float, str] | None:
    size = CASES["get-64m"].bytes
    if OURS not in measured.memory:
        return None
    value = measured.memory[OURS] / size
    return f"{measured.memory[OURS] / MIB:.1f} MiB", "the object", value, f"{value:.3f}"


def _all(measured: Measured) -> Iterator[tuple[str, ...]]:
    names = list(measured.versions)
    for key, series in measured.series.items():
        case = CASES[key]
        cells = []
        for name in names:
            spent = series.median(name)
            shown = (_shown(case, what)(spent) for what in ("wall", "cpu")) if spent else ["-"]
            cells.append(", ".join(shown))
        yield (case.title, *cells)
        alone = series.median("Python alone")
        if alone:
            wall, cpu = (_shown(case, what)(alone) for what in ("wall", "cpu"))
            yield (f"of it Python alone: {wall}, {cpu}", *["-"] * len(names))
    if measured.memory:
        size = CASES["get-64m"].bytes
        cells = [
            f"{measured.memory[name] / size:.2f}" if name in measured.memory else "-"
            for name in names
        ]
        yield ("peak memory of GET 64 MiB, times the object", *cells)


def _shown(case: Case, what: str) -> Callable[[Spent], str]:
    """Return how wall or processor time of a case is written."""
    return partial(_wall, case) if what == "wall" else partial(_cpu, case)


def _wall(case: Case, spent: Spent) -> str:
    if case.verb == "many":
        return f"{MANY / spent.wall:,.0f}/s"
    if case.bytes >= MIB:
        return f"{case.bytes / MIB / spent.wall:,.0f} MiB/s"
    return f"{spent.wall * 1e6:,.0f} µs" if case.bytes else f"{spent.wall * 1e3:,.0f} ms"


def _cpu(case: Case, spent: Spent) -> str:
    if case.verb == "many":
        return f"{spent.cpu / MANY * 1e6:,.0f} µs CPU each"
    if case.bytes >= MIB:
        return f"{spent.cpu * GIB / case.bytes:.2f} CPU s/GiB"
    return f"{spent.cpu * 1e6:,.0f} µs CPU" if case.bytes else f"{spent.cpu * 1e3:,.0f} ms CPU"


def _ways(measured: Measured) -> Iterator[str]:
    lines = []
    for key, series in measured.series.items():
        ways = ", ".join(f"{name} {way}" for name, way in series.ways.items() if way)
        lines += [f"- {CASES[key].title}: {ways}"] if ways else []
    if lines:
        yield "The ways that were fastest, where a client has several:\n\n" + "\n".join(lines)
