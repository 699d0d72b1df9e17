"""Preprocessing: the texts of a shard to tokens."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from legato._events import TOKENS
from legato.stages import _models
from legato.stages._events import check_definition, read_shard, ref_of
from legato.step import Task, step


@step(name="preprocessing", reads=["ingestion", "models"])
def handler(event: Mapping[str, Any], task: Task) -> Mapping[str, Any]:
    """Tokenize a shard; row i of the output is record i of the shard.

    A task that reads each text with several others, as zero-shot-classification does, makes as many
    rows of each.

    Raises:
        InputError: A parameter of the task is wrong.
        WorkflowError: Another deployment has begun the run.
    """
    check_definition(task)
    shard = ref_of(event, "shard", "ref")
    files, settings = _models.pinned_files(task), task.settings
    length = _models.max_length(settings, files)
    folder = task.scope.folder(
        inputs=[shard],
        parameters={
            "tokenizer": files.tokenizer_digest,
            "max_length": length,
            **_models.of_texts(settings, files),
        },
    )
    tokens = folder.find("tokens.safetensors")
    cached = tokens is not None
    if tokens is None:
        _, texts = read_shard(task, shard)
        encoded = _models.encode(settings, files, texts, length)
        tokens = folder.commit(
            "tokens.safetensors",
            encoded.to_bytes(),
            media_type=TOKENS,
            # Rows of tokens: a task may make several of a text.
            records=len(texts),
        )
    task.count(records_in=shard.records or 0, out=tokens.records or 0, cached=cached)
    return {"tokens": tokens}
