"""``legato bench``: what it prints, whom it skips and why, and what it says of mistakes."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import pytest

import legato
from legato._native import Tokenizer
from legato.cli import main
from legato.cli._bench import cases, peers, texts
from legato.cli._bench.cases import Series, Timing
from legato.cli._bench.contest import Contest, EngineError, Worker, cosine, quartiles
from legato.cli._bench.padded import Padded
from legato.cli._bench.spec import Spec


def spec(model: Path, **given: Any) -> Spec:
    tokenizer = str(model / "tokenizer.json")
    made = Spec("one", "legato", str(model), tokenizer, "float32", 1, 32, "mean", normalize=True)
    return made._replace(**given)


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    status = main(["bench", *arguments])
    out, err = capsys.readouterr()
    return status, out, err


def test_table_has_every_engine_or_says_why_not(
    tiny_bert: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = tmp_path / "texts.txt"
    given.write_text("the river and the sea\na house by the river\n\nthe sea\n" * 4)
    status, out, _ = run(
        capsys, str(tiny_bert), "--threads", "1", "--rounds", "1", "--texts", str(given)
    )
    assert status == 0
    assert "12 texts, 1/s" in out
    rows = {line.split(" | ")[0].removeprefix("| "): line for line in out.splitlines()}
    skipped = dict(re.findall(r"^- (.+? (?:float32|int8)): (.+)$", out, re.MULTILINE))
    for dtype in ("float32", "int8"):
        assert f"legato {dtype}" in rows
        for peer in peers.PEERS:
            name = f"{peer.name} {dtype}"
            assert (name in rows) != (name in skipped)
    cells = [cell.strip() for cell in rows["legato float32"].strip("|").split("|")]
    assert all(float(cell) > 0 for cell in cells[1:])


def test_eight_bits_alone_have_no_cosine(
    tiny_bert: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ("--dtype", "int8", "--threads", "1", "--rounds", "1")
    status, out, _ = run(capsys, str(tiny_bert), *given)
    (row,) = [line for line in out.splitlines() if line.startswith("| legato int8")]
    assert status == 0
    assert row.strip("| ").rpartition(" | ")[2] == "-"


@pytest.mark.parametrize(
    ("arguments", "error", "said"),
    [
        (("MODEL", "--rounds", "0"), "InputError", "--rounds and --threads start at 1"),
        (("MODEL", "--threads", "0"), "InputError", "--rounds and --threads start at 1"),
        (("MODEL", "--texts", "absent.txt"), "InputError", "absent.txt cannot be read"),
        (("MODEL", "--texts", "empty.txt"), "InputError", "empty.txt has no text"),
        (("absent",), "ModelError", "absent"),
    ],
)
def test_mistakes(
    arguments: Sequence[str],
    error: str,
    said: str,
    tiny_bert: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty.txt").write_text("\n\n")
    given = [str(tiny_bert) if one == "MODEL" else one for one in arguments]
    status, out, err = run(capsys, *given)
    assert (status, out) == (1, "")
    assert f"legato: {error}: " in err
    assert said in err


def test_engine_that_cannot_load_says_why(tiny_bert: Path, tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="ModelError: "):
        Worker(spec(tmp_path))
    with pytest.raises(EngineError, match="ModuleNotFoundError: "):
        Worker(spec(tiny_bert, engine="nobody"))


def test_engines_end_with_the_driver(tiny_bert: Path) -> None:
    code = (
        "import sys, os, signal\n"
        "from legato.cli._bench.contest import Worker\n"
        "from legato.cli._bench.spec import Spec\n"
        "w = Worker(Spec('one', 'legato', *sys.argv[1:], 'float32', 1, 32, 'mean', True))\n"
        "print(w._process.pid, flush=True)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    arguments = [str(tiny_bert), str(tiny_bert / "tokenizer.json")]
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False
    )
    assert done.returncode == -signal.SIGKILL
    status = Path(f"/proc/{done.stdout.strip()}/stat")
    deadline = time.monotonic() + 10
    # Whoever reaps it may take a while: a zombie has ended too.
    while status.exists() and status.read_text().rpartition(")")[2].split()[0] != "Z":
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_contest_goes_on_without_who_fails(tiny_bert: Path, tmp_path: Path) -> None:
    bad = spec(tmp_path, name="bad")
    with Contest([spec(tiny_bert), bad]) as contest:
        assert list(contest.workers) == ["one"]
        assert list(contest.missing) == ["bad"]
        lines = ["the river", "the sea", "a house by the sea"] * 8
        series, vectors = cases.throughput(contest, lines, 2)
    ours = legato.pipeline("feature-extraction", tiny_bert)(lines, max_length=32)
    np.testing.assert_allclose(vectors["one"], ours, atol=1e-5)
    assert len(series.rounds) == 2
    assert series.median("bad") is None


def test_series_pairs_the_rounds() -> None:
    rounds = [
        {"a": Timing(2.0, 1.0), "b": Timing(1.0, 1.0)},
        {"a": Timing(9.0, None), "b": Timing(3.0, 1.0)},
        {"b": Timing(5.0, 1.0)},
    ]
    series = Series(rounds, [0.0, 0.0, 0.0])
    assert series.median("b") == 3.0
    assert series.ratio("a", "b") == quartiles([2.0, 3.0])
    assert series.ratio("a", "b", alone=True) == (1.0, 1.0, 1.0)
    assert series.ratio("c", "b") is None


def test_cosine_tells_vectors_apart() -> None:
    ours = np.array([[1, 0], [0, 2]], np.float32)
    assert cosine(ours, ours) == (1.0, 1.0, 0.0)
    mean, least, most = cosine(ours, np.array([[1, 0], [2, 0]], np.float32))
    assert (mean, least, most) == (0.5, 0.0, 2.0)


@pytest.mark.parametrize("tokens", [8, 16, 61])
def test_texts_have_the_length_asked_for(tiny_bert: Path, tokens: int) -> None:
    tokenizer = Tokenizer.from_dir(tiny_bert)
    found = list(islice(texts.of_length(texts.paragraphs(), tokens, tokenizer), 5))
    assert tokenizer.encode(found, truncation=False).lengths.tolist() == [tokens] * 5
    assert len(set(found)) == 5


def test_mixed_texts_are_as_many_as_asked_for_and_repeatable() -> None:
    lines = [f"line {number}" for number in range(30)]
    found = texts.mixed(lines, 100)
    assert len(found) == 100
    assert found == texts.mixed(lines, 100)


@pytest.mark.parametrize("pooling", ["mean", "cls"])
def test_padded_engines_answer_in_order_whatever_the_batch(tiny_bert: Path, pooling: str) -> None:
    table = np.random.default_rng(0).normal(size=(4096, 8)).astype(np.float32)
    options = MappingProxyType({"pad": 7})

    def forward(ids: Any, mask: Any) -> Any:
        assert ((ids == 7) | (mask == 1)).all()
        return table[ids]

    engine = Padded(spec(tiny_bert, pooling=pooling, options=options), forward)
    lines = ["the sea", "a house by the river and the sea", "the", "river house"]
    expected = []
    for row in Tokenizer.from_dir(tiny_bert).encode(lines).pad()["input_ids"]:
        states = table[row[row != 0]]
        vector = states.mean(0) if pooling == "mean" else states[0]
        expected.append(vector / np.linalg.norm(vector))
    for size in (1, 2, 4):
        engine.batch = size
        np.testing.assert_allclose(engine.embed(lines), expected, atol=1e-6)
    assert engine.embed([]).shape == (0, 0)
