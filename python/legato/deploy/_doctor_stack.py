"""What legato doctor looks at in a stack: its functions, their roles and the machine."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, Final

from legato._aws import Aws
from legato._aws_errors import explained
from legato.deploy._check import Check
from legato.deploy._granted import Place
from legato.deploy._stack import Stack
from legato.errors import AccessDeniedError
from legato.workflow import STAGES

_FUNCTION: Final = "AWS::Lambda::Function"
_MACHINE: Final = "AWS::StepFunctions::StateMachine"
_HEALTHY: Final = frozenset(
    {"CREATE_COMPLETE", "UPDATE_COMPLETE", "UPDATE_ROLLBACK_COMPLETE", "IMPORT_COMPLETE"}
)


def look_at_stack(stack: Stack) -> Iterator[Check]:
    """Check the stack itself; its parts where it has any."""
    found = stack.describe()
    if found is None:
        fix = "legato deploy WORKFLOW.py, or give --stack-name or --region"
        yield Check("stack", "warn", f"there is no stack {stack.name}", fix)
        return
    status = str(found["StackStatus"])
    if status not in _HEALTHY:
        reason = found.get("StackStatusReason") or "deploy again"
        yield Check("stack", "fail", f"{stack.name} is {status}", str(reason))
        return
    yield Check("stack", "ok", f"{stack.name}, {status}")
    resources = stack.resources()
    functions = [r["PhysicalResourceId"] for r in resources if r["ResourceType"] == _FUNCTION]
    outputs = {o["OutputKey"]: o["OutputValue"] for o in found.get("Outputs", ())}
    yield from _functions(stack.aws, functions, outputs.get("StoreUrl", ""))
    for resource in resources:
        if resource["ResourceType"] == _MACHINE:
            yield from _machine(stack.aws, resource["PhysicalResourceId"])


def _functions(aws: Aws, names: list[str], store_url: str) -> Iterator[Check]:
    ready = 0
    for name in names:
        with explained("lambda:GetFunctionConfiguration", name):
            found = aws.client("lambda").get_function_configuration(FunctionName=name)
        if found.get("State") not in {None, "Active"} or found.get("LastUpdateStatus") == "Failed":
            reason = found.get("StateReason") or found.get("LastUpdateStatusReason") or ""
            yield Check("function", "fail", f"{name} is {found.get('State')}: {reason}", "deploy")
            continue
        ready += 1
        stage = next((s for s in STAGES if name.endswith(f"-{s.lower()}")), None)
        if stage is not None and store_url:
            account = str(found["Role"]).split(":")[4]
            place = Place(store_url, aws.region, account)
            yield from _role(aws, stage, str(found["Role"]), place)
    if names:
        yield Check("functions", "ok", f"{ready} of {len(names)} are ready")


def _role(aws: Aws, stage: str, arn: str, place: Place) -> Iterator[Check]:
    """Ask IAM whether a role may do on S3 what its stage is granted."""
    refused, asked = [], 0
    for grant, made in place.grants():
        if grant.principal != stage.lower() or grant.when or not grant.actions[0].startswith("s3:"):
            continue
        try:
            results = _simulated(aws, arn, made)
        except AccessDeniedError:
            fix = "allow iam:SimulatePrincipalPolicy to look at roles, too"
            yield Check("role", "warn", f"{stage} was not looked at", fix)
            return
        asked += len(results)
        if any(result["EvalDecision"] != "allowed" for result in results):
            refused.append(made)
    role = arn.rpartition("/")[2]
    for made in refused:
        found = f"{role} of {stage} lacks {made['Sid']}: {', '.join(made['Action'])}"
        yield Check("role", "fail", found, f"deploy again, or add to it: {json.dumps(made)}")
    if not refused:
        yield Check("role", "ok", f"{stage}: {role} may do what its stage does ({asked} requests)")


def _simulated(aws: Aws, arn: str, made: dict[str, Any]) -> list[dict[str, Any]]:
    """Return what IAM says to the requests that a statement is to allow, one for each pattern."""
    conditions = made.get("Condition", {}).get("StringLike", {})
    if conditions and aws.endpoint_url:
        # Emulators simulate without a context, and deny whatever has a condition.
        return []
    context = [
        {"ContextKeyName": k, "ContextKeyType": "string", "ContextKeyValues": [_one_of(values[0])]}
        for k, values in conditions.items()
    ]
    results: list[dict[str, Any]] = []
    for pattern in made["Resource"]:
        with explained("iam:SimulatePrincipalPolicy", arn):
            answer = aws.client("iam").simulate_principal_policy(
                PolicySourceArn=arn,
                ActionNames=made["Action"],
                ResourceArns=[_one_of(pattern)],
                ContextEntries=context,
            )
        results += answer["EvaluationResults"]
    return results


def _one_of(pattern: str) -> str:
    return pattern.replace("*", "doctor")


def _machine(aws: Aws, arn: str) -> Iterator[Check]:
    with explained("states:DescribeStateMachine", arn):
        found = aws.client("stepfunctions").describe_state_machine(stateMachineArn=arn)
    name = arn.rpartition(":")[2]
    if found.get("status") != "ACTIVE":
        yield Check("machine", "fail", f"{name} is {found.get('status')}", "deploy again")
        return
    logging = found.get("loggingConfiguration", {})
    if logging.get("level", "OFF") == "OFF":
        yield Check("machine", "warn", f"{name} logs nothing", "deploy again: it logs ALL")
    elif logging.get("includeExecutionData"):
        fix = "set includeExecutionData to false: states carry no texts, and logs need no data"
        yield Check("machine", "warn", f"{name} logs data", fix)
    else:
        yield Check("machine", "ok", f"{name} is active, logs {logging.get('level')} without data")
