"""Measure a model on this machine, beside the engines that are installed.

Every engine runs in a process of its own and takes its turn; the answers are compared. The result
is a Markdown table.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from legato._native import Tokenizer
from legato.cli._bench import cases, peers, texts
from legato.cli._bench.cases import Cold, Series
from legato.cli._bench.contest import Contest
from legato.cli._bench.spec import Spec
from legato.errors import InputError, ModelError

LENGTHS = (16, 128, 256)
COUNT = 200
ROUNDS = 5
STARTS = 3
NOTHING = Spec("nothing", "nothing", "", "", "float32", 1, 1, "mean", normalize=False)


class Result(NamedTuple):
    """What one number of threads gave.

    Attributes:
        threads: The number.
        names: The engines that ran.
        latency: By tokens.
        throughput: All texts at once.
        exact: Mean and least cosine and the largest difference, by engine.
        cold: Fresh processes, by engine.
    """

    threads: int
    names: list[str]
    latency: dict[int, Series]
    throughput: Series
    exact: dict[str, tuple[float, float, float]]
    cold: dict[str, Cold]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    parser.add_argument("model", type=Path, help="folder of the model")
    parser.add_argument(
        "--dtype",
        nargs="+",
        choices=(peers.FLOAT32, peers.INT8),
        default=[peers.FLOAT32, peers.INT8],
        help="default: both",
    )
    parser.add_argument(
        "--threads", nargs="+", type=int, metavar="N", default=[1, 2], help="default: 1 2"
    )
    parser.add_argument(
        "--texts", type=Path, metavar="FILE", help="UTF-8, one a line; default: help() of Python"
    )
    parser.add_argument(
        "--rounds", type=int, metavar="N", default=ROUNDS, help=f"default: {ROUNDS}"
    )


def main(arguments: argparse.Namespace) -> int:
    """Measure and print; return the exit status."""
    if arguments.rounds < 1 or min(arguments.threads) < 1:
        msg = "--rounds and --threads start at 1"
        raise InputError(msg)
    lines = _lines(arguments.texts)
    given = lines if arguments.texts else texts.mixed(lines, COUNT)
    tokenizer = Tokenizer.from_dir(arguments.model)
    results, skipped = [], {}
    for threads in dict.fromkeys(arguments.threads):
        found = peers.find(arguments.model, list(dict.fromkeys(arguments.dtype)), threads)
        skipped.update(found.skipped)
        with Contest(found.specs) as contest:
            results.append(_measure(contest, found.specs, (lines, given), tokenizer, arguments))
            skipped.update(contest.missing)
    sys.stdout.write("\n".join(_page(results, given, skipped)) + "\n")
    return 0


def _lines(path: Path | None) -> list[str]:
    """Return the texts of a file, or those that every Python has."""
    if path is None:
        return texts.paragraphs()
    try:
        found = [line for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        msg = f"{path} cannot be read ({type(error).__name__}); --texts takes a UTF-8 file"
        raise InputError(msg) from None
    if not found:
        msg = f"{path} has no text; --texts takes one a line"
        raise InputError(msg)
    return found


def _measure(
    contest: Contest,
    specs: Sequence[Spec],
    material: tuple[list[str], list[str]],
    tokenizer: Tokenizer,
    arguments: argparse.Namespace,
) -> Result:
    ours = [spec.name for spec in specs if spec.engine == "legato"]
    failed = next((name for name in ours if name in contest.missing), None)
    if failed is not None:
        msg = f"{failed} cannot run the model: {contest.missing[failed]}"
        raise ModelError(msg)
    threads = specs[0].threads
    latency = {}
    for length in sorted({min(length, specs[0].max_length) for length in LENGTHS}):
        _say(f"{length} tokens, {threads} thread(s)")
        one = list(islice(texts.of_length(material[0], length, tokenizer), arguments.rounds))
        latency[length] = cases.latency(contest, one)
    _say(f"{len(material[1])} texts, {threads} thread(s)")
    throughput, vectors = cases.throughput(contest, material[1], arguments.rounds)
    # Eight bits beside themselves would always agree: without a float32 engine there is no cosine.
    exact_ones = ("torch float32", "legato float32")
    reference = next((name for name in exact_ones if name in vectors), "")
    exact = cases.exactness(vectors, reference) if reference else {}
    _say(f"fresh processes, {threads} thread(s)")
    names = list(contest.workers)
    started = [NOTHING, *(spec for spec in specs if spec.name in names)]
    cold = cases.cold(started, min(STARTS, arguments.rounds))
    return Result(threads, names, latency, throughput, exact, cold)


def _page(
    results: Iterable[Result], given: Sequence[str], skipped: dict[str, str]
) -> Iterator[str]:
    """Yield the lines of the report."""
    for result in results:
        tokens = [f"{length} tokens, ms" for length in result.latency]
        header = [
            "engine",
            *tokens,
            f"{len(given)} texts, 1/s",
            "load, ms",
            "process to vector, ms",
        ]
        header += ["memory, MB", "cosine to float32"]
        clock = "processor time" if result.threads == 1 else "wall time"
        about = f"{result.threads} thread(s), {clock}"
        yield f"\n{about}; in brackets: how many times legato's of that dtype\n"
        yield f"| {' | '.join(header)} |"
        yield f"| {' | '.join(['---'] * len(header))} |"
        for name in result.names:
            yield f"| {' | '.join(_cells(result, name, len(given)))} |"
    if skipped:
        yield "\nSkipped:\n"
        yield from (f"- {name}: {why}" for name, why in skipped.items())


def _cells(result: Result, name: str, count: int) -> Iterator[str]:
    ours = f"legato {name.rpartition(' ')[2]}"
    yield name
    for series in result.latency.values():
        took = series.median(name)
        yield f"{1000 * took:.2f}{_beside(series, name, ours)}" if took else "-"
    took = result.throughput.median(name)
    yield f"{count / took:.0f}{_beside(result.throughput, name, ours)}" if took else "-"
    cold, bare = result.cold.get(name), result.cold.get(NOTHING.name)
    if cold is None:
        yield from ("-", "-", "-")
    else:
        yield f"{1000 * cold.load_s:.0f}"
        yield f"{1000 * cold.wall_s:.0f}"
        yield f"{(cold.rss - (bare.rss if bare else 0)) / 1e6:.0f}"
    yield f"{result.exact[name][0]:.5f}" if name in result.exact else "-"


def _beside(series: Series, name: str, ours: str) -> str:
    ratio = None if name == ours else series.ratio(name, ours)
    return f" ({ratio[1]:.2f})" if ratio else ""


def _say(what: str) -> None:
    sys.stderr.write(f"{what}\n")
    sys.stderr.flush()
