"""Errors of boto3, as errors of legato that say what to do."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from legato.errors import (
    AccessDeniedError,
    InputError,
    LegatoError,
    SettingsError,
    StoreUnavailableError,
    WorkflowError,
)

DENIED: Final = frozenset(
    {"AccessDenied", "AccessDeniedException", "UnauthorizedOperation", "403", "Forbidden"}
)
SKEWED: Final = frozenset({"RequestTimeTooSkewed", "RequestInTheFuture"})
_SKEWED: Final = re.compile("Signature expired|not yet current|RequestTimeTooSkewed")
BUSY: Final = frozenset(
    {
        "Throttling",
        "ThrottlingException",
        "TooManyRequestsException",
        "SlowDown",
        "RequestLimitExceeded",
    }
)
MISSING_OPERATION: Final = frozenset(
    {"UnknownOperation", "UnknownOperationException", "InvalidAction", "NotImplemented", "501"}
)
"""How endpoints that are not AWS say that they lack an operation."""


@contextmanager
def explained(action: str, resource: str) -> Iterator[None]:
    """Turn errors of boto3 into those of legato.

    Args:
        action: What is asked, as IAM calls it, such as ``states:StartExecution``.
        resource: What it is asked of, for people.

    Raises:
        AccessDeniedError: The caller may not; the message says what to allow whom.
        SettingsError: There are no credentials, or they are not valid.
        StoreUnavailableError: There was no answer, or the service is busy.
        WorkflowError: Any other refusal.
    """
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        yield
    except (BotoCoreError, ClientError) as error:
        raise translated(error, action, resource) from None


def code_of(error: Exception) -> str:
    """Return the code of an error of boto3; its class's name where no service answered."""
    response = getattr(error, "response", None)
    if isinstance(response, dict):
        return str(response.get("Error", {}).get("Code", ""))
    return type(error).__name__


def translated(error: Exception, action: str, resource: str) -> LegatoError:
    """Return an error of boto3 as one of legato; see :func:`explained`."""
    code = code_of(error)
    response = getattr(error, "response", None) or {}
    said = str(response.get("Error", {}).get("Message", "") or error).strip()
    if code in SKEWED or _SKEWED.search(said):
        return SettingsError(f"AWS refused the signature ({code}); set this machine's clock right")
    if code in DENIED:
        return AccessDeniedError(_denied(said, action, resource))
    advice = next((what for codes, what in _CREDENTIALS if code in codes), None)
    if advice is not None:
        return SettingsError(f"{advice} ({code})")
    if code in BUSY or code in _UNREACHED:
        reason = "is busy" if code in BUSY else "did not answer; check --region and --endpoint-url"
        return StoreUnavailableError(f"{action} of {resource}: the service {reason} ({code})")
    kind = InputError if code in _REFUSED else WorkflowError
    return kind(f"{action} of {resource} failed: {code}: {said}")


_CREDENTIALS: Final = (
    (
        {
            "ExpiredToken",
            "ExpiredTokenException",
            "RequestExpired",
            "TokenRetrievalError",
            "UnauthorizedSSOTokenError",
            "SSOTokenLoadError",
        },
        "the AWS credentials have expired; log in again: aws sso login",
    ),
    (
        {
            "InvalidClientTokenId",
            "UnrecognizedClientException",
            "SignatureDoesNotMatch",
            "InvalidAccessKeyId",
            "AuthFailure",
            "InvalidSignatureException",
        },
        (
            "AWS does not know the credentials; check AWS_PROFILE, AWS_ACCESS_KEY_ID and "
            "AWS_SECRET_ACCESS_KEY, and that the region is one of theirs"
        ),
    ),
    (
        {"NoCredentialsError", "PartialCredentialsError", "CredentialRetrievalError"},
        (
            "no AWS credentials were found; set AWS_PROFILE, or AWS_ACCESS_KEY_ID and "
            "AWS_SECRET_ACCESS_KEY, or log in: aws sso login"
        ),
    ),
)
"""Codes that speak of credentials, and what to do."""

_REFUSED: Final = frozenset(
    {
        "ExecutionDoesNotExist",
        "InvalidArn",
        "InvalidName",
        "InvalidRegionError",
        "ParamValidationError",
        "StateMachineDoesNotExist",
        "ValidationError",
    }
)
"""Codes of what the caller has asked wrongly."""

_UNREACHED: Final = frozenset(
    {
        "EndpointConnectionError",
        "ConnectTimeoutError",
        "ReadTimeoutError",
        "ConnectionClosedError",
        "ConnectionError",
        "SSLError",
        "ProxyConnectionError",
        "HTTPClientError",
    }
)


def _denied(said: str, action: str, resource: str) -> str:
    who = re.search(r"(?:User|Principal): (arn:\S+)", said)
    what = re.search(r"not authorized to perform: ([a-z0-9-]+:\w+)", said)
    where = re.search(r"on resource: (arn:\S+)", said)
    named = what.group(1) if what else action
    arn = where.group(1).rstrip(".,") if where else resource
    whom = who.group(1) if who else "the configured credentials"
    denied = f"{named} on {arn} is denied to {whom}"
    if "explicit deny" in said:
        return f"{denied} by a statement that denies it; change that one"
    return f"{denied}; add to its policy: {statement(named, arn)}"


def statement(action: str, resource: str) -> str:
    """Return the statement of a policy that would allow it, as JSON."""
    arn = resource if resource.startswith("arn:") else "*"
    return f'{{"Effect": "Allow", "Action": "{action}", "Resource": "{arn}"}}'
