"""Loading: once through the files, no memory left behind, and the same model from fewer bytes."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import legato
from legato import Engine, ModelFiles
from legato.errors import InputError, ModelError

DOCS = Path(__file__).parent.parent / "docs" / "loading.md"

MEMORY = """
import re, sys
from pathlib import Path
import numpy
import legato

def megabytes(what):
    found = re.search(rf"{what}:\\s+(\\d+) kB", Path("/proc/self/status").read_text())
    return int(found[1]) / 1024

before = megabytes("VmRSS")
engine = legato.Engine.from_dir(sys.argv[1], device="cpu", dtype=sys.argv[2])
engine.embed("a text")
now, most = megabytes("VmRSS"), megabytes("VmHWM")
del engine
print(now - before, most - before, megabytes("VmRSS") - before)
"""


@pytest.fixture(scope="module")
def small(minilm: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """all-MiniLM-L6-v2 in eight bits."""
    out = tmp_path_factory.mktemp("quantized") / "model"
    ModelFiles.from_dir(minilm).quantize(out)
    return out


def memory(model: Path, dtype: str) -> list[float]:
    done = subprocess.run(
        [sys.executable, "-c", MEMORY, str(model), dtype],
        check=True,
        capture_output=True,
        text=True,
    )
    return [float(number) for number in done.stdout.split()]


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_loading_takes_no_more_memory_than_the_model(minilm: Path, small: Path) -> None:
    weights = (minilm / "model.safetensors").stat().st_size / 2**20
    loaded, most, _ = memory(minilm, "float32")
    assert loaded < 1.3 * weights
    assert most < 1.3 * weights
    for model in (minilm, small):
        loaded, most, left = memory(model, "int8")
        assert most < 0.5 * weights
        assert loaded - left > 0.15 * weights  # it returns


def test_quantized_files_answer_as_quantized_at_load(minilm: Path, small: Path) -> None:
    texts = ["one text", "another, which is somewhat longer", "caf\u00e9"]
    loaded = Engine.from_dir(minilm, device="cpu", dtype="int8")
    stored = Engine.from_dir(small, device="cpu", dtype="int8")
    assert np.array_equal(loaded.embed(texts), stored.embed(texts))
    files = (minilm / "model.safetensors", small / "model.safetensors")
    before, after = (path.stat().st_size for path in files)
    assert after < 0.3 * before


def test_quantized_files_are_for_int8_alone(small: Path, tiny_bert: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="load the model with dtype int8"):
        Engine.from_dir(small)
    with pytest.raises(ModelError, match="quantized already"):
        ModelFiles.from_dir(small).quantize(tmp_path / "again")
    with pytest.raises(InputError, match="is not empty"):
        ModelFiles.from_dir(tiny_bert).quantize(small)


def test_a_pinned_revision_is_checked_before_an_answer(tiny_bert: Path, tmp_path: Path) -> None:
    model = tmp_path / "model"
    shutil.copytree(tiny_bert, model)
    digest = ModelFiles.from_dir(model).digest
    legato.pipeline("feature-extraction", model, revision=digest)
    with pytest.raises(ModelError, match=r"has revision sha256:\w+, revision says sha256:0"):
        legato.pipeline("feature-extraction", model, revision="sha256:0")
    # Which revision it is, is said first.
    with pytest.raises(ModelError, match="has revision"):
        legato.pipeline("fill-mask", model, revision="sha256:0")
    with pytest.raises(ModelError, match="it has no head for masked-lm"):
        legato.pipeline("fill-mask", model, revision=digest)


def test_examples_of_the_page_run(minilm: Path, tmp_path: Path) -> None:
    blocks = re.findall(r"```python\n(.*?)```", DOCS.read_text(encoding="utf-8"), re.DOTALL)
    assert len(blocks) >= 2
    session: dict[str, object] = {"MODEL": minilm, "OUT": tmp_path / "out"}
    for block in blocks:
        exec(compile(block, str(DOCS), "exec"), session)


def test_numpy_is_there_after_a_load(tiny_bert: Path) -> None:
    code = (
        "import sys, legato; assert 'numpy' not in sys.modules;"
        "engine = legato.Engine.from_dir(sys.argv[1]); assert 'numpy' in sys.modules;"
        "print(engine.embed('a').shape)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tiny_bert)], check=True, capture_output=True, text=True
    )
    assert done.stdout == "(1, 32)\n"
