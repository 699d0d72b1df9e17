"""The engines of the inference benchmark, the cases, and their goals."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from bench import _prepare
from legato._native import ModelFiles
from legato.cli._bench.spec import Spec

REFERENCES: Final = ("torch", "ONNX Runtime", "legato")
"""What vectors are compared with: the first that is there."""
OURS: Final = {"float32": "legato", "int8": "legato int8"}
HONEST: Final = 0.995
"""The mean cosine to float32 that an int8 peer must have to be a rival."""
MAX_LENGTH: Final = 256
LENGTHS: Final = (16, 128, 256)
LATENCY: Final = {"float32": {16: 1.8, 128: 1.3, 256: 1.3}, "int8": dict.fromkeys(LENGTHS, 1.5)}
THROUGHPUT: Final = {"float32": 1.7, "int8": 2.5}
PEAK: Final = {"float32": 0.7, "int8": 0.4}
COLD: Final = {"float32": 4.0, "int8": 2.5}
MEMORY: Final = 1.3
"""Times the weights in their type."""
INSTALLED_BYTES: Final = 30e6
INSTALLED_SHARE: Final = 1 / 8
ACCURACY: Final = 0.5
"""Points of accuracy that int8 may lose."""
# Numbers of a row of activations that share a scale: wider ones are not faster, and turn it off.
_GROUPS: Final = {"config": {"DYNAMIC_QUANTIZATION_GROUP_SIZE": "384"}}

# Name: engine, form of the model, dtype, options.
ENGINES: Final[dict[str, tuple[str, str, str, dict[str, Any]]]] = {
    "legato": ("legato", "", "float32", {}),
    "legato int8": ("legato", "legato-int8", "int8", {}),
    "ONNX Runtime": ("onnxruntime", "f32.onnx", "float32", {}),
    "CTranslate2": ("ctranslate2", "ct2", "float32", {}),
    "OpenVINO": ("openvino", "ov.xml", "float32", {}),
    "torch": ("torch", "", "float32", {}),
    "sentence-transformers": ("sentence_transformers", "", "float32", {}),
    "embed-anything": ("embed_anything", "hf", "float32", {}),
    "ONNX Runtime int8 per tensor": ("onnxruntime", "tensor.onnx", "int8", {}),
    "ONNX Runtime int8 per channel": ("onnxruntime", "channel.onnx", "int8", {}),
    "ONNX Runtime int8 but FFN output": ("onnxruntime", "mixed.onnx", "int8", {}),
    "ONNX Runtime 8-bit blocks": ("onnxruntime", "blocks.onnx", "int8", {}),
    "CTranslate2 int8": ("ctranslate2", "ct2", "int8", {}),
    "OpenVINO int8 static": ("openvino", "ov-static.xml", "int8", {}),
    "OpenVINO int8 dynamic": ("openvino", "ov-dynamic.xml", "int8", _GROUPS),
}
BIG: Final = (
    *("legato", "legato int8", "torch", "ONNX Runtime", "CTranslate2", "OpenVINO"),
    *("ONNX Runtime int8 per channel", "CTranslate2 int8"),
    *("OpenVINO int8 static", "OpenVINO int8 dynamic"),
)
"""Those that run the base-size model too: torch for the reference, and the best of the others."""


def specs(model: Path, folder: Path, threads: int, only: tuple[str, ...] = ()) -> list[Spec]:
    """Return what engines are told to run a model whose forms lie in a folder."""
    found = []
    for name, (engine, form, dtype, given) in ENGINES.items():
        if only and name not in only:
            continue
        path, options = folder / form if form else model, dict(given)
        if engine == "embed_anything":
            options["env"] = {"HF_HOME": str(path)}
        found.append(
            Spec(
                name=name,
                engine=engine,
                path=_prepare.LOCAL if engine == "embed_anything" else str(path),
                tokenizer=str(model / "tokenizer.json"),
                dtype=dtype,
                threads=threads,
                max_length=MAX_LENGTH,
                pooling="mean",
                normalize=True,
                revision=ModelFiles.from_dir(path).digest if engine == "legato" else None,
                options=options,
            )
        )
    return found


def flops(config: dict[str, Any], lengths: list[int]) -> float:
    """Return the multiplications and additions that texts take: products and attention."""
    hidden, inner = config["hidden_size"], config["intermediate_size"]
    layers = config["num_hidden_layers"]
    tokens = sum(lengths)
    products = 2 * (4 * hidden * hidden + 2 * hidden * inner) * tokens
    attention = 4 * hidden * sum(length * length for length in lengths)
    return float(layers * (products + attention))
