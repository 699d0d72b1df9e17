"""Who a request comes from: the one seam that tokens pass."""

from __future__ import annotations

from typing import Final, Protocol

from legato.errors import SettingsError
from legato.settings import Settings, hf_token

KINDS: Final = ("none", "env")
"""Values of LEGATO_HF_CREDENTIALS."""


class Credentials(Protocol):
    """Gives tokens. It may be asked by several threads at the same time.

    None of its methods may put a token into a repr, a log line or an error.
    """

    def token(self) -> str | None:
        """Return the token to send, None for none."""

    def refresh(self) -> str | None:
        """Return a token that was fetched anew, after one was refused with 401."""


class NoCredentials:
    """Requests without a token."""

    def token(self) -> str | None:
        """Return None."""
        return None

    def refresh(self) -> str | None:
        """Return None: there is nothing else to send."""
        return None


class EnvironmentCredentials:
    """The token of HF_TOKEN, as it is at each request: nothing of it is kept here."""

    def token(self) -> str | None:
        """Return it.

        Raises:
            SettingsError: It is not set, or is no token.
        """
        found = hf_token()
        if found is None or not found.isascii() or not found.isprintable() or " " in found:
            # Not quoted, whatever it is.
            problem = "is not set" if found is None else "is no token"
            raise SettingsError(f"LEGATO_HF_CREDENTIALS is 'env', and HF_TOKEN {problem}; set it")
        return found

    def refresh(self) -> str | None:
        """Return it as it is now: it may have been changed since."""
        return self.token()


def credentials_of(settings: Settings) -> Credentials:
    """Return what LEGATO_HF_CREDENTIALS asks for; nothing else is tried."""
    return EnvironmentCredentials() if settings.hf_credentials == "env" else NoCredentials()
