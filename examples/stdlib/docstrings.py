"""Write the docstrings of the installed Python standard library as JSON Lines.

Real English text that every machine has: some thousands of records, each with the dotted name as a
stable id. Modules are parsed, never imported.

Run:
    python docstrings.py OUT.jsonl
"""

from __future__ import annotations

import argparse
import ast
import json
import os
import sys
import sysconfig
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

# Tests, what a package manager installed, and programs that only lie beside the library.
SKIPPED_FOLDERS = frozenset(
    {
        "__pycache__",
        "_bundled",
        "dist-packages",
        "idle_test",
        "idlelib",
        "lib-dynload",
        "lib2to3",
        "site-packages",
        "test",
        "tests",
        "turtledemo",
    }
)


def write(path: str | os.PathLike[str]) -> Path:
    """Write the docstrings, unless the file has those of this Python already.

    A small file beside it, ``.<name>.made-from``, remembers the Python and the size.

    Args:
        path: The file to write; it is there as a whole or as it was.

    Returns:
        The path.

    Raises:
        FileNotFoundError: This Python has no standard library in source files.
    """
    path = Path(path)
    mark = path.with_name(f".{path.name}.made-from")
    if path.exists() and mark.exists():
        made_from = mark.read_text("utf-8", errors="replace")
        if made_from == _made_from(path.stat().st_size):
            return path
    lines = [json.dumps(record, ensure_ascii=False) + "\n" for record in docstrings()]
    data = "".join(lines).encode()
    path.parent.mkdir(parents=True, exist_ok=True)
    _replace(path, data)
    _replace(mark, _made_from(len(data)).encode())
    return path


def docstrings(folder: str | os.PathLike[str] | None = None) -> list[dict[str, str]]:
    """Read the docstrings of all modules, classes, functions and methods, sorted by id.

    Where a name is defined more than once (for each platform, property setters), the second
    definition with a docstring is called ``name#2``.

    Args:
        folder: The library; None is that of this Python.

    Returns:
        ``{"id": dotted name, "text": docstring without its indentation}`` for each one that is not
        blank.

    Raises:
        FileNotFoundError: The folder holds no docstrings.
    """
    root = Path(folder or sysconfig.get_paths()["stdlib"])
    records: list[dict[str, str]] = []
    times: Counter[str] = Counter()
    for name, path in _modules(root):
        for found, text in _of_module(name, path):
            times[found] += 1
            record_id = found if times[found] == 1 else f"{found}#{times[found]}"
            records.append({"id": record_id, "text": text})
    if not records:
        msg = f"no docstrings in {root}; install the standard library's source files"
        raise FileNotFoundError(msg)
    return sorted(records, key=lambda record: record["id"])


def _modules(root: Path) -> Iterator[tuple[str, Path]]:
    for folder, folders, files in os.walk(root):
        folders[:] = sorted(name for name in folders if _is_library(name))
        for file in sorted(files):
            path = Path(folder, file)
            parts = path.relative_to(root).with_suffix("").parts
            if path.suffix == ".py" and all(part.isidentifier() for part in parts):
                yield ".".join(parts).removesuffix(".__init__"), path


def _is_library(folder: str) -> bool:
    return folder not in SKIPPED_FOLDERS and folder.isidentifier()


def _of_module(name: str, path: Path) -> Iterator[tuple[str, str]]:
    with warnings.catch_warnings():
        # Old modules have escapes that the parser warns about.
        warnings.simplefilter("ignore")
        try:
            tree = ast.parse(path.read_bytes())
        except (SyntaxError, ValueError):
            return
    yield from _of_node(name, tree)


def _of_node(
    name: str, node: ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
) -> Iterator[tuple[str, str]]:
    text = ast.get_docstring(node, clean=True)
    if text and not text.isspace():
        # A lone surrogate in a literal cannot be written as UTF-8.
        yield name, text.encode(errors="backslashreplace").decode()
    if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
        for child in _definitions(node.body):
            yield from _of_node(f"{name}.{child.name}", child)


def _definitions(
    statements: Iterable[ast.AST],
) -> Iterator[ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef]:
    """Yield what a body defines, also below ``if`` and ``try``."""
    for statement in statements:
        if isinstance(statement, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield statement
        elif isinstance(statement, ast.stmt | ast.ExceptHandler):
            yield from _definitions(ast.iter_child_nodes(statement))


def _made_from(size: int) -> str:
    return f"Python {sys.version} in {sysconfig.get_paths()['stdlib']}, {size} bytes\n"


def _replace(path: Path, data: bytes) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the file that the command line names.

    Args:
        arguments: The command line's; None takes those of this process.

    Returns:
        The exit status.
    """
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("out", type=Path, metavar="OUT.jsonl", help="the file to write")
    path = write(parser.parse_args(arguments).out)
    with path.open("rb") as file:
        print(f"{path}: {sum(1 for _ in file):,} docstrings")
    return 0


if __name__ == "__main__":
    sys.exit(main())
