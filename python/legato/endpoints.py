"""Endpoints of Hugging Face, and servers that speak as they do, instead of the local engine."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from legato._endpoint._hosts import Allowed, Place
from legato.errors import WorkflowError

if TYPE_CHECKING:
    from legato.settings import Settings

ROUTER: Final = "router.huggingface.co"
SERVERS: Final = ("tei", "pipeline")
CREDENTIALS: Final = ("none", "env")
MAX_CONCURRENCY: Final = 64
MAX_TIMEOUT_S: Final = 600
MAX_SCALE_UP_S: Final = 20

_COMMIT: Final = re.compile("[0-9a-f]{40}")


@dataclass(frozen=True)
class Endpoint:
    """A server that Inference calls: an Inference Endpoint, a TEI server, or the router.

    Args:
        url: ``https://host/path``. Of the router,
            ``https://router.huggingface.co/hf-inference/models/<model>``.
        server: What it speaks: ``tei`` (``/embed``, ``/predict``, ``/rerank``), or ``pipeline`` as
            transformers' pipelines do. None asks it for ``/info``; the router is a ``pipeline``.
        revision: Commit that its model must have, 40 hexadecimal digits. Where the server tells
            another one, a run fails; where it tells none, the result says that it was not enforced.
        allowed_hosts: Hosts that may be called besides those of Hugging Face, such as
            ``tei.example.com`` or ``http://tei.internal:8080``, and networks that are not public,
            such as ``10.1.0.0/16``.
        credentials: Where the token comes from: ``none``, or ``env``, which is HF_TOKEN.
        concurrency: Requests of a function at the same time at most, 1 to 64; the fleet has as many
            for each shard that is under way.
        timeout_s: Seconds that a request may take, up to 600.
        scale_up_s: Seconds that an endpoint which is scaled to zero may hold a request, up to 20;
            the state machine waits for the rest.

    Raises:
        WorkflowError: A value is wrong.

    Example:
        >>> legato.Endpoint("https://abc.eu-west-1.aws.endpoints.huggingface.cloud").concurrency
        4
    """

    url: str
    server: str | None = None
    revision: str | None = None
    allowed_hosts: Sequence[str] = ()
    credentials: str = "none"
    concurrency: int = 4
    timeout_s: float = 60.0
    scale_up_s: int = 10

    def __post_init__(self) -> None:
        """Check every value."""
        place = self._place()
        hosts = self.allowed_hosts
        if isinstance(hosts, str) or not all(isinstance(host, str) for host in hosts):
            raise _error("allowed_hosts", hosts, "a list of hosts and networks")
        object.__setattr__(self, "allowed_hosts", tuple(hosts))
        try:
            Allowed(self.allowed_hosts)
        except ValueError as error:
            raise _error("allowed_hosts", self.allowed_hosts, str(error)) from None
        if self.server not in (None, *SERVERS):
            raise _error("server", self.server, "tei or pipeline")
        if place.host == ROUTER:
            if self.server == "tei":
                raise _error("server", self.server, "pipeline with the router")
            object.__setattr__(self, "server", "pipeline")
        revision = self.revision
        if revision is not None and not (isinstance(revision, str) and _COMMIT.fullmatch(revision)):
            raise _error("revision", revision, "a commit, 40 hexadecimal digits")
        if self.credentials not in CREDENTIALS:
            raise _error("credentials", self.credentials, " or ".join(CREDENTIALS))
        _number("concurrency", self.concurrency, 1, MAX_CONCURRENCY, whole=True)
        _number("timeout_s", self.timeout_s, 0.001, MAX_TIMEOUT_S, whole=False)
        _number("scale_up_s", self.scale_up_s, 0, MAX_SCALE_UP_S, whole=True)

    def _place(self) -> Place:
        try:
            return Place.of(self.url)
        except ValueError as error:
            # Not quoted: who writes a password into a URL should not find it in a log.
            raise WorkflowError(f"url of the endpoint must be {error}") from None
        except TypeError:
            raise _error("url", self.url, "a URL") from None

    def variables(self) -> dict[str, str]:
        """Return the environment variables of functions that call it."""
        found = {
            "LEGATO_ENDPOINT": self.url,
            "LEGATO_ENDPOINT_SERVER": self.server or "",
            "LEGATO_ENDPOINT_REVISION": self.revision or "",
            "LEGATO_ENDPOINT_CONCURRENCY": str(self.concurrency),
            "LEGATO_ENDPOINT_TIMEOUT_S": f"{self.timeout_s:g}",
            "LEGATO_ENDPOINT_SCALE_UP_S": str(self.scale_up_s),
            "LEGATO_ALLOWED_HOSTS": ",".join(self.allowed_hosts),
            "LEGATO_HF_CREDENTIALS": self.credentials,
        }
        return {name: value for name, value in found.items() if value}

    @staticmethod
    def of(settings: Settings) -> Endpoint:
        """Return the endpoint that settings describe.

        Raises:
            SettingsError: LEGATO_ENDPOINT is not set.
            WorkflowError: A value is wrong.
        """
        return Endpoint(
            settings.require("endpoint"),
            server=settings.endpoint_server,
            revision=settings.endpoint_revision,
            allowed_hosts=settings.allowed_hosts,
            credentials=settings.hf_credentials,
            concurrency=settings.endpoint_concurrency,
            timeout_s=settings.endpoint_timeout_s,
            scale_up_s=settings.endpoint_scale_up_s,
        )


def _error(field: str, value: object, allowed: str) -> WorkflowError:
    return WorkflowError(f"{field} of the endpoint is {value!r}; use {allowed}")


def _number(field: str, value: object, low: float, high: int, *, whole: bool) -> None:
    kinds = int if whole else (int, float)
    # NaN compares false, so it is refused too.
    known = isinstance(value, kinds) and not isinstance(value, bool)
    if not known or not low <= value <= high:  # type: ignore[operator]
        kind = "whole number" if whole else "number"
        raise _error(field, value, f"a {kind} from {low:g} to {high:,}")
