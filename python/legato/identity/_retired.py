"""Tokens that were replaced, and are revoked after a grace period.

Which token that is, and since when, is kept in a label of its version, as the whole state of a
rotation is: ``LegatoRetired-<time>-<version>``. Its time is that of the rotation that replaced it;
a version with a label is not deleted by Secrets Manager.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from typing import Final

from legato.errors import LegatoError
from legato.identity._job import STAGED, Job
from legato.identity._secret import Secret, token_of, token_or_none
from legato.identity._versions import CURRENT, PENDING, Versions

RETIRED: Final = "LegatoRetired-"

_TIME: Final = "%Y%m%dT%H%M%SZ"
_VERSION_CHARS: Final = 8


def retire(job: Job, versions: Versions, current: str, value: Secret) -> None:
    """Label the current version before it is replaced, so that its token is revoked later.

    Args:
        job: The call.
        versions: Of the secret.
        current: The version that is current still.
        value: The value that replaces its own.
    """
    old = versions.read(version=current)
    if old is None or token_or_none(old) == token_of(value):
        return
    label = f"{RETIRED}{job.now.astimezone(timezone.utc):{_TIME}}-{current[:_VERSION_CHARS]}"
    own = job.labels.get(current, ())
    if label not in own:
        versions.move(label, to=current)
    # Of a call that ended before its move: the time begins now.
    for earlier in own:
        if earlier.startswith(RETIRED) and earlier != label:
            versions.move(earlier, source=current)


def sweep(job: Job, versions: Versions) -> None:
    """Revoke each token whose grace period is over; what fails is tried by the next rotation."""
    retired = list(_retired(job))
    waiting = [version for version, _, due in retired if not due]
    for version, label, due in retired:
        if due:
            told = _settle(job, versions, version, label, waiting)
            job.tell({**told, "retired": version})


def _settle(
    job: Job, versions: Versions, version: str, label: str, waiting: list[str]
) -> dict[str, str]:
    try:
        token = token_or_none(versions.read(version=version))
        if token is not None:
            if _in_use(versions, token, waiting):
                return {"outcome": "in_use"}
            job.hub.revoke(token)
        versions.move(label, source=version)
    except LegatoError as error:
        return {"outcome": "not_revoked", "reason": str(error)}
    return {"outcome": "revoked" if token is not None else "nothing_to_revoke"}


def _in_use(versions: Versions, token: Secret, waiting: list[str]) -> bool:
    """Say whether a token is that of another version, too, which is not to be revoked.

    It is asked now, not as the call began: an operator may have gone back to an old token.
    """
    others = [versions.read(label=label) for label in (CURRENT, PENDING, STAGED)]
    others += [versions.read(version=version) for version in waiting]
    return any(token_or_none(other) == token for other in others)


def _retired(job: Job) -> Iterator[tuple[str, str, bool]]:
    """Iterate over version, label, and whether the grace period is over."""
    for version, labels in job.labels.items():
        # One that is current is so again, by hand, or its replacement was never finished.
        if CURRENT in labels:
            continue
        for label in labels:
            since = _since(label)
            if since is not None:
                yield version, label, job.now - since >= timedelta(seconds=job.grace_s)


def _since(label: str) -> datetime | None:
    if not label.startswith(RETIRED):
        return None
    text = label.removeprefix(RETIRED).partition("-")[0]
    try:
        return datetime.strptime(text, _TIME).replace(tzinfo=timezone.utc)
    except ValueError:
        return None
