"""The README's Python runs as it stands, in one session from top to bottom."""

import doctest
import importlib
import re
from pathlib import Path
from typing import Any

import pytest

import legato
from legato.pipeline import TASKS
from tests import task_models

README = Path(__file__).parent.parent / "README.md"
NER = Path(__file__).parent / "data" / "tiny-ner" / "wordpiece"


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


def test_every_block_of_the_page_on_tasks_runs(minilm: Path) -> None:
    page = README.parent / "docs" / "tasks.md"
    blocks = re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
    assert len(blocks) >= 3
    session = {"__name__": "page", "legato": legato, "MODEL": minilm, "NER": NER}
    for block in blocks:
        exec(compile(block, str(page), "exec"), session)


def test_the_page_on_tasks_names_all_of_them() -> None:
    page = (README.parent / "docs" / "tasks.md").read_text(encoding="utf-8")
    named = re.findall(r"^\| `([a-z-]+)`.*` \|$", page, re.MULTILINE)
    assert sorted(named) == sorted(TASKS)


def test_examples_in_docstrings_of_tasks_run(tmp_path: Path, minilm: Path) -> None:
    def make(name: str, task: str, **config: Any) -> Path:
        return task_models.make(tmp_path / task, name, task, special=True, **config).path

    labels = {"0": "contradiction", "1": "neutral", "2": "entailment"}
    texts = make("bert", "sequence-classification", id2label=labels)
    one = task_models.make(tmp_path / "one", "bert", "sequence-classification", one_label=True).path
    session = {
        "legato": legato,
        "MODEL": minilm,
        "classify": legato.pipeline("text-classification", model=texts),
        "judge": legato.pipeline("zero-shot-classification", model=texts),
        "ranker": legato.pipeline("text-ranking", model=one),
        "fill": legato.pipeline("fill-mask", model=make("bert", "masked-lm")),
        "ask": legato.pipeline("question-answering", model=make("bert", "question-answering")),
        "name": legato.pipeline("ner", model=NER),
    }
    for task in ("", *TASKS):
        name = f"legato.tasks.{task.replace('-', '_')}" if task else "legato.pipeline"
        module = importlib.import_module(name)
        found = doctest.testmod(module, extraglobs=session)
        assert found.attempted, name
        assert not found.failed, name


def test_commands_in_the_table_are_the_verbs() -> None:
    from legato.cli._main import VERBS

    listed = set(re.findall(r"^\| `legato (\w+)", README.read_text(encoding="utf-8"), re.MULTILINE))
    assert listed == {module.__name__.rpartition(".")[2] for module in VERBS}
