"""A task's texts as a server reads them, and its answers as the engine's are."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any, Final

from legato._endpoint._answers import Rows, check_shares
from legato._endpoint._batches import Row
from legato._endpoint._servers import TEI, Server
from legato._native import ModelFiles, Tokens
from legato.errors import InputError, ModelError
from legato.pipeline import task_class
from legato.settings import Settings
from legato.stages import _models
from legato.tasks._head import GivenLogits
from legato.tasks.zero_shot_classification import labels_of, pairs_with

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

DEFAULT_LABELS: Final = 2
"""Labels of a config that says nothing, as transformers has it."""


def check_lengths(tokens: Tokens, server: Server, limit: int | None) -> None:
    """Refuse a server that would cut texts elsewhere than the model here: it would not say so."""
    takes = server.max_input_length
    if takes is None or not len(tokens):
        return
    longest = int(tokens.lengths.max())
    if takes < longest or (tokens.truncated and takes != limit):
        msg = f"the endpoint cuts texts to {takes:,} tokens, the model's files and settings say "
        raise ModelError(f"{msg}{limit if limit is not None else longest:,}; make them the same")


def rows_of(settings: Settings, files: ModelFiles, texts: list[str], server: Server) -> list[Row]:
    """Return what the model reads: a text, or a pair; for each text one or several."""
    if settings.task == "text-ranking":
        return [(settings.parameters["query"], text) for text in texts]
    if settings.task == "zero-shot-classification" and server.kind == TEI:
        labels = settings.parameters["candidate_labels"]
        template = settings.parameters.get("hypothesis_template", "This example is {}.")
        return list(pairs_with(texts, labels, template))
    before = _models.prompt(settings, files)
    if before and (files.read_json("1_Pooling/config.json") or {}).get("include_prompt") is False:
        msg = "the model pools without its prompt, which no endpoint can be told; run it here"
        raise ModelError(msg)
    return [(before + text,) for text in texts]


def row_lengths(tokens: Tokens, rows: int) -> list[int]:
    """Return the tokens of each row; where several make one row, of all of them."""
    if rows and len(tokens) % rows:
        msg = "the shard and its tokens do not fit; run it again from Preprocessing"
        raise InputError(msg)
    summed: list[int] = tokens.lengths.reshape(rows, -1).sum(axis=1).tolist() if rows else []
    return summed


def about_of(settings: Settings, files: ModelFiles) -> dict[str, Any]:
    """Return what besides the texts a request says, or its answer is read by."""
    if settings.task == _models.VECTORS:
        return {"normalize": files.normalize}
    given = dict(settings.parameters)
    head = _head(settings, files)
    about = {"labels": head.labels(), "query": given.get("query"), "parameters": given}
    if settings.task == "text-classification":
        name = given.get("function_to_apply") or head.function()
        # All labels: which are kept is decided where the engine's are.
        about["parameters"] = {"function_to_apply": name, "top_k": head.engine.width}
    if settings.task == "zero-shot-classification":
        about["candidate_labels"] = labels_of(given["candidate_labels"])
        about["parameters"] = {**given, "candidate_labels": about["candidate_labels"]}
    return about


def _head(settings: Settings, files: ModelFiles) -> Any:
    config = files.read_json("config.json") or {}
    width = len(config.get("id2label") or ()) or config.get("num_labels") or DEFAULT_LABELS
    return task_class(settings.task)(files, engine=GivenLogits(int(width)))


def answers_of(settings: Settings, files: ModelFiles, rows: Rows, server: Server) -> list[Any]:
    """Return what the task answers, by the code that makes it of the engine's own logits."""
    scores, given = float32(rows), dict(settings.parameters)
    head = _head(settings, files)
    found: list[Any]
    if server.kind == TEI:
        found = head.answers(scores, **given)
    elif settings.task == "zero-shot-classification":
        labels = labels_of(given["candidate_labels"])
        check_shares(rows, one=not given.get("multi_label", False) and len(labels) > 1)
        found = [
            {"labels": [labels[i] for i in order], "scores": [row[i] for i in order]}
            for row in rows
            for order in [sorted(range(len(row)), key=lambda i: -row[i])]
        ]
    else:
        name = given.pop("function_to_apply", None) or head.function()
        if name != "none":
            check_shares(rows, one=name == "softmax")
        found = head.answers(scores, **given, function_to_apply="none")
    return found


def vectors_of(files: ModelFiles, rows: Rows, server: Server) -> NDArray[np.float32]:
    """Return vectors as one array, float32 (n, H).

    Raises:
        ModelError: They have several lengths.
    """
    import numpy as np

    if any(len(row) != len(rows[0]) for row in rows):
        raise ModelError("the endpoint answers vectors of several lengths; is it one model?")
    vectors = float32(rows)
    if files.normalize and server.kind != TEI:
        # Not all servers do what they are asked; of those that do it changes nothing.
        norms = np.linalg.norm(vectors, axis=1, keepdims=True)
        vectors = np.divide(vectors, norms, out=vectors, where=norms > 0)
    return vectors


def float32(rows: Rows) -> NDArray[np.float32]:
    """Return rows as one array; what is too large for it is infinite, and Validation rejects it."""
    import numpy as np

    with np.errstate(over="ignore"):
        return np.asarray(rows, dtype=np.float32)


def config_digest(files: ModelFiles) -> str:
    """Return a digest of the files by which logits become answers."""
    names = ("config.json", "config_sentence_transformers.json")
    found = json.dumps([files.read_json(name) for name in names], sort_keys=True)
    return f"sha256:{hashlib.sha256(found.encode()).hexdigest()}"
