"""Variants of `data/tiny-bert` as sentence-transformers models: what differs, and calls of each.

`data/make_tiny_sentence.py` makes the vectors of each call with sentence-transformers itself.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

DATA = Path(__file__).parent / "data"
BASE, OWN = DATA / "tiny-bert", DATA / "tiny-sentence"
TEXTS: list[str] = json.loads((BASE / "texts.json").read_text(encoding="utf-8"))
MODULES = "sentence_transformers.models"
PROMPTS = {"prompts": {"query": "to find: ", "empty": ""}, "default_prompt_name": None}


@dataclass(frozen=True)
class Case:
    """One model, and arguments of calls: those of SentenceTransformer.encode."""

    modules: tuple[str, ...] = ("Transformer", "Pooling", "Normalize")
    pooling: dict[str, Any] = field(default_factory=lambda: {"pooling_mode": "mean"})
    dense: dict[str, Any] = field(default_factory=dict)
    files: dict[str, dict[str, Any]] = field(default_factory=dict)
    lowercase: bool = True
    folder: str = ""
    calls: tuple[dict[str, Any], ...] = ({},)


def _pooled(**config: Any) -> Case:
    return Case(modules=("Transformer", "Pooling"), pooling=config)


_PROMPT_CALLS: tuple[dict[str, Any], ...] = (
    {},
    {"prompt_name": "query"},
    {"prompt": "long after the rain, "},
    {"prompt": ""},
)
_DENSE = {
    "in_features": 32,
    "out_features": 12,
    "bias": True,
    "activation_function": "torch.nn.modules.activation.Tanh",
}
CASES: dict[str, Case] = {
    mode: _pooled(pooling_mode=mode)
    for mode in ("cls", "max", "mean_sqrt_len_tokens", "weightedmean", "lasttoken")
} | {
    "joined": _pooled(pooling_mode=["max", "cls"]),
    "switches": _pooled(
        pooling_mode_weightedmean_tokens=True,
        pooling_mode_cls_token=True,
        pooling_mode_mean_tokens=False,
        pooling_mode_max_tokens=True,
    ),
    "no-switch": _pooled(word_embedding_dimension=32),
    "prompts": Case(files={"config_sentence_transformers.json": PROMPTS}, calls=_PROMPT_CALLS),
    "default-prompt": Case(
        files={"config_sentence_transformers.json": PROMPTS | {"default_prompt_name": "query"}},
        calls=(*_PROMPT_CALLS, {"prompt_name": "document"}),
    ),
    **{
        f"without-prompt-{mode}": Case(
            modules=("Transformer", "Pooling"),
            pooling={"pooling_mode": mode, "include_prompt": False},
            files={"config_sentence_transformers.json": PROMPTS},
            calls=_PROMPT_CALLS,
        )
        for mode in ("mean", "cls", "max", "lasttoken", "weightedmean", "mean_sqrt_len_tokens")
    },
    "matryoshka": Case(
        calls=({"truncate_dim": 8}, {"truncate_dim": 8, "normalize_embeddings": True})
    ),
    "matryoshka-plain": Case(
        modules=("Transformer", "Pooling"),
        calls=({"truncate_dim": 8}, {"truncate_dim": 32, "normalize_embeddings": True}),
    ),
    "dense": Case(
        modules=("Transformer", "Pooling", "Dense", "Normalize"),
        dense=_DENSE,
        calls=({}, {"truncate_dim": 5}),
    ),
    "dense-linear": Case(
        modules=("Transformer", "Pooling", "Dense"),
        dense=_DENSE
        | {"bias": False, "activation_function": "torch.nn.modules.linear.Identity"},
    ),
    "lower-case": Case(files={"sentence_bert_config.json": {"do_lower_case": True}}, lowercase=False),
    "as-written": Case(lowercase=False),
    "cut-left": Case(files={"tokenizer_config.json": {"truncation_side": "left"}}),
    "old-layout": Case(folder="0_Transformer"),
}  # fmt: skip


def make(folder: Path, case: Case) -> Path:
    """Write a case's folder."""
    inner = folder / case.folder
    inner.mkdir(parents=True, exist_ok=True)
    for name in ("config.json", "model.safetensors"):
        shutil.copy(BASE / name, inner)
    tokenizer = _read("tokenizer.json")
    tokenizer["normalizer"]["lowercase"] = case.lowercase
    _write(inner / "tokenizer.json", tokenizer)
    for name in ("tokenizer_config.json", "sentence_bert_config.json"):
        _write(inner / name, _read(name) | case.files.get(name, {}))
    if not case.lowercase:
        # transformers goes by this, and not by tokenizer.json.
        config = json.loads((inner / "tokenizer_config.json").read_text(encoding="utf-8"))
        _write(inner / "tokenizer_config.json", config | {"do_lower_case": False})
    names = [f"{i}_{kind}" for i, kind in enumerate(case.modules)]
    names[0] = case.folder
    modules = [
        {"idx": i, "name": str(i), "path": name, "type": f"{MODULES}.{kind}"}
        for i, (name, kind) in enumerate(zip(names, case.modules, strict=True))
    ]
    _write(folder / "modules.json", modules)
    sizes = {"word_embedding_dimension": 32}
    _write(folder / "1_Pooling" / "config.json", sizes | case.pooling)
    if case.dense:
        _write(folder / "2_Dense" / "config.json", case.dense)
        kind = "dense" if case.dense["bias"] else "dense-linear"
        shutil.copy(OWN / f"{kind}.safetensors", folder / "2_Dense" / "model.safetensors")
    prompts = case.files.get("config_sentence_transformers.json")
    if prompts:
        _write(folder / "config_sentence_transformers.json", prompts)
    return folder


def _read(name: str) -> dict[str, Any]:
    value: dict[str, Any] = json.loads((BASE / name).read_text(encoding="utf-8"))
    return value


def _write(path: Path, value: object) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(value), encoding="utf-8")
