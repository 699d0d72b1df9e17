"""Compile a workflow to its document in the Amazon States Language (JSONPath)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from legato.workflow._compute import job_task
from legato.workflow._limits import check_limits
from legato.workflow._retry import endpoint_retry_policy, retry_policy
from legato.workflow._states import (
    BEGIN,
    INFERENCE,
    INGESTION,
    PROMPT_PREFIX,
    ROUTE,
    SHARD_DONE,
    SHARD_STAGES,
    SHARDS,
    STORAGE,
    STORE_BUCKET,
    function_placeholder,
)

if TYPE_CHECKING:
    from legato.workflow._workflow import Workflow

# The longest that a Lambda function can run.
_TASK_TIMEOUT_S: Final = 900
# An EXPRESS child of the Distributed Map has 5 minutes in all; a STANDARD one has a year.
_SHARD_TIMEOUT_S: Final = {"EXPRESS": 240, "STANDARD": _TASK_TIMEOUT_S}
# Every task has a limit of its own, so this one only ends what nobody watches. A run that hits it
# can still be redriven for 14 days.
_RUN_TIMEOUT_S: Final = 7 * 86_400

_COMMENTS: Final = {
    "Ingestion": "Split the dataset into shards and write their manifest; a prompt is one shard",
    "Preprocessing": "Tokenize the texts of a shard",
    "Inference": "Run the model over the tokens of a shard",
    "Validation": "Check the outputs of a shard, and reject and count what is not valid",
    "Storage": "Commit the result from the manifest and what the shards have written",
}

_ENDPOINT_COMMENT: Final = "Have an endpoint run its model over the texts of a shard"


def compile_document(workflow: Workflow) -> dict[str, Any]:
    """Return the state machine of a workflow.

    Function ARNs and the bucket are ``${Name}`` placeholders, as in CloudFormation's
    DefinitionSubstitutions. The same workflow gives the same document.

    Args:
        workflow: The definition in Python.

    Raises:
        WorkflowError: The document is over a limit of Step Functions.
    """
    prompt = _shard_states(
        workflow,
        prefix=PROMPT_PREFIX,
        timeout_s=_TASK_TIMEOUT_S,
        after=STORAGE,
        children="STANDARD",
    )
    document = {
        "Comment": f"legato workflow {workflow.name}: {workflow.task}",
        "StartAt": BEGIN,
        "TimeoutSeconds": _RUN_TIMEOUT_S,
        "States": {
            BEGIN: _begin(),
            INGESTION: _task(INGESTION, timeout_s=_TASK_TIMEOUT_S, following=ROUTE),
            ROUTE: _route(next(iter(prompt))),
            **prompt,
            SHARDS: _shards(workflow),
            STORAGE: _task(STORAGE, timeout_s=_TASK_TIMEOUT_S, following=None),
        },
    }
    check_limits(document)
    return document


def _begin() -> dict[str, Any]:
    return {
        "Type": "Pass",
        "Comment": "The run's id is the execution's name, whoever started it",
        "InputPath": "$$.Execution.Name",
        "ResultPath": "$.run.id",
        "Next": INGESTION,
    }


def _task(stage: str, *, timeout_s: int, following: str | None) -> dict[str, Any]:
    return {
        "Type": "Task",
        "Comment": _COMMENTS[stage],
        "Resource": "arn:aws:states:::lambda:invoke",
        "Parameters": {
            "FunctionName": f"${{{function_placeholder(stage)}}}",
            "Payload.$": "$",
        },
        "OutputPath": "$.Payload",
        "TimeoutSeconds": timeout_s,
        "Retry": retry_policy(),
        # No Catch: a caught task has exited, and a redrive would not run it again.
        **({"End": True} if following is None else {"Next": following}),
    }


def _shard_states(
    workflow: Workflow, *, prefix: str, timeout_s: int, after: str, children: str
) -> dict[str, Any]:
    states = {}
    for stage, following in zip(SHARD_STAGES, [*SHARD_STAGES[1:], None], strict=True):
        then = after if following is None else f"{prefix}{following}"
        if stage == INFERENCE and workflow.compute != "lambda":
            task = job_task(workflow, comment=_COMMENTS[stage], following=then)
        else:
            task = _task(stage, timeout_s=timeout_s, following=then)
        if stage == INFERENCE and workflow.backend is not None:
            task |= {"Comment": _ENDPOINT_COMMENT, "Retry": endpoint_retry_policy(children)}
        states[f"{prefix}{stage}"] = task
    return states


def _route(prompt: str) -> dict[str, Any]:
    return {
        "Type": "Choice",
        "Comment": "One prompt needs no fleet",
        "Choices": [{"Variable": "$.run.mode", "StringEquals": "prompt", "Next": prompt}],
        "Default": SHARDS,
    }


def _shards(workflow: Workflow) -> dict[str, Any]:
    children = str(workflow.children)
    timeout_s = _SHARD_TIMEOUT_S[children]
    states = _shard_states(
        workflow, prefix="", timeout_s=timeout_s, after=SHARD_DONE, children=children
    )
    states[SHARD_DONE] = {
        "Type": "Succeed",
        "Comment": "Return {}: what a shard has made lies in the store, under its run's records",
        "OutputPath": None,
    }
    return {
        "Type": "Map",
        "Comment": "Run each shard of the manifest as an execution of its own",
        "Label": SHARDS,
        "ItemReader": {
            "Resource": "arn:aws:states:::s3:getObject",
            "ReaderConfig": {"InputType": "JSONL"},
            "Parameters": {"Bucket": f"${{{STORE_BUCKET}}}", "Key.$": "$.run.manifest_key"},
        },
        "ItemSelector": {"run.$": "$.run", "shard.$": "$$.Map.Item.Value"},
        "ItemProcessor": {
            "ProcessorConfig": {"Mode": "DISTRIBUTED", "ExecutionType": children},
            "StartAt": SHARD_STAGES[0],
            "States": states,
        },
        "MaxConcurrency": workflow.fleet,
        "ToleratedFailurePercentage": workflow.tolerated_failure_percentage,
        # How each child ended, beside the run's records. Without it all outputs together would
        # count against 256 KiB.
        "ResultWriter": {
            "Resource": "arn:aws:states:::s3:putObject",
            "Parameters": {
                "Bucket": f"${{{STORE_BUCKET}}}",
                "Prefix.$": "$.run.results_prefix",
            },
        },
        # Storage reads what the shards have written, not what the Map returns.
        "ResultPath": None,
        "Next": STORAGE,
    }
