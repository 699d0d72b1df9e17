"""Look at a template under all choices that a deployment may make."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from legato.step import Step
from legato.workflow._lint._compare import MISSING, Gap, compare
from legato.workflow._lint._evaluate import evaluate
from legato.workflow._lint._iam import Atom, atoms
from legato.workflow._lint._needs import Need
from legato.workflow._lint._rotation import invocation_gaps
from legato.workflow._lint._source import Sources
from legato.workflow._lint._stack import Stack
from legato.workflow._lint._trust import trust_gaps

KEY: Final = "arn:aws:kms:REGION:ACCOUNT:key/KEY"
REPOSITORY: Final = "arn:aws:ecr:REGION:ACCOUNT:repository/IMAGE"
CHOICES: Final[Mapping[str, str]] = {
    "KmsKeyArn": KEY,
    "SubnetIds": "subnet-1,subnet-2",
    "ModelId": "s3://BUCKET/legato/models/MODEL",
    "ImageRepositoryArn": REPOSITORY,
}
"""Parameters that change who needs what, with a value that does."""

# What is installed does not change while a process runs.
_SOURCES: Final = Sources()

_ALWAYS: Final = {
    "aws:SecureTransport": "true",
    "aws:PrincipalAccount": "ACCOUNT",
    "aws:PrincipalIsAWSService": "false",
}


def lint(
    document: Mapping[str, Any], template: Mapping[str, Any], steps: Mapping[str, Step]
) -> list[Gap]:
    """Compare what a workflow's work needs with what its template's roles allow.

    Args:
        document: The state machine.
        template: The CloudFormation template.
        steps: The step of each stage, by module and name: ``legato.stages.storage.handler``.

    Returns:
        Every gap: what is missing, unused or too wide, each once; empty where all fits.

    Raises:
        WorkflowError: There is something of which the linter cannot tell what it needs.
    """
    found: dict[Gap, None] = dict.fromkeys(_document_gaps(document, template))
    for view in views(template, steps):
        found.update(dict.fromkeys(compare(view.needs, view.own, view.shared)))
        found.update(dict.fromkeys(trust_gaps(view.stack)))
        found.update(dict.fromkeys(invocation_gaps(view.stack)))
    return list(found)


@dataclass(frozen=True)
class View:
    """A stack as one choice of parameters makes it.

    Attributes:
        stack: Its resources.
        needs: What its roles need, and must be refused.
        own: What the roles' policies say.
        shared: What the policies of the bucket and of the secret say.
    """

    stack: Stack
    needs: list[Need]
    own: list[Atom]
    shared: list[Atom]


def views(template: Mapping[str, Any], steps: Mapping[str, Step]) -> Iterator[View]:
    """Iterate over what a template makes: with nothing chosen, each choice alone, and all."""
    for parameters in _choices(template):
        resources = evaluate(template, parameters)
        stack = Stack(resources, steps, _SOURCES, parameters.get("ImageRepositoryArn", ""))
        own = [
            atom
            for name, role in stack.of("AWS::IAM::Role").items()
            for policy in role["Policies"]
            for atom in atoms(name, policy["PolicyDocument"])
        ]
        shared = [
            atom
            for name, policy in stack.of("AWS::S3::BucketPolicy").items()
            for atom in atoms(name, policy["PolicyDocument"])
        ]
        shared += [
            atom
            for name, policy in stack.of("AWS::SecretsManager::ResourcePolicy").items()
            for atom in atoms(name, policy["ResourcePolicy"])
        ]
        yield View(stack, _joined(stack.needs()), own, shared)


def _joined(needs: Iterable[Need]) -> list[Need]:
    """Return needs of the same thing as one, which says who they all are."""
    same: dict[Any, list[Need]] = {}
    for need in needs:
        said = tuple(sorted(need.context.items()))
        same.setdefault((need.role, need.action, need.resource, said, need.refused), []).append(
            need
        )
    found = []
    for first, *rest in same.values():
        others = sorted({need.who for need in rest} - {first.who})
        more = f" and {len(others)} more" if others else ""
        joined = replace(first, who=f"{first.who}{more}")
        found.append(joined.within(_ALWAYS))
    return found


def _choices(template: Mapping[str, Any]) -> Iterator[dict[str, str]]:
    known = {name: value for name, value in CHOICES.items() if name in template["Parameters"]}
    yield {}
    yield from ({name: value} for name, value in known.items())
    yield known


def _document_gaps(document: Mapping[str, Any], template: Mapping[str, Any]) -> Iterator[Gap]:
    from legato.workflow._template._machine import to_json

    machine = template["Resources"]["StateMachine"]["Properties"]
    if machine["DefinitionString"] != to_json(document):
        about = "the template has another state machine than the document"
        yield Gap(MISSING, "StateMachine", "states:StartExecution", "the document", about)
