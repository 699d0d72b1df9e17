"""A BERT checkpoint as ONNX graphs with ONNX Runtime's fused operators; no torch is needed.

What ``onnxruntime.transformers.optimizer`` makes of an export of the same model: an operator for
the embeddings, one for attention with its three products, one for bias + GELU, and one for
residual + bias + LayerNorm.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]
Weights = dict[str, Array]
OPSET, MICROSOFT = 17, 1


def weights(model: Path) -> Weights:
    """Return the tensors of a checkpoint, in float32."""
    from legato._native import read_safetensors

    tensors, _ = read_safetensors((model / "model.safetensors").read_bytes())
    return {
        name.removeprefix("bert."): value
        for name, value in tensors.items()
        if value.dtype == np.float32
    }


class _Graph:
    """Nodes and constants, as they are put together."""

    def __init__(self, tensors: Weights) -> None:
        from onnx import helper, numpy_helper

        self._helper, self._numpy = helper, numpy_helper
        self._tensors = tensors
        self.nodes: list[Any] = []
        self.constants: dict[str, Any] = {}

    def constant(self, name: str, value: NDArray[np.float32] | None = None) -> str:
        """Return the name of a checkpoint's tensor, or of a value made of some."""
        if name not in self.constants:
            found = np.ascontiguousarray(self._tensors[name] if value is None else value)
            self.constants[name] = self._numpy.from_array(found, name)
        return name

    def node(self, kind: str, inputs: list[str], output: str, **attributes: Any) -> str:
        """Add an operator with one output that is read."""
        domain = "" if kind in {"MatMul", "Add"} else "com.microsoft"
        self.nodes.append(
            self._helper.make_node(kind, inputs, [output], name=output, domain=domain, **attributes)
        )
        return output

    def linear(self, name: str, given: str) -> str:
        """Add a product with a transposed weight, less its bias."""
        weight = self.constant(f"{name}.kernel", self._tensors[f"{name}.weight"].T)
        return self.node("MatMul", [given, weight], f"{name}.product")


def build(model: Path, path: Path, *, split: bool = False) -> None:
    """Write a checkpoint's encoder as an ONNX file.

    Args:
        model: Folder with config.json and model.safetensors.
        path: The file to write.
        split: Query, key and value as products of their own before the attention operator, for
            quantizers that know products only.
    """
    from onnx import TensorProto, helper, save

    config = json.loads((model / "config.json").read_text(encoding="utf-8"))
    graph = _Graph(weights(model))
    hidden = _embeddings(graph, config["layer_norm_eps"])
    for layer in range(config["num_hidden_layers"]):
        hidden = _layer(
            graph, f"encoder.layer.{layer}", hidden, config, _split if split else _fused
        )
    graph.nodes[-1].output[0] = "last_hidden_state"
    shape = ["batch", "length"]
    names = ("input_ids", "token_type_ids", "attention_mask")
    inputs = [helper.make_tensor_value_info(name, TensorProto.INT32, shape) for name in names]
    output = helper.make_tensor_value_info(
        "last_hidden_state", TensorProto.FLOAT, [*shape, config["hidden_size"]]
    )
    made = helper.make_graph(graph.nodes, "bert", inputs, [output], list(graph.constants.values()))
    opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid("com.microsoft", MICROSOFT)]
    save(helper.make_model(made, opset_imports=opsets, ir_version=9), str(path))


def _embeddings(graph: _Graph, epsilon: float) -> str:
    names = ("word_embeddings", "position_embeddings", "token_type_embeddings")
    tables = [graph.constant(f"embeddings.{name}.weight") for name in names]
    norm = [graph.constant(f"embeddings.LayerNorm.{name}") for name in ("weight", "bias")]
    inputs = ["input_ids", "token_type_ids", *tables, *norm, "attention_mask"]
    graph.node("EmbedLayerNormalization", inputs, "embedded", epsilon=epsilon)
    # The second output: tokens of each text, (B,).
    graph.nodes[-1].output.append("lengths")
    return "embedded"


def _layer(
    graph: _Graph,
    name: str,
    hidden: str,
    config: dict[str, Any],
    attention: Callable[[_Graph, str, str, int], str],
) -> str:
    mixed = attention(graph, name, hidden, config["num_attention_heads"])
    projected = graph.linear(f"{name}.attention.output.dense", mixed)
    epsilon = config["layer_norm_eps"]
    hidden = _norm(graph, f"{name}.attention.output", projected, hidden, epsilon)
    wide = graph.linear(f"{name}.intermediate.dense", hidden)
    bias = graph.constant(f"{name}.intermediate.dense.bias")
    active = graph.node("BiasGelu", [wide, bias], f"{name}.active")
    narrow = graph.linear(f"{name}.output.dense", active)
    return _norm(graph, f"{name}.output", narrow, hidden, epsilon)


def _norm(graph: _Graph, name: str, given: str, residual: str, epsilon: float) -> str:
    constants = [
        graph.constant(f"{name}.{part}")
        for part in ("LayerNorm.weight", "LayerNorm.bias", "dense.bias")
    ]
    inputs = [given, residual, *constants]
    return graph.node("SkipLayerNormalization", inputs, f"{name}.normed", epsilon=epsilon)


def _parts(graph: _Graph, name: str, kind: str) -> list[NDArray[np.float32]]:
    names = ("query", "key", "value")
    return [graph._tensors[f"{name}.attention.self.{part}.{kind}"] for part in names]  # noqa: SLF001


def _fused(graph: _Graph, name: str, hidden: str, heads: int) -> str:
    kernel = np.concatenate([part.T for part in _parts(graph, name, "weight")], 1)
    weight = graph.constant(f"{name}.attention.kernel", kernel)
    bias = graph.constant(f"{name}.attention.bias", np.concatenate(_parts(graph, name, "bias")))
    inputs = [hidden, weight, bias, "lengths"]
    return graph.node("Attention", inputs, f"{name}.mixed", num_heads=heads)


def _split(graph: _Graph, name: str, hidden: str, heads: int) -> str:
    products = [
        graph.linear(f"{name}.attention.self.{part}", hidden) for part in ("query", "key", "value")
    ]
    bias = graph.constant(f"{name}.attention.bias", np.concatenate(_parts(graph, name, "bias")))
    inputs = [*products, bias, "lengths"]
    return graph.node("MultiHeadAttention", inputs, f"{name}.mixed", num_heads=heads)


def quantize(source: Path, path: Path, **options: Any) -> None:
    """Write an int8 model by ``onnxruntime.quantization.quantize_dynamic``."""
    from onnx import TensorProto
    from onnxruntime.quantization import QuantType, quantize_dynamic

    options.setdefault("weight_type", QuantType.QInt8)
    # It knows no types of outputs of fused operators.
    options.setdefault("extra_options", {"DefaultTensorType": TensorProto.FLOAT})
    quantize_dynamic(str(source), str(path), **options)
