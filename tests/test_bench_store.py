"""The S3 server of the store benchmark, and that wrong bytes do not go unseen in it."""

from __future__ import annotations

import http.client
import re
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from bench import _store_data
from bench._store_contest import ClientError, Contest, Series, Server, Spent
from bench._store_data import WrongBytesError


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    found = Server()
    yield found
    found.close()


def ask(
    server: Server, method: str, path: str, body: bytes = b"", **headers: str
) -> tuple[int, dict[str, str], bytes]:
    connection = http.client.HTTPConnection(server.address)
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    connection.request(method, path, body=body, headers=named)
    answer = connection.getresponse()
    found = answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read()
    connection.close()
    return found


def test_objects_and_ranges(server: Server) -> None:
    body = bytes(range(200)) * 1000
    assert ask(server, "PUT", "/b/k", body, x_amz_checksum_crc64nvme="AAA=")[0] == 200
    status, headers, found = ask(server, "GET", "/b/k")
    assert (status, found) == (200, body)
    assert headers["x-amz-checksum-crc64nvme"] == "AAA="
    assert ask(server, "HEAD", "/b/k")[1]["content-length"] == str(len(body))
    for text, expected in {"0-9": body[:10], "150000-": body[150_000:], "-7": body[-7:]}.items():
        status, headers, found = ask(server, "GET", "/b/k", range=f"bytes={text}")
        assert (status, found) == (206, expected)
        assert headers["content-range"].endswith(f"/{len(body)}")
        assert "x-amz-checksum-crc64nvme" not in headers
    assert ask(server, "GET", "/b/k", range="bytes=200000-")[0] == 416
    assert ask(server, "PUT", "/b/k", b"other", if_none_match="*")[0] == 412
    assert ask(server, "GET", "/b/k")[2] == body
    assert b"<Key>k</Key>" in ask(server, "GET", "/b?list-type=2&prefix=")[2]
    assert ask(server, "DELETE", "/b/k")[0] == 204
    assert ask(server, "GET", "/b/k")[0] == 404


def test_parts(server: Server) -> None:
    def started() -> str:
        found = re.search(rb"<UploadId>(\d+)<", ask(server, "POST", "/b/parts?uploads")[2])
        assert found is not None
        return found[1].decode()

    upload, pieces = started(), [b"a" * 100_000, b"b" * 3]
    for number in (2, 1):
        path = f"/b/parts?partNumber={number}&uploadId={upload}"
        assert ask(server, "PUT", path, pieces[number - 1])[0] == 200
    assert ask(server, "GET", "/b/parts")[0] == 404
    assert ask(server, "POST", f"/b/parts?uploadId={upload}")[0] == 200
    assert ask(server, "GET", "/b/parts")[2] == b"".join(pieces)
    assert ask(server, "GET", "/b/parts", range="bytes=99999-100000")[2] == b"ab"
    assert ask(server, "POST", f"/b/parts?uploadId={started()}", if_none_match="*")[0] == 412
    upload = started()
    assert ask(server, "DELETE", f"/b/parts?uploadId={upload}")[0] == 204
    assert ask(server, "PUT", f"/b/parts?partNumber=1&uploadId={upload}", b"x")[0] == 404


def test_bodies_in_chunks(server: Server) -> None:
    body = b"5;chunk-signature=00\r\nhello\r\n6\r\n world\r\n0\r\nx-amz-checksum-crc32:AA==\r\n\r\n"
    status, *_ = ask(
        server, "PUT", "/b/c", body, x_amz_content_sha256="STREAMING-UNSIGNED-PAYLOAD-TRAILER"
    )
    assert status == 200
    assert ask(server, "GET", "/b/c")[2] == b"hello world"


@pytest.mark.parametrize("size", [8, 1 << 20, (1 << 20) + 64])
def test_wrong_bytes_are_found(size: int) -> None:
    key = f"get-{size}-3"
    data = _store_data.make(key)
    _store_data.check(key, data)
    _store_data.check(key, b"head" + data.tobytes(), tail=True)
    places = np.random.default_rng(size).integers(0, size, 5)
    for place in (0, size - 1, *places.tolist()):
        wrong = data.copy()
        wrong[place] ^= 1
        with pytest.raises(WrongBytesError):
            _store_data.check(key, wrong)
    for wrong_size in (data[:-8], np.concatenate([data, data[:8]])):
        with pytest.raises(WrongBytesError):
            _store_data.check(key, wrong_size)
    with pytest.raises(WrongBytesError):
        _store_data.check(f"get-{size}-4", data)


def test_a_client_takes_its_turns_and_wrong_bytes_end_it() -> None:
    key = "get-1024-0"
    with Contest(["raw sockets", "no such client"]) as contest:
        assert "no such client" in contest.missing
        contest.seed([key])
        series = contest.series("small", [key], 20, 2)
        spent = series.median("raw sockets")
        assert spent is not None
        assert 0 < spent.wall < 1
        assert contest.series("put_small", ["put-1024-0"], 5, 1).median("raw sockets")
        connection = http.client.HTTPConnection(contest.server.address)
        connection.request("PUT", f"/{_store_data.BUCKET}/{key}", body=bytes(1024))
        connection.getresponse().read()
        connection.close()
        with pytest.raises(ClientError, match="a byte after 0 differs"):
            contest.clients["raw sockets"].measure("small", "", [key], 1)


def test_ratios_are_of_the_same_round() -> None:
    rounds: list[dict[str, Any]] = [
        {"a": Spent(2.0 * busy, 1.0), "b": Spent(1.0 * busy, 1.0)} for busy in (1, 5, 9)
    ]
    series = Series([*rounds, {"a": Spent(99.0, 1.0)}], [0.0] * 4)
    assert series.ratio("a", "b", "wall") == (2.0, 2.0, 2.0)
    assert series.ratio("a", "c", "wall") is None
