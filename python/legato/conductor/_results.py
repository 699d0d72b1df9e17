"""What a distributed Map exports: how each child ended, in the files that Step Functions writes."""

from __future__ import annotations

import threading
import uuid
from dataclasses import dataclass
from typing import Any, Final

from legato.conductor._checkpoint import Export, MapRun
from legato.conductor._execution import ACCOUNT, Outcome
from legato.conductor._failure import RESULT_WRITER_FAILED, StateFailure
from legato.conductor._frame import Frame, ObjectStore
from legato.conductor._model import Map, ResultWriter
from legato.conductor._payload import encode
from legato.conductor._shown import shown
from legato.conductor._template import Scope
from legato.errors import LegatoError

FILE_BYTES: Final = 64 << 20
"""Size at which a file is written and the next begun. AWS's files have up to 5 GB, which nobody
would want in memory here; readers follow the manifest either way."""

_KINDS: Final = ("FAILED", "PENDING", "SUCCEEDED")


@dataclass(frozen=True, slots=True, kw_only=True)
class Child:
    """What is told of a child besides how it ended."""

    context: dict[str, Any]
    data: Any
    stopped: str
    redrivable: str


class Results:
    """Collects the children of one Map Run; safe to use from several threads.

    Args:
        state: The Map state's name, for messages.
        store: The bucket.
        bucket: Its name.
        folder: Key prefix of this Map Run's files, without a slash at its end.
        map_run: The Map Run; what it exports of succeeded children stays with it.
    """

    def __init__(
        self, state: str, store: ObjectStore, bucket: str, folder: str, map_run: MapRun
    ) -> None:
        self._state = state
        self._store = store
        self._bucket = bucket
        self._folder = folder
        self._map_run = map_run.arn
        self._files = {"FAILED": Export(), "PENDING": Export(), "SUCCEEDED": map_run.succeeded}
        self._lock = threading.Lock()
        self._failure: StateFailure | None = None

    def add(self, child: Child, outcome: Outcome) -> None:
        """Add a child that has ended."""
        kind = "SUCCEEDED" if outcome.status == "SUCCEEDED" else "FAILED"
        self._append(kind, _entry(child, outcome))

    def add_pending(self, data: Any) -> None:
        """Add an item of which no child has started."""
        self._append("PENDING", {**_payload("Input", encode(data)), "Status": "PENDING"})

    def close(self) -> None:
        """Write what is left, and the manifest last."""
        with self._lock:
            for kind in _KINDS:
                self._flush(kind)
            manifest = {
                "DestinationBucket": self._bucket,
                "MapRunArn": self._map_run,
                "ResultFiles": {kind: self._files[kind].written for kind in _KINDS},
            }
            self._put(f"{self._folder}/manifest.json", encode(manifest))

    def exported(self) -> dict[str, Any]:
        """Return the result of a Map that has exported.

        Raises:
            StateFailure: ``States.ResultWriterFailed``: the bucket refused a file.
        """
        if self._failure is not None:
            raise self._failure
        details = {"Bucket": self._bucket, "Key": f"{self._folder}/manifest.json"}
        return {"MapRunArn": self._map_run, "ResultWriterDetails": details}

    def _append(self, kind: str, entry: dict[str, Any]) -> None:
        data = encode(entry)
        with self._lock:
            file = self._files[kind]
            if file.size + len(data) > FILE_BYTES:
                self._flush(kind)
            file.entries.append(data)
            file.size += len(data) + 1

    def _flush(self, kind: str) -> None:
        file = self._files[kind]
        if not file.entries:
            return
        data = b"[" + b",".join(file.entries) + b"]"
        key = f"{self._folder}/{kind}_{len(file.written)}.json"
        if self._put(key, data):
            file.written.append({"Key": key, "Size": len(data)})
            file.entries, file.size = [], 0

    def _put(self, key: str, data: bytes) -> bool:
        if self._failure is not None:
            return False
        what = f"state {self._state}: object {shown(key)} of bucket {shown(self._bucket)}"
        try:
            self._store.put(data, key)
            return True  # noqa: TRY300 - else nothing more is tried
        except LegatoError as exc:
            self._failure = StateFailure(RESULT_WRITER_FAILED, f"{what}: {exc}")
        except Exception as exc:  # noqa: BLE001 - whatever a store raises is its refusal
            why = f"{what} cannot be written: {type(exc).__name__}"
            self._failure = StateFailure(RESULT_WRITER_FAILED, why)
        return False


def open_results(
    frame: Frame, state: Map, writer: ResultWriter, scope: Scope, map_run: MapRun
) -> Results:
    """Find the place of a Map Run's results.

    Args:
        frame: The execution that the Map belongs to.
        state: The Map state.
        writer: Its ResultWriter.
        scope: Its data.
        map_run: The Map Run.

    Raises:
        StateFailure: ``States.ResultWriterFailed``: the bucket is not bound, or bucket and prefix
            are no texts.
    """
    where = writer.parameters(scope)
    bucket, prefix = where["Bucket"], where.get("Prefix", "")
    if not isinstance(bucket, str) or not isinstance(prefix, str):
        cause = f"state {state.name}: Bucket and Prefix of ResultWriter must be texts"
        raise StateFailure(RESULT_WRITER_FAILED, cause)
    store = frame.engine.buckets.get(bucket)
    if store is None:
        what = f"bucket {shown(bucket)} of ResultWriter is not bound; bind a store to it in buckets"
        raise StateFailure(RESULT_WRITER_FAILED, f"state {state.name}: {what}")
    run = map_run.arn.rpartition(":")[2]
    folder = f"{prefix.rstrip('/')}/{run}" if prefix else run
    return Results(state.name, store, bucket, folder, map_run)


def new_arn(frame: Frame, state: Map) -> str:
    """Return the ARN of a new Map Run."""
    machine = frame.context["StateMachine"]["Name"]
    return f"{ACCOUNT}:mapRun:{machine}/{state.label}:{uuid.uuid4()}"


def _entry(child: Child, outcome: Outcome) -> dict[str, Any]:
    execution = child.context["Execution"]
    how: dict[str, Any] = {}
    if outcome.failure is not None:
        how = {"Cause": outcome.failure.cause, "Error": outcome.failure.error}
    elif outcome.status == "SUCCEEDED":
        how = _payload("Output", outcome.encoded)
    return {
        "ExecutionArn": execution["Id"],
        **_payload("Input", encode(child.data)),
        "Name": execution["Name"],
        **how,
        "RedriveCount": execution["RedriveCount"],
        "RedriveStatus": "NOT_REDRIVABLE" if outcome.status == "SUCCEEDED" else child.redrivable,
        "StartDate": execution["StartTime"],
        "StateMachineArn": child.context["StateMachine"]["Id"],
        "Status": outcome.status,
        "StopDate": child.stopped,
    }


def _payload(name: str, data: bytes) -> dict[str, Any]:
    return {name: data.decode(), f"{name}Details": {"Included": True}}
