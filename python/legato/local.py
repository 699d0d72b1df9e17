"""Run a workflow in this process: the conductor, bound to the stages and a store."""

from __future__ import annotations

import hashlib
import json
import os
import time
import uuid
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import legato.errors
from legato._native import ModelFiles, Ref, Store
from legato.conductor import Conductor, Execution, HistoryEvent
from legato.errors import InputError, LegatoError, ModelError, WorkflowError
from legato.results import Results
from legato.settings import Settings
from legato.stages import inference, ingestion, preprocessing, storage, validation
from legato.step import Step
from legato.workflow import STORE_BUCKET, Workflow, function_placeholder

STEPS: Mapping[str, Step] = {
    "Ingestion": ingestion.handler,
    "Preprocessing": preprocessing.handler,
    "Inference": inference.handler,
    "Validation": validation.handler,
    "Storage": storage.handler,
}
"""The handler of each stage."""

BUCKET = "local"
Listener = Callable[[HistoryEvent], None]


@dataclass(frozen=True)
class Run:
    """A run that succeeded.

    Attributes:
        id: The run's id; its records lie under ``runs/<id>/`` in the store.
        status: ``complete``, or ``incomplete`` where tolerated failures left shards out.
        result: Reference of the result's manifest.
        counts: Records in, out, rejected and cached, tasks and seconds, of each stage.
        missing: Shards without a part, up to 20.
        seconds: Wall time.
        store: The store that holds all of it.
        rejected_uri: JSON lines that say which records Ingestion rejected, and why.
    """

    id: str
    status: str
    result: Ref
    counts: Mapping[str, Mapping[str, float]]
    missing: list[int]
    seconds: float
    store: Store
    rejected_uri: str

    def rejections(self) -> dict[str, int]:
        """Count the records that Ingestion rejected, by reason; the most frequent first."""
        key = self.rejected_uri.removeprefix(f"{self.store.url}/")
        reasons = Counter(json.loads(line)["reason"] for line in self.store.get(key).splitlines())
        return dict(reasons.most_common())

    def results(self) -> Results:
        """Read ids and vectors."""
        return Results.load(self.store, self.result)


def run(
    workflow: Workflow,
    *,
    store: str | None = None,
    input: str | os.PathLike[str] | None = None,  # noqa: A002 - the field's word, as in the CLI
    text: str | None = None,
    listener: Listener | None = None,
    max_concurrency: int | None = None,
) -> Run:
    """Run a workflow here, by the very document that is deployed.

    Args:
        workflow: The definition.
        store: URL of the store; default: the workflow's, LEGATO_STORE, or ``.legato`` in this folder.
        input: File to read instead of the workflow's dataset: JSONL, CSV, TXT or Parquet.
        text: One prompt instead of a dataset. It is stored, and travels as a reference.
        listener: Called with each event of the state machine's history.
        max_concurrency: Most shards at the same time; default: the processors of this machine.

    Returns:
        What the run has made.

    Raises:
        LegatoError: What the failing state raised, with the state and the run in its message.
    """
    if text is not None and input is not None:
        msg = "give a text or an input, not both"
        raise InputError(msg)
    files = ModelFiles.from_dir(workflow.model)
    if workflow.model_revision not in (None, files.digest):
        msg = f"model {workflow.model} has revision {files.digest}, the workflow says {workflow.model_revision}"
        raise ModelError(msg)
    opened = open_store(workflow, store)
    started = time.perf_counter()
    ref, dataset = _store_prompt(opened, text) if text is not None else _store_input(opened, workflow, input)
    version = workflow.dataset_version or f"sha256:{ref.sha256}"
    environment = workflow.environment(
        store=opened.url, model_revision=files.digest, dataset_id=dataset, dataset_version=version
    )
    settings = Settings.from_env(over=environment)
    about = {
        "id": new_run_id(),
        "mode": "dataset" if text is None else "prompt",
        "workflow": workflow.name,
        "model": {"id": settings.model_id, "revision": files.digest},
        "dataset": {"id": dataset, "version": version},
    }
    conductor = bind(workflow, settings, opened, listener=listener, max_concurrency=max_concurrency)
    execution = conductor.run({"run": about, "input": ref.to_dict()}, name=about["id"])
    _record(opened, about["id"], execution)
    if execution.status != "SUCCEEDED":
        raise _failure(execution)
    output = execution.output
    return Run(
        id=about["id"],
        status=output["status"],
        result=Ref.from_dict(output["result"]),
        counts=output["counts"],
        missing=output["missing"],
        seconds=time.perf_counter() - started,
        store=opened,
        rejected_uri=f"{opened.url}/{output['run']['manifest_key'].rpartition('/')[0]}/rejected.jsonl",
    )


def bind(
    workflow: Workflow,
    settings: Settings,
    store: Store,
    *,
    listener: Listener | None = None,
    max_concurrency: int | None = None,
) -> Conductor:
    """Bind a workflow's document to the stages and a store; nothing else differs from AWS."""
    arns = {stage: f"arn:aws:lambda:local:000000000000:function:{stage.lower()}" for stage in STEPS}
    return Conductor(
        workflow.document(),
        functions={arns[stage]: step.bind(settings, store) for stage, step in STEPS.items()},
        buckets={BUCKET: store},
        substitutions={
            STORE_BUCKET: BUCKET,
            **{function_placeholder(stage): arn for stage, arn in arns.items()},
        },
        listener=listener,
        max_concurrency=max_concurrency,
        name=workflow.name,
    )


def open_store(workflow: Workflow, store: str | None = None) -> Store:
    """Open the store of a run: as asked, the workflow's, LEGATO_STORE, or ``.legato`` in this folder."""
    url = store or workflow.store or Settings.from_env().store
    return Store.open(url or (Path.cwd() / ".legato").as_uri())


def new_run_id() -> str:
    """Return an id that sorts by time."""
    now = datetime.now(timezone.utc).strftime("%Y%m%dT%H%M%S")
    return f"run-{now}-{uuid.uuid4().hex[:8]}"


def _store_input(
    store: Store, workflow: Workflow, given: str | os.PathLike[str] | None
) -> tuple[Ref, str]:
    source = given if given is not None else workflow.dataset
    if source is None:
        msg = f"workflow {workflow.name} has no dataset; give --input FILE or --text TEXT"
        raise InputError(msg)
    path = Path(source() if callable(source) else source)
    digest = hashlib.sha256()
    try:
        with path.open("rb") as file:
            while chunk := file.read(1 << 20):
                digest.update(chunk)
    except OSError as error:
        msg = f"input {path} cannot be read ({error.strerror}); check the path"
        raise InputError(msg) from None
    key = f"inputs/{digest.hexdigest()}/data{path.suffix.lower()}"
    return store.put_file(key, path), str(path)


def _store_prompt(store: Store, text: str) -> tuple[Ref, str]:
    try:
        data = json.dumps({"id": "prompt", "text": text}, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        msg = "the text has a lone surrogate, which no UTF-8 text can have; check the terminal's encoding"
        raise InputError(msg) from None
    key = f"inputs/{hashlib.sha256(data).hexdigest()}/data.jsonl"
    return store.put(key, data, media_type="application/jsonl", records=1), "prompt"


def _record(store: Store, run_id: str, execution: Execution) -> None:
    lines = "".join(json.dumps(event.to_dict()) + "\n" for event in execution.history)
    store.put(f"runs/{run_id}/history.jsonl", lines.encode(), media_type="application/jsonl")


def _failure(execution: Execution) -> LegatoError:
    """Return the error of a run as the class that its state raised."""
    reason = execution.cause or ""
    try:
        reason = json.loads(reason)["errorMessage"]
    except (ValueError, KeyError, TypeError):
        pass
    kind = getattr(legato.errors, execution.error or "", WorkflowError)
    name = "" if kind is not WorkflowError else f"{execution.error}: "
    return kind(f"run {execution.name} failed: {name}{reason}")
