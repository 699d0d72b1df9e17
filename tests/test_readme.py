"""The README's Python runs as it stands, in one session from top to bottom."""

import re
from pathlib import Path

import pytest

import legato

README = Path(__file__).parent.parent / "README.md"


def test_every_python_block_runs(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    minilm: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert minilm.is_dir()
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    assert len(blocks) >= 4
    session: dict[str, object] = {"__name__": "readme"}
    for block in blocks:
        exec(compile(block, str(README), "exec"), session)
    assert "Hit(id='1'" in capsys.readouterr().out


def test_every_block_of_the_page_on_tokenization_runs(minilm: Path) -> None:
    page = README.parent / "docs" / "tokenization.md"
    blocks = re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
    assert len(blocks) >= 5
    session: dict[str, object] = {"__name__": "page", "legato": legato, "MODEL": minilm}
    for block in blocks:
        exec(compile(block, str(page), "exec"), session)


def test_commands_in_the_table_are_the_verbs() -> None:
    from legato.cli._main import VERBS

    listed = set(re.findall(r"^\| `legato (\w+)", README.read_text(encoding="utf-8"), re.MULTILINE))
    assert listed == {module.__name__.rpartition(".")[2] for module in VERBS}
