"""Check the values of a workflow."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final

from legato.endpoints import Endpoint
from legato.errors import WorkflowError

if TYPE_CHECKING:
    from legato.workflow._workflow import Workflow

PARAMETERS: Final[Mapping[str, tuple[str, ...]]] = {
    "feature-extraction": (),
    "text-classification": ("top_k", "function_to_apply"),
    "zero-shot-classification": ("candidate_labels", "hypothesis_template", "multi_label"),
    "text-ranking": ("query", "activation_fn"),
}
"""Arguments of each task's call that a workflow may fix."""

REQUIRED: Final = ("candidate_labels", "query")
DTYPES: Final = ("float32", "float16", "bfloat16", "int8")

MAX_FLEET: Final = 10_000
MAX_SHARD_RECORDS: Final = 1_000_000
MAX_SHARD_TOKENS: Final = 1_000_000_000
COMPUTE: Final = ("lambda", "batch", "ecs")
CHILDREN: Final = ("EXPRESS", "STANDARD")
ROTATIONS: Final = ("staged", "exchange")
MEMORY_MB: Final = (128, 10_240)
MAX_LENGTH: Final = 1_000_000
MAX_PERCENTAGE: Final = 100

_NAME: Final = re.compile(r"[A-Za-z0-9_-]{1,80}")
_DEVICE: Final = re.compile(r"auto|cpu|metal|cuda(:[0-9]{1,3})?")
_STORE: Final = re.compile(r"[a-z][a-z0-9+.-]*://.*", re.DOTALL)
_FOLDER: Final = re.compile(r"([A-Za-z0-9_.=-]{1,100}/){1,8}")
_SCHEDULE: Final = re.compile(
    r"rate\([1-9][0-9]{0,5} (minute|hour|day)s?\)"
    r"|cron\([0-9A-Za-z*?/,#-]+( [0-9A-Za-z*?/,#-]+){5}\)"
)


def check_workflow(workflow: Workflow) -> None:
    """Refuse values that no run could use.

    Args:
        workflow: The definition.

    Raises:
        WorkflowError: A value is wrong; the message names the field, the value and what is allowed.
    """
    _match("name", workflow.name, _NAME, "1 to 80 letters, digits, '-' or '_'")
    _one_of("task", workflow.task, tuple(PARAMETERS))
    _path("model", workflow.model)
    if workflow.dataset is not None and not callable(workflow.dataset):
        _path("dataset", workflow.dataset)
    for field in ("model_revision", "dataset_version"):
        if getattr(workflow, field) is not None:
            _text(field, getattr(workflow, field))
    if workflow.store is not None:
        _match("store", workflow.store, _STORE, "a URL such as file:///data")
    _integer("fleet", workflow.fleet, MAX_FLEET)
    _integer("shard_records", workflow.shard_records, MAX_SHARD_RECORDS)
    _integer("shard_tokens", workflow.shard_tokens, MAX_SHARD_TOKENS)
    if workflow.max_length is not None:
        _integer("max_length", workflow.max_length, MAX_LENGTH)
    _match("device", workflow.device, _DEVICE, "auto, cpu, cuda, cuda:N or metal")
    _one_of("dtype", workflow.dtype, DTYPES)
    _text("text_field", workflow.text_field)
    _text("id_field", workflow.id_field)
    if workflow.text_field == workflow.id_field:
        raise _error("id_field", workflow.id_field, "another field than text_field")
    _percentage("tolerated_failure_percentage", workflow.tolerated_failure_percentage)
    _aws(workflow)
    _backend(workflow)
    _parameters(workflow.task, workflow.parameters)
    _queries(workflow.queries)
    if workflow.queries and workflow.task != "feature-extraction":
        msg = f"queries are for feature-extraction; {workflow.task} has no vectors to search"
        raise WorkflowError(msg)


def _aws(workflow: Workflow) -> None:
    _one_of("compute", workflow.compute, COMPUTE)
    if workflow.children is not None:
        _one_of("children", workflow.children, CHILDREN)
        if workflow.children == "EXPRESS" and workflow.compute != "lambda":
            # Inside an EXPRESS execution a task can only be asked, not waited for.
            msg = f"children is 'EXPRESS'; compute={workflow.compute!r} needs 'STANDARD'"
            raise WorkflowError(msg)
    if workflow.rotation is not None:
        _one_of("rotation", workflow.rotation, ROTATIONS)
    _integer("memory_mb", workflow.memory_mb, MEMORY_MB[1], low=MEMORY_MB[0])
    if workflow.trigger is not None:
        allowed = "a folder such as 'incoming/': letters, digits, '_.=-', and '/' at its end"
        _match("trigger", workflow.trigger, _FOLDER, allowed)
    if workflow.schedule is not None:
        allowed = "rate(1 day) or cron(0 6 * * ? *)"
        _match("schedule", workflow.schedule, _SCHEDULE, allowed)
        if not str(workflow.dataset).startswith("s3://"):
            msg = "schedule needs a dataset that every run can read: dataset='s3://bucket/key'"
            raise WorkflowError(msg)


def _backend(workflow: Workflow) -> None:
    backend = workflow.backend
    if backend is None:
        return
    if not isinstance(backend, Endpoint):
        raise _error("backend", backend, "legato.Endpoint(url), or None for the local engine")
    for field, only in (("compute", "lambda"), ("device", "auto"), ("dtype", "float32")):
        if getattr(workflow, field) != only:
            value = getattr(workflow, field)
            raise WorkflowError(f"{field} is {value!r}; with a backend the server decides: {only}")
    if workflow.task == "text-ranking" and backend.server == "pipeline":
        raise WorkflowError("text-ranking needs a TEI server, which has /rerank")


def _parameters(task: str, value: object) -> None:
    # Not quoted in messages: a query is the user's text.
    known = PARAMETERS[task]
    if not isinstance(value, Mapping) or any(name not in known for name in value):
        allowed = f"a dict with {', '.join(known)}" if known else f"empty with {task}"
        raise WorkflowError(f"parameters must be {allowed}")
    for name in known:
        if name in REQUIRED and not value.get(name):
            raise WorkflowError(f"{task} needs parameters={{{name!r}: ...}}")
    try:
        json.dumps(dict(value), allow_nan=False, ensure_ascii=False).encode()
    except (TypeError, ValueError):
        raise WorkflowError("parameters must have values that JSON has, in UTF-8") from None


def _error(field: str, value: object, allowed: str) -> WorkflowError:
    return WorkflowError(f"{field} is {value!r}; use {allowed}")


def _match(field: str, value: object, pattern: re.Pattern[str], allowed: str) -> None:
    if not isinstance(value, str) or not pattern.fullmatch(value):
        raise _error(field, value, allowed)


def _one_of(field: str, value: object, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise _error(field, value, " or ".join(allowed))


def _text(field: str, value: object) -> None:
    if not isinstance(value, str) or not value.strip():
        raise _error(field, value, "a text that is not empty")


def _path(field: str, value: object) -> None:
    if not isinstance(value, (str, os.PathLike)) or not isinstance(os.fspath(value), str):
        raise _error(field, value, "a path")
    if not os.fspath(value):
        raise _error(field, value, "a path that is not empty")


def _integer(field: str, value: object, high: int, *, low: int = 1) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise _error(field, value, f"a whole number from {low:,} to {high:,}")


def _percentage(field: str, value: object) -> None:
    number = not isinstance(value, bool) and isinstance(value, (int, float))
    # NaN compares false, so it is refused too.
    if not number or not 0 <= value <= MAX_PERCENTAGE:  # type: ignore[operator]
        raise _error(field, value, "a number from 0 to 100")


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _queries(value: object) -> None:
    # Not quoted in the message: a query is the user's text.
    if isinstance(value, str) or not isinstance(value, Sequence):
        raise WorkflowError("queries must be a list of texts")
    for number, query in enumerate(value):
        if not isinstance(query, str) or not query.strip() or not _is_utf8(query):
            raise WorkflowError(f"queries[{number}] must be a text that is not empty, in UTF-8")
