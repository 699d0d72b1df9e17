"""Which engines can run a model folder as it is, and why others cannot."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

from legato._native import ModelFiles, Tokenizer
from legato.cli._bench.spec import Spec

FLOAT32, INT8 = "float32", "int8"
LONGEST: Final = 512
"""Tokens that texts are cut to where a model says nothing."""
POOLINGS: Final = ("mean", "cls")
"""What peers without pooling of their own are given."""

# Files that exporters write, by dtype, the preferred one first.
ONNX: Final = {
    FLOAT32: ("model.onnx", "onnx/model.onnx"),
    INT8: ("onnx/model_int8.onnx", "onnx/model_quantized.onnx", "model_quantized.onnx"),
}
OPENVINO: Final = {
    FLOAT32: ("openvino/openvino_model.xml", "openvino_model.xml", *ONNX[FLOAT32]),
    INT8: ("openvino/openvino_model_qint8_quantized.xml",),
}
CTRANSLATE2: Final = ("model.bin", "ctranslate2/model.bin")


class Peer(NamedTuple):
    """A library that may be there.

    Attributes:
        name: How tables call it.
        engine: The module of this package that runs it.
        modules: That it needs.
        pools: Whether it pools by itself.
    """

    name: str
    engine: str
    modules: tuple[str, ...]
    pools: bool = False


PEERS: Final = (
    Peer("ONNX Runtime", "onnxruntime", ("onnxruntime", "tokenizers")),
    Peer("OpenVINO", "openvino", ("openvino", "tokenizers")),
    Peer("CTranslate2", "ctranslate2", ("ctranslate2", "tokenizers")),
    Peer("torch", "torch", ("torch", "transformers", "tokenizers")),
    Peer("sentence-transformers", "sentence_transformers", ("sentence_transformers",), pools=True),
)


class Found(NamedTuple):
    """Engines that can be tried, and the reasons of the others by name."""

    specs: list[Spec]
    skipped: dict[str, str]


def find(model: Path, dtypes: Sequence[str], threads: int) -> Found:
    """Return the engines for a model folder, legato first."""
    files = ModelFiles.from_dir(model)
    tokenizer = Tokenizer.from_files(files)
    options = {} if tokenizer.pad_id is None else {"pad": tokenizer.pad_id}
    shared = Spec(
        name="",
        engine="legato",
        path=str(model),
        tokenizer=str(model / "tokenizer.json"),
        dtype="",
        threads=threads,
        max_length=files.max_length or files.max_positions or LONGEST,
        pooling=files.pooling,
        normalize=files.normalize,
    )
    specs = [
        shared._replace(name=f"legato {dtype}", dtype=dtype, revision=files.digest)
        for dtype in dtypes
    ]
    skipped = {}
    for peer, dtype in ((peer, dtype) for peer in PEERS for dtype in dtypes):
        name = f"{peer.name} {dtype}"
        path, why = _usable(peer, model, dtype, files.pooling)
        if path is None:
            skipped[name] = why
            continue
        specs.append(
            shared._replace(
                name=name, engine=peer.engine, path=str(path), dtype=dtype, options=options
            )
        )
    return Found(specs, skipped)


def _usable(peer: Peer, model: Path, dtype: str, pooling: str) -> tuple[Path | None, str]:
    """Return what a peer loads, or why it cannot."""
    for module in peer.modules:
        if importlib.util.find_spec(module) is None:
            return None, f"{module} is not installed"
    if not peer.pools and pooling not in POOLINGS:
        return None, f"pooling '{pooling}' is not among what it is given ({', '.join(POOLINGS)})"
    path = next((path for path in _paths(peer.engine, model, dtype) if path.exists()), None)
    if path is not None:
        return (path.parent if path.name in {"model.bin", "modules.json"} else path), ""
    wanted = [str(path.relative_to(model)) for path in _paths(peer.engine, model, dtype)]
    if not wanted:
        return None, f"it has no {dtype} for this model"
    return None, f"the folder has no {' or '.join(wanted)}"


def _paths(engine: str, model: Path, dtype: str) -> Iterator[Path]:
    """Yield the files that an engine could load."""
    if engine in {"torch", "sentence_transformers"}:
        if dtype == FLOAT32:
            yield model if engine == "torch" else model / "modules.json"
        return
    named: dict[str, Any] = {"onnxruntime": ONNX, "openvino": OPENVINO}
    names = named[engine].get(dtype, ()) if engine in named else CTRANSLATE2
    for name in names:
        yield model / name
