"""Look at a template under all choices that a deployment may make."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from legato.step import Step
from legato.workflow._lint._compare import MISSING, Gap, compare
from legato.workflow._lint._evaluate import evaluate
from legato.workflow._lint._iam import atoms
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
    for parameters in _choices(template):
        resources = evaluate(template, parameters)
        stack = Stack(resources, steps, _SOURCES, parameters.get("ImageRepositoryArn", ""))
        needs = [need.within(_ALWAYS) for need in stack.needs()]
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
        found.update(dict.fromkeys(compare(needs, own, shared)))
        found.update(dict.fromkeys(trust_gaps(stack)))
    return list(found)


def _choices(template: Mapping[str, Any]) -> Iterator[dict[str, str]]:
    """Iterate over nothing chosen, each choice alone, and all of them."""
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
