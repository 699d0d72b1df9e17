"""What a store on S3 does when the network or the server misbehaves. The server is real; the proxy makes the faults."""

from __future__ import annotations

import hashlib
import random
import re
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from legato import Ref, Store
from legato.errors import CorruptObjectError, LegatoError, StoreUnavailableError
from tests.servers import microburst
from tests.servers.proxy import FaultProxy, Seen
from tests.servers.seaweedfs import S3Server

MIB = 1 << 20
# Larger than one request's part, smaller than one chunk.
SIZE = 5 * MIB
# A deadline of a store that is meant to miss it, and what a call may take over it.
SOON_S = 1.5
GRACE_S = 2.0

CUTS = ["cut_fin", "cut_rst", "truncate", "overlong"]
# The server answers, or something between it and us does: another request is the answer to each.
ANSWERS = ["internal_error", "bad_gateway", "slow_down", "request_timeout", "reset"]


def some(size: int, seed: int = 0) -> bytes:
    return random.Random(seed).randbytes(size)


def patterned(size: int, seed: int = 0) -> bytes:
    """Bytes that are made fast and repeat nowhere near a chunk's length."""
    return (some(MIB + 1, seed) * (size // MIB + 1))[:size]


def bounds(seen: Seen) -> tuple[int, int]:
    found = re.fullmatch(r"bytes=(\d+)-(\d+)", seen.range or "")
    assert found is not None, f"no range in {seen.method} {seen.path}"
    return int(found[1]), int(found[2])


@pytest.fixture
def s3store(proxy: FaultProxy, s3_url: str) -> Store:
    return Store.open(s3_url, timeout_s=30)


@pytest.fixture
def stored(s3store: Store, proxy: FaultProxy) -> tuple[Ref, bytes]:
    """An object of 5 MiB, and its bytes; the proxy has forgotten how it came there."""
    data = some(SIZE)
    ref = s3store.put(data, "k")
    proxy.forget()
    return ref, data


def within(deadline_s: float, call: Callable[[], object], error: type[LegatoError]) -> LegatoError:
    """The error of a call that must fail so, and in time."""
    begin = time.monotonic()
    with pytest.raises(error) as caught:
        call()
    assert time.monotonic() - begin < deadline_s + GRACE_S
    return caught.value


class TestReads:
    @pytest.mark.parametrize("kind", CUTS)
    def test_a_cut_body_is_resumed(
        self, kind: str, s3store: Store, stored: tuple[Ref, bytes], proxy: FaultProxy
    ) -> None:
        ref, data = stored
        proxy.plan.add(kind, method="GET", at=0.6)
        assert s3store.get(ref) == data
        assert proxy.faults == {kind: 1}
        asked = [bounds(seen) for seen in proxy.asked("GET", "/k")]
        cut = next(bounds(seen) for seen in proxy.asked("GET", "/k") if seen.fault == kind)
        resumed = [(start, end) for start, end in asked if start > cut[0] and end == cut[1]]
        if kind == "overlong":
            # All bytes had come; there is nothing to ask for.
            assert resumed == []
        else:
            # From the last good byte: what had come is not asked for again. A reset may lose what was on its way.
            good = cut[0] + int((cut[1] + 1 - cut[0]) * 0.6)
            assert len(resumed) == 1
            assert resumed[0][0] <= good
            assert kind == "cut_rst" or resumed[0][0] == good

    @pytest.mark.parametrize("kind", ["cut_fin", "cut_rst"])
    def test_it_is_resumed_as_often_as_it_takes(
        self, kind: str, s3store: Store, stored: tuple[Ref, bytes], proxy: FaultProxy
    ) -> None:
        ref, data = stored
        proxy.plan.add(kind, method="GET", at=0.5, times=12)
        assert s3store.get(ref) == data
        assert s3store.get("k") == data
        assert proxy.faults == {kind: 12}

    def test_a_resumed_read_is_of_the_same_object(
        self, s3store: Store, stored: tuple[Ref, bytes], proxy: FaultProxy, s3: S3Server
    ) -> None:
        ref, _ = stored
        bucket, _, prefix = s3store.url.removeprefix("s3://").partition("/")
        other = some(SIZE, 1)

        def replace() -> None:
            s3.client().put_object(Bucket=bucket, Key=f"{prefix}/k", Body=other)

        proxy.plan.add("cut_fin", method="GET", path="/k", then=replace)
        with suppress(CorruptObjectError, StoreUnavailableError):
            assert s3store.get("k") == other
        assert proxy.faults == {"cut_fin": 1}
        with pytest.raises(CorruptObjectError):
            s3store.get(ref)

    def test_corrupt_bytes_are_read_again_over_a_fresh_connection(
        self, s3store: Store, stored: tuple[Ref, bytes], proxy: FaultProxy
    ) -> None:
        ref, data = stored
        for kind in ("corrupt", "corrupt_stripped"):
            proxy.forget()
            proxy.plan.add(kind, method="GET", at=0.3)
            assert s3store.get(ref) == data
            assert proxy.faults == {kind: 1}
            seen = proxy.asked("GET", "/k")
            bad = [each.connection for each in seen if each.fault is not None]
            assert seen[-1].connection not in {each.connection for each in seen[:-1]}
            assert seen[-1].connection != bad[0]

    def test_corrupt_bytes_are_never_handed_out(
        self, s3store: Store, stored: tuple[Ref, bytes], proxy: FaultProxy
    ) -> None:
        ref, _ = stored
        for kind in ("corrupt", "corrupt_stripped"):
            proxy.forget()
            proxy.plan.add(kind, method="GET", path="/k", times=None)
            for call in (
                lambda: s3store.get(ref),
                lambda: list(s3store.chunks(ref)),
                lambda: s3store.get_many([ref]),
            ):
                with pytest.raises(CorruptObjectError, match=f"says {ref.crc64nvme}") as caught:
                    call()
                digests = re.findall(r"\b[0-9a-f]{16}\b", str(caught.value))
                assert len(set(digests)) == 2

    @pytest.mark.parametrize("kind", ["corrupt", "corrupt_stripped", "truncate"])
    def test_a_reference_is_believed_only_if_it_is_vouched_for(
        self, kind: str, s3store: Store, proxy: FaultProxy
    ) -> None:
        ref = s3store.commit("k", b"data", media_type="text/plain")
        for at in (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9):
            proxy.forget()
            proxy.plan.add(kind, method="GET", path="k.ref", at=at)
            assert s3store.find("k") == ref
            assert proxy.faults == {kind: 1}
        proxy.forget()
        # Damaged with S3's CRC first, and without it the second time.
        proxy.plan.add(kind, method="GET", path="k.ref", at=0.3)
        proxy.plan.add("corrupt_stripped", method="GET", path="k.ref", at=0.4)
        with suppress(StoreUnavailableError):
            assert s3store.find("k") == ref
        proxy.forget()
        # Without S3's CRC, what comes damaged in the same way each time is what is stored.
        if kind != "corrupt_stripped":
            proxy.plan.add(kind, method="GET", path="k.ref", at=0.4, times=None)
            with pytest.raises(StoreUnavailableError):
                s3store.find("k")
        proxy.forget()
        assert s3store.find("k") == ref
        assert s3store.get(ref) == b"data"

    def test_chunks(self, s3store: Store, proxy: FaultProxy) -> None:
        data = patterned(17 * MIB)
        ref = s3store.put(data, "chunks")
        proxy.forget()
        proxy.plan.add("cut_rst", method="GET", times=3)
        proxy.plan.add("corrupt_stripped", method="GET")
        assert b"".join(s3store.chunks(ref)) == data
        assert proxy.faults == {"cut_rst": 3, "corrupt_stripped": 1}

    def test_slices(self, s3store: Store, proxy: FaultProxy) -> None:
        array = np.frombuffer(patterned(12 * MIB), "u4").reshape(-1, 64)
        ref = s3store.put(array, "array")
        for kind in ("cut_fin", "cut_rst", "corrupt_stripped", "truncate"):
            proxy.forget()
            proxy.plan.add(kind, method="GET", path="/array")
            assert (ref.slice(100, 20_000) == array[100:20_000]).all()
            assert proxy.faults == {kind: 1}
        proxy.forget()
        proxy.plan.add("corrupt_stripped", method="GET", path="/array", times=None)
        for read in (lambda: ref.slice(100, 20_000), ref.load):
            with pytest.raises(CorruptObjectError):
                read()

    @pytest.mark.parametrize("kind", ANSWERS)
    def test_answers_that_another_request_cures(
        self, kind: str, s3store: Store, stored: tuple[Ref, bytes], proxy: FaultProxy
    ) -> None:
        ref, data = stored
        calls: dict[str, tuple[Callable[[], object], object]] = {
            "get": (lambda: s3store.get(ref), data),
            "key": (lambda: s3store.get("k"), data),
            "exists": (lambda: s3store.exists("k"), True),
            "list": (lambda: s3store.list("k"), ["k"]),
            "delete": (lambda: s3store.delete("none"), None),
            "find": (lambda: s3store.find("none"), None),
        }
        if kind == "request_timeout":
            del calls["exists"]
        for call, expected in calls.values():
            proxy.forget()
            proxy.plan.add(kind)
            assert call() == expected
            assert proxy.faults == {kind: 1}

    def test_late_answers(
        self, s3store: Store, stored: tuple[Ref, bytes], proxy: FaultProxy
    ) -> None:
        ref, data = stored
        proxy.plan.add("delay_first", method="GET", seconds=0.5)
        proxy.plan.add("delay_middle", method="GET", seconds=0.5)
        assert s3store.get(ref) == data
        assert s3store.get("k") == data

    def test_a_body_that_stops_is_resumed(
        self, s3store: Store, stored: tuple[Ref, bytes], proxy: FaultProxy
    ) -> None:
        ref, data = stored
        proxy.plan.add("stall_middle", method="GET", at=0.5)
        begin = time.monotonic()
        assert s3store.get(ref) == data
        assert time.monotonic() - begin < 15
        assert proxy.faults == {"stall_middle": 1}

    @pytest.mark.parametrize(
        "kind", ["slow_down", "stall_first", "stall_middle", "reset", "cut_fin"]
    )
    def test_no_call_is_longer_than_its_deadline(
        self, kind: str, s3_url: str, proxy: FaultProxy
    ) -> None:
        hasty = Store.open(s3_url, timeout_s=SOON_S)
        ref = hasty.commit("k", b"data")
        # A cut at the beginning: no byte comes, however often it is tried.
        at = 0.0 if kind == "cut_fin" else 0.5
        for method, calls in {
            "GET": (
                lambda: hasty.get(ref),
                lambda: hasty.get("k"),
                lambda: hasty.find("k"),
                hasty.list,
            ),
            "HEAD": (lambda: hasty.exists("k"),),
            "DELETE": (lambda: hasty.delete("none"),),
        }.items():
            proxy.forget()
            rule = proxy.plan.add(kind, method=method, at=at, times=None)
            if not rule.fault.kind.startswith(("cut", "stall_middle")) or method == "GET":
                for call in calls:
                    error = within(SOON_S, call, StoreUnavailableError)
                    assert error.retryable
        proxy.forget()
        assert hasty.get(ref) == b"data"


class TestConnections:
    @pytest.mark.parametrize("kind", ["close_idle", "reset_idle"])
    def test_a_stale_connection_costs_one_request_at_most(
        self, kind: str, s3store: Store, proxy: FaultProxy
    ) -> None:
        ref = s3store.put(b"data", "k")
        s3store.get(ref)
        proxy.forget()
        # As after a freeze: every connection of the pool has died meanwhile.
        proxy.plan.add(kind, times=None)
        s3store.get(ref)
        proxy.plan.clear()
        before = len(proxy.asked("GET", "/k"))
        begin = time.monotonic()
        assert s3store.get(ref) == b"data"
        assert len(proxy.asked("GET", "/k")) - before <= 2
        assert time.monotonic() - begin < 1
        assert proxy.faults == {kind: 1}

    def test_a_connection_that_went_silent_is_replaced(
        self, s3store: Store, proxy: FaultProxy
    ) -> None:
        ref = s3store.put(b"data", "k")
        proxy.forget()
        proxy.plan.add("drop_idle")
        s3store.get(ref)
        begin = time.monotonic()
        assert s3store.get(ref) == b"data"
        assert time.monotonic() - begin < 15
        assert proxy.faults == {"drop_idle": 1}

    def test_connections_are_used_again(self, s3store: Store, proxy: FaultProxy) -> None:
        ref = s3store.put(b"data", "k")
        proxy.forget()
        for _ in range(20):
            s3store.get(ref)
        assert len({seen.connection for seen in proxy.asked("GET")}) == 1


class TestWrites:
    @pytest.mark.parametrize("kind", [*ANSWERS, "cut_upload", "corrupt_upload", "swallow"])
    @pytest.mark.parametrize("size", [0, 1000, SIZE])
    def test_a_write_is_made(self, kind: str, size: int, s3store: Store, proxy: FaultProxy) -> None:
        data = some(size)
        proxy.plan.add(kind, method="PUT")
        ref = s3store.put(data, "k")
        if size or "upload" not in kind:
            assert proxy.faults == {kind: 1}
        assert ref.sha256 == hashlib.sha256(data).hexdigest()
        assert s3store.get(ref) == s3store.get("k") == data

    @pytest.mark.parametrize(
        "kind", [*ANSWERS, "cut_upload", "corrupt_upload", "swallow", "conflict"]
    )
    @pytest.mark.parametrize("which", ["k", "k.ref"])
    def test_a_commit_is_made_once(
        self, kind: str, which: str, s3store: Store, proxy: FaultProxy
    ) -> None:
        data = some(100_000)
        skip = 0 if which == "k" else 1
        proxy.plan.add(kind, method="PUT", skip=skip)
        ref = s3store.commit("k", data)
        assert proxy.faults == {kind: 1}
        assert proxy.asked("PUT")[skip].path.endswith(f"/{which}")
        proxy.forget()
        assert s3store.find("k") == ref == s3store.commit("k", b"else")
        assert s3store.get(ref) == data

    def test_a_winner_is_returned(self, s3store: Store, proxy: FaultProxy, s3_url: str) -> None:
        other = Store.open(s3_url)
        won: list[Ref] = []
        # While our `.ref` is on its way, another process commits the same output.
        proxy.plan.add("internal_error", method="PUT", path="k.ref")
        ours = s3store.commit("k", b"ours")
        won.append(other.commit("k", b"theirs"))
        assert won == [ours]
        assert s3store.get(ours) == b"ours"

    def test_conflicts_end(self, s3_url: str, proxy: FaultProxy) -> None:
        hasty = Store.open(s3_url, timeout_s=SOON_S)
        proxy.plan.add("conflict", times=None)
        error = within(2 * SOON_S, lambda: hasty.commit("k", b"x"), StoreUnavailableError)
        assert error.retryable
        proxy.forget()
        assert hasty.find("k") is None
        assert hasty.list() == []

    def test_what_was_on_its_way_may_be_there_whole(self, s3_url: str, proxy: FaultProxy) -> None:
        hasty = Store.open(s3_url, timeout_s=SOON_S)
        data = some(200_000)
        for kind in ("stall_first", "swallow", "cut_upload"):
            proxy.forget()
            proxy.plan.add(kind, method="PUT", times=None)
            within(SOON_S, lambda: hasty.put(data, "k"), StoreUnavailableError)
            proxy.forget()
            assert not hasty.exists("k") or hasty.get("k") == data


class TestParts:
    """Objects of more than 16 MiB, which are written in parts."""

    DATA = patterned(20 * MIB)

    @staticmethod
    def uploads(s3: S3Server, store: Store) -> list[Any]:
        bucket, _, prefix = store.url.removeprefix("s3://").partition("/")
        found = s3.client().list_multipart_uploads(Bucket=bucket, Prefix=prefix)
        return list(found.get("Uploads", []))

    @pytest.mark.parametrize(
        ("kind", "method", "query"),
        [
            ("cut_upload", "PUT", "partNumber"),
            ("corrupt_upload", "PUT", "partNumber"),
            ("swallow", "PUT", "partNumber"),
            ("slow_down", "PUT", "partNumber"),
            ("slow_down", "POST", "uploads"),
            ("swallow", "POST", "uploads"),
            ("slow_down", "POST", "uploadId"),
            ("swallow", "POST", "uploadId"),
            ("conflict", "POST", "uploadId"),
            ("error_in_200", "POST", "uploadId"),
            ("cut_fin", "POST", "uploadId"),
        ],
    )
    def test_a_commit(
        self, kind: str, method: str, query: str, s3store: Store, proxy: FaultProxy
    ) -> None:
        proxy.plan.add(kind, method=method, query=query)
        ref = s3store.commit("k", self.DATA)
        assert proxy.faults == {kind: 1}
        assert proxy.asked("POST")[-1].headers["if-none-match"] == "*"
        proxy.forget()
        assert s3store.get(ref) == self.DATA
        assert s3store.find("k") == ref == s3store.commit("k", b"else")

    def test_only_the_part_is_sent_again(self, s3store: Store, proxy: FaultProxy) -> None:
        proxy.plan.add("cut_upload", method="PUT", query="partNumber", skip=1)
        ref = s3store.put(self.DATA, "k")
        sent = [seen.query["partNumber"] for seen in proxy.asked("PUT")]
        again = {number for number in sent if sent.count(number) > 1}
        assert len(again) == 1
        assert len(sent) == len(set(sent)) + 1
        assert s3store.get(ref) == self.DATA

    def test_parts_of_a_write_that_failed_are_gone(
        self, s3_url: str, proxy: FaultProxy, s3: S3Server, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("AWS_MAX_ATTEMPTS", "2")
        hasty = Store.open(s3_url, timeout_s=SOON_S)
        for query, method in (("partNumber", "PUT"), ("uploadId", "POST")):
            proxy.forget()
            proxy.plan.add("slow_down", method=method, query=query, times=None)
            deadline_s = SOON_S + len(self.DATA) / MIB
            within(deadline_s, lambda: hasty.put(self.DATA, "k"), StoreUnavailableError)
            end = time.monotonic() + 10
            while self.uploads(s3, hasty) and time.monotonic() < end:
                time.sleep(0.1)
            assert self.uploads(s3, hasty) == []
            assert hasty.list() == []

    def test_the_loser_of_a_race_leaves_nothing(self, s3store: Store, s3: S3Server) -> None:
        first = s3store.commit("k", self.DATA)
        assert s3store.commit("k", self.DATA[::-1]) == first
        assert self.uploads(s3, s3store) == []


MICROBURST: list[dict[str, Any]] = [
    {"error": {"code": "SlowDown", "status": 503}},
    {"error": {"code": "InternalError", "status": 500}},
    {"reset": True},
    {"latency": 300},
    {"response": {"abort_frac": 0.3}},
    {"response": {"truncate_frac": 0.5}},
    {"response": {"corrupt_bytes": 4}},
    {"response": {"corrupt_bytes": 4, "strip_headers": ["x-amz-checksum-crc64nvme", "etag"]}},
]


def test_faults_of_microburst(
    s3: S3Server, s3_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = some(SIZE)
    burst = microburst.start(tmp_path, s3)
    try:
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", burst.endpoint)
        store = Store.open(s3_url, timeout_s=30)
        ref = store.commit("k", data)
        for i, rule in enumerate(MICROBURST, start=1):
            burst.rules({"service": "s3", "operation": "GetObject", "times": 1, **rule})
            assert store.get(ref) == data
            assert len(burst.fired()) == i
        burst.rules({"service": "s3", "operation": "PutObject", "times": 1, "reset": True})
        assert store.get(store.put(data, "other")) == data
    finally:
        burst.server.stop()
