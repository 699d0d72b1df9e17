"""Sessions of AWS for the verbs that deploy and follow; the core and the stages need no boto3."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Final
from urllib.parse import urlsplit

from legato._aws_errors import explained
from legato.errors import SettingsError

_ATTEMPTS: Final = 5


@dataclass(frozen=True)
class Aws:
    """A region of an account, and how to reach it. It never holds or shows a secret.

    Attributes:
        region: Where everything lies.
        endpoint_url: An endpoint instead of AWS's own, such as an emulator's.
        session: boto3's.
    """

    region: str
    endpoint_url: str | None
    session: Any = field(repr=False)

    @classmethod
    def connect(
        cls,
        *,
        region: str | None = None,
        profile: str | None = None,
        endpoint_url: str | None = None,
    ) -> Aws:
        """Open a session; nothing is asked of AWS yet.

        What is given is set in this process's environment, too, where stores on S3 find it.

        Args:
            region: By default AWS_REGION, AWS_DEFAULT_REGION, or the profile's.
            profile: A profile of ``~/.aws/config``; by default AWS_PROFILE.
            endpoint_url: By default AWS_ENDPOINT_URL, or AWS itself.

        Raises:
            SettingsError: boto3 is not installed, the endpoint is no URL, there is no such
                profile, or no region.
        """
        boto3 = _boto3()
        from botocore.exceptions import ProfileNotFound

        _check_endpoint(endpoint_url or os.environ.get("AWS_ENDPOINT_URL"))
        asked = region or os.environ.get("AWS_REGION") or None
        try:
            session = boto3.session.Session(region_name=asked, profile_name=profile)
            found = session.region_name
        except ProfileNotFound:
            msg = "there is no such AWS profile; check --profile, AWS_PROFILE and ~/.aws/config"
            raise SettingsError(msg) from None
        if not found:
            msg = "no AWS region is set; give --region, or set AWS_REGION"
            raise SettingsError(msg)
        for name, value in (
            ("AWS_REGION", region),
            ("AWS_PROFILE", profile),
            ("AWS_ENDPOINT_URL", endpoint_url),
        ):
            if value is not None:
                os.environ[name] = value
        return cls(found, endpoint_url or os.environ.get("AWS_ENDPOINT_URL") or None, session)

    def client(self, service: str) -> Any:
        """Return a client of a service, the same one each time."""
        made = self._clients.get(service)
        if made is None:
            from botocore.config import Config

            # An emulator has no names of hosts for its buckets.
            style = {"addressing_style": "path"} if self.endpoint_url else {}
            config = Config(
                retries={"mode": "standard", "total_max_attempts": _ATTEMPTS},
                connect_timeout=10,
                read_timeout=60,
                user_agent_extra="legato",
                s3=style,
            )
            made = self.session.client(
                service, region_name=self.region, endpoint_url=self.endpoint_url, config=config
            )
            self._clients[service] = made
        return made

    @cached_property
    def _clients(self) -> dict[str, Any]:
        return {}

    @cached_property
    def identity(self) -> dict[str, str]:
        """Whose credentials these are: ``Account`` and ``Arn``."""
        with explained("sts:GetCallerIdentity", "the configured credentials"):
            found = self.client("sts").get_caller_identity()
        return {"Account": str(found["Account"]), "Arn": str(found["Arn"])}

    @property
    def account(self) -> str:
        """The account's id, 12 digits."""
        return self.identity["Account"]


def _check_endpoint(url: str | None) -> None:
    if not url:
        return
    try:
        parts = urlsplit(url)
        usable = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if not usable:
        # Not quoted: a URL may hold a password.
        msg = "the endpoint is no URL; write --endpoint-url http://HOST:PORT, or leave it out"
        raise SettingsError(msg)


def _boto3() -> Any:
    try:
        import boto3
        import boto3.session
    except ImportError:
        msg = "boto3 is not installed, and deploying needs it; pip install 'legato[aws]'"
        raise SettingsError(msg) from None
    return boto3
