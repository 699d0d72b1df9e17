"""The sections of the inference benchmark: goals beside results."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from bench import _infer_cases, _page
from bench._infer_cases import HONEST, OURS
from legato.cli._bench.cases import Cold, Series

TITLE: Final = "Inference"
BASE: Final = "Inference, base size"
CLASSIFIER: Final = "Inference, accuracy of int8"
HEADER: Final = (
    *("case", "threads", "legato", "best peer", "legato is faster by", "goal", "model alone"),
    "others, times legato",
)
ABOUT: Final = (
    "Made by `make bench-infer`. From a list of str to pooled, normalised vectors, tokenization "
    "included (model alone: from token ids, where the peer can tell); every engine in a process of "
    "its own, in turn, stopped while it is not its turn. Peers tokenize with `tokenizers`, sort by "
    "length and pad in the batch size that was fastest for each. Ratios are medians of the rounds' "
    "paired ratios with quartiles: of processor "
    "time on one thread, of wall time on two. Rounds in which other programs took much of the "
    "processors were measured again. int8 peers are rivals from a mean cosine to torch in float32 "
    f"of {HONEST} on; the others stand in brackets."
)


class Small(NamedTuple):
    """What is measured of the small model only.

    Attributes:
        cold: Fresh processes, by engine.
        installed: Bytes of legato, of ONNX Runtime's set, and what that set is.
        parameters: Numbers in the checkpoint.
    """

    cold: dict[str, Cold]
    installed: tuple[int, int, list[str]]
    parameters: int


@dataclass
class Measured:
    """What a model gave.

    Attributes:
        lengths: Tokens of the texts of the throughput case.
        operations: That these take.
        missing: Why something was not measured.
        versions: Of the libraries, by engine.
        latency: By tokens and threads.
        throughput: By threads.
        peak: Operations a second of the processor, by threads and dtype.
        exact: Mean and least cosine and largest difference to the reference, by engine.
        batches: Texts that were padded together, by engine.
        reference: The engine whose vectors the others are compared with.
    """

    lengths: list[int]
    operations: float
    missing: dict[str, str]
    versions: dict[str, str] = field(default_factory=dict)
    latency: dict[tuple[int, int], Series] = field(default_factory=dict)
    throughput: dict[int, Series] = field(default_factory=dict)
    peak: dict[int, dict[str, float]] = field(default_factory=dict)
    exact: dict[str, tuple[float, float, float]] = field(default_factory=dict)
    batches: dict[str, int | None] = field(default_factory=dict)
    reference: str = ""

    def add_exactness(self, found: dict[str, tuple[float, float, float]]) -> None:
        """Keep the worst of what thread counts gave."""
        for name, (mean, least, most) in found.items():
            old = self.exact.get(name, (1.0, 1.0, 0.0))
            self.exact[name] = (min(mean, old[0]), min(least, old[1]), max(most, old[2]))

    def peers(self, dtype: str) -> list[str]:
        """Return the peers of a dtype."""
        return [
            name
            for name, (engine, _, kind, _) in _infer_cases.ENGINES.items()
            if kind == dtype and engine != "legato" and name in self.versions
        ]

    def rival(self, name: str) -> bool:
        """Say whether a peer is near enough to float32."""
        return name in self.exact and self.exact[name][0] >= HONEST


def small(head: str, measured: Measured, more: Small) -> str:
    """Return the section of all-MiniLM-L6-v2."""
    about = f"all-MiniLM-L6-v2, texts cut to {_infer_cases.MAX_LENGTH} tokens."
    parts = [
        f"{head} {about} {others(measured)}",
        ABOUT,
        speed(measured, goals=True),
        exactness(measured),
        _page.table(
            ("what", "legato", "beside", "result", "goal", "others"), list(_starts(measured, more))
        ),
        f"ONNX Runtime's set: {', '.join(more.installed[2])}.",
        *left_out(measured),
    ]
    return f"## {TITLE}\n\n" + "\n\n".join(parts)


def base(head: str, measured: Measured) -> str:
    """Return the section of the base-size model."""
    about = (
        "BERT-base's shape (12 layers, 768 wide) with seeded weights, on whose values speed does "
        "not depend. As above."
    )
    parts = [
        f"{head} {about} {others(measured)}",
        speed(measured, goals=False),
        exactness(measured),
        *left_out(measured),
    ]
    return f"## {BASE}\n\n" + "\n\n".join(parts)


def classifier(head: str, found: dict[str, Any]) -> str:
    """Return the section about the accuracy of a classifier."""
    accuracy = found["accuracy"]
    lost = 100 * (accuracy["float32"] - accuracy["int8"])
    rows = [
        (
            f"{accuracy['float32']:.2%}",
            f"{accuracy['int8']:.2%}",
            f"{lost:+.2f} points",
            f"at most {_infer_cases.ACCURACY} points",
            f"{found['same']:.2%}",
            found["torch"],
        )
    ]
    header = ("float32", "int8", "lost", "goal", "same label in both", "float32 beside torch")
    about = (
        f"{head} A text classifier on all-MiniLM-L6-v2: which of {found['labels']} packages of the "
        f"standard library a docstring's paragraph comes from; the head is trained on "
        f"{found['trained']:,} paragraphs by the script, and measured on {found['held']:,} others "
        "through `legato.pipeline`."
    )
    return f"## {CLASSIFIER}\n\n{about}\n\n{_page.table(header, rows)}"


def others(measured: Measured) -> str:
    """Name versions, and say how busy the machine was."""
    versions: dict[str, None] = {}
    for name, (engine, *_) in _infer_cases.ENGINES.items():
        if name in measured.versions:
            versions[f"{engine.replace('_', '-')} {measured.versions[name]}"] = None
    busy = [share for series in all_series(measured) for share in series.others]
    mean = sum(busy) / len(busy) if busy else 0.0
    return (
        f"Engines: {', '.join(versions)}. Other programs took {mean:.2f} processors on average in "
        "the rounds that count."
    )


def all_series(measured: Measured) -> Iterator[Series]:
    """Yield all series."""
    yield from measured.latency.values()
    yield from measured.throughput.values()


class Case(NamedTuple):
    """A line of the table of speed."""

    what: str
    dtype: str
    threads: int
    goal: float
    shown: Callable[[float], str]


def speed(measured: Measured, *, goals: bool) -> str:
    """Return the table of latency and throughput."""
    rows = []
    count = len(measured.lengths)
    mean = sum(measured.lengths) / count

    def rate(seconds: float) -> str:
        return f"{count / seconds:.0f}/s"

    for dtype in OURS:
        for (length, threads), series in sorted(measured.latency.items()):
            what = f"one text of {length} tokens, {dtype}"
            goal = _infer_cases.LATENCY[dtype][length]
            case = Case(what, dtype, threads, goal, _milliseconds)
            rows.append(_row(measured, case, series, goals=goals))
        for threads, series in measured.throughput.items():
            what = f"{count:,} mixed texts, {mean:.0f} tokens on average, {dtype}"
            case = Case(what, dtype, threads, _infer_cases.THROUGHPUT[dtype], rate)
            rows.append(_row(measured, case, series, goals=goals))
    rows += list(_shares(measured, goals=goals))
    return _page.table(HEADER, rows)


def _milliseconds(seconds: float) -> str:
    return f"{1000 * seconds:.2f} ms"


def _row(measured: Measured, case: Case, series: Series, *, goals: bool) -> tuple[str, ...]:
    name = OURS[case.dtype]
    ours = series.median(name)
    goal = f"{case.goal:g}" if goals else "-"
    if ours is None:
        return (case.what, str(case.threads), "not measured", "-", "-", goal, "-", "-")
    times = {
        peer: took
        for peer in measured.peers(case.dtype)
        if (took := series.median(peer)) is not None
    }
    ordered = sorted(times, key=lambda peer: times[peer])
    best = next((peer for peer in ordered if measured.rival(peer)), "")
    rest = [
        f"{peer} {times[peer] / ours:.2f}"
        if measured.rival(peer)
        else f"[{peer} {times[peer] / ours:.2f}]"
        for peer in ordered
        if peer != best
    ]
    return (
        case.what,
        str(case.threads),
        case.shown(ours),
        f"{best} {case.shown(times[best])}" if best else "-",
        _quartiles(series.ratio(best, name)),
        goal,
        _quartiles(series.ratio(best, name, alone=True)),
        ", ".join(rest),
    )


def _quartiles(found: tuple[float, float, float] | None) -> str:
    return f"{found[1]:.2f} ({found[0]:.2f} to {found[2]:.2f})" if found else "-"


def _shares(measured: Measured, *, goals: bool) -> Iterator[tuple[str, ...]]:
    for dtype, name in OURS.items():
        for threads, series in measured.throughput.items():
            peak = measured.peak.get(threads, {}).get(dtype)
            took = series.median(name)
            if not peak or not took:
                continue
            rate = measured.operations / took

            def share(seconds: float, peak: float = peak) -> str:
                return f"{measured.operations / seconds / peak:.0%}"

            rest = [
                f"{peer} {share(seconds)}"
                for peer in measured.peers(dtype)
                if (seconds := series.median(peer))
            ]
            yield (
                f"share of the peak of {peak / 1e9:.0f} GOP/s in that case, {dtype}",
                str(threads),
                f"{share(took)} ({rate / 1e9:.0f} GOP/s)",
                *("-", "-"),
                f"{_infer_cases.PEAK[dtype]:.0%}" if goals else "-",
                "-",
                ", ".join(rest),
            )


def exactness(measured: Measured) -> str:
    """Return the table of what engines answered."""
    rows = [
        (
            name,
            f"{mean:.6f}",
            f"{least:.6f}",
            f"{most:.1e}",
            str(measured.batches.get(name) or "own"),
            "" if measured.rival(name) else "no rival",
        )
        for name, (mean, least, most) in measured.exact.items()
    ]
    header = (
        "engine",
        f"mean cosine to {measured.reference}",
        "least",
        "largest difference",
        "batch",
        "",
    )
    return _page.table(header, rows)


def _starts(measured: Measured, more: Small) -> Iterator[Sequence[str]]:
    bare = more.cold.get("nothing")
    for dtype, name in OURS.items():
        ours = more.cold.get(name)
        peers = {peer: more.cold[peer] for peer in measured.peers(dtype) if peer in more.cold}
        runtime = {peer: one for peer, one in peers.items() if peer.startswith("ONNX Runtime")}
        if ours is None or bare is None or not runtime:
            continue
        best = min(runtime, key=lambda peer: runtime[peer].wall_s)
        yield (
            f"cold start to the first vector, {dtype}",
            _milliseconds(ours.wall_s),
            f"{best} {_milliseconds(runtime[best].wall_s)}",
            f"{runtime[best].wall_s / ours.wall_s:.2f} times faster",
            f"{_infer_cases.COLD[dtype]:g}",
            _list(peers, best, lambda one: f"{1000 * one.wall_s:.0f} ms"),
        )
        weights = more.parameters * (4 if dtype == "float32" else 1)
        above = ours.rss - bare.rss
        yield (
            f"memory above Python with numpy ({bare.rss / 1e6:.0f} MB), {dtype}",
            f"{above / 1e6:.0f} MB (most: {(ours.peak - bare.rss) / 1e6:.0f})",
            f"weights of {weights / 1e6:.0f} MB",
            f"{above / weights:.2f} times",
            f"{_infer_cases.MEMORY:g}",
            _list(peers, "", lambda one: f"{(one.rss - bare.rss) / 1e6:.0f} MB"),
        )
    bytes_, set_, _ = more.installed
    yield (
        "installed, without model and numpy",
        f"{bytes_ / 1e6:.1f} MB",
        f"ONNX Runtime's set {set_ / 1e6:.0f} MB",
        f"1/{set_ / bytes_:.1f}",
        f"{_infer_cases.INSTALLED_BYTES / 1e6:.0f} MB, 1/{1 / _infer_cases.INSTALLED_SHARE:.0f}",
        "",
    )
    if bare is not None:
        yield ("cold start of Python with numpy alone", _milliseconds(bare.wall_s), *[""] * 4)


def _list(peers: dict[str, Cold], best: str, shown: Callable[[Cold], str]) -> str:
    return ", ".join(f"{name} {shown(one)}" for name, one in peers.items() if name != best)


def left_out(measured: Measured) -> Iterable[str]:
    """Say what was not measured, and why."""
    return [f"Not measured: {name}: {why}." for name, why in measured.missing.items()]
