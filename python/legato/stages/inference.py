"""Inference: tokens to vectors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import legato._native as native
from legato._events import TENSORS
from legato._native import Tokens
from legato.stages import _models
from legato.stages._events import VECTORS, ref_of
from legato.step import Task, step


@step(name="inference", reads=["preprocessing"])
def handler(event: Mapping[str, Any], task: Task) -> Mapping[str, Any]:
    """Run the model over the tokens of a shard; row i of the output is text i of the tokens.

    Raises:
        InputError: The tokens are of another tokenizer than the model's.
    """
    tokens = ref_of(event, "tokens")
    files = _models.model_files(task.settings)
    folder = task.scope.folder(
        inputs=[tokens],
        parameters={
            "task": task.settings.task,
            "model": files.digest,
            "dtype": task.settings.dtype,
            "pooling": files.pooling,
            "normalize": files.normalize,
        },
    )
    vectors = folder.find("vectors.safetensors")
    cached = vectors is not None
    if vectors is None:
        encoded = Tokens.from_bytes(task.get(tokens))
        rows = _models.engine(task.settings).run(encoded)
        vectors = folder.commit(
            "vectors.safetensors",
            native.write_safetensors({VECTORS: rows}, metadata={"model": files.digest}),
            media_type=TENSORS,
            records=len(rows),
            dtype=str(rows.dtype),
            shape=list(rows.shape),
        )
    task.count(records_in=tokens.records or 0, out=vectors.records or 0, cached=cached)
    return {"vectors": vectors}
