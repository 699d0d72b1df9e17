"""One call of the rotation: what it is about, and what its strategies share."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from legato.errors import InputError
from legato.identity._hub import Hub
from legato.identity._secret import Secret, token_of
from legato.identity._versions import PENDING, Labels, Versions

STAGED: Final = "LegatoStaged"
"""Label of the version that an operator stores a new token in."""

STEPS: Final = ("createSecret", "setSecret", "testSecret", "finishSecret")

_ARN: Final = re.compile(r"arn:[a-z0-9-]+:secretsmanager:[a-z0-9-]+:[0-9]{12}:secret:[!-~]{1,519}")
_VERSION: Final = re.compile(r"[A-Za-z0-9-]{32,64}")


@dataclass(frozen=True)
class Request:
    """What Secrets Manager asks for.

    Attributes:
        step: One of :data:`STEPS`.
        secret: ARN of the secret.
        version: Id of the version that the new token is for.
    """

    step: str
    secret: str
    version: str

    @classmethod
    def of(cls, event: Any) -> Request:
        """Read an event of Secrets Manager.

        Raises:
            InputError: It is of another kind.
        """
        given = event if isinstance(event, dict) else {}
        names = ("Step", "SecretId", "ClientRequestToken")
        step, secret, version = (given.get(name) for name in names)
        if step not in STEPS:
            raise InputError(f"the event has no Step of a rotation; use one of {', '.join(STEPS)}")
        if not isinstance(secret, str) or not _ARN.fullmatch(secret):
            raise InputError("SecretId of the event is no ARN of a secret")
        if not isinstance(version, str) or not _VERSION.fullmatch(version):
            raise InputError("ClientRequestToken of the event is no id of a version")
        return cls(step, secret, version)


@dataclass(frozen=True)
class Job:
    """A request, and what it takes to answer it.

    Attributes:
        request: What is asked for.
        hub: Where tokens are of.
        file: The file that a token is tried on.
        now: The time, with its zone.
        grace_s: Seconds for which a token that was replaced stays valid.
        tell: Takes what was done besides, or could not be, as fields of a line of the log.
        labels: The labels of the secret's versions, as the call found them.
    """

    request: Request
    hub: Hub
    file: str
    now: datetime
    grace_s: float
    tell: Callable[[dict[str, Any]], None]
    labels: Labels = field(default_factory=dict)

    @property
    def version(self) -> str:
        """The version that the new token is for."""
        return self.request.version


def pending(job: Job, versions: Versions) -> Secret:
    """Return the value that waits to become the current one.

    Raises:
        InputError: There is none; createSecret has not been, or has failed.
    """
    found = versions.read(version=job.version, label=PENDING)
    if found is None:
        msg = f"version {job.version} of {versions.arn} has no value; createSecret comes first"
        raise InputError(msg)
    return found


def tested(job: Job, versions: Versions) -> Secret:
    """Return the waiting value, after its token has read the file that the stages read."""
    value = pending(job, versions)
    job.hub.check(token_of(value), job.file)
    return value
