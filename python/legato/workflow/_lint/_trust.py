"""Who may take the roles: the services that do, for the very resources that they do it for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final

from legato.workflow._lint._compare import MISSING, UNUSED, WIDE, Gap
from legato.workflow._lint._iam import atoms, met
from legato.workflow._lint._machine import labels

if TYPE_CHECKING:
    from legato.workflow._lint._stack import Stack

_ASSUME: Final = "sts:AssumeRole"
_ACCOUNT: Final = {"aws:SourceAccount": "ACCOUNT"}
_HERE: Final = "REGION:ACCOUNT"
Taken = tuple[str, str, str, dict[str, str]]


def trust_gaps(stack: Stack) -> Iterator[Gap]:
    """Find roles that a service cannot take, that nobody takes, or that others could take."""
    taken = list(_taken(stack))
    for name, role in stack.of("AWS::IAM::Role").items():
        mine = [(service, who, said) for owner, service, who, said in taken if owner == name]
        if not mine:
            yield Gap(UNUSED, name, _ASSUME, name, "no resource of the template takes this role")
        for service, who, said in mine:
            yield from _gaps(name, role["AssumeRolePolicyDocument"], service, who, said)


def _gaps(
    name: str, document: Mapping[str, Any], service: str, who: str, said: dict[str, str]
) -> Iterator[Gap]:
    statements = document["Statement"]
    for statement, atom in zip(statements, _atoms(name, document), strict=True):
        if statement["Principal"] != {"Service": service}:
            yield Gap(WIDE, name, _ASSUME, str(statement["Principal"]), f"{service} takes it")
        elif not met(atom, said):
            yield Gap(MISSING, name, _ASSUME, service, f"{who} takes it")
        for key in said:
            if not any(key in keys for keys in atom.conditions.values()):
                about = f"others could have {service} take it: it has no condition on {key}"
                yield Gap(WIDE, name, _ASSUME, service, about)


def _atoms(name: str, document: Mapping[str, Any]) -> Iterator[Any]:
    yield from atoms(name, document)


def _taken(stack: Stack) -> Iterator[Taken]:
    """Iterate over role, service, who, and what the service says when it takes the role."""
    for name, about in stack.of("AWS::Lambda::Function").items():
        # Lambda says no source, and takes no role of another account.
        yield _role(about["Role"]), "lambda.amazonaws.com", name, {}
    for name, about in stack.of("AWS::StepFunctions::StateMachine").items():
        arn = f"arn:aws:states:{_HERE}:stateMachine:{about['StateMachineName']}"
        for own in (arn, *(f"{arn}/{label}" for label in labels(about))):
            said = {**_ACCOUNT, "aws:SourceArn": own}
            yield _role(about["RoleArn"]), "states.amazonaws.com", name, said
    for name, about in stack.of("AWS::Events::Rule").items():
        said = {**_ACCOUNT, "aws:SourceArn": f"arn:aws:events:{_HERE}:rule/{about['Name']}"}
        for target in about["Targets"]:
            yield _role(target["RoleArn"]), "events.amazonaws.com", name, said
    for name, about in stack.of("AWS::Scheduler::Schedule").items():
        group = f"arn:aws:scheduler:{_HERE}:schedule-group/default"
        said = {**_ACCOUNT, "aws:SourceArn": group}
        yield _role(about["Target"]["RoleArn"]), "scheduler.amazonaws.com", name, said
    yield from _containers(stack)


def _containers(stack: Stack) -> Iterator[Taken]:
    said = {**_ACCOUNT, "aws:SourceArn": f"arn:aws:ecs:{_HERE}:*"}
    for name, about in stack.of("AWS::Batch::JobDefinition").items():
        for role in ("JobRoleArn", "ExecutionRoleArn"):
            arn = about["ContainerProperties"][role]
            yield _role(arn), "ecs-tasks.amazonaws.com", name, said
    for name, about in stack.of("AWS::ECS::TaskDefinition").items():
        for role in ("TaskRoleArn", "ExecutionRoleArn"):
            yield _role(about[role]), "ecs-tasks.amazonaws.com", name, said


def _role(arn: str) -> str:
    return arn.rpartition("/")[2]
