"""Strategy `exchange`: a token for 8 hours, minted by the Enterprise token exchange."""

from __future__ import annotations

from legato.errors import LegatoError
from legato.identity._job import Job
from legato.identity._secret import Secret
from legato.identity._versions import PENDING, Client, Versions


def create(job: Job, versions: Versions, client: Client, subject: str) -> str:
    """Mint a token for the version, unless it has one.

    A process that is killed between the Hub's answer and the write loses a token that nobody
    knows, which ends after 8 hours; in every other case what is not stored is revoked.

    Args:
        job: The call.
        versions: Of the secret.
        client: The application that may exchange tokens.
        subject: E-mail address of the user whom the token acts for.

    Returns:
        What was done, for the log.
    """
    if versions.read(version=job.version, label=PENDING) is not None:
        return "there"
    name, password = client.pair()
    minted = job.hub.exchange(name, password, subject)
    return "minted" if _store(job, versions, minted) else "there"


def _store(job: Job, versions: Versions, minted: Secret) -> bool:
    """Store a new token; false where another call was faster, and this one's token is revoked."""
    failed: LegatoError | None = None
    try:
        stored = versions.put(job.version, minted, PENDING)
    except LegatoError as error:
        # The write may have happened all the same; where that cannot be seen either, the token
        # is kept alive, as it may be the one that is stored.
        failed = error
        try:
            stored = versions.read(version=job.version, label=PENDING) == minted
        except LegatoError:
            raise failed from None
    if stored:
        return True
    try:
        job.hub.revoke(minted)
    except LegatoError as error:
        job.tell({"outcome": "not_revoked", "reason": str(error)})
    if failed is not None:
        raise failed from None
    return False
