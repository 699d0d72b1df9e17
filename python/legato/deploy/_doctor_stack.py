"""What legato doctor looks at in a stack: its functions, their roles and the machine."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from legato._aws import Aws
from legato._aws_errors import explained, statement
from legato._scope import bucket_key
from legato.deploy._artifacts import partition
from legato.deploy._check import Check
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
            yield from _role(aws, stage, str(found["Role"]), store_url)
    if names:
        yield Check("functions", "ok", f"{ready} of {len(names)} are ready")


def _role(aws: Aws, stage: str, arn: str, store_url: str) -> Iterator[Check]:
    """Ask IAM whether a role may do what its stage declares."""
    refused, asked = [], 0
    for actions, resource in _wanted(stage, store_url, aws.region):
        try:
            with explained("iam:SimulatePrincipalPolicy", arn):
                answer = aws.client("iam").simulate_principal_policy(
                    PolicySourceArn=arn, ActionNames=[*actions], ResourceArns=[resource]
                )
        except AccessDeniedError:
            fix = "allow iam:SimulatePrincipalPolicy to look at roles, too"
            yield Check("role", "warn", f"{stage} was not looked at", fix)
            return
        asked += 1
        results: list[dict[str, Any]] = answer["EvaluationResults"]
        if all(result["EvalDecision"] != "allowed" for result in results):
            refused.append((actions[0], resource))
    role = arn.rpartition("/")[2]
    for action, resource in refused:
        fix = f"deploy again, or add to it: {statement(action, resource)}"
        yield Check("role", "fail", f"{role} of {stage} may not {action} on {resource}", fix)
    if not refused:
        yield Check("role", "ok", f"{stage}: {role} may do what its stage declares ({asked})")


# A reference pins the version of its object, where the bucket has versions.
_READ: Final = ("s3:GetObjectVersion", "s3:GetObject")
_WRITE: Final = ("s3:PutObject",)


def _wanted(stage: str, store_url: str, region: str) -> Iterator[tuple[tuple[str, ...], str]]:
    """Iterate over what a stage cannot do without: actions of which one will do, and an object."""
    from legato.local import STEPS

    step = STEPS[stage]
    bucket = store_url.removeprefix("s3://").partition("/")[0]

    def arn(key: str) -> str:
        where = f"arn:{partition(region)}:s3:::{bucket}"
        return f"{where}/{bucket_key(store_url, key)}"

    # A model that lies in the zip is not read from the store, and records have keys of their own.
    own = [area for area in step.writes if area != "runs"]
    for area in (*(area for area in step.reads if area not in {"models", "runs"}), *own):
        yield _READ, arn(f"{area}/doctor")
    for area in own:
        yield _WRITE, arn(f"{area}/doctor")
    yield _WRITE, arn(f"runs/doctor/failures/{step.name}-00000.json")


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
