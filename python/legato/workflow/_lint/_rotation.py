"""What the function that replaces the Hugging Face token needs, read from its source."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final

from legato.workflow._lint._accessors import uses
from legato.workflow._lint._compare import MISSING, UNUSED, WIDE, Gap
from legato.workflow._lint._needs import Need
from legato.workflow._lint._source import Function, Sources

if TYPE_CHECKING:
    from legato.workflow._lint._stack import Stack

MODULE: Final = "legato.identity.rotation"
HANDLER: Final = f"{MODULE}.handler"

_SERVICE: Final = "secretsmanager.amazonaws.com"
_INVOKE: Final = "lambda:InvokeFunction"
_KEY_ACTIONS: Final = {
    "secretsmanager:GetSecretValue": ("kms:Decrypt",),
    # A value that is written is encrypted, and compared with the one that is there.
    "secretsmanager:PutSecretValue": ("kms:GenerateDataKey", "kms:Decrypt"),
}


def rotation_needs(
    sources: Sources, stack: Stack, name: str, about: Mapping[str, Any]
) -> Iterator[Need]:
    """Iterate over what the function's code needs of its secrets.

    Args:
        sources: To read its source from.
        stack: Its stack.
        name: Logical id of the function.
        about: Its properties, evaluated.
    """
    role = about["Role"].rpartition("/")[2]
    arn = about["Environment"]["Variables"].get("LEGATO_ROTATION_CLIENT")
    arns = {"client": [arn] if arn else [], "own": _rotated(stack, name)}
    secrets = stack.of("AWS::SecretsManager::Secret").values()
    keys = {secret["KmsKeyId"] for secret in secrets if "KmsKeyId" in secret}
    via = {"kms:ViaService": "secretsmanager.REGION.amazonaws.com"}
    for use in uses(sources, Function(MODULE, "handler")):
        whose, _, action = use.kind.partition(":")
        for resource in arns.get(whose, ()):
            yield Need(role, action, resource, f"{name} ({use.where})")
            for key in keys:
                for needed in _KEY_ACTIONS.get(action, ()):
                    yield Need(role, needed, key, f"{name} ({use.where})", via, tuple(via))


def invocation_gaps(stack: Stack) -> Iterator[Gap]:
    """Find functions that Secrets Manager must call and may not, or that others could call."""
    called = {
        schedule["RotationLambdaARN"]: name
        for name, schedule in stack.of("AWS::SecretsManager::RotationSchedule").items()
    }
    allowed: set[str] = set()
    for name, about in stack.of("AWS::Lambda::Permission").items():
        function = about["FunctionName"]
        if function not in called or (about["Principal"], about["Action"]) != (_SERVICE, _INVOKE):
            yield Gap(UNUSED, name, about["Action"], function, "nobody calls it so")
            continue
        allowed.add(function)
        if about.get("SourceAccount") != "ACCOUNT":
            said = f"others could have {_SERVICE} call it: it has no SourceAccount"
            yield Gap(WIDE, name, _INVOKE, function, said)
    for function, name in called.items():
        if function not in allowed:
            yield Gap(MISSING, name, _INVOKE, function, f"{_SERVICE} calls it")


def _rotated(stack: Stack, name: str) -> list[str]:
    schedules = stack.of("AWS::SecretsManager::RotationSchedule").values()
    return [s["SecretId"] for s in schedules if s["RotationLambdaARN"] == f"{name}.Arn"]
