"""Inference: tokens to vectors, or to what another task answers."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import legato._native as native
from legato._events import JSONL, TENSORS
from legato._native import Ref, Tokens
from legato._scope import Folder
from legato.stages import _models
from legato.stages._events import VECTORS, check_definition, ref_of
from legato.step import Task, step


@step(name="inference", reads=["preprocessing", "models"])
def handler(event: Mapping[str, Any], task: Task) -> Mapping[str, Any]:
    """Run the model over the tokens of a shard; row i of the output is record i of the shard.

    Returns:
        ``vectors`` of feature-extraction; of any other task ``answers``, JSON lines of what
        ``legato.pipeline`` gives for each text.

    Raises:
        InputError: The tokens are of another tokenizer than the model's, or a parameter of the task
            is wrong.
        WorkflowError: Another deployment has begun the run.
    """
    check_definition(task)
    tokens = ref_of(event, "tokens")
    files, settings = _models.model_files(task), task.settings
    parameters: dict[str, Any] = {
        "task": settings.task,
        "model": files.digest,
        "dtype": settings.dtype,
    }
    of_vectors = settings.task == _models.VECTORS
    if of_vectors:
        parameters |= {"pooling": files.pooling, "normalize": files.normalize}
    else:
        parameters |= {"parameters": dict(settings.parameters)}
    folder = task.scope.folder(inputs=[tokens], parameters=parameters)
    kind, name = ("vectors", "vectors.safetensors") if of_vectors else ("answers", "answers.jsonl")
    output = folder.find(name)
    cached = output is not None
    if output is None:
        encoded = Tokens.from_bytes(task.get(tokens))
        write = _vectors if of_vectors else _answers
        output = write(task, folder, name, encoded)
    task.count(records_in=tokens.records or 0, out=output.records or 0, cached=cached)
    return {kind: output}


def _vectors(task: Task, folder: Folder, name: str, encoded: Tokens) -> Ref:
    engine, files = _models.engine(task), _models.model_files(task)
    before = engine.prompt_tokens(_models.prompt(task.settings, files))
    rows = engine.run(encoded, prompt_tokens=before)
    return folder.commit(
        name,
        native.write_safetensors({VECTORS: rows}, metadata={"model": files.digest}),
        media_type=TENSORS,
        records=len(rows),
        dtype=str(rows.dtype),
        shape=list(rows.shape),
    )


def _answers(task: Task, folder: Folder, name: str, encoded: Tokens) -> Ref:
    answers = _models.head(task).answers(encoded, **task.settings.parameters)
    lines = "".join(json.dumps(answer, ensure_ascii=False) + "\n" for answer in answers)
    return folder.commit(name, lines.encode(), media_type=JSONL, records=len(answers))
