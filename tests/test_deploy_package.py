"""The zip of the functions: what is in it, its bytes, and what is refused."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import legato
from legato import ModelFiles
from legato.deploy import _package
from legato.deploy._package import Entry, Package, build, check_size, model_bytes
from legato.deploy._platform import Needs, misfits, read_needs, runtime_for
from legato.errors import InputError, ModelError, OutputTooLargeError


@pytest.fixture(scope="module")
def package(tiny_bert: Path) -> Package:
    return build(tiny_bert)


@pytest.fixture(scope="module")
def unpacked(package: Package, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("package")
    package.write(folder / "function.zip")
    with zipfile.ZipFile(folder / "function.zip") as made:
        made.extractall(folder / "task")
    return folder / "task"


def test_the_same_content_has_the_same_bytes(
    package: Package, tiny_bert: Path, tmp_path: Path
) -> None:
    again = build(tiny_bert)
    assert again.digest == package.digest
    digests = set()
    for number, each in enumerate((package, again)):
        path = tmp_path / f"{number}.zip"
        assert each.write(path) == path.stat().st_size
        os.utime(path, (number, number))
        digests.add(hashlib.sha256(path.read_bytes()).hexdigest())
    assert len(digests) == 1


def test_another_content_has_another_digest(
    package: Package, tiny_bert: Path, tmp_path: Path
) -> None:
    other = tmp_path / "model"
    for path in tiny_bert.rglob("*.*"):
        (other / path.relative_to(tiny_bert)).parent.mkdir(parents=True, exist_ok=True)
        (other / path.relative_to(tiny_bert)).write_bytes(path.read_bytes())
    assert build(other).digest == package.digest
    (other / "config.json").write_text((other / "config.json").read_text() + "\n")
    assert build(other).digest != package.digest


def test_nothing_is_in_it_that_no_function_needs(package: Package) -> None:
    names = [entry.name for entry in package.entries]
    assert names == sorted(names)
    assert not [name for name in names if name.endswith((".pyi", ".h", ".pyc", "RECORD"))]
    assert not [name for name in names if "/tests/" in name or name.startswith(("/", ".."))]
    assert {name.partition("/")[0] for name in names} <= {
        "legato",
        "model",
        "numpy",
        "numpy.libs",
    }


def test_it_runs_without_anything_that_is_installed_here(unpacked: Path, tiny_bert: Path) -> None:
    code = """
import sys
sys.path = ["."] + [path for path in sys.path if "site-packages" not in path and "/python" != path[-7:]]
import legato, numpy
from legato.stages import inference, ingestion, preprocessing, storage, validation
assert all(m.__file__.startswith(sys.argv[1]) for m in (legato, numpy, validation)), legato.__file__
print(legato.ModelFiles.from_dir("model").digest)
print(legato.pipeline("feature-extraction", model="model")("a text").tolist())
"""
    environ = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
    done = subprocess.run(
        [sys.executable, "-S", "-c", code, str(unpacked)],
        cwd=unpacked,
        env=environ,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    digest, vector = done.stdout.splitlines()
    assert digest == ModelFiles.from_dir(tiny_bert).digest
    here = legato.pipeline("feature-extraction", model=tiny_bert)("a text")
    assert vector == str(here.tolist())


def test_a_bootstrap_brings_the_runtime_client(tiny_bert: Path, tmp_path: Path) -> None:
    program = tmp_path / "boot"
    program.write_text("#!/bin/sh\n")
    made = build(tiny_bert, bootstrap=program)
    by_name = {entry.name: entry for entry in made.entries}
    assert by_name["bootstrap"].mode == 0o755
    assert "awslambdaric/__main__.py" in by_name
    made.write(tmp_path / "f.zip")
    with zipfile.ZipFile(tmp_path / "f.zip") as opened:
        assert opened.getinfo("bootstrap").external_attr >> 16 == 0o100755
        assert opened.getinfo("legato/__init__.py").external_attr >> 16 == 0o100644


def test_a_wheel_takes_the_place_of_what_is_installed(tiny_bert: Path, tmp_path: Path) -> None:
    wheel = tmp_path / "numpy-9.9.9-cp399-cp399-linux_x86_64.whl"
    with zipfile.ZipFile(wheel, "w") as made:
        made.writestr("numpy/__init__.py", "__version__ = '9.9.9'\n")
        made.writestr("numpy/tests/test_it.py", "")
        made.writestr("numpy-9.9.9.dist-info/RECORD", "")
    package = build(tiny_bert, wheels=[wheel])
    found = [entry for entry in package.entries if entry.name.startswith("numpy")]
    assert [entry.name for entry in found] == ["numpy/__init__.py"]
    assert found[0].read() == b"__version__ = '9.9.9'\n"
    with pytest.raises(InputError, match="no wheel that can be read"):
        build(tiny_bert, wheels=[tmp_path / "numpy-nothing.whl"])
    with pytest.raises(InputError, match="of neither legato nor numpy"):
        build(tiny_bert, wheels=[tmp_path / "torch-2.whl"])


def test_links_are_followed_and_those_that_lead_back_are_not(tmp_path: Path) -> None:
    blobs = tmp_path / "blobs"
    blobs.mkdir()
    (blobs / "config.json").write_text("{}")
    model = tmp_path / "model"
    model.mkdir()
    (model / "config.json").symlink_to(blobs / "config.json")
    (model / "1_Pooling").symlink_to(blobs)
    (model / "back").symlink_to(model)
    (blobs / "around").symlink_to(model)
    names = [name for name, _ in _package._files(model)]
    assert names == ["config.json", "1_Pooling/config.json"]


def test_only_what_is_read_of_a_model_is_packed(tiny_bert: Path, tmp_path: Path) -> None:
    model = tmp_path / "model"
    for path in tiny_bert.rglob("*.*"):
        (model / path.relative_to(tiny_bert)).parent.mkdir(parents=True, exist_ok=True)
        (model / path.relative_to(tiny_bert)).write_bytes(path.read_bytes())
    before = model_bytes(model)
    for useless in ("pytorch_model.bin", "onnx/model.json", ".cache/x.json", "README.md"):
        (model / useless).parent.mkdir(exist_ok=True)
        (model / useless).write_bytes(b"x" * 1000)
    assert model_bytes(model) == before
    with pytest.raises(ModelError, match="is no folder"):
        model_bytes(tmp_path / "none")


def test_what_is_too_large_says_what_takes_how_much(
    package: Package, monkeypatch: pytest.MonkeyPatch
) -> None:
    check_size(package)
    monkeypatch.setattr(_package, "MAX_UNZIPPED_BYTES", package.unzipped - 1)
    with pytest.raises(OutputTooLargeError, match=r"legato \d+, numpy \d+.*--mirror-model"):
        check_size(package)


class TestPlatform:
    def test_the_needs_of_what_is_here(self, package: Package) -> None:
        assert package.needs.architecture in {"x86_64", "arm64"}
        assert package.needs.python == sys.version_info.minor
        assert 17 <= package.needs.glibc <= 99
        assert package.needs.module.endswith(".so")

    def test_glibc_is_what_the_linker_says(self, package: Package) -> None:
        entry = next(e for e in package.entries if e.name.endswith("_native.abi3.so"))
        shown = subprocess.run(
            ["objdump", "-T", entry.source], capture_output=True, text=True, check=True
        ).stdout
        versions = [part[6:-1] for part in shown.split() if part.startswith("(GLIBC_2.")]
        most = max(int(version.split(".")[1]) for version in versions)
        assert read_needs([(entry.name, entry.read())]).glibc == most

    def test_misfits_are_told_in_words(self) -> None:
        needs = Needs("x86_64", 11, 34, "legato/_native.abi3.so")
        assert misfits(Needs("x86_64", 13, 34, "x"), "python3.13", "x86_64") == []
        assert runtime_for(needs) == "python3.12"
        assert runtime_for(Needs("arm64", 13, 34, "x")) == "python3.13"
        (python,) = misfits(needs, "python3.12", "x86_64")
        assert "numpy here is built for Python 3.11" in python
        assert "--python-version 3.12 --platform manylinux_2_28_x86_64" in python
        (glibc,) = misfits(needs, "python3.11", "x86_64")
        assert "needs glibc 2.34, python3.11 has 2.26" in glibc
        (machine,) = misfits(needs, "provided.al2023", "arm64")
        assert "built for x86_64" in machine
        assert misfits(needs, "provided.al2023", "x86_64") == []

    def test_modules_that_do_not_fit_together(self) -> None:
        def elf(machine: int) -> bytes:
            return b"\x7fELF" + bytes(14) + machine.to_bytes(2, "little") + b"\0GLIBC_2.17\0"

        assert read_needs([("a.so", elf(183))]) == Needs("arm64", None, 17, "a.so")
        with pytest.raises(InputError, match=r"different machines: a\.so, b\.so"):
            read_needs([("a.so", elf(183)), ("b.so", elf(62))])
        with pytest.raises(InputError, match="different versions of Python"):
            read_needs([("a.cpython-311-x.so", elf(62)), ("b.cpython-312-x.so", elf(62))])
        with pytest.raises(InputError, match="no module for Linux"):
            read_needs([("a.so", b"\xcf\xfa\xed\xfe" + bytes(20))])
        with pytest.raises(InputError, match="a machine that Lambda has not"):
            read_needs([("a.so", elf(243))])


def test_an_entry_that_cannot_be_read_names_the_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"gone\.py cannot be read"):
        Entry("gone.py", tmp_path / "gone.py").read()
