"""A checkpoint in the forms that its peers read: ONNX in float32 and int8, CTranslate2, OpenVINO.

Run by ``bench/infer.py`` in a process of its own, which needs torch and transformers, and kept in a
cache folder. What cannot be made is left out, and the reason is kept beside the rest.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import numpy as np

from bench import _materials, _onnx

CACHE: Final = _materials.CACHE.parent / "bench-infer"
REASONS: Final = "reasons.json"
FRESH: Final = ("legato-int8",)
"""Forms that are made each time: what is measured is this legato's."""
CALIBRATION: Final = 100
"""Texts over which nncf sees activations."""
BASE: Final[dict[str, int]] = {
    "hidden_size": 768,
    "num_hidden_layers": 12,
    "intermediate_size": 3072,
}
LOCAL: Final = "local/model"
"""How embed-anything finds the model in a hub's cache of our own."""


def prepare(model: Path, folder: Path) -> None:
    """Make all forms of a model that are not there yet."""
    folder.mkdir(parents=True, exist_ok=True)
    reasons: dict[str, str] = {}
    for name, make in FORMS.items():
        target = folder / name
        if name in FRESH and target.exists():
            shutil.rmtree(target)
        if target.exists():
            continue
        staged = folder / f"making-{name}"
        if staged.is_dir():  # of a run that was stopped; files are written over
            shutil.rmtree(staged)
        try:
            make(model, folder, staged)
        except Exception as error:  # noqa: BLE001 - each library has errors of its own
            said = str(error).strip().partition("\n")[0][:200]
            reasons[name] = f"{type(error).__name__}: {said}"
            continue
        weights = staged.with_suffix(".bin")
        if weights.exists():  # OpenVINO keeps weights beside the graph
            weights.replace(target.with_suffix(".bin"))
        staged.replace(target)
    (folder / REASONS).write_text(json.dumps(reasons), encoding="utf-8")


def lines() -> tuple[list[str], list[str]]:
    """Return the paragraphs that are measured, and those over which nncf sees activations."""
    texts = _materials.paragraphs("docstrings")
    random.Random(0).shuffle(texts)
    return texts[:-CALIBRATION], texts[-CALIBRATION:]


def base(model: Path, folder: Path) -> Path:
    """Return a folder with a model of BERT-base's shape and seeded weights, and a tokenizer."""
    if not (folder / "model.safetensors").exists():
        from legato._native import write_safetensors

        folder.mkdir(parents=True, exist_ok=True)
        for path in model.iterdir():
            if path.is_file() and path.suffix in {".json", ".txt"}:
                shutil.copyfile(path, folder / path.name)
        shutil.copytree(model / "1_Pooling", folder / "1_Pooling", dirs_exist_ok=True)
        config = json.loads((model / "config.json").read_text(encoding="utf-8")) | BASE
        (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
        pooling = folder / "1_Pooling" / "config.json"
        said = json.loads(pooling.read_text(encoding="utf-8"))
        said["word_embedding_dimension"] = BASE["hidden_size"]
        pooling.write_text(json.dumps(said), encoding="utf-8")
        data = write_safetensors(_seeded(_onnx.weights(model), config), metadata={"format": "pt"})
        (folder / "model.safetensors").write_bytes(data)
    return folder


def tensors(model: Path) -> list[_onnx.Array]:
    """Return the weights of a checkpoint."""
    return list(_onnx.weights(model).values())


def _seeded(small: _onnx.Weights, config: dict[str, Any]) -> _onnx.Weights:
    """Return weights by the names of a smaller model, drawn as BERT's are before training."""
    old: dict[int, int] = {384: config["hidden_size"], 1536: config["intermediate_size"]}
    names = [name for name in small if "encoder.layer." not in name]
    names += [
        name.replace(".0.", f".{layer}.", 1)
        for name in small
        if name.startswith("encoder.layer.0.")
        for layer in range(config["num_hidden_layers"])
    ]
    draw = np.random.default_rng(0)
    made = {}
    for name in sorted(names):
        like = small[_layer_0(name)]
        shape = tuple(int(old.get(size, size) or size) for size in like.shape)
        if "LayerNorm.weight" in name:
            made[name] = np.ones(shape, np.float32)
        elif name.endswith("bias"):
            made[name] = np.zeros(shape, np.float32)
        else:
            made[name] = draw.normal(0, config["initializer_range"], shape).astype(np.float32)
    return made


def _layer_0(name: str) -> str:
    parts = name.split(".")
    return ".".join([*parts[:2], "0", *parts[3:]]) if name.startswith("encoder.layer.") else name


def _layers(model: Path) -> int:
    count: int = json.loads((model / "config.json").read_text(encoding="utf-8"))[
        "num_hidden_layers"
    ]
    return count


def _fused(model: Path, folder: Path, target: Path) -> None:
    del folder
    _onnx.build(model, target)


def _split(model: Path, folder: Path, target: Path) -> None:
    del folder
    _onnx.build(model, target, split=True)


def _per_tensor(model: Path, folder: Path, target: Path) -> None:
    del model
    _onnx.quantize(folder / "f32.onnx", target)


def _per_channel(model: Path, folder: Path, target: Path) -> None:
    del model
    _onnx.quantize(folder / "f32.onnx", target, per_channel=True)


def _mixed(model: Path, folder: Path, target: Path) -> None:
    """Keep the products with the widest activations in float32, which is what costs accuracy."""
    kept = [f"encoder.layer.{layer}.output.dense.product" for layer in range(_layers(model))]
    _onnx.quantize(folder / "f32.onnx", target, per_channel=True, nodes_to_exclude=kept)


def _blocks(model: Path, folder: Path, target: Path) -> None:
    """Weights in blocks of 128, activations quantized by row and block: MatMulNBits."""
    del model
    import onnx
    from onnxruntime.quantization.matmul_nbits_quantizer import (
        DefaultWeightOnlyQuantConfig,
        MatMulNBitsQuantizer,
    )

    config = DefaultWeightOnlyQuantConfig(
        block_size=128, is_symmetric=True, accuracy_level=4, bits=8
    )
    quantizer = MatMulNBitsQuantizer(onnx.load(str(folder / "split.onnx")), algo_config=config)
    quantizer.process()
    quantizer.model.save_model_to_file(str(target), False)  # noqa: FBT003 - its own signature


def _ctranslate2(model: Path, folder: Path, target: Path) -> None:
    del folder
    from ctranslate2.converters import TransformersConverter

    TransformersConverter(str(model)).convert(str(target), force=True)


def _openvino(model: Path, folder: Path, target: Path) -> None:
    del folder
    import openvino
    import torch
    import transformers

    loaded = transformers.AutoModel.from_pretrained(model).eval()
    ones = torch.ones(2, 8, dtype=torch.long)
    example = {"input_ids": ones, "attention_mask": ones, "token_type_ids": torch.zeros_like(ones)}
    made = openvino.convert_model(loaded, example_input=example)
    openvino.save_model(made, str(target), compress_to_fp16=False)


def _openvino_dynamic(model: Path, folder: Path, target: Path) -> None:
    del model
    import nncf
    import openvino

    read = openvino.Core().read_model(str(folder / "ov.xml"))
    made = nncf.compress_weights(read, mode=nncf.CompressWeightsMode.INT8_SYM)
    openvino.save_model(made, str(target), compress_to_fp16=False)


def _openvino_static(model: Path, folder: Path, target: Path) -> None:
    import nncf
    import openvino
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(model / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.enable_truncation(256)

    def inputs(text: str) -> dict[str, Any]:
        ids = np.array([tokenizer.encode(text).ids])
        return {
            "input_ids": ids,
            "attention_mask": np.ones_like(ids),
            "token_type_ids": np.zeros_like(ids),
        }

    _, calibration = lines()
    data = nncf.Dataset(calibration, inputs)
    read = openvino.Core().read_model(str(folder / "ov.xml"))
    made = nncf.quantize(read, data, model_type=nncf.ModelType.TRANSFORMER, subset_size=CALIBRATION)
    openvino.save_model(made, str(target), compress_to_fp16=False)


def _legato(model: Path, folder: Path, target: Path) -> None:
    del folder
    from legato._native import ModelFiles

    ModelFiles.from_dir(model).quantize(target)


def _hub(model: Path, folder: Path, target: Path) -> None:
    """Lay the model out as the hub's cache does."""
    del folder
    commit = "0" * 40
    repository = target / "hub" / f"models--{LOCAL.replace('/', '--')}"
    (repository / "refs").mkdir(parents=True, exist_ok=True)
    (repository / "refs" / "main").write_text(commit, encoding="utf-8")
    for path in model.rglob("*"):
        place = repository / "snapshots" / commit / path.relative_to(model)
        if path.is_file():
            place.parent.mkdir(parents=True, exist_ok=True)
            if place.name == "tokenizer.json":
                # It pads and cuts as the file says, which is not what the model's limit is.
                said = json.loads(path.read_text(encoding="utf-8"))
                said["padding"] = None
                said["truncation"] = {**(said["truncation"] or {}), "max_length": 256}
                place.write_text(json.dumps(said), encoding="utf-8")
            elif not place.exists():
                place.symlink_to(path)


FORMS: Final[dict[str, Callable[[Path, Path, Path], None]]] = {
    "legato-int8": _legato,
    "f32.onnx": _fused,
    "split.onnx": _split,
    "tensor.onnx": _per_tensor,
    "channel.onnx": _per_channel,
    "mixed.onnx": _mixed,
    "blocks.onnx": _blocks,
    "ct2": _ctranslate2,
    "ov.xml": _openvino,
    "ov-dynamic.xml": _openvino_dynamic,
    "ov-static.xml": _openvino_static,
    "hf": _hub,
}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("folder", type=Path)
    given = parser.parse_args()
    prepare(given.model, given.folder)
