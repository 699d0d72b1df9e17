"""ONNX Runtime, from a model.onnx; no transformers."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .padded import Ids, Padded
from .spec import Spec


def load(spec: Spec) -> Padded:
    """Open a session with all graph optimisations."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = spec.threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    for key, value in spec.options.get("session", {}).items():
        options.add_session_config_entry(key, value)
    session = onnxruntime.InferenceSession(spec.path, options, ["CPUExecutionProvider"])
    inputs = {
        one.name: np.int32 if "int32" in one.type else np.int64 for one in session.get_inputs()
    }
    outputs = [one.name for one in session.get_outputs()]
    wanted = "last_hidden_state" if "last_hidden_state" in outputs else outputs[0]

    def forward(ids: Ids, mask: Ids) -> NDArray[np.float32]:
        given = {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}
        feed = {name: given[name].astype(kind, copy=False) for name, kind in inputs.items()}
        states: NDArray[np.float32] = session.run([wanted], feed)[0]
        return states

    padded = Padded(spec, forward)
    padded.version = onnxruntime.__version__
    return padded
