"""OpenVINO, from an IR or a model.onnx."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .padded import Ids, Padded
from .spec import Spec


def load(spec: Spec) -> Padded:
    """Compile the model; float32 has to be asked for where the processor has bfloat16."""
    import openvino

    core = openvino.Core()
    config = {
        "INFERENCE_NUM_THREADS": spec.threads,
        "INFERENCE_PRECISION_HINT": "f32",
        "PERFORMANCE_HINT": "LATENCY",
        **spec.options.get("config", {}),
    }
    compiled = core.compile_model(core.read_model(spec.path), "CPU", config)
    request = compiled.create_infer_request()
    names = [one.get_any_name() for one in compiled.inputs]

    def forward(ids: Ids, mask: Ids) -> NDArray[np.float32]:
        given = {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}
        request.infer({name: given[name] for name in names})
        states: NDArray[np.float32] = request.get_output_tensor(0).data
        return states

    padded = Padded(spec, forward)
    padded.version = openvino.__version__.partition("-")[0]
    return padded
