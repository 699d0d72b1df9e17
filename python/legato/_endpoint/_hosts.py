"""Which hosts and addresses may be called.

A URL comes from a workflow's definition, never from an event. Still its name may resolve to
anything, so the addresses are looked at, and the connection goes to the very one that was.
"""

from __future__ import annotations

import ipaddress
import re
import socket
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

from legato.errors import AccessDeniedError, EndpointUnavailableError, SettingsError

Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address
Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network

KNOWN: Final = ("router.huggingface.co", "*.endpoints.huggingface.cloud")
"""Hosts of Hugging Face, which need no permission."""

_PORTS: Final = {"http": 80, "https": 443}
_URL: Final = re.compile(
    r"(?P<scheme>https?)://(?P<host>[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(:(?P<port>[0-9]{1,5}))?"
    r"(?P<path>(/[A-Za-z0-9._~-]+)*)/?"
)
_ENTRY: Final = re.compile(
    r"((?P<scheme>https?)://)?(?P<host>(\*\.)?[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])"
    r"(:(?P<port>[0-9]{1,5}))?"
)
_UNICAST: Final = ipaddress.ip_network("2000::/3")
_NAT64: Final = ipaddress.ip_network("64:ff9b::/96")
# A wider one would let in more than one network that somebody has looked at.
_WIDEST: Final = {4: 8, 6: 16}

ALLOWED_URL: Final = "https://host/path, without user, query and fragment"
ALLOWED_ENTRY: Final = (
    "hosts such as tei.example.com, *.example.com, tei.example.com:8080 or "
    "http://tei.internal:8080, and networks such as 10.1.0.0/16"
)


@dataclass(frozen=True)
class Place:
    """Where a URL points, in parts.

    Attributes:
        scheme: ``https`` or ``http``.
        host: In lower case, without brackets.
        port: The port.
        path: Without a slash at its end; empty for none.
    """

    scheme: str
    host: str
    port: int
    path: str

    @classmethod
    def of(cls, url: str) -> Place:
        """Take a URL apart.

        Raises:
            ValueError: It is none that an endpoint may have; says what is allowed.
        """
        found = _URL.fullmatch(url)
        port = 0 if found is None else int(found["port"] or _PORTS[found["scheme"]])
        parts = [] if found is None else found["path"].split("/")
        if found is None or not 0 < port < 1 << 16 or "." in parts or ".." in parts:
            raise ValueError(ALLOWED_URL)
        host = found["host"].strip("[]").lower().rstrip(".")
        if not host:
            raise ValueError(ALLOWED_URL)
        return cls(found["scheme"], host, port, found["path"])

    @property
    def authority(self) -> str:
        """Host and port as a ``Host`` header says them."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _PORTS[self.scheme] else f"{host}:{self.port}"


@dataclass(frozen=True)
class _Name:
    """A host that is allowed, and on which terms."""

    scheme: str
    host: str
    port: int | None

    def allows(self, place: Place) -> bool:
        port = self.port or _PORTS[self.scheme]
        if (self.scheme, port) != (place.scheme, place.port):
            return False
        if self.host.startswith("*."):
            return place.host.endswith(self.host[1:])
        return self.host == place.host


class Allowed:
    """The hosts and networks that may be called."""

    def __init__(self, entries: Sequence[str] = ()) -> None:
        """Read a list of hosts and networks, which adds to those of Hugging Face.

        Raises:
            ValueError: An entry is neither; says what is allowed.
        """
        self._names: list[_Name] = []
        self._networks: list[Network] = []
        for entry in (*KNOWN, *entries):
            self._add(entry.strip())

    def _add(self, entry: str) -> None:
        if "/" in entry and "://" not in entry:
            try:
                network = ipaddress.ip_network(entry)
            except ValueError:
                raise ValueError(ALLOWED_ENTRY) from None
            if network.prefixlen < _WIDEST[network.version]:
                raise ValueError(ALLOWED_ENTRY)
            self._networks.append(network)
            return
        found = _ENTRY.fullmatch(entry)
        port = int(found["port"]) if found is not None and found["port"] else None
        if found is None or (port is not None and not 0 < port < 1 << 16):
            raise ValueError(ALLOWED_ENTRY)
        host = found["host"].strip("[]").lower().rstrip(".")
        self._names.append(_Name(found["scheme"] or "https", host, port))
        if (alone := _address(host)) is not None:
            # Who names an address means that one.
            self._networks.append(ipaddress.ip_network(alone))

    def check(self, place: Place) -> None:
        """Refuse a host that is not allowed, or plain HTTP where only HTTPS is.

        Raises:
            AccessDeniedError: It is not.
        """
        if not any(name.allows(place) for name in self._names):
            msg = (
                f"{place.scheme}://{place.authority} is not allowed; add it to "
                "LEGATO_ALLOWED_HOSTS, or to allowed_hosts of the workflow's endpoint"
            )
            raise AccessDeniedError(msg)

    def addresses(self, place: Place) -> list[Address]:
        """Resolve a host, and return its addresses if all of them may be called.

        Raises:
            AccessDeniedError: The host, or an address of it, is not allowed.
            EndpointUnavailableError: The name does not resolve now.
            SettingsError: There is no such name.
        """
        self.check(place)
        found = _resolved(place)
        for address in found:
            if not self._reachable(address):
                # One that is not refuses all: a name with both is how somebody would get around.
                msg = (
                    f"host {place.host} resolves to {address}, which is no public address; "
                    "add its network to LEGATO_ALLOWED_HOSTS if it is meant"
                )
                raise AccessDeniedError(msg)
        return found

    def _reachable(self, address: Address) -> bool:
        if any(address in network for network in self._networks):
            return True
        return all(_is_public(one) for one in _meant(address))


def _is_public(address: Address) -> bool:
    if not address.is_global or address.is_multicast:
        return False
    # Of IPv6 that is all that is given out, and what a network without IPv4 makes of its addresses.
    given_out = isinstance(address, ipaddress.IPv4Address) or address in _UNICAST
    return given_out or address in _NAT64


def _meant(address: Address) -> Iterator[Address]:
    """Iterate over an address, and those of IPv4 that lie in it."""
    yield address
    if isinstance(address, ipaddress.IPv4Address):
        return
    if address.sixtofour is not None:
        yield address.sixtofour
    if address.teredo is not None:
        yield from address.teredo
    if address in _NAT64:
        yield ipaddress.IPv4Address(int(address) & 0xFFFF_FFFF)


def _address(host: str) -> Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def _resolved(place: Place) -> list[Address]:
    """Return the addresses of a host: as the system reads it, so in decimal and hexadecimal too."""
    try:
        found = socket.getaddrinfo(place.host, place.port, type=socket.SOCK_STREAM)
    except socket.gaierror as error:
        msg = f"host {place.host} cannot be resolved ({error.strerror})"
        if error.errno == socket.EAI_AGAIN:
            raise EndpointUnavailableError(f"{msg}; try again") from None
        raise SettingsError(f"{msg}; check the endpoint's URL") from None
    except UnicodeError:
        raise SettingsError(f"host {place.host} is no name; check the endpoint's URL") from None
    # An address with a scope (fe80::1%eth0) is link-local whatever its scope.
    told = dict.fromkeys(str(info[4][0]).partition("%")[0] for info in found)
    return [ipaddress.ip_address(address) for address in told]
