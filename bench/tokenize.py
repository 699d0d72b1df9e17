"""Compare legato's tokenization with its peers, in turn, in one process; write the figures down.

Run by ``make bench-tokenize`` (``--rounds 3`` for a first look). Needs the ``bench`` extra, and
fetches the tokenizer files and texts on its first run. What cannot be had is left out, and said.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, Final

if __name__ == "__main__":
    # Run as a file, Python puts this folder first: `import tokenize` anywhere would find this file.
    sys.path[0] = str(Path(__file__).parent.parent)

from bench import _cases, _contest, _materials, _page, _peers
from bench._cases import CASES, Case
from bench._peers import REFERENCE

TITLE: Final = "Tokenization"
HEADER: Final = (
    *("case", "legato", "to 0.23.3", "goal", "best exact challenger", "to it", "goal"),
    *("two threads: to 0.23.3", "to the challenger", "of the limit", "others, to 0.23.3"),
)
ABOUT: Final = (
    "Made by `make bench-tokenize`. From a list of str to padded int64 arrays, with new texts each "
    "round; all contestants in turn in one process, each called in its fastest way. Ratios are of "
    "CPU time over all threads, medians of the rounds' paired ratios with quartiles; for single "
    "strings (p50) and threads of wall time. Exact is who returned what tokenizers 0.23.3 did for "
    "every text of the run. The limit: each byte read once and one table look-up a word."
)
ROUNDS: Final = 15
LOADS: Final = 3
UNITS: Final = {"µs": 1e6, "ms": 1e3}

Results = dict[str, Any]


def main() -> None:
    """Measure with one thread and with two, each in a process of its own, and write the section."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=ROUNDS, help=f"of a case, else {ROUNDS}")
    parser.add_argument("--only", default="", help="only tokenizers with this in their name")
    parser.add_argument("--output", type=Path, help="the page whose section is replaced")
    parser.add_argument("--threads", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--results", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.threads:
        found = measure(arguments.threads, arguments.only, arguments.rounds)
        arguments.results.write_text(json.dumps(found), encoding="utf-8")
        return
    head = _page.machine()
    results = [child(threads, arguments) for threads in (1, 2)]
    text = page(head, *results)
    print(text)
    if arguments.output:
        old = arguments.output.read_text(encoding="utf-8")
        arguments.output.write_text(_page.replace(old, TITLE, text), encoding="utf-8")


def child(threads: int, arguments: argparse.Namespace) -> Results:
    """Measure in a process whose libraries have this many threads: most read it only once."""
    with tempfile.TemporaryDirectory() as folder:
        results = Path(folder) / "results.json"
        command = [sys.executable, "-m", "bench.tokenize", "--threads", str(threads)]
        command += ["--results", str(results), "--only", arguments.only]
        command += ["--rounds", str(arguments.rounds)]
        env = _contest.environment(threads)
        subprocess.run(command, check=True, cwd=_contest.ROOT, env=env)
        found: Results = json.loads(results.read_text(encoding="utf-8"))
        return found


def measure(threads: int, only: str, rounds: int) -> Results:
    """Run all cases; on one thread also single strings and loads, on two what the second gains."""
    found: Results = {"cases": {}, "single": {}, "load": {}, "gains": {}, "missing": {}}
    hard = _cases.hard()
    for name in dict.fromkeys(case.tokenizer for case in CASES if only in case.tokenizer):
        try:
            setup = _peers.setup(_materials.tokenizer_json(name), None, threads)
            one_tokenizer(found, name, setup, hard, rounds)
        except _materials.NotToBeHadError as error:
            found["missing"][name] = str(error)
    return found


def one_tokenizer(
    found: Results, name: str, setup: _peers.Setup, hard: list[str], rounds: int
) -> None:
    """Run the cases of one tokenizer file."""
    ready, reasons = _contest.load(setup)
    wrong = _contest.exact(ready, hard)
    for case in (case for case in CASES if case.tokenizer == name):
        say(f"{name}, {case.texts}, {setup.threads} thread(s)")
        if case.limit:
            ready, reasons = _contest.load(setup._replace(limit=case.limit))
        measured = _contest.compete(ready, _cases.rounds(case.texts, _contest.WARM + rounds))
        total = {name: count + wrong.get(name, 0) for name, count in measured.wrong.items()}
        found["cases"][key(case)] = {
            **measured._asdict(),
            "wrong": total,
            "texts": measured.texts + len(hard),
            "reasons": reasons,
        }
    if setup.threads == 1:
        say(f"{name}, single strings and loads")
        ready, _ = _contest.load(setup)
        (texts,) = _cases.rounds(_cases.SINGLE, 1)
        found["single"][name] = _contest.one_by_one(ready, texts[: 100 * rounds])
        loads = [
            {peer: _contest.first_encoding(peer, setup) for peer in ready}
            for _ in range(min(rounds, LOADS))
        ]
        found["load"][name] = loads
    elif "legato" in ready:
        say(f"{name}, what a second thread gains")
        (texts,) = _cases.rounds("English, 1 KB", 1, size=2048)
        batches = [texts] * rounds
        found["gains"][name] = _contest.gains(setup, batches)


def key(case: Case) -> str:
    """Name a case in the results."""
    return f"{case.tokenizer}, {case.texts}"


def page(head: str, one: Results, two: Results) -> str:
    """Return the section."""
    rows = [case_row(case, one, two) for case in CASES if key(case) in one["cases"]]
    rows += [single_row(name, times, one) for name, times in one["single"].items()]
    rows += [load_row(name, loads, one) for name, loads in one["load"].items()]
    rows += [threads_row(name, gains) for name, gains in two["gains"].items()]
    names = ", ".join(_peers.label(name) for name in _peers.CONTESTANTS if _peers.installed(name))
    notes = [
        f"{head} Contestants: {names}.",
        ABOUT,
        _page.table(HEADER, rows),
    ]
    notes += inexact(one)
    notes += [f"Not measured: {name}: {why}." for name, why in one["missing"].items()]
    return f"## {TITLE}\n\n" + "\n\n".join(notes).replace(_peers.RC, _peers.label(_peers.RC))


def case_row(case: Case, one: Results, two: Results) -> tuple[str, ...]:
    """Return the line of one case."""
    single, double = one["cases"][key(case)], two["cases"].get(key(case))
    best = challenger(single)
    speed = "-"
    share = "-"
    if ours := single["cpu_s"].get("legato"):
        speed = f"{single['size'] / statistics.median(ours) / 1e6:.1f} MB/s"
        share = f"1/{1 / ratio(single['cpu_s'], _contest.LIMIT, 'legato')[1]:.0f}"
    others = [
        f"{name} {ratio(single['cpu_s'], REFERENCE, name)[1]:.1f}"
        for name in exact_peers(single)
        if name != best
    ]
    return (
        f"{case.family} ({case.tokenizer}), {case.texts}",
        speed,
        shown(single, REFERENCE),
        f"{case.to_reference:g}",
        f"{best} {ratio(single['cpu_s'], REFERENCE, best)[1]:.1f}" if best else "-",
        shown(single, best),
        f"{case.to_challenger:g}",
        shown(double, REFERENCE),
        shown(double, challenger(double)),
        share,
        ", ".join(others),
    )


def single_row(name: str, times: dict[str, float], one: Results) -> tuple[str, ...]:
    """Return the line of one string at a time."""
    peers = {peer: took for peer, took in times.items() if peer in known_exact(name, one)}
    best = min(peers, key=lambda peer: peers[peer], default="")
    return plain_row(f"one 92 B string, p50 ({name})", times, best, _cases.ONE_TEXT, "µs")


def load_row(name: str, loads: list[dict[str, Any]], one: Results) -> tuple[str, ...]:
    """Return the line of a load to the first encoding, CPU."""
    times = {peer: statistics.median(load[peer][0] for load in loads) for peer in loads[0]}
    peers = {peer: took for peer, took in times.items() if peer in known_exact(name, one)}
    best = min(peers, key=lambda peer: peers[peer], default="")
    goals = (_cases.LOAD, None)
    return plain_row(f"load to the first encoding ({name})", times, best, goals, "ms")


def plain_row(
    what: str,
    times: dict[str, float],
    best: str,
    goals: tuple[float, float | None],
    unit: str,
) -> tuple[str, ...]:
    """Return a line of times that have no rounds."""
    scale = UNITS[unit]

    def over(peer: str) -> str:
        return f"{times[peer] / times['legato']:.1f}" if peer and "legato" in times else "-"

    others = [
        f"{peer} {times[REFERENCE] / took:.1f}"
        for peer, took in sorted(times.items(), key=lambda item: item[1])
        if peer not in {"legato", REFERENCE, best}
    ]
    return (
        what,
        f"{times['legato'] * scale:.1f} {unit}" if "legato" in times else "-",
        f"{over(REFERENCE)} (0.23.3: {times[REFERENCE] * scale:.1f} {unit})",
        f"{goals[0]:g}",
        f"{best} {times[REFERENCE] / times[best]:.1f}" if best else "-",
        over(best),
        "-" if goals[1] is None else f"{goals[1]:g}",
        *("-", "-", "-"),
        ", ".join(others),
    )


def threads_row(name: str, gains: list[tuple[float, float]]) -> tuple[str, ...]:
    """Return the line of what a second thread gains."""
    ours, loop = (statistics.median(column) for column in zip(*gains, strict=True))
    share = statistics.median(ours / loop for ours, loop in gains)
    return (
        f"a second thread gains, wall ({name})",
        f"{ours:.2f}x",
        *("-", "-"),
        f"a sha256 loop {loop:.2f}x",
        f"{share:.0%}",
        f"{_cases.THREADS:.0%}",
        *("-", "-", "-", ""),
    )


def exact_peers(case: Results) -> list[str]:
    """Return the exact contestants but legato and the reference, the fastest first."""
    names = [name for name, count in case["wrong"].items() if not count]
    peers = [name for name in names if name not in {"legato", REFERENCE}]
    return sorted(peers, key=lambda name: statistics.median(case["cpu_s"][name]))


def known_exact(tokenizer: str, one: Results) -> set[str]:
    """Return the contestants that were exact in all cases of a tokenizer."""
    cases = [found for name, found in one["cases"].items() if name.startswith(f"{tokenizer}, ")]
    return set.intersection(*(set(exact_peers(case)) for case in cases)) if cases else set()


def challenger(case: Results | None) -> str:
    """Return the fastest exact contestant but legato and the reference, or an empty string."""
    return next(iter(exact_peers(case)), "") if case else ""


def ratio(cpu_s: dict[str, list[float]], over: str, under: str) -> tuple[float, float, float]:
    """Return the quartiles of the paired ratios of two contestants' CPU time."""
    paired = [a / b for a, b in zip(cpu_s[over], cpu_s[under], strict=True)]
    low, middle, high = statistics.quantiles(paired, n=4, method="inclusive")
    return low, middle, high


def shown(case: Results | None, peer: str) -> str:
    """Return how many times less CPU legato takes than a peer."""
    if not case or not peer or "legato" not in case["cpu_s"]:
        return "-"
    low, middle, high = ratio(case["cpu_s"], peer, "legato")
    wrong = case["wrong"]["legato"]
    flaw = f" **not exact: {wrong:,} of {case['texts']:,} texts differ**" if wrong else ""
    return f"{middle:.2f} ({low:.2f} to {high:.2f}){flaw}"


def inexact(one: Results) -> list[str]:
    """Say who was not exact, and who could not load a definition."""
    lines = []
    for name, case in one["cases"].items():
        wrong = {peer: count for peer, count in case["wrong"].items() if count}
        said = [
            f"{peer} ({count:,} of {case['texts']:,} texts differ)" for peer, count in wrong.items()
        ]
        lines += [f"- {name}: {', '.join(said)}"] if said else []
    loads: dict[str, set[str]] = {}
    for name, case in one["cases"].items():
        loads.setdefault(name.partition(",")[0], set()).update(case["reasons"])
    parts = []
    if lines:
        parts.append("Not exact, and so no challenger:\n\n" + "\n".join(lines))
    if loads:
        said = [f"{name} ({', '.join(sorted(peers))})" for name, peers in loads.items()]
        parts.append("Cannot load the definition: " + "; ".join(said) + ".")
    return parts


def say(what: str) -> None:
    """Report progress beside the page."""
    print(what, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
