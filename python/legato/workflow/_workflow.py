"""The definition of a workflow in Python."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from legato.endpoints import Endpoint
from legato.settings import Settings
from legato.workflow._check import check_workflow
from legato.workflow._diagram import diagram_svg
from legato.workflow._document import compile_document
from legato.workflow._environment import compile_environment

PathLike = str | os.PathLike[str]


@dataclass(frozen=True, kw_only=True, repr=False)
class Workflow:
    """A model over a dataset, as one state machine.

    Args:
        name: 1 to 80 letters, digits, ``-`` or ``_``; the state machine's name.
        task: What the model does: ``feature-extraction``, ``text-classification``,
            ``zero-shot-classification`` or ``text-ranking``.
        model: The model's folder.
        model_revision: The model's commit or version, where the folder does not say.
        dataset: The input file, an object (``s3://bucket/key``), or a callable that makes the file
            and returns its path. The callable is called when a run needs it, never here.
        dataset_version: The dataset's version, where the digest of the file is not enough.
        store: The URL that objects lie under, e.g. ``file:///data``.
        fleet: How many shards run at the same time at most, 1 to 10,000.
        shard_tokens: Tokens in a shard at most, 1 to 1,000,000,000, a single record aside: what
            decides how long Inference works on it. A shard has 5 minutes as an EXPRESS child.
        shard_records: Records in a shard at most, 1 to 1,000,000, whatever their tokens.
        max_length: Tokens of a text that the model sees; the model's own limit by default.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:N`` or ``metal``.
        dtype: ``float32``, ``float16``, ``bfloat16`` or ``int8``.
        text_field: The field of a record that holds its text.
        id_field: The field of a record that holds its id.
        parameters: Arguments of the task's call: of text-classification `top_k` and
            `function_to_apply`; of zero-shot-classification `candidate_labels`, which it needs,
            `hypothesis_template` and `multi_label`; of text-ranking `query`, which it needs and
            each text is scored against, and `activation_fn`.
        tolerated_failure_percentage: How many percent of the shards may fail, 0 to 100.
        compute: Where Inference runs on AWS: ``lambda``, ``batch`` or ``ecs`` (for GPUs).
        children: Type of the executions that the fleet consists of, ``EXPRESS`` or ``STANDARD``;
            by default EXPRESS, and STANDARD where `compute` is no ``lambda``, which needs it, or
            where a `backend` may have to be waited for.
        memory_mb: Memory of the Inference function in MiB, 128 to 10,240. Lambda gives one
            processor for each 1,769.
        trigger: Folder below ``inputs/`` of the store, such as ``incoming/``: each new object
            under it starts one run. None starts none.
        schedule: When `dataset`, which must be an object of S3 then, is run by itself:
            ``rate(1 day)`` or ``cron(0 6 * * ? *)``, in UTC.
        rotation: How the Hugging Face token is replaced on AWS: ``staged`` (an operator stages
            tokens) or ``exchange`` (the token exchange of an Enterprise organisation). With it,
            the template has a secret for the token, and the function that replaces it. None has
            neither.
        queries: Example queries that are answered after a run.
        backend: A server that computes instead of the local engine: ``legato.Endpoint(url)``. The
            texts become tokens here all the same, to be counted and checked, so `model` is still
            the folder of that model; of its weights nothing is computed.

    Raises:
        WorkflowError: A value is wrong; the message names it.
    """

    name: str
    task: str
    model: PathLike
    model_revision: str | None = None
    dataset: PathLike | Callable[[], PathLike] | None = None
    dataset_version: str | None = None
    store: str | None = None
    fleet: int = 10
    shard_tokens: int = 32_768
    shard_records: int = 512
    max_length: int | None = None
    device: str = "auto"
    dtype: str = "float32"
    text_field: str = "text"
    id_field: str = "id"
    parameters: Mapping[str, Any] = field(default_factory=dict, hash=False)
    tolerated_failure_percentage: float = 0
    compute: str = "lambda"
    children: str | None = None
    memory_mb: int = 2048
    trigger: str | None = None
    schedule: str | None = None
    rotation: str | None = None
    queries: Sequence[str] = ()
    backend: Endpoint | None = None

    def __post_init__(self) -> None:
        """Check every value."""
        check_workflow(self)
        object.__setattr__(self, "queries", tuple(self.queries))
        object.__setattr__(self, "parameters", dict(self.parameters))
        if self.children is None:
            short = self.compute == "lambda" and self.backend is None
            children = "EXPRESS" if short else "STANDARD"
            object.__setattr__(self, "children", children)

    def __repr__(self) -> str:
        """Return the workflow in one line; not its parameters and queries, which users wrote."""
        model = os.fspath(self.model)
        about = f"task={self.task!r}, model={model!r}, compute={self.compute!r}, fleet={self.fleet}"
        return f"Workflow(name={self.name!r}, {about})"

    def _repr_svg_(self) -> str:
        """Return the diagram of the state machine: what a notebook shows of a workflow."""
        return diagram_svg(self.document())

    def document(self) -> dict[str, Any]:
        """Return the state machine in the Amazon States Language, with ``${Name}`` placeholders.

        Raises:
            WorkflowError: The document is over a limit of Step Functions.
        """
        return compile_document(self)

    def template(self) -> dict[str, Any]:
        """Return the CloudFormation template: functions, roles, bucket, state machine and so on.

        What a deployment chooses, such as bucket, code and key, are its parameters. It is what
        ``legato synth`` writes as ``template.yaml``; the same workflow gives the same template.
        """
        from legato.workflow._template import compile_template

        return compile_template(self, self.document())

    def environment(
        self,
        *,
        store: str,
        model_revision: str,
        dataset_id: str,
        dataset_version: str,
        settings: Settings | None = None,
    ) -> dict[str, str]:
        """Return the environment variables of this workflow's functions.

        Args:
            store: The URL that objects lie under.
            model_revision: The model's commit or version, resolved.
            dataset_id: The dataset's id.
            dataset_version: The dataset's version, resolved.
            settings: How stores are opened here, and so there: owner of the bucket, KMS key and
                so on. The defaults without it.

        Raises:
            WorkflowError: A value is empty or cannot stand in an environment, or all of them
                together are over Lambda's limit of 4,096 bytes.
        """
        return compile_environment(
            self,
            store=store,
            model_revision=model_revision,
            dataset_id=dataset_id,
            dataset_version=dataset_version,
            settings=settings,
        )
