"""What a state machine needs: of each kind of task, of its Map, of its logs and traces."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from legato.errors import WorkflowError
from legato.workflow._lint._needs import Need

Of = Callable[[str], Mapping[str, Mapping[str, Any]]]

_HERE: Final = "REGION:ACCOUNT"
_DELIVERY: Final = (
    "CreateLogDelivery",
    "DeleteLogDelivery",
    "DescribeLogGroups",
    "DescribeResourcePolicies",
    "GetLogDelivery",
    "ListLogDeliveries",
    "PutResourcePolicy",
    "UpdateLogDelivery",
)
_TRACE: Final = (
    "GetSamplingRules",
    "GetSamplingTargets",
    "PutTelemetryRecords",
    "PutTraceSegments",
)
_WRITTEN: Final = ("AbortMultipartUpload", "GetObject", "ListMultipartUploadParts", "PutObject")
_RULE: Final = f"arn:aws:events:{_HERE}:rule/StepFunctionsGetEventsForBatchJobsRule"

PLACES: Final = {
    "$.run.manifest_key": "ingestion/*/manifest.jsonl",
    "$.run.results_prefix": "runs/*/map",
}
"""Where in the store the paths of a document point, which Ingestion fills in."""


def machine_needs(name: str, machine: Mapping[str, Any], of: Of) -> list[Need]:
    """Return what a state machine's role needs.

    Args:
        name: The machine's logical id.
        machine: Its properties, evaluated.
        of: Returns the resources of a type.

    Raises:
        WorkflowError: A task or a reader is of a kind that is not known here.
    """
    return list(_Machine(name, machine, of).needs())


def tasks(document: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Iterate over name and state of all Task states, those inside of a Map included."""
    for name, state in document["States"].items():
        if state["Type"] == "Task":
            yield name, state
        if "ItemProcessor" in state:
            yield from tasks(state["ItemProcessor"])


def definition(machine: Mapping[str, Any]) -> dict[str, Any]:
    """Return the document of a state machine, its placeholders filled in."""
    text = machine["DefinitionString"]
    for name, value in machine["DefinitionSubstitutions"].items():
        text = text.replace(f"${{{name}}}", str(value))
    found: dict[str, Any] = json.loads(text)
    return found


def labels(machine: Mapping[str, Any]) -> list[str]:
    """Return the labels of a state machine's Maps: their executions are of `<machine>/<label>`."""
    return [state["Label"] for _, state in _maps(definition(machine))]


class _Machine:
    def __init__(self, name: str, machine: Mapping[str, Any], of: Of) -> None:
        self._name, self._about, self._of = name, machine, of
        self._role = machine["RoleArn"].rpartition("/")[2]
        self._own = machine["StateMachineName"]
        self._document = definition(machine)

    def needs(self) -> Iterator[Need]:
        for name, state in tasks(self._document):
            yield from self._task(name, state)
        for name, state in _maps(self._document):
            yield from self._map(name, state)
        if self._about["LoggingConfiguration"]["Level"] != "OFF":
            yield from (self._need(f"logs:{action}", "*", self._name) for action in _DELIVERY)
        if self._about["TracingConfiguration"]["Enabled"]:
            yield from (self._need(f"xray:{action}", "*", self._name) for action in _TRACE)

    def _need(
        self, action: str, resource: str, who: str, context: Mapping[str, str] | None = None
    ) -> Need:
        return Need(self._role, action, resource, who, context or {}, tuple(context or {}))

    def _task(self, name: str, state: Mapping[str, Any]) -> Iterator[Need]:
        given, service = state["Parameters"], state["Resource"].partition(":::")[2]
        if service == "lambda:invoke":
            yield self._need("lambda:InvokeFunction", given["FunctionName"], name)
        elif service == "aws-sdk:sfn:startExecution":
            yield self._need("states:StartExecution", given["StateMachineArn"], name)
        elif service == "batch:submitJob.sync":
            # Any revision: that of a deployment may come while a run goes on.
            family = given["JobDefinition"].rpartition(":")[0]
            yield self._need("batch:SubmitJob", f"{family}:*", name)
            yield self._need("batch:SubmitJob", given["JobQueue"], name)
            yield self._need("batch:TerminateJob", f"arn:aws:batch:{_HERE}:job/*", name)
            yield self._need("batch:DescribeJobs", "*", name)
            for action in ("DescribeRule", "PutRule", "PutTargets"):
                yield self._need(f"events:{action}", _RULE, name)
        elif service == "ecs:runTask.waitForTaskToken":
            yield from self._run_task(name, given)
        else:
            raise WorkflowError(f"state {name} calls {service}, which the linter does not know")

    def _run_task(self, name: str, given: Mapping[str, Any]) -> Iterator[Need]:
        arn = given["TaskDefinition"]
        cluster = {"ecs:cluster": given["Cluster"]}
        yield self._need("ecs:RunTask", f"{arn.rpartition(':')[0]}:*", name, cluster)
        passed = {"iam:PassedToService": "ecs-tasks.amazonaws.com"}
        for about in self._of("AWS::ECS::TaskDefinition").values():
            if arn == f"arn:aws:ecs:{_HERE}:task-definition/{about['Family']}:1":
                for role in ("TaskRoleArn", "ExecutionRoleArn"):
                    yield self._need("iam:PassRole", about[role], name, passed)

    def _map(self, name: str, state: Mapping[str, Any]) -> Iterator[Need]:
        own = f"stateMachine:{self._own}"
        states = f"arn:aws:states:{_HERE}:"
        yield self._need("states:StartExecution", f"{states}{own}", name)
        for action in ("DescribeExecution", "StopExecution"):
            yield self._need(f"states:{action}", f"{states}execution:{self._own}:*", name)
        label = f"{states}execution:{self._own}/{state['Label']}:*"
        yield self._need("states:RedriveExecution", label, name)
        reader, writer = state.get("ItemReader"), state.get("ResultWriter")
        if reader is not None:
            given = reader["Parameters"]
            place = self._place(name, given["Bucket"], given["Key.$"])
            yield self._need("s3:GetObject", place, f"{name} (ItemReader)")
        if writer is not None:
            given = writer["Parameters"]
            place = self._place(name, given["Bucket"], given["Prefix.$"])
            for action in _WRITTEN:
                making = {"s3:ObjectCreationOperation": "true"} if action == "PutObject" else {}
                who = f"{name} (ResultWriter)"
                yield Need(self._role, f"s3:{action}", f"{place}/*", who, making)

    def _place(self, name: str, bucket: str, path: str) -> str:
        if path not in PLACES:
            raise WorkflowError(f"state {name} reads {path}, of which the linter knows no place")
        prefixes = {
            about["Environment"]["Variables"]["LEGATO_STORE"].removeprefix(f"s3://{bucket}/")
            for about in self._of("AWS::Lambda::Function").values()
            if "LEGATO_STORE" in about["Environment"]["Variables"]
        }
        if len(prefixes) != 1:
            raise WorkflowError(f"the functions have other stores than {bucket} of state {name}")
        return f"arn:aws:s3:::{bucket}/{prefixes.pop()}/{PLACES[path]}"


def _maps(document: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for name, state in document["States"].items():
        if state.get("ItemProcessor", {}).get("ProcessorConfig", {}).get("Mode") == "DISTRIBUTED":
            yield name, state
