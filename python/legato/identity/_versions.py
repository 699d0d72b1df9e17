"""The versions of a secret in AWS Secrets Manager, by its API: each call is one method."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final

from legato._aws_errors import explained
from legato.errors import InputError, SettingsError
from legato.identity._secret import Secret, field_of
from legato.settings import region

CURRENT: Final = "AWSCURRENT"
PENDING: Final = "AWSPENDING"

_ATTEMPTS: Final = 3
_TIMEOUT_S: Final = 5

Labels = Mapping[str, tuple[str, ...]]
"""Staging labels of each version that has any."""


@dataclass(frozen=True)
class Versions:
    """The secret that is rotated.

    Attributes:
        arn: Its ARN.
    """

    arn: str
    _client: Any = field(repr=False)

    def labels(self) -> Labels:
        """Return the labels of all versions that have any.

        Raises:
            SettingsError: Rotation of the secret is not switched on.
        """
        with self._asking("DescribeSecret"):
            found = self._client.describe_secret(SecretId=self.arn)
        if not found.get("RotationEnabled"):
            msg = f"rotation of {self.arn} is not enabled; enable it with this function"
            raise SettingsError(msg)
        stages: Mapping[str, list[str]] = found.get("VersionIdsToStages", {})
        return {version: tuple(sorted(labels)) for version, labels in stages.items()}

    def read(self, *, version: str | None = None, label: str | None = None) -> Secret | None:
        """Return the value of a version, or of what has a label; None where there is no value.

        Both together: the value of the version if it has the label.
        """
        which = {"VersionId": version, "VersionStage": label}
        given = {name: value for name, value in which.items() if value is not None}
        with self._asking("GetSecretValue"):
            try:
                found = self._client.get_secret_value(SecretId=self.arn, **given)
            except self._client.exceptions.ResourceNotFoundException:
                return None
        text = found.get("SecretString")
        return Secret(text) if text else None

    def put(self, version: str, value: Secret, label: str) -> bool:
        """Give a version its value, and a label; false where it has another value already."""
        with self._asking("PutSecretValue"):
            try:
                self._client.put_secret_value(
                    SecretId=self.arn,
                    ClientRequestToken=version,
                    SecretString=value.reveal(),
                    VersionStages=[label],
                )
            except self._client.exceptions.ResourceExistsException:
                return False
        return True

    def move(self, label: str, *, to: str | None = None, source: str | None = None) -> None:
        """Move a label to a version, from the one that has it; without `to` it is taken off.

        AWS refuses it where `source` has not the label any more.
        """
        which = {"MoveToVersionId": to, "RemoveFromVersionId": source}
        given = {name: value for name, value in which.items() if value is not None}
        with self._asking("UpdateSecretVersionStage"):
            self._client.update_secret_version_stage(SecretId=self.arn, VersionStage=label, **given)

    @contextmanager
    def _asking(self, operation: str) -> Iterator[None]:
        with explained(f"secretsmanager:{operation}", self.arn):
            yield


@dataclass(frozen=True)
class Client:
    """The secret of the OAuth application that may exchange tokens; another one than the rotated.

    Attributes:
        arn: Its ARN.
    """

    arn: str
    _client: Any = field(repr=False)

    def pair(self) -> tuple[str, Secret]:
        """Return the application's id, and its password.

        Raises:
            SettingsError: The secret is not there, or has no ``client_id`` and ``client_secret``.
        """
        with explained("secretsmanager:GetSecretValue", self.arn):
            try:
                found = self._client.get_secret_value(SecretId=self.arn)
            except self._client.exceptions.ResourceNotFoundException:
                msg = f"LEGATO_ROTATION_CLIENT is {self.arn}, which has no value; put one there"
                raise SettingsError(msg) from None
        value = Secret(found.get("SecretString") or "")
        try:
            return field_of(value, "client_id").reveal(), field_of(value, "client_secret")
        except InputError as error:
            raise SettingsError(f"LEGATO_ROTATION_CLIENT, {self.arn}: {error}") from None


def connect() -> Any:
    """Return boto3's client of Secrets Manager; Lambda's runtime for Python has boto3.

    Raises:
        SettingsError: boto3 is not installed, or knows no region.
    """
    try:
        import boto3
        from botocore.config import Config
        from botocore.exceptions import BotoCoreError
    except ModuleNotFoundError:
        msg = "rotation needs boto3; use a Python runtime of Lambda, or install legato[aws]"
        raise SettingsError(msg) from None
    config = Config(
        retries={"mode": "standard", "total_max_attempts": _ATTEMPTS},
        connect_timeout=_TIMEOUT_S,
        read_timeout=_TIMEOUT_S,
        user_agent_extra="legato",
    )
    try:
        return boto3.client("secretsmanager", region_name=region(), config=config)
    except BotoCoreError as error:
        msg = f"Secrets Manager cannot be asked: {type(error).__name__}; set AWS_REGION"
        raise SettingsError(msg) from None


def holder(labels: Labels, label: str) -> str | None:
    """Return the version that has a label, None where no version has it."""
    return next((version for version, own in labels.items() if label in own), None)
