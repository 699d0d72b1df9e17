"""Strategy `staged`: an operator stages a token, which is tested and becomes the current one.

Hugging Face has no API that makes a user's token. So a person makes it and stores it under the
label ``LegatoStaged``. Not under AWSPENDING: Secrets Manager takes a version with that label for a
rotation under way, and starts no other.
"""

from __future__ import annotations

from legato.errors import SettingsError
from legato.identity._job import STAGED, Job
from legato.identity._secret import token_of, token_or_none
from legato.identity._versions import CURRENT, PENDING, Versions


def create(job: Job, versions: Versions) -> str:
    """Give the version the token that an operator has staged.

    Returns:
        What was done, for the log.

    Raises:
        SettingsError: No token is staged, or it is the current one.
    """
    if versions.read(version=job.version, label=PENDING) is not None:
        return "there"
    staged = versions.read(label=STAGED)
    if staged is None:
        raise SettingsError(f"no token is staged; {_how(versions)}")
    token = token_of(staged)
    current = versions.read(label=CURRENT)
    if current is not None and token_or_none(current) == token:
        raise SettingsError(f"the staged token is the current one; {_how(versions)}")
    # The value as it was staged: a token, or JSON that has one.
    return "staged" if versions.put(job.version, staged, PENDING) else "there"


def _how(versions: Versions) -> str:
    return (
        "make one at huggingface.co/settings/tokens, store it with: aws secretsmanager "
        f"put-secret-value --secret-id {versions.arn} --version-stages {STAGED} "
        "--secret-string file://TOKEN, and rotate again"
    )
