"""The environment variables that every function of a workflow gets."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Final

from legato.errors import WorkflowError

if TYPE_CHECKING:
    from legato.settings import Settings
    from legato.workflow._workflow import Workflow

MAX_ENVIRONMENT_BYTES: Final = 4096
"""Lambda's limit on all names and values together."""


def compile_environment(  # noqa: PLR0913 - each is a variable of its own
    workflow: Workflow,
    *,
    store: str,
    model_revision: str,
    dataset_id: str,
    dataset_version: str,
    settings: Settings | None = None,
) -> dict[str, str]:
    """Return the variables that ``legato.settings`` reads.

    Args:
        workflow: The definition.
        store: The URL that objects lie under.
        model_revision: The model's commit or version, resolved.
        dataset_id: The dataset's id.
        dataset_version: The dataset's version, resolved.
        settings: How stores are opened here, and so there; the defaults without it.

    Raises:
        WorkflowError: A value is empty, has a NUL or is not UTF-8, or there is too much in all.
    """
    variables = {
        "LEGATO_WORKFLOW": workflow.name,
        "LEGATO_TASK": workflow.task,
        "LEGATO_MODEL_ID": os.fspath(workflow.model),
        "LEGATO_MODEL_REVISION": model_revision,
        "LEGATO_DATASET_ID": dataset_id,
        "LEGATO_DATASET_VERSION": dataset_version,
        "LEGATO_STORE": store,
        "LEGATO_DEVICE": workflow.device,
        "LEGATO_DTYPE": workflow.dtype,
        "LEGATO_SHARD_TOKENS": str(workflow.shard_tokens),
        "LEGATO_SHARD_RECORDS": str(workflow.shard_records),
        "LEGATO_TEXT_FIELD": workflow.text_field,
        "LEGATO_ID_FIELD": workflow.id_field,
        **(settings.of_stores() if settings is not None else {}),
    }
    if workflow.max_length is not None:
        variables["LEGATO_MAX_LENGTH"] = str(workflow.max_length)
    if workflow.backend is not None:
        variables |= workflow.backend.variables()
    if workflow.parameters:
        variables["LEGATO_PARAMETERS"] = json.dumps(dict(workflow.parameters), sort_keys=True)
    total = sum(len(name) + _size(name, value) for name, value in variables.items())
    if total > MAX_ENVIRONMENT_BYTES:
        msg = (
            f"the environment of workflow {workflow.name} has {total:,} bytes, the limit of Lambda "
            f"is {MAX_ENVIRONMENT_BYTES:,}; shorten parameters, paths and names"
        )
        raise WorkflowError(msg)
    return variables


def _size(name: str, value: str) -> int:
    if not value or "\0" in value:
        raise WorkflowError(f"{name} is {value!r}; use a text that is not empty and has no NUL")
    try:
        return len(value.encode("utf-8"))
    except UnicodeEncodeError:
        raise WorkflowError(f"{name} is {value!r}, which is not UTF-8; rename it") from None
