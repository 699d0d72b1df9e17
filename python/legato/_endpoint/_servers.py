"""The two kinds of servers: what they are asked, and how a task is put to them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from legato._endpoint._answers import Read, labelled, read_ranking, read_vectors, zero_shot
from legato._endpoint._batches import Limits, Row
from legato._endpoint._calls import Client
from legato._endpoint._hosts import Place
from legato.endpoints import ROUTER, Endpoint
from legato.errors import ModelError, WorkflowError

_MOST_CHARS: Final = 200
TEI: Final = "tei"
PIPELINE: Final = "pipeline"
_ROUTER_FEATURES: Final = "/pipeline/feature-extraction"
_KINDS: Final[Mapping[str, tuple[str, ...]]] = {
    "feature-extraction": ("embedding",),
    "text-classification": ("classifier", "reranker"),
    "zero-shot-classification": ("classifier",),
    "text-ranking": ("classifier", "reranker"),
}
"""Types of models in ``/info`` that can do a task."""

_POOLINGS: Final = {"cls": "cls", "mean": "mean", "last_token": "lasttoken"}
"""TEI's names of poolings, and ours."""


@dataclass(frozen=True)
class Server:
    """What is known of a server.

    Attributes:
        kind: ``tei`` or ``pipeline``.
        model: Its model, where it tells.
        revision: The model's commit, where it tells.
        max_input_length: Tokens that it cuts a text to, where it tells.
        limits: Of a request.
    """

    kind: str
    model: str | None = None
    revision: str | None = None
    max_input_length: int | None = None
    limits: Limits = field(default_factory=Limits)


@dataclass(frozen=True)
class Exchange:
    """How a batch is put to a server.

    Attributes:
        path: Where, below the endpoint's URL.
        request: Makes the body of rows.
        read: Makes a row of numbers for each row of the answer.
        alone: Whether a request is of one row.
    """

    path: str
    request: Callable[[Sequence[Row]], dict[str, Any]]
    read: Read
    alone: bool = False


def look(client: Client, endpoint: Endpoint, task: str, pooling: str | None) -> Server:
    """Ask a server what it is.

    Args:
        client: Calls it.
        endpoint: What the workflow says of it.
        task: What it is to do.
        pooling: How the model's files say that tokens become a vector; None for other tasks.

    Raises:
        ModelError: It has another commit than the one that is pinned, or a model for another task.
        WorkflowError: A server of this kind cannot do the task.
        LegatoError: As :meth:`Client.post`.
    """
    info = None if endpoint.server == PIPELINE else client.look("/info")
    if info is None:
        if endpoint.server == TEI:
            raise ModelError(f"endpoint {endpoint.url} has no /info; it is no TEI server")
        if task == "text-ranking":
            raise WorkflowError("text-ranking needs a TEI server, which has /rerank")
        return Server(PIPELINE)
    server = _tei(info, endpoint)
    _check(server, info, endpoint, task, pooling)
    return server


def _tei(info: Any, endpoint: Endpoint) -> Server:
    if not isinstance(info, dict) or not isinstance(info.get("model_id"), str):
        msg = f"endpoint {endpoint.url} tells no model at /info; is it a TEI server?"
        raise ModelError(msg)
    sha = info.get("model_sha")
    return Server(
        TEI,
        info["model_id"][:_MOST_CHARS],
        sha if isinstance(sha, str) and sha else None,
        _whole(info, "max_input_length"),
        Limits(
            rows=_whole(info, "max_client_batch_size") or Limits.rows,
            tokens=_whole(info, "max_batch_tokens"),
        ),
    )


def _check(server: Server, info: Any, endpoint: Endpoint, task: str, pooling: str | None) -> None:
    pinned = endpoint.revision
    if pinned is not None and server.revision not in (None, pinned):
        msg = (
            f"endpoint {endpoint.url} has revision {server.revision!r:.80}, the workflow pins "
            f"{pinned}; deploy that revision, or pin the one that is there"
        )
        raise ModelError(msg)
    kinds = info.get("model_type")
    if not isinstance(kinds, dict):
        return
    if not any(kind in kinds for kind in _KINDS[task]):
        msg = f"endpoint {endpoint.url} has no model for {task}; it must be of type "
        raise ModelError(msg + " or ".join(_KINDS[task]))
    told = kinds.get("embedding")
    told = told.get("pooling") if isinstance(told, dict) else None
    ours = _POOLINGS.get(told) if isinstance(told, str) else None
    if pooling in _POOLINGS.values() and ours is not None and pooling != ours:
        msg = f"endpoint {endpoint.url} pools by {ours}, the model's files say {pooling}"
        raise ModelError(f"{msg}; start it with the model's own pooling")


def exchange(
    server: Server, endpoint: Endpoint, task: str, about: Mapping[str, Any], *, truncate: bool
) -> Exchange:
    """Return how a task is put to a server.

    Args:
        server: What it is.
        endpoint: Where it is.
        task: What it is to do.
        about: ``normalize``; ``labels`` of the config, or ``candidate_labels``; ``query``; and of
            pipelines ``parameters``.
        truncate: Whether texts are cut where they are too long, or refused.
    """
    make = _to_tei if server.kind == TEI else _to_pipeline
    return make(endpoint, task, about, truncate)


def _to_tei(_: Endpoint, task: str, about: Mapping[str, Any], truncate: bool) -> Exchange:  # noqa: FBT001 - of one call
    said = {"truncate": truncate}
    if task == "feature-extraction":
        said["normalize"] = about["normalize"]
        return Exchange("/embed", lambda rows: {"inputs": _firsts(rows), **said}, read_vectors)
    # Logits: what is made of them is ours, so it is the same as here.
    said["raw_scores"] = True
    labels = about["labels"]
    if task == "text-ranking" and len(labels) == 1:
        query = about["query"]
        return Exchange(
            "/rerank",
            lambda rows: {
                "query": query,
                "texts": [document for _, document in rows],
                "return_text": False,
                **said,
            },
            read_ranking,
        )
    read = labelled(labels)
    return Exchange("/predict", lambda rows: {"inputs": [list(r) for r in rows], **said}, read)


def _to_pipeline(
    endpoint: Endpoint,
    task: str,
    about: Mapping[str, Any],
    truncate: bool,  # noqa: FBT001 - of one call
) -> Exchange:
    if task == "feature-extraction":
        said = {"normalize": about["normalize"], "truncate": truncate}
        place = Place.of(endpoint.url)
        routed = place.host == ROUTER and not place.path.endswith(_ROUTER_FEATURES)
        path = _ROUTER_FEATURES if routed else ""
        return Exchange(path, lambda rows: {"inputs": _firsts(rows), **said}, read_vectors)
    parameters = {**about["parameters"], **({"truncation": True} if truncate else {})}
    if task == "zero-shot-classification":
        read = zero_shot(about["candidate_labels"])
        return Exchange(
            "", lambda rows: {"inputs": rows[0][0], "parameters": parameters}, read, alone=True
        )
    read = labelled(about["labels"])
    return Exchange("", lambda rows: {"inputs": _firsts(rows), "parameters": parameters}, read)


def _firsts(rows: Sequence[Row]) -> list[str]:
    return [row[0] for row in rows]


def _whole(info: Mapping[str, Any], name: str) -> int | None:
    value = info.get(name)
    known = isinstance(value, int) and not isinstance(value, bool) and value > 0
    return value if known else None
