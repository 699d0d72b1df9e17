"""``legato.identity.rotation.handler``: replaces a Hugging Face token in AWS Secrets Manager.

Secrets Manager calls it four times for a rotation, with the same version: ``createSecret``,
``setSecret``, ``testSecret``, ``finishSecret``. Any of them may come again, come late, or end
anywhere; all state is in the labels of the secret's versions, so there is nothing else to repair.

- createSecret gives the version a value once: a token that is minted (``exchange``), or that an
  operator has staged (``staged``).
- setSecret has nothing to do: the Hub knows the token already.
- testSecret asks the Hub for the file that the stages read, with the new token.
- finishSecret asks once more, then moves AWSCURRENT, so that no order of the steps can make a
  token current that does not work.
"""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any

from legato._lines import LambdaContext, about, failure_line, line, print_line
from legato.errors import InputError
from legato.identity import _exchange, _retired, _staged
from legato.identity._hub import Hub
from legato.identity._job import Job, Request, tested
from legato.identity._versions import CURRENT, PENDING, Client, Versions, connect, holder
from legato.settings import Settings, hub_endpoint

NAME = "rotation"
"""What its lines in the log call it."""


def handler(event: Any, context: LambdaContext | None = None) -> None:
    """Do one step of a rotation.

    Args:
        event: ``Step``, ``SecretId`` and ``ClientRequestToken``, as Secrets Manager sends them.
        context: Of the Lambda runtime.

    Raises:
        InputError: The event is none of a rotation, or its version is not under way.
        SettingsError: A setting is missing, rotation is not enabled, or no token is staged.
        AccessDeniedError: AWS or the Hub refuses; the message says which, and what to set up.
        StoreUnavailableError: One of them did not answer; Secrets Manager tries again.
    """
    named = about(None, context)
    try:
        request = Request.of(event)
        named |= {"step": request.step, "secret": request.secret, "version": request.version}
        outcome = rotate(request, Settings.from_env(), connect(), named)
    except Exception as error:
        print_line(failure_line(NAME, named, error))
        raise
    print_line(line("INFO", NAME, {**named, "outcome": outcome}))


def rotate(
    request: Request,
    settings: Settings,
    client: Any,
    named: dict[str, Any],
    now: datetime | None = None,
) -> str:
    """Do one step of a rotation, with these settings.

    Args:
        request: The step.
        settings: Of the rotation; see ``docs/rotation.md``.
        client: boto3's, of Secrets Manager.
        named: What the lines of the log say of the call.
        now: The time; by default that of the clock.

    Returns:
        What was done, for the log.
    """
    versions = Versions(request.secret, client)
    labels = versions.labels()
    own = labels.get(request.version)
    if own is None:
        msg = f"{request.secret} has no version {request.version}; start a rotation"
        raise InputError(msg)
    if CURRENT in own:
        return "current"
    if PENDING not in own:
        msg = f"version {request.version} of {request.secret} is not {PENDING}; start a rotation"
        raise InputError(msg)

    def tell(fields: dict[str, Any]) -> None:
        level = "WARNING" if "reason" in fields else "INFO"
        print_line(line(level, NAME, {**named, **fields}))

    job = Job(
        request,
        Hub.at(hub_endpoint()),
        settings.require("rotation_file"),
        now or datetime.now(timezone.utc),
        settings.rotation_grace_s,
        tell,
        labels,
    )
    return _step(job, versions, settings, client)


def _step(job: Job, versions: Versions, settings: Settings, client: Any) -> str:
    strategy = settings.require("rotation")
    step = job.request.step
    if step == "createSecret":
        _retired.sweep(job, versions)
        if strategy == "staged":
            return _staged.create(job, versions)
        application = Client(settings.require("rotation_client"), client)
        return _exchange.create(job, versions, application, settings.require("rotation_subject"))
    if step == "setSecret":
        return "nothing_to_do"
    value = tested(job, versions)
    if step == "testSecret":
        return "tested"
    current = holder(job.labels, CURRENT)
    if current is not None:
        _retired.retire(job, versions, current, value)
    versions.move(CURRENT, to=job.version, source=current)
    return "promoted"
