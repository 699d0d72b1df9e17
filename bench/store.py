"""Compare legato's S3 store with its peers, a process each, in turn; write the figures down.

Run by ``make bench-store`` (``--quick`` for a first look). Needs the ``bench-store`` extra, and
rustc for the server. What cannot be had is left out, and said.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Final, NamedTuple

if __name__ == "__main__":
    # Run as a file, Python puts this folder first: `import tokenize` anywhere would find ours.
    sys.path[0] = str(Path(__file__).parent.parent)

from bench import _page, _store_data, _store_page, _store_starts
from bench._store_contest import Contest
from bench._store_data import KIB
from bench._store_page import CASES, Measured
from bench._store_peers import CONTESTANTS

SMALL: Final = [f"get-{KIB}-{number}" for number in range(16)]


class Amount(NamedTuple):
    """Operations of a client's turn, and rounds of turns."""

    times: int
    rounds: int


FULL: Final = {
    "get-1k": Amount(300, 11),
    "put-1k": Amount(200, 11),
    "get-64m": Amount(3, 11),
    "put-64m": Amount(2, 7),
    "get-1g": Amount(1, 7),
    "many": Amount(1, 9),
    "cold": Amount(1, 11),
}
QUICK: Final = {
    "get-1k": Amount(100, 5),
    "put-1k": Amount(60, 5),
    "get-64m": Amount(1, 5),
    "put-64m": Amount(1, 3),
    "many": Amount(1, 3),
    "cold": Amount(1, 5),
}


def main() -> None:
    """Measure, and write the section."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="two minutes, without 1 GiB")
    parser.add_argument("--only", choices=(*CASES, "memory"), action="append", help="these cases")
    parser.add_argument("--clients", help="these clients, with commas between them")
    parser.add_argument("--output", type=Path, help="the page whose section is replaced")
    arguments = parser.parse_args()
    if arguments.output and (arguments.only or arguments.clients):
        parser.error("a section is written whole: leave --only and --clients out, or --output")
    names = arguments.clients.split(",") if arguments.clients else list(CONTESTANTS)
    head = _page.machine()
    amounts = QUICK if arguments.quick else FULL
    chosen = arguments.only or [*amounts, "memory"]
    measured = measure(names, {key: (amounts | FULL)[key] for key in chosen if key in FULL}, chosen)
    text = _store_page.section(head, measured)
    print(text)
    if arguments.output:
        old = arguments.output.read_text(encoding="utf-8")
        page = _page.replace(old, _store_page.TITLE, text)
        arguments.output.write_text(page, encoding="utf-8")


def measure(names: list[str], amounts: dict[str, Amount], chosen: list[str]) -> Measured:
    """Measure the chosen cases."""
    say("starting the server and the clients")
    measured = Measured()
    large = f"get-{CASES['get-64m'].bytes}-0"
    with Contest(names) as contest:
        contest.seed([*SMALL, large])
        measured.versions = contest.versions
        measured.missing = contest.missing
        for key, (times, rounds) in amounts.items():
            case = CASES[key]
            say(case.title)
            if key == "cold":
                measured.series[key] = _store_starts.measure(contest, SMALL[0], rounds)
                continue
            keys = objects(key)
            if key in {"get-1g", "many"}:
                contest.seed(keys)
            known = measured.series.get("get-64m") if key == "get-1g" else None
            ways = known.ways if known else None
            measured.series[key] = contest.series(case.verb, keys, times, rounds, ways)
            if key == "get-1g":
                contest.server.delete(keys)
        if "memory" in chosen:
            say("memory")
            known = measured.series.get("get-64m")
            ways = known.ways if known else contest.tune("get", [large], 1)
            measured.memory = contest.memory(large, SMALL[0], ways)
    return measured


def objects(key: str) -> list[str]:
    """Return the objects of a case."""
    case = CASES[key]
    if key == "many":
        return _store_data.many()
    if key == "get-1k":
        return SMALL
    return [f"{case.verb.split('_')[0]}-{case.bytes}-0"]


def say(what: str) -> None:
    """Report progress beside the page."""
    print(what, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
