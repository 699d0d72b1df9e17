"""The page "from notebook to fleet": its blocks run as they stand, and print what it says."""

from __future__ import annotations

import contextlib
import io
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import aws_stack
from tests.aws_stack import Stack

PAGE = Path(__file__).parent.parent / "docs" / "fleet.md"

# The emulator runs functions by a program of ours, and needs S3 by way of the proxy; AWS needs neither.
SHELL = """
legato() {
    local verb=$1; shift
    test "$verb" != deploy || set -- "$@" --bootstrap ../bootstrap --parameter "S3EndpointUrl=$PROXY"
    "$PYTHON" -m legato.cli "$verb" "$@"
}
"""


def blocks() -> Iterator[tuple[str, str]]:
    """The blocks of the page: their language, and what they say."""
    text = PAGE.read_text(encoding="utf-8")
    yield from re.findall(r"^```(python|console.*)\n((?:.*\n)*?)```$", text, re.MULTILINE)


def commands(block: str) -> Iterator[tuple[str, str]]:
    """The commands of a console, each with what it shall print."""
    for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
        command, _, expected = part.partition("\n")
        yield command, expected


def is_like(expected: str, found: str) -> bool:
    """Whether lines are as expected; `...` stands for anything, a line of it for any lines."""
    pattern = re.escape(expected.strip()).replace(re.escape("..."), ".*?")
    return re.fullmatch(pattern, found.strip(), re.DOTALL) is not None


@pytest.fixture
def folder(fleet: Stack, tiny_bert: Path, tmp_path: Path) -> Path:
    """What the page presupposes: a model and texts."""
    folder = tmp_path / "notebook"
    folder.mkdir()
    shutil.copytree(tiny_bert, folder / "model")
    aws_stack.write_texts(folder / "tickets.jsonl", 40, about="tickets")
    aws_stack.write_texts(folder / "more.jsonl", 40, about="more tickets")
    shutil.copy(fleet.definition.with_name("bootstrap"), tmp_path)
    return folder


def test_the_page(fleet: Stack, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.setenv("PYTHON", sys.executable)
    monkeypatch.setenv("PROXY", fleet.proxy.endpoint)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
    monkeypatch.setenv("AWS_DEFAULT_REGION", os.environ["AWS_REGION"])
    session: dict[str, object] = {"__name__": "notebook"}
    ran = []
    for language, block in blocks():
        if language == "python" and (named := re.match(r"# (\w+\.py)\n", block)):
            Path(named[1]).write_text(block)
        elif language == "python":
            with contextlib.redirect_stdout(io.StringIO()):
                exec(compile(block, str(PAGE), "exec"), session)
            continue
        for command, expected in commands(block):
            done = subprocess.run(
                ["bash", "-c", SHELL + command],
                stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=120, check=False,
            )  # fmt: skip
            assert (done.returncode != 0) == (language == "console fails"), done.stdout
            assert is_like(expected, done.stdout), done.stdout
            ran.append(command.split()[1])
    assert set(ran) >= {"plan", "synth", "doctor", "deploy", "run", "status", "destroy"}
