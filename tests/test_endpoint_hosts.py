"""Which hosts and addresses an endpoint may have."""

from __future__ import annotations

import contextlib
import ipaddress
import socket
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from legato._endpoint._hosts import Allowed, Place
from legato.endpoints import Endpoint
from legato.errors import (
    AccessDeniedError,
    EndpointUnavailableError,
    LegatoError,
    SettingsError,
    WorkflowError,
)

ENDPOINT = "https://abc.eu-west-1.aws.endpoints.huggingface.cloud"

BAD_URLS = [
    "",
    "ftp://router.huggingface.co",
    "router.huggingface.co",
    "https://",
    "https:///x",
    "https://user:secret@router.huggingface.co",
    "https://router.huggingface.co?token=secret",
    "https://router.huggingface.co/#x",
    "https://router.huggingface.co:0",
    "https://router.huggingface.co:70000",
    "https://router.huggingface.co/a/../b",
    "https://router.huggingface.co/%2e%2e/b",
    "https://router.huggingface.co\n.evil.example",
    "https://router.huggingface.co\\@evil.example",
    "https://rou\u0442er.huggingface.co",
    "https://[::1%25eth0]/",
    " https://router.huggingface.co",
]

HOSTILE = [
    "169.254.169.254",  # metadata of a machine
    "169.254.170.2",  # credentials of a container
    "127.0.0.1",
    "10.1.2.3",
    "172.16.0.1",
    "192.168.1.1",
    "100.64.0.1",
    "0.0.0.0",
    "224.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "fe80::1",
    "fc00::1",
    "fd00:ec2::254",
    "ff02::1",
    "::ffff:169.254.169.254",
    "::ffff:10.0.0.1",
    "2002:a9fe:a9fe::1",  # 6to4 of 169.254.169.254
    "64:ff9b::a9fe:a9fe",  # NAT64 of it
    "64:ff9b::7f00:1",
    "64:ff9b:1::a9fe:a9fe",  # NAT64 of somebody's own
    "::a9fe:a9fe",  # compatible with IPv4, as nobody writes it any more
    "fec0::1",
]

WRITTEN = ["2852039166", "0xa9fea9fe", "0251.0376.0251.0376", "169.254.43518", "127.1", "0"]
"""Addresses as C libraries read them, too."""


def resolving(monkeypatch: pytest.MonkeyPatch, *addresses: str) -> None:
    def getaddrinfo(_host: str, port: int, **_: Any) -> list[Any]:
        kinds = [socket.AF_INET6 if ":" in a else socket.AF_INET for a in addresses]
        return [
            (kind, socket.SOCK_STREAM, 6, "", (address, port))
            for kind, address in zip(kinds, addresses, strict=True)
        ]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)


@pytest.mark.parametrize("url", BAD_URLS)
def test_a_url_that_is_none_is_refused_and_not_quoted(url: str) -> None:
    with pytest.raises(WorkflowError) as caught:
        Endpoint(url)
    assert "secret" not in str(caught.value)


def test_a_url_in_parts() -> None:
    place = Place.of("https://ABC.example:8443/a/b/")
    assert (place.scheme, place.host, place.port, place.path) == (
        "https",
        "abc.example",
        8443,
        "/a/b",
    )
    assert place.authority == "abc.example:8443"
    assert Place.of("http://[::1]").authority == "[::1]"
    assert Place.of("https://abc.example.").host == "abc.example"


@pytest.mark.parametrize(
    ("url", "entries", "allowed"),
    [
        (ENDPOINT, [], True),
        ("https://router.huggingface.co/hf-inference/models/a/b", [], True),
        ("http://router.huggingface.co", [], False),
        (f"{ENDPOINT}:8443", [], False),
        ("https://endpoints.huggingface.cloud", [], False),
        ("https://evilendpoints.huggingface.cloud", [], False),
        ("https://abc.endpoints.huggingface.cloud.evil.example", [], False),
        ("https://tei.example", [], False),
        ("https://tei.example", ["tei.example"], True),
        ("https://TEI.example.", ["tei.EXAMPLE"], True),
        ("https://tei.example:444", ["tei.example"], False),
        ("https://tei.example:444", ["tei.example:444"], True),
        ("http://tei.example", ["tei.example"], False),
        ("http://tei.example", ["http://tei.example"], True),
        ("https://tei.example", ["http://tei.example"], False),
        ("https://a.tei.example", ["*.tei.example"], True),
        ("https://tei.example", ["*.tei.example"], False),
    ],
)
def test_hosts_by_name(url: str, entries: list[str], allowed: bool) -> None:
    def check() -> None:
        Allowed(entries).check(Place.of(url))

    if allowed:
        check()
    else:
        with pytest.raises(AccessDeniedError, match="LEGATO_ALLOWED_HOSTS"):
            check()


@pytest.mark.parametrize(
    "entry", ["", "*", "*.", "a b", "0.0.0.0/0", "::/0", "10.0.0.1/8", "ftp://x", "x:0", "https://"]
)
def test_an_entry_that_is_none_is_refused(entry: str) -> None:
    with pytest.raises(ValueError, match="hosts such as"):
        Allowed([entry])
    with pytest.raises(WorkflowError, match="allowed_hosts"):
        Endpoint(ENDPOINT, allowed_hosts=[entry])


@pytest.mark.parametrize("address", HOSTILE)
def test_a_name_that_resolves_to_what_is_not_public(
    monkeypatch: pytest.MonkeyPatch, address: str
) -> None:
    resolving(monkeypatch, address)
    with pytest.raises(AccessDeniedError, match="no public address"):
        Allowed().addresses(Place.of(ENDPOINT))
    # Beside a public one it is no better.
    resolving(monkeypatch, "1.1.1.1", address)
    with pytest.raises(AccessDeniedError, match="no public address"):
        Allowed().addresses(Place.of(ENDPOINT))
    # Who means it says so, by the network, not by the name.
    network = f"{address}/{ipaddress.ip_address(address).max_prefixlen}"
    assert len(Allowed([network]).addresses(Place.of(ENDPOINT))) == 2


def test_public_addresses_may_be_called(monkeypatch: pytest.MonkeyPatch) -> None:
    # The last is what a network without IPv4 makes of the first.
    addresses = ["1.1.1.1", "2606:4700::1111", "64:ff9b::101:101"]
    resolving(monkeypatch, *addresses, "1.1.1.1")
    found = Allowed().addresses(Place.of(ENDPOINT))
    assert [str(address) for address in found] == addresses


@pytest.mark.parametrize("written", WRITTEN)
def test_an_address_in_other_figures_is_that_address(written: str) -> None:
    place = Place.of(f"http://{written}")
    with pytest.raises(AccessDeniedError):
        Allowed().addresses(place)
    # Allowed by name alone: what it resolves to is looked at all the same.
    with pytest.raises(AccessDeniedError, match="no public address"):
        Allowed([f"http://{written}"]).addresses(place)


def test_who_names_an_address_means_it() -> None:
    allowed = Allowed(["http://127.0.0.1:8080"])
    assert [str(a) for a in allowed.addresses(Place.of("http://127.0.0.1:8080"))] == ["127.0.0.1"]
    with pytest.raises(AccessDeniedError):
        allowed.addresses(Place.of("http://127.0.0.1:8081"))
    assert Allowed(["http://[::1]"]).addresses(Place.of("http://[::1]"))


def test_names_that_do_not_resolve(monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(number: int) -> None:
        def getaddrinfo(*_: Any, **__: Any) -> None:
            raise socket.gaierror(number, "said the resolver")

        monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)

    cases: list[tuple[int, type[LegatoError]]] = [
        (socket.EAI_AGAIN, EndpointUnavailableError),
        (socket.EAI_NONAME, SettingsError),
    ]
    for number, kind in cases:
        failing(number)
        with pytest.raises(kind, match="said the resolver"):
            Allowed().addresses(Place.of(ENDPOINT))


@given(st.ip_addresses())
def test_what_is_reached_is_public_or_allowed(
    address: ipaddress.IPv4Address | ipaddress.IPv6Address,
) -> None:
    if Allowed()._reachable(address):
        assert address.is_global
        assert not address.is_private
        assert not address.is_loopback
        assert not address.is_link_local
    assert Allowed([f"{address}/{address.max_prefixlen}"])._reachable(address)


@given(st.text(max_size=40))
def test_no_text_breaks_the_parsers(text: str) -> None:
    with contextlib.suppress(ValueError):
        assert Place.of(text).host
    with contextlib.suppress(ValueError):
        Allowed([text])
