"""Inference by a server: texts to vectors, or to what another task answers.

It takes the place of :mod:`legato.stages.inference` where the workflow has an endpoint. The texts
are those of Ingestion's shard; of Preprocessing's tokens it needs the lengths, to make batches and
to know whether the server sees what the model here would see.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import closing
from typing import Any, NamedTuple

import legato._native as native
from legato._endpoint import _servers
from legato._endpoint._answers import Rows
from legato._endpoint._batches import Limits, Row, body_of, compute
from legato._endpoint._calls import Client
from legato._endpoint._credentials import credentials_of
from legato._endpoint._hosts import Allowed, Place
from legato._endpoint._servers import TEI, Server
from legato._endpoint._tasks import (
    about_of,
    answers_of,
    check_lengths,
    config_digest,
    row_lengths,
    rows_of,
    vectors_of,
)
from legato._events import JSONL, TENSORS
from legato._native import ModelFiles, Ref, Tokens
from legato._scope import Folder
from legato.endpoints import Endpoint
from legato.errors import SettingsError, WorkflowError
from legato.settings import Settings
from legato.stages import _models
from legato.stages._events import VECTORS, check_definition, read_shard, ref_of, with_enforced
from legato.step import Task, step

OUTPUTS = {True: ("vectors", "vectors.safetensors"), False: ("answers", "answers.jsonl")}
"""Field and file of the output, by whether it is of vectors."""


@step(name="inference", reads=["ingestion", "preprocessing", "models"])
def handler(event: Mapping[str, Any], task: Task) -> Mapping[str, Any]:
    """Have the endpoint compute a shard; row i of the output is record i of the shard.

    Returns:
        ``vectors`` or ``answers`` as :mod:`legato.stages.inference` does, and ``endpoint``: url,
        server, model, revision, and ``revision_enforced``: whether the server has told the commit
        that the workflow pins.

    Raises:
        InputError: A text is too large for the server, or a parameter of the task is wrong.
        ModelError: The server has another model, or answers what is none of the task.
        AccessDeniedError: Host, address or token are refused.
        EndpointUnavailableError: The server is busy, starting or failing, or not reached in time.
        WorkflowError: Another deployment has begun the run.
    """
    check_definition(task)
    inputs = [ref_of(event, "shard", "ref"), ref_of(event, "tokens")]
    files, endpoint = _models.pinned_files(task), _endpoint(task.settings)
    kind, name = OUTPUTS[task.settings.task == _models.VECTORS]
    # What the pinned commit has computed needs no server that may have to be started.
    identity = _identity(endpoint, Server(TEI, revision=endpoint.revision))
    pinned = task.scope.folder(inputs=inputs, parameters=_parameters(task, files, identity))
    output = pinned.find(name) if endpoint.revision is not None else None
    cached = output is not None
    if output is None:
        with closing(_client(task.settings, endpoint)) as client:
            server = _servers.look(client, endpoint, task.settings.task, files.pooling)
            identity = _identity(endpoint, server)
            folder = task.scope.folder(inputs=inputs, parameters=_parameters(task, files, identity))
            output = folder.find(name)
            cached = output is not None
            if output is None:
                output = _write(task, folder, _Call(client, endpoint, server), inputs)
    task.count(records_in=inputs[0].records or 0, out=output.records or 0, cached=cached)
    run = with_enforced(task, enforced=identity["revision_enforced"])
    return {kind: output, "endpoint": identity, "run": run}


class _Call(NamedTuple):
    """Whom to call."""

    client: Client
    endpoint: Endpoint
    server: Server


def _endpoint(settings: Settings) -> Endpoint:
    try:
        return Endpoint.of(settings)
    except WorkflowError as error:
        raise SettingsError(str(error)) from None


def _client(settings: Settings, endpoint: Endpoint) -> Client:
    return Client(
        Place.of(endpoint.url),
        Allowed(endpoint.allowed_hosts),
        credentials_of(settings),
        timeout_s=endpoint.timeout_s,
        scale_up_s=endpoint.scale_up_s,
    )


def _identity(endpoint: Endpoint, server: Server) -> dict[str, Any]:
    """Return what the result says of the model that has computed it."""
    pinned = endpoint.revision
    return {
        "url": endpoint.url,
        "server": server.kind,
        "revision": pinned or server.revision,
        "revision_enforced": pinned is not None and server.revision == pinned,
        **({} if server.model is None else {"model": server.model}),
    }


def _parameters(task: Task, files: ModelFiles, identity: Mapping[str, Any]) -> dict[str, Any]:
    """Return what besides texts and tokens decides the output, and so is in its key.

    Of a server that does not tell which commit it has, nothing is taken over from other runs: it
    may have another one by now. A retry of this run finds what is there.
    """
    settings = task.settings
    told = identity["revision_enforced"] or (
        settings.endpoint_revision is None and identity["revision"] is not None
    )
    # The commit says which model it is, whatever name the server gives it.
    known = {name: identity[name] for name in identity if name != "model" or not told}
    found: dict[str, Any] = {
        "task": settings.task,
        "endpoint": known,
        "config": config_digest(files),
        **({} if told else {"run": task.run.get("id")}),
    }
    if settings.task == _models.VECTORS:
        return {**found, "pooling": files.pooling, "normalize": files.normalize}
    return {**found, "parameters": dict(settings.parameters)}


def _write(task: Task, folder: Folder, call: _Call, inputs: Sequence[Ref]) -> Ref:
    """Compute the shard and commit what comes of it."""
    files, settings, server = _models.pinned_files(task), task.settings, call.server
    _, texts = read_shard(task, inputs[0])
    tokens = Tokens.from_bytes(task.get(inputs[1]))
    check_lengths(tokens, server, _models.max_length(settings, files))
    rows = rows_of(settings, files, texts, server)
    lengths = row_lengths(tokens, len(rows))
    put = _servers.exchange(
        server,
        call.endpoint,
        settings.task,
        about_of(settings, files),
        truncate=tokens.truncated > 0,
    )

    def send(batch: list[Row]) -> Rows:
        return put.read(call.client.post(put.path, body_of(put.request(batch))), len(batch))

    limits = Limits(rows=1) if put.alone else server.limits
    found = compute(rows, lengths, send, limits, call.endpoint.concurrency)
    name = OUTPUTS[settings.task == _models.VECTORS][1]
    if settings.task == _models.VECTORS:
        vectors = vectors_of(files, found, server)
        return folder.commit(
            name,
            native.write_safetensors({VECTORS: vectors}),
            media_type=TENSORS,
            records=len(vectors),
            dtype=str(vectors.dtype),
            shape=list(vectors.shape),
        )
    answers = answers_of(settings, files, found, server)
    lines = "".join(json.dumps(answer, ensure_ascii=False) + "\n" for answer in answers)
    return folder.commit(name, lines.encode(), media_type=JSONL, records=len(answers))
