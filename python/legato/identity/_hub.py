"""What is asked of the Hugging Face Hub: mint a token, try it on a file, revoke it.

The forms of these requests are known from documentation alone; they are in this module and nowhere
else. Assumed: the exchange takes its fields as JSON, and revokes tokens that it has minted.
"""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote, urljoin, urlsplit

from legato.errors import AccessDeniedError, SettingsError, StoreUnavailableError
from legato.identity._http import Answer, ask
from legato.identity._secret import Secret, token_of

MOST_REDIRECTS: Final = 5
"""Redirects within the Hub that are followed: those of renamed repositories."""

OK, ACCEPTED, BAD_REQUEST, UNAUTHORIZED, FORBIDDEN, NOT_FOUND = 200, 202, 400, 401, 403, 404
_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
_BUSY: Final = frozenset({408, 429, 500, 502, 503, 504})
_COMMIT: Final = "X-Repo-Commit"
_LOOPBACK: Final = frozenset({"127.0.0.1", "localhost", "::1"})
_KNOWN_ERRORS: Final = frozenset(
    {
        "invalid_client",
        "invalid_grant",
        "invalid_request",
        "invalid_scope",
        "unauthorized_client",
        "unsupported_grant_type",
    }
)
"""Errors of OAuth that a message may quote; whatever else an answer says stays in it."""


@dataclass(frozen=True)
class Hub:
    """The Hub at an address.

    Attributes:
        endpoint: ``https://huggingface.co``, or what HF_ENDPOINT says; without a slash at its end.
    """

    endpoint: str

    @classmethod
    def at(cls, endpoint: str) -> Hub:
        """Check an address: tokens are sent there.

        Raises:
            SettingsError: It is no URL of HTTPS; plain HTTP is for this machine alone.
        """
        url = endpoint.rstrip("/")
        parts = urlsplit(url)
        secure = parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in _LOOPBACK)
        # A password in the address would be in every message that names it.
        if not secure or not parts.hostname or parts.query or parts.fragment or "@" in parts.netloc:
            msg = "HF_ENDPOINT is no plain https:// address; unset it, or give one like https://hub.example.com"
            raise SettingsError(msg)
        return cls(url)

    def exchange(self, client_id: str, client_secret: Secret, subject: str) -> Secret:
        """Mint a token that acts for a user of an Enterprise organisation.

        Args:
            client_id: Of the organisation's OAuth application.
            client_secret: Its password.
            subject: E-mail address of the user.

        Raises:
            AccessDeniedError: The Hub refuses the application, or to act for the user.
            StoreUnavailableError: It did not answer, or is busy.
        """
        pair = f"{client_id}:{client_secret.reveal()}".encode()
        fields = {
            "grant_type": "urn:ietf:params:oauth:grant-type:token-exchange",
            "subject_token": subject,
            "subject_token_type": "urn:huggingface:token-type:user-email",
        }
        headers = {"Authorization": f"Basic {base64.b64encode(pair).decode('ascii')}"}
        answer = self._post("/oauth/token", fields, headers)
        if answer.status != OK:
            raise self._refused_exchange(answer)
        minted = _object(answer.body).get("access_token")
        if not isinstance(minted, str):
            raise StoreUnavailableError(
                f"the token exchange at {self.endpoint}/oauth/token answered without a token"
            )
        return token_of(Secret(minted))

    def check(self, token: Secret, file: str) -> None:
        """Try a token on a file, without reading the file.

        Args:
            token: The token.
            file: ``namespace/name@commit/path``, as LEGATO_ROTATION_FILE.

        Raises:
            AccessDeniedError: The token is not valid, or may not read the file.
            SettingsError: There is no such file for anybody with this token.
            StoreUnavailableError: The Hub did not answer, or is busy.
        """
        repository, _, rest = file.partition("@")
        commit, _, path = rest.partition("/")
        url = f"{self.endpoint}/{repository}/resolve/{commit}/{quote(path)}"
        headers, seen = {"Authorization": f"Bearer {token.reveal()}"}, set[str]()
        for _ in range(MOST_REDIRECTS + 1):
            answer = ask("HEAD", url, headers)
            seen.add(answer.headers.get(_COMMIT, ""))
            if answer.status in _REDIRECTS:
                url = urljoin(url, answer.headers.get("Location", ""))
                if _origin(url) == _origin(self.endpoint):
                    continue
                # The Hub has said yes, and names a host that keeps the bytes: no token goes there.
            elif answer.status != OK:
                raise self._refused_file(answer, file)
            if commit not in seen:
                break
            return
        msg = (
            f"{self.endpoint} did not answer for {file} as the Hub does, with {_COMMIT}; "
            "check HF_ENDPOINT and LEGATO_ROTATION_FILE"
        )
        raise SettingsError(msg)

    def revoke(self, token: Secret) -> None:
        """Revoke a token. The Hub accepts any token, also one that is not valid any more.

        Raises:
            StoreUnavailableError: It did not accept; the token may still be valid.
        """
        answer = self._post("/api/credentials/revoke", {"credentials": [token.reveal()]}, {})
        if answer.status != ACCEPTED:
            msg = f"revoking a token at {self.endpoint} failed ({answer.status}); try again"
            raise StoreUnavailableError(msg)

    def _post(self, path: str, fields: dict[str, Any], headers: dict[str, str]) -> Answer:
        kind = {"Content-Type": "application/json", "Accept": "application/json"}
        body = json.dumps(fields).encode()
        return ask("POST", f"{self.endpoint}{path}", {**kind, **headers}, body)

    def _refused_exchange(self, answer: Answer) -> Exception:
        said = _object(answer.body).get("error")
        named = f"{answer.status}, {said}" if said in _KNOWN_ERRORS else str(answer.status)
        what = f"Hugging Face refused the token exchange ({named})"
        if answer.status in _BUSY:
            msg = f"the token exchange at {self.endpoint} is busy ({named}); try again"
            return StoreUnavailableError(msg)
        if answer.status == UNAUTHORIZED or said == "invalid_client":
            msg = f"{what}: client_id or client_secret of LEGATO_ROTATION_CLIENT is wrong"
            return AccessDeniedError(msg)
        msg = (
            f"{what}: allow the application to exchange tokens in the settings of the Enterprise "
            "organisation, and let LEGATO_ROTATION_SUBJECT be the e-mail address of a member"
        )
        return AccessDeniedError(msg)

    def _refused_file(self, answer: Answer, file: str) -> Exception:
        status = answer.status
        if status in _BUSY:
            msg = f"{self.endpoint} is busy ({status}), so the new token is not tested; try again"
            return StoreUnavailableError(msg)
        if status == UNAUTHORIZED:
            msg = f"Hugging Face does not know the new token ({status}); stage another one"
            return AccessDeniedError(msg)
        if status == FORBIDDEN:
            msg = (
                f"the new token may not read {file} ({status}); give it read access to the "
                "repository, and accept its terms as the token's user where it is gated"
            )
            return AccessDeniedError(msg)
        if status == NOT_FOUND:
            msg = (
                f"the new token finds no {file} ({status}); check LEGATO_ROTATION_FILE, and give "
                "the token read access where the repository is private"
            )
            return SettingsError(msg)
        return StoreUnavailableError(f"{self.endpoint} answered {status} for {file}; try again")


def _origin(url: str) -> tuple[str, str | None, int | None]:
    parts = urlsplit(url)
    try:
        port = parts.port
    except ValueError:
        return parts.scheme, None, None
    return parts.scheme, parts.hostname, port or {"https": 443, "http": 80}.get(parts.scheme)


def _object(body: bytes) -> dict[str, Any]:
    try:
        found = json.loads(body)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
