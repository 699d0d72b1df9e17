"""Run a workflow in this process: the conductor, bound to the stages and a store."""

from __future__ import annotations

import contextlib
import json
import os
import re
import time
import uuid
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

from legato import _home
from legato._events import JSONL
from legato._failures import Failures, Listener
from legato._inputs import Source, store_source
from legato._jobs import job
from legato._native import ModelFiles, Ref, Store
from legato.conductor import Conductor, Execution
from legato.errors import InputError, LegatoError
from legato.pipeline import check_revision
from legato.results import Results
from legato.settings import Settings
from legato.stages import endpoint, inference, ingestion, preprocessing, storage, validation
from legato.stages._models import max_length
from legato.step import Step
from legato.workflow import STORE_BUCKET, Workflow, function_placeholder
from legato.workflow._states import JOB_DEFINITION, JOB_PLACEHOLDERS, TASK_DEFINITION

STEPS: Mapping[str, Step] = {
    "Ingestion": ingestion.handler,
    "Preprocessing": preprocessing.handler,
    "Inference": inference.handler,
    "Validation": validation.handler,
    "Storage": storage.handler,
}
"""The handler of each stage, where the engine computes."""

BUCKET = "local"
_SCHEME = re.compile(r"[a-z][a-z0-9+.-]*:")


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
        """Read ids, and vectors or answers."""
        return Results.load(self.store, self.result)


def run(  # noqa: PLR0913 - all but the first are optional
    workflow: Workflow,
    *,
    store: str | os.PathLike[str] | None = None,
    input: str | os.PathLike[str] | None = None,  # noqa: A002 - as on the command line
    text: str | None = None,
    listener: Listener | None = None,
    max_concurrency: int | None = None,
) -> Run:
    """Run a workflow here, by the very document that is deployed.

    Args:
        workflow: The definition.
        store: URL or folder of the store; default: the workflow's, LEGATO_STORE, or ``.legato``.
        input: File to read instead of the workflow's dataset: JSONL, CSV, TXT or Parquet, or an
            object, ``s3://bucket/key``, which is read where it lies.
        text: One prompt instead of a dataset. It is stored, and travels as a reference.
        listener: Called with each event of the state machine's history.
        max_concurrency: Most shards at the same time; default: the processors of this machine.

    Returns:
        What the run has made.

    Raises:
        LegatoError: Of the class that the failing state raised, with the state and the run in its
            message; WorkflowError where that is no error of legato.
    """
    if text is not None and input is not None:
        msg = "give a text or an input, not both"
        raise InputError(msg)
    files = ModelFiles.from_dir(workflow.model)
    check_revision(files, workflow.model, workflow.model_revision, f"workflow {workflow.name}")
    if workflow.max_length is not None:
        max_length(Settings(max_length=workflow.max_length), files)
    opened = open_store(workflow, store)
    started = time.perf_counter()
    source = store_source(opened, workflow, input, text)
    settings = _settings(workflow, opened, files, source)
    run_id = new_run_id()
    event = {
        "run": {
            "mode": "dataset" if text is None else "prompt",
            "workflow": workflow.name,
            "model": {"id": settings.model_id, "revision": settings.model_revision},
            "dataset": {"id": settings.dataset_id, "version": settings.dataset_version},
        },
        "input": source.ref.to_dict(),
    }
    failures = Failures(listener)
    conductor = bind(workflow, settings, opened, listener=failures, max_concurrency=max_concurrency)
    execution = conductor.run(event, name=run_id)
    if execution.status != "SUCCEEDED":
        with contextlib.suppress(LegatoError):
            # What failed the run may be the store itself.
            _record(opened, execution)
        raise failures.error(execution)
    _record(opened, execution)
    return run_of(opened, execution, time.perf_counter() - started)


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
    called = {} if workflow.backend is None else {"Inference": endpoint.handler}
    steps = {**STEPS, **called}
    container = job(steps["Inference"], settings, store)
    return Conductor(
        workflow.document(),
        functions={arns[stage]: step.bind(settings, store) for stage, step in steps.items()},
        jobs=dict.fromkeys((JOB_DEFINITION, TASK_DEFINITION), container),
        buckets={BUCKET: _bucket(store)},
        substitutions={
            STORE_BUCKET: BUCKET,
            **{function_placeholder(stage): arn for stage, arn in arns.items()},
            # Of a container here the definition is known by the placeholder's own name.
            **{name: name for name in JOB_PLACEHOLDERS},
        },
        listener=listener,
        max_concurrency=max_concurrency,
        name=workflow.name,
    )


def _bucket(store: Store) -> Store:
    """Return the bucket of a store: item readers know it by keys that have the prefix."""
    scheme, _, rest = store.url.partition("://")
    return store.beside(f"s3://{rest.partition('/')[0]}") if scheme == "s3" else store


def open_store(workflow: Workflow, store: str | os.PathLike[str] | None = None) -> Store:
    """Open the store of a run: the one asked for, the workflow's, LEGATO_STORE, or ``.legato``.

    Args:
        workflow: The definition.
        store: A URL, or the path of a folder.
    """
    settings = Settings.from_env()
    asked = store if store is not None else workflow.store or settings.store
    url = os.fspath(asked) if asked is not None else ".legato"
    if "://" in url:
        return _home.open_store(url, settings)
    if not url or "\0" in url or _SCHEME.match(url):
        msg = (
            f"store {url!r} is neither a folder nor a URL; "
            "use a path, s3://bucket/prefix, file:///folder or memory://name"
        )
        raise InputError(msg)
    return Store.open(Path(url).expanduser().resolve().as_uri())


def new_run_id() -> str:
    """Return an id that sorts by time."""
    now = datetime.now(timezone.utc).strftime("%Y%m%dT%H%M%S")
    return f"run-{now}-{uuid.uuid4().hex[:8]}"


def _settings(workflow: Workflow, store: Store, files: ModelFiles, source: Source) -> Settings:
    environment = workflow.environment(
        store=store.url,
        model_revision=files.digest,
        dataset_id=source.dataset,
        dataset_version=source.version or f"sha256:{source.ref.sha256}",
    )
    # What the workflow leaves open stays so, whatever this process's environment: of a limit the
    # model's own holds.
    names = ("LEGATO_MAX_LENGTH", "LEGATO_ENDPOINT_SERVER", "LEGATO_ENDPOINT_REVISION")
    return Settings.from_env(over={**dict.fromkeys(names, ""), **environment})


def run_of(store: Store, execution: Execution, seconds: float) -> Run:
    """Return what an execution has made, from its output."""
    output = execution.output
    manifest = Ref.from_dict(output["run"]["manifest"])
    folder = store.key_of(manifest).rpartition("/")[0]
    return Run(
        id=execution.name,
        status=output["status"],
        result=Ref.from_dict(output["result"]),
        counts=output["counts"],
        missing=output["missing"],
        seconds=seconds,
        store=store,
        rejected_uri=f"{store.url}/{folder}/rejected.jsonl",
    )


def _record(store: Store, execution: Execution) -> None:
    lines = "".join(json.dumps(event.to_dict()) + "\n" for event in execution.history)
    store.put(lines.encode(), f"runs/{execution.name}/history.jsonl", media_type=JSONL)
