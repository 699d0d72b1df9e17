"""The functions of the stages: a version each, behind the alias that the state machine calls."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

from legato.workflow._arns import log_group
from legato.workflow._grant import HAS_VPC, is_function
from legato.workflow._grants import dataset_of_s3
from legato.workflow._states import INFERENCE, INGESTION, STAGES, function_placeholder
from legato.workflow._template._parameters import (
    HAS_ENDPOINT,
    HAS_LAYER,
    if_given,
    memory_parameter,
)
from legato.workflow._template._roles import role_id

if TYPE_CHECKING:
    from legato.workflow._workflow import Workflow

ALIAS: Final = "live"
STORE_URL: Final = "s3://${Bucket}/${StorePrefix}"
_SUBSTITUTED: Final = {
    "LEGATO_STORE": {"Fn::Sub": STORE_URL},
    # A bucket of that name in another account is not this one.
    "LEGATO_BUCKET_OWNER": {"Ref": "AWS::AccountId"},
    "LEGATO_MODEL_ID": {"Ref": "ModelId"},
    "LEGATO_MODEL_REVISION": {"Ref": "ModelRevision"},
    "LEGATO_DATASET_ID": {"Ref": "DatasetId"},
    "LEGATO_DATASET_VERSION": {"Ref": "DatasetVersion"},
}

MARGIN_S: Final = 5
"""Seconds that a function ends before its task does: so it is seen why."""

MAX_TIMEOUT_S: Final = 900


def function_id(stage: str) -> str:
    """Return the logical id of a stage's function."""
    return f"{stage}Function"


def handler_of(stage: str, *, backend: bool = False) -> str:
    """Return module and name of a stage's step; `backend` says whether an endpoint computes."""
    module = "endpoint" if backend and stage == INFERENCE else stage.lower()
    return f"legato.stages.{module}.handler"


def alias_id(stage: str) -> str:
    """Return the logical id of a stage's alias, whose Ref is the ARN to call."""
    return f"{stage}Alias"


def log_group_id(stage: str) -> str:
    """Return the logical id of a stage's log group."""
    return f"{stage}Logs"


def log_group_of(name: str, tags: list[dict[str, Any]]) -> dict[str, Any]:
    """Return a log group, by its name."""
    return {
        "Type": "AWS::Logs::LogGroup",
        "DeletionPolicy": "Delete",
        "UpdateReplacePolicy": "Delete",
        "Properties": {
            "LogGroupName": {"Fn::Sub": name},
            "RetentionInDays": {"Ref": "LogRetentionDays"},
            "Tags": tags,
        },
    }


def environment(workflow: Workflow) -> dict[str, Any]:
    """Return the variables that legato reads, of which the deployment says the values."""
    # What the dashes stand for is the deployment's to say.
    found = workflow.environment(store="-", model_revision="-", dataset_id="-", dataset_version="-")
    return {**found, **_SUBSTITUTED}


def functions(
    workflow: Workflow, document: Mapping[str, Any], tags: list[dict[str, Any]]
) -> dict[str, Any]:
    """Return function, version, alias and log group of each stage that is a function."""
    found: dict[str, Any] = {}
    for stage in STAGES:
        found[log_group_id(stage)] = log_group_of(log_group(stage), tags)
        if not is_function(workflow, stage):
            continue
        properties = _properties(workflow, document, stage, tags)
        digest = _digest(properties)
        # Another description makes another version possible, and makes it: what a version is
        # published of must have changed, and a version is replaced where one of its own
        # properties does.
        description = f"legato {stage}; {digest} {{code}} {{release}}"
        said = {"Fn::Sub": description.format(code="${CodeKey}", release="${Release}")}
        found[function_id(stage)] = {
            "Type": "AWS::Lambda::Function",
            "Properties": {"Description": said, **properties},
        }
        found[f"{stage}Version"] = {
            "Type": "AWS::Lambda::Version",
            "Properties": {"FunctionName": {"Ref": function_id(stage)}, "Description": said},
        }
        found[alias_id(stage)] = {
            "Type": "AWS::Lambda::Alias",
            "Properties": {
                "Name": ALIAS,
                "FunctionName": {"Ref": function_id(stage)},
                "FunctionVersion": {"Fn::GetAtt": [f"{stage}Version", "Version"]},
            },
        }
    return found


def _properties(
    workflow: Workflow, document: Mapping[str, Any], stage: str, tags: list[dict[str, Any]]
) -> dict[str, Any]:
    network = {"SubnetIds": {"Ref": "SubnetIds"}, "SecurityGroupIds": {"Ref": "SecurityGroupIds"}}
    variables = {
        **environment(workflow),
        **(_sources(workflow) if stage == INGESTION else {}),
        "AWS_ENDPOINT_URL_S3": if_given(HAS_ENDPOINT, {"Ref": "S3EndpointUrl"}),
    }
    return {
        "FunctionName": {"Fn::Sub": f"${{AWS::StackName}}-{stage.lower()}"},
        "Handler": handler_of(stage, backend=workflow.backend is not None),
        "Runtime": {"Ref": "Runtime"},
        "Architectures": [{"Ref": "Architecture"}],
        "Code": {"S3Bucket": {"Ref": "CodeBucket"}, "S3Key": {"Ref": "CodeKey"}},
        "Layers": if_given(HAS_LAYER, [{"Ref": "LayerArn"}]),
        "MemorySize": {"Ref": memory_parameter(stage)},
        "EphemeralStorage": {"Size": {"Ref": "TemporaryStorage"}},
        "Timeout": timeout_s(document, stage),
        "Role": {"Fn::GetAtt": [role_id(stage.lower()), "Arn"]},
        "Environment": {"Variables": variables},
        "VpcConfig": if_given(HAS_VPC, network),
        "TracingConfig": {"Mode": "Active"},
        "LoggingConfig": {"LogFormat": "Text", "LogGroup": {"Ref": log_group_id(stage)}},
        "Tags": tags,
    }


def timeout_s(document: Mapping[str, Any], stage: str) -> int:
    """Return for how long a stage's function may run: a little less than any task that calls it."""
    arn = f"${{{function_placeholder(stage)}}}"
    limits = [
        int(task["TimeoutSeconds"])
        for task in tasks(document)
        if task.get("Parameters", {}).get("FunctionName") == arn
    ]
    return min([*limits, MAX_TIMEOUT_S]) - MARGIN_S


def tasks(document: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Iterate over all Task states of a document, those inside of a Map included."""
    for state in document["States"].values():
        if state["Type"] == "Task":
            yield state
        if "ItemProcessor" in state:
            yield from tasks(state["ItemProcessor"])


def _sources(workflow: Workflow) -> dict[str, str]:
    """Return what lets Ingestion read a dataset that lies outside of the store: its folder.

    The bucket may be another account's, and one owner is asked of all buckets.
    """
    dataset = dataset_of_s3(workflow)
    if dataset is None:
        return {}
    folder = quote(f"{dataset.rpartition('/')[0]}", safe="/")
    return {"LEGATO_ALLOWED_STORES": f"s3://{folder}", "LEGATO_BUCKET_OWNER": ""}


def _digest(properties: Mapping[str, Any]) -> str:
    text = json.dumps(properties, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]
