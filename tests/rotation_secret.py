"""A secret under rotation on the emulator, with the rules of AWS that the emulator lacks, and calls that end anywhere."""

from __future__ import annotations

import functools
import json
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import Any

from botocore.exceptions import EndpointConnectionError, ReadTimeoutError

from legato.identity._job import Request
from legato.identity.rotation import rotate
from legato.settings import Settings
from tests.servers.hub_tokens import CLIENT_ID, FILE, SUBJECT, HubServer
from tests.servers.ministack import AwsServer

STEPS = ("createSecret", "setSecret", "testSecret", "finishSecret")
GRACE_S = 3600


class Killed(BaseException):
    """The process ends: no code of it runs any more."""


@dataclass
class Faults:
    """Lets one API call end badly: the `at`-th from now, `before` it is done or `after`."""

    at: int | None = None
    when: str = "before"
    kill: bool = True
    calls: int = 0
    fired: bool = False

    def reset(self, at: int | None = None, when: str = "before", *, kill: bool = True) -> None:
        self.at, self.when, self.kill, self.calls, self.fired = at, when, kill, 0, False

    def before(self, **_: Any) -> None:
        self.calls += 1
        self._end("before")

    def after(self, **_: Any) -> None:
        self._end("after")

    def _end(self, when: str) -> None:
        if self.at is not None and self.calls == self.at + 1 and when == self.when:
            self.fired = True
            if self.kill:
                raise Killed
            kind = EndpointConnectionError if when == "before" else ReadTimeoutError
            raise kind(endpoint_url="https://secretsmanager.test")


@functools.cache
def clients_of(server: AwsServer) -> tuple[Any, Any, Faults]:
    """boto3's clients of the operator and of the function, whose calls the faults can end.

    No call is replaced, and none is answered by a test.
    """
    faults = Faults()
    function = server.client("secretsmanager")
    function.meta.events.register("before-call.secretsmanager.*", faults.before)
    function.meta.events.register("after-call.secretsmanager.*", faults.after)
    return server.client("secretsmanager"), function, faults


@dataclass
class Rotated:
    """A secret, its Hub, its operator and the service that calls the function."""

    server: AwsServer
    hub: HubServer
    strategy: str
    now: datetime = datetime(2026, 11, 23, 12, tzinfo=timezone.utc)

    def __post_init__(self) -> None:
        self.aws, self.client, self.faults = clients_of(self.server)
        self.first = self.hub.make()
        name = f"hf-{uuid.uuid4()}"
        self.arn = str(self.aws.create_secret(Name=name, SecretString=self.first)["ARN"])
        # The emulator's own rotation calls no function: it copies the value, which is current then.
        self.aws.rotate_secret(
            SecretId=self.arn,
            ClientRequestToken=str(uuid.uuid4()),
            RotationLambdaARN="arn:aws:lambda:eu-central-1:000000000000:function:f",
            RotationRules={"AutomaticallyAfterDays": 30},
        )
        self.unlabel("AWSPENDING")
        pair = {"client_id": CLIENT_ID, "client_secret": self.hub.password}
        self.application = str(
            self.aws.create_secret(Name=f"{name}-client", SecretString=json.dumps(pair))["ARN"]
        )

    @property
    def settings(self) -> Settings:
        return Settings(
            rotation=self.strategy,
            rotation_file=FILE,
            rotation_grace_s=GRACE_S,
            rotation_client=self.application,
            rotation_subject=SUBJECT,
        )

    # the operator, the clock and Secrets Manager

    def stage(self, token: str) -> None:
        self.unlabel("LegatoStaged")
        self.aws.put_secret_value(
            SecretId=self.arn,
            ClientRequestToken=str(uuid.uuid4()),
            SecretString=token,
            VersionStages=["LegatoStaged"],
        )

    def wait(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)

    def begin(self) -> str:
        """Make a version without a value, or go on with the one under way, as RotateSecret does."""
        pending = self.holder("AWSPENDING")
        if pending is not None and pending != self.holder("AWSCURRENT"):
            return pending
        self.unlabel("AWSPENDING")
        version = str(uuid.uuid4())
        self.aws.put_secret_value(
            SecretId=self.arn, ClientRequestToken=version, VersionStages=["AWSPENDING"]
        )
        return version

    def call(self, step: str, version: str) -> str:
        request = Request.of({"Step": step, "SecretId": self.arn, "ClientRequestToken": version})
        return rotate(request, self.settings, self.client, {}, self.now)

    def rotate(self) -> str:
        version = self.begin()
        for step in STEPS:
            self.call(step, version)
        return version

    def unlabel(self, label: str) -> None:
        """AWS moves a label with a new version; the emulator leaves it on the old one, too."""
        version = self.holder(label)
        if version is not None:
            self.aws.update_secret_version_stage(
                SecretId=self.arn, VersionStage=label, RemoveFromVersionId=version
            )

    # what is there

    def labels(self) -> dict[str, list[str]]:
        found = self.aws.describe_secret(SecretId=self.arn)["VersionIdsToStages"]
        return {version: list(labels) for version, labels in found.items()}

    def holder(self, label: str) -> str | None:
        return _holder(self.labels(), label)

    def value(self, label: str) -> str | None:
        return self._value(self.holder(label))

    def _value(self, version: str | None) -> str | None:
        if version is None:
            return None
        found = self.aws.get_secret_value(SecretId=self.arn, VersionId=version)
        value = found.get("SecretString")
        return str(value) if value is not None else None

    def current(self) -> str:
        found = self.value("AWSCURRENT")
        assert found is not None
        return found

    def previous(self) -> str:
        found = self.value("AWSPREVIOUS")
        assert found is not None
        return found

    def check(self) -> None:
        """What must hold at any time, whatever ended where."""
        labels = self.labels()
        every = [label for own in labels.values() for label in own]
        assert len(every) == len(set(every)), labels
        plain = {label for label in every if not label.startswith("LegatoRetired-")}
        assert plain <= {"AWSCURRENT", "AWSPREVIOUS", "AWSPENDING", "LegatoStaged"}
        current = self._value(_holder(labels, "AWSCURRENT"))
        assert current in self.hub.valid, "the current token is lost"
        assert current == self.first or current in self.hub.tried, "it was never tested"
        for label in ("AWSPENDING", "LegatoStaged"):
            value = self._value(_holder(labels, label))
            assert value is None or value in self.hub.valid, f"{label} was revoked"


def _holder(labels: dict[str, list[str]], label: str) -> str | None:
    found = [version for version, own in labels.items() if label in own]
    assert len(found) <= 1, (label, found)
    return found[0] if found else None


@contextmanager
def ended(faults: Faults, at: int | None, when: str, *, kill: bool) -> Iterator[None]:
    """Let the `at`-th API call of a step end badly."""
    faults.reset(at, when, kill=kill)
    try:
        yield
    finally:
        faults.reset()
