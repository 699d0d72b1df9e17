"""The contestants of the tokenization benchmark: each one's fastest way to padded int64 matrices.

Written to each library's advantage: its batch call, its own padding where it has one, else flat ids
that numpy scatters. None is asked for offsets. A library that cannot load a definition says why.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from importlib.metadata import version
from itertools import chain
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from bench import _materials

Matrix = npt.NDArray[np.int64]
Padded = dict[str, Matrix]
Batch = Callable[[list[str]], Padded]

REFERENCE: Final = "tokenizers"
RC: Final = "tokenizers==1.0.0rc3"


class Setup(NamedTuple):
    """What all contestants are told of a case."""

    path: Path
    limit: int | None
    threads: int
    type_ids: bool
    pad_id: int
    before: list[int]
    after: list[int]

    @property
    def parallel(self) -> bool:
        """Whether a batch may use more than the calling thread."""
        return self.threads > 1


class Ready(NamedTuple):
    """A contestant that has loaded a definition."""

    batch: Batch
    one: Callable[[str], Padded]


def setup(path: Path, limit: int | None, threads: int) -> Setup:
    """Ask the reference what surrounds a text: the special tokens of the definition's template."""
    import tokenizers

    definition = json.loads(path.read_bytes())
    tokenizer = tokenizers.Tokenizer.from_file(str(path))
    tokenizer.no_padding()
    tokenizer.no_truncation()
    plain = tokenizer.encode("a", add_special_tokens=False).ids
    whole = tokenizer.encode("a").ids
    at = next(i for i in range(len(whole)) if whole[i : i + len(plain)] == plain)
    return Setup(
        path=path,
        limit=limit,
        threads=threads,
        type_ids=definition["model"]["type"] == "WordPiece",
        pad_id=(definition["padding"] or {}).get("pad_id", 0),
        before=whole[:at],
        after=whole[at + len(plain) :],
    )


def scatter(ids: npt.NDArray[Any], lengths: npt.NDArray[Any], case: Setup) -> Padded:
    """Lay flat ids out as padded matrices."""
    width = int(lengths.max(initial=0))
    real = np.arange(width) < lengths[:, None]  # (B, T)
    matrix = np.full(real.shape, case.pad_id, np.int64)
    matrix[real] = ids
    return padded(matrix, real, case)


def cut(
    ids: npt.NDArray[Any], lengths: npt.NDArray[Any], case: Setup
) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """Cut flat ids to the limit, for a library that cannot; its template's last tokens stay."""
    if case.limit is None or lengths.max(initial=0) <= case.limit:
        return ids, lengths
    row = np.repeat(lengths, lengths)
    place = np.arange(len(ids)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    tail = len(case.after)
    keep = (place < case.limit - tail) | (place >= row - tail)
    return ids[keep], np.minimum(lengths, case.limit)


def padded(matrix: Matrix, real: npt.NDArray[np.bool_], case: Setup) -> Padded:
    """Name the matrices as transformers does."""
    found = {"input_ids": matrix, "attention_mask": real.astype(np.int64)}
    if case.type_ids:
        found["token_type_ids"] = np.zeros_like(matrix)
    return found


def row(ids: Sequence[int] | npt.NDArray[Any], case: Setup) -> Padded:
    """Return the matrices of one text."""
    matrix = np.array(ids, np.int64)[None, :]
    return padded(matrix, np.ones(matrix.shape, np.bool_), case)


def legato(case: Setup) -> Ready:
    """Legato, called as transformers is."""
    from legato import Tokenizer, _native

    _native.set_num_threads(case.threads)
    tokenizer: Any = Tokenizer.from_file(case.path)
    limit = case.limit
    if not callable(tokenizer):

        def batch(texts: list[str]) -> Padded:
            tokens = tokenizer.encode(texts, truncation=limit is not None, max_length=limit)
            found: Padded = tokens.pad(pad_id=case.pad_id)
            return found

        return Ready(batch, lambda text: batch([text]))

    def call(texts: str | list[str]) -> Padded:
        found: Padded = tokenizer(
            texts,
            padding=True,
            truncation=limit is not None,
            max_length=limit,
            pad_id=case.pad_id,
            return_token_type_ids=case.type_ids,
            return_tensors="np",
        )
        return found

    return Ready(call, call)


def reference(case: Setup) -> Ready:
    """The reference: tokenizers 0.23.3, without offsets."""
    import tokenizers

    tokenizer = tokenizers.Tokenizer.from_file(str(case.path))
    tokenizer.no_padding()
    tokenizer.no_truncation()
    if case.limit is not None:
        tokenizer.enable_truncation(case.limit)

    def batch(texts: list[str]) -> Padded:
        rows = [encoding.ids for encoding in tokenizer.encode_batch_fast(texts)]
        lengths = np.fromiter(map(len, rows), np.int64, len(rows))
        flat = np.fromiter(chain.from_iterable(rows), np.int64, int(lengths.sum()))
        return scatter(flat, lengths, case)

    return Ready(batch, lambda text: row(tokenizer.encode(text).ids, case))


def candidate(case: Setup) -> Ready:
    """The release candidate of tokenizers 1.0, imported beside 0.23.3 under another name."""
    tokenizers: Any = _candidate_module()
    tokenizer = tokenizers.Tokenizer.from_file(case.path)
    tokenizer.truncation = case.limit and tokenizers.Truncation(case.limit)
    tokenizer.padding = None
    padding = tokenizers.Padding(pad_id=case.pad_id)

    def batch(texts: list[str]) -> Padded:
        rows = tokenizer.encode_batch(texts, padding=padding)
        matrix = np.array([encoding.ids_array for encoding in rows], np.int64)
        mask = np.array([encoding.attention_mask_array for encoding in rows], np.int64)
        found = {"input_ids": matrix, "attention_mask": mask}
        return found | {"token_type_ids": np.zeros_like(matrix)} if case.type_ids else found

    return Ready(batch, lambda text: row(tokenizer.encode(text).ids_array, case))


def _candidate_module() -> Any:
    if "tokenizers_rc" in sys.modules:
        return sys.modules["tokenizers_rc"]
    folder = _materials.CACHE.parent / "peers" / RC
    if not folder.exists():
        command = [*_materials.pip(), "install", "--quiet", "--no-deps", "--target", str(folder)]
        subprocess.run([*command, RC], check=True, capture_output=True)
    package = folder / "tokenizers"
    spec = importlib.util.spec_from_file_location(
        "tokenizers_rc", package / "__init__.py", submodule_search_locations=[str(package)]
    )
    if spec is None or spec.loader is None:
        raise ImportError(f"{RC} is no package")
    module = importlib.util.module_from_spec(spec)
    sys.modules["tokenizers_rc"] = module
    spec.loader.exec_module(module)
    return module


def nanotoken(case: Setup) -> Ready:
    """Nanotoken, which pads in Rust."""
    import nanotoken as library

    tokenizer = library.Tokenizer(str(case.path))

    def batch(texts: list[str]) -> Padded:
        found: Padded = tokenizer.encode_batch_padded(
            texts, max_length=case.limit, parallel=case.parallel
        )
        return found

    return Ready(batch, lambda text: batch([text]))


def gigatoken(case: Setup) -> Ready:
    """Gigatoken, which pads in Rust, to uint32."""
    import gigatoken as library

    tokenizer = library.Tokenizer(str(case.path))

    def batch(texts: list[str]) -> Padded:
        matrix, lengths = tokenizer.encode_batch_padded(
            texts,
            pad_id=case.pad_id,
            max_length=case.limit,
            truncate=case.limit is not None,
            prefix=case.before,
            suffix=case.after,
            parallel=case.parallel,
        )
        real = np.arange(matrix.shape[1]) < lengths[:, None]
        return padded(matrix.astype(np.int64), real, case)

    def one(text: str) -> Padded:
        return row(np.concatenate([case.before, tokenizer.encode(text), case.after]), case)

    return Ready(batch, one)


def _flat(tokenizer: Any, case: Setup) -> Ready:
    """Snaptokens and fastokens: flat ids as bytes, and the offsets of the rows."""
    if case.limit is not None:
        tokenizer.enable_truncation(case.limit)

    def batch(texts: list[str]) -> Padded:
        ids, offsets = tokenizer.encode_batch_flat(texts, add_special_tokens=True)
        lengths = np.diff(np.frombuffer(offsets, np.uint64).astype(np.int64))
        return scatter(np.frombuffer(ids, np.uint32), lengths, case)

    return Ready(batch, lambda text: row(tokenizer.encode(text, add_special_tokens=True).ids, case))


def snaptokens(case: Setup) -> Ready:
    """Snaptokens."""
    import snaptokens as library

    return _flat(library.Tokenizer.from_file(str(case.path)), case)


def fastokens(case: Setup) -> Ready:
    """Fastokens."""
    from fastokens import _native

    return _flat(_native.Tokenizer.from_file(str(case.path)), case)


def splintr(case: Setup) -> Ready:
    """splintr-rs, which cannot truncate."""
    import splintr as library

    tokenizer = library.from_json(str(case.path))

    def batch(texts: list[str]) -> Padded:
        ids, offsets = tokenizer.encode_batch_flat(texts)
        lengths = np.diff(np.frombuffer(offsets, np.uint64).astype(np.int64))
        return scatter(*cut(np.frombuffer(ids, np.uint32), lengths, case), case)

    return Ready(batch, lambda text: row(tokenizer.encode(text), case))


def tokie(case: Setup) -> Ready:
    """Tokie, which returns lists."""
    import tokie as library

    tokenizer = library.Tokenizer.from_json(str(case.path))
    tokenizer.no_padding()
    tokenizer.no_truncation()
    if case.limit is not None:
        tokenizer.enable_truncation(case.limit)

    def batch(texts: list[str]) -> Padded:
        rows = [encoding.ids for encoding in tokenizer.encode_batch(texts)]
        lengths = np.fromiter(map(len, rows), np.int64, len(rows))
        flat = np.fromiter(chain.from_iterable(rows), np.int64, int(lengths.sum()))
        return scatter(flat, lengths, case)

    return Ready(batch, lambda text: row(tokenizer.encode(text).ids, case))


# By the name of the distribution; legato and the reference come first.
CONTESTANTS: Final[dict[str, Callable[[Setup], Ready]]] = {
    "legato": legato,
    REFERENCE: reference,
    RC: candidate,
    "nanotoken": nanotoken,
    "gigatoken": gigatoken,
    "fastokens": fastokens,
    "snaptokens": snaptokens,
    "splintr-rs": splintr,
    "tokie": tokie,
}


_MODULES: Final = {"splintr-rs": "splintr"}


def imported(name: str) -> None:
    """Import a contestant, so that what follows measures its work alone."""
    if name == RC:
        _candidate_module()
    else:
        importlib.import_module(_MODULES.get(name, name))


def installed(name: str) -> bool:
    """Say whether a contestant can be imported."""
    try:
        imported(name)
    except (ImportError, subprocess.CalledProcessError):
        return False
    return True


def label(name: str) -> str:
    """Return a contestant's name with its version."""
    return name.replace("==", " ") if "==" in name else f"{name} {version(name)}"
