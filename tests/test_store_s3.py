"""A store on S3: permissions, owners, versions, URLs, and what must never be shown. The servers are real."""

from __future__ import annotations

import base64
import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from typing import Any

import pytest

from legato import Ref, Store
from legato.errors import (
    AccessDeniedError,
    CorruptObjectError,
    InputError,
    LegatoError,
    ObjectNotFoundError,
    StoreUnavailableError,
)
from tests.conftest import OWNER, use
from tests.servers import seaweedfs
from tests.servers.ministack import AwsServer, allow
from tests.servers.proxy import FaultProxy
from tests.servers.seaweedfs import S3Server

MIB = 1 << 20


def calls(store: Store, ref: Ref) -> dict[str, Callable[[], object]]:
    """One call of each kind, by the S3 action that it needs."""
    return {
        "get": lambda: store.get(ref),
        "get by key": lambda: store.get("k"),
        "chunks": lambda: list(store.chunks(ref)),
        "exists": lambda: store.exists("k"),
        "find": lambda: store.find("k"),
        "list": store.list,
        "put": lambda: store.put(b"x", "other"),
        "put_many": lambda: store.put_many({"other": b"x"}),
        "large put": lambda: store.put(bytes(17 * MIB), "other"),
        "commit": lambda: store.commit("other", b"x"),
        "delete": lambda: store.delete("k"),
    }


class TestOwner:
    def test_another_accounts_bucket_is_refused(self, s3_url: str, proxy: FaultProxy) -> None:
        ref = Store.open(s3_url).commit("k", b"data")
        right = Store.open(s3_url, bucket_owner=OWNER)
        assert right.get(ref) == b"data"
        wrong = Store.open(s3_url, bucket_owner="111111111111")
        for name, call in calls(wrong, ref).items():
            with pytest.raises(AccessDeniedError):
                call()
            assert name
        assert right.find("k") == ref
        assert right.list() == ["k", "k.ref"]

    def test_every_request_says_whose_bucket_it_wants(self, s3_url: str, proxy: FaultProxy) -> None:
        store = Store.open(s3_url, bucket_owner=OWNER, request_payer=True)
        ref = store.commit("k", b"data")
        for call in calls(store, ref).values():
            call()
        with proxy.lock:
            headers = [seen.headers for seen in proxy.seen]
        assert {each.get("x-amz-expected-bucket-owner") for each in headers} == {OWNER}
        assert {each.get("x-amz-request-payer") for each in headers} == {"requester"}

    @pytest.mark.parametrize("owner", ["", "1", "12345678901x", "1234567890123"])
    def test_an_owner_is_an_account(self, owner: str) -> None:
        with pytest.raises(InputError, match="12 digits"):
            Store.open("s3://bucket", bucket_owner=owner)


class TestDenied:
    def test_action_resource_and_role_are_named(
        self, aws_server: AwsServer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        bucket = aws_server.bucket()
        use(aws_server.environ(), monkeypatch)
        ref = Store.open(f"s3://{bucket}/in").commit("k", b"data")
        role = aws_server.role(allow("s3:GetObject", f"arn:aws:s3:::{bucket}/in/k"))
        use(aws_server.environ(role.keys, token=role.token), monkeypatch)
        store = Store.open(f"s3://{bucket}/in")
        assert store.get(ref) == b"data"
        name = role.arn.rpartition("/")[2]
        for action, resource, call in (
            ("s3:PutObject", "in/out", lambda: store.put(b"", "out")),
            ("s3:PutObject", "in/out", lambda: store.put(bytes(17 * MIB), "out")),
            ("s3:PutObject", "in/k", lambda: store.commit("k", b"")),
            ("s3:DeleteObject", "in/k", lambda: store.delete("k")),
            ("s3:GetObject", "in/k.ref", lambda: store.find("k")),
            # HEAD is answered without a body: the role is asked of STS.
            ("s3:GetObject", "in/other", lambda: store.exists("other")),
            ("s3:ListBucket", "", store.list),
        ):
            with pytest.raises(AccessDeniedError) as caught:
                call()
            text = str(caught.value)
            assert action in text
            assert f"arn:aws:s3:::{bucket}" in text
            assert resource in text
            assert f"assumed-role/{name}/run" in text

    def test_a_read_only_identity(
        self, s3: S3Server, s3_url: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        ref = Store.open(s3_url).commit("k", b"data")
        use(s3.environ(seaweedfs.READER), monkeypatch)
        store = Store.open(s3_url)
        assert store.get(ref) == b"data"
        assert store.find("k") == ref
        for action, call in (
            ("s3:PutObject", lambda: store.put(b"", "k")),
            ("s3:DeleteObject", lambda: store.delete("k")),
        ):
            with pytest.raises(AccessDeniedError, match=action) as caught:
                call()
            assert f"arn:aws:s3:::{s3_url.removeprefix('s3://')}/k" in str(caught.value)
        use(s3.environ(seaweedfs.STRANGER), monkeypatch)
        stranger = Store.open(s3_url)
        for call in calls(stranger, ref).values():
            with pytest.raises(AccessDeniedError):
                call()

    def test_keys_that_are_no_keys(
        self, s3: S3Server, s3_url: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        ref = Store.open(s3_url).commit("k", b"data")
        for keys in (seaweedfs.WRONG, seaweedfs.Keys("AKIAUNKNOWN000000000", "x" * 40)):
            use(s3.environ(keys), monkeypatch)
            for call in calls(Store.open(s3_url), ref).values():
                with pytest.raises(AccessDeniedError) as caught:
                    call()
                assert keys.secret not in str(caught.value)

    def test_no_keys_at_all(
        self, s3: S3Server, s3_url: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        environ = s3.environ()
        del environ["AWS_ACCESS_KEY_ID"], environ["AWS_SECRET_ACCESS_KEY"]
        use(environ, monkeypatch)
        begin = time.monotonic()
        with pytest.raises(AccessDeniedError, match="no AWS credentials were found"):
            Store.open(s3_url).get("k")
        assert time.monotonic() - begin < 5


class TestNothingIsShown:
    SECRET = "wJalrXUtnFEMIK7MDENGbPxRfiCYSECRETSECRET"
    TOKEN = "FwoGZXIvYXdzSESSIONTOKENSESSIONTOKEN"

    def test_in_messages_and_repr(
        self, s3: S3Server, s3_url: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        environ = s3.environ(seaweedfs.Keys("AKIAUNKNOWN000000000", self.SECRET))
        use({**environ, "AWS_SESSION_TOKEN": self.TOKEN}, monkeypatch)
        store = Store.open(s3_url)
        shown = [repr(store), str(store), store.url, str(store.__reduce__())]
        ref = Ref.from_dict(
            {**Store.open("memory://shown").put(b"x", "k").to_dict(), "uri": f"{s3_url}/k"}
        )
        for call in calls(store, ref).values():
            with pytest.raises(LegatoError) as caught:
                call()
            shown += [str(caught.value), repr(caught.value)]
        for text in shown:
            assert self.SECRET not in text
            assert self.TOKEN not in text
            assert "Credential=" not in text
            assert "Signature=" not in text

    def test_on_the_terminal(self, s3: S3Server, s3_url: str) -> None:
        code = """
import logging, sys
logging.basicConfig(level=0)
from legato import Store
store = Store.open(sys.argv[1])
print(store, store.put(b"x", "k"), store.presign("k")[:20])
try:
    store.get("none")
except Exception as error:
    logging.exception("failed")
"""
        environ = {
            **os.environ, **s3.environ(), "RUST_LOG": "trace", "RUST_BACKTRACE": "full",
            "AWS_SESSION_TOKEN": "",
        }  # fmt: skip
        ran = subprocess.run(
            [sys.executable, "-c", code, s3_url], env=environ, capture_output=True, text=True, check=True
        )  # fmt: skip
        assert "nothing is stored" in ran.stderr
        for text in (ran.stdout, ran.stderr):
            assert seaweedfs.ADMIN.secret not in text
            assert "authorization" not in text.lower()
            assert "Signature" not in text


class TestEndpoints:
    def test_a_bucket_that_is_not_there(self, s3: S3Server) -> None:
        store = Store.open("s3://there-is-no-such-bucket/x")
        for call in (lambda: store.get("k"), lambda: store.put(b"", "k"), store.list):
            with pytest.raises(InputError, match="there is no bucket"):
                call()

    def test_nobody_listens(self, s3: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:9")
        monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
        with pytest.raises(StoreUnavailableError, match="AWS_ENDPOINT_URL"):
            Store.open("s3://bucket/x").get("k")
        monkeypatch.setenv("AWS_MAX_ATTEMPTS", "50")
        begin = time.monotonic()
        with pytest.raises(StoreUnavailableError):
            Store.open("s3://bucket/x", timeout_s=3).get("k")
        assert time.monotonic() - begin < 4

    def test_no_region(self, s3: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("AWS_REGION")
        monkeypatch.delenv("AWS_ENDPOINT_URL_S3")
        with pytest.raises(InputError, match="AWS_REGION"):
            Store.open("s3://bucket/x").get("k")

    @pytest.mark.parametrize(
        "url",
        ["s3://", "s3://b", "s3://Bucket", "s3://bucket//x", "s3://bucket/../x", "s3://bucket/a%00",
         "s3://bucket/" + "x" * 241, "s3://user:secret@bucket/x", "S3://bucket", "gs://bucket/x",
         "http://127.0.0.1/bucket"],
    )  # fmt: skip
    def test_urls(self, url: str) -> None:
        with pytest.raises(InputError) as caught:
            Store.open(url)
        assert "secret" not in str(caught.value)

    def test_keys_are_as_long_as_s3_takes(self, s3_bucket: str, s3: S3Server) -> None:
        store = Store.open(f"s3://{s3_bucket}/" + "/".join(["p" * 190] * 5))
        with pytest.raises(InputError, match="1024"):
            store.put(b"", "x" * 100)


class TestObjects:
    def test_a_prefix_is_a_folder(self, s3_url: str, s3: S3Server) -> None:
        Store.open(s3_url + "x").put(b"other", "k")
        store = Store.open(s3_url)
        assert store.list() == []
        store.put(b"", "a/b")
        store.put(b"", "ab")
        assert store.list("a/") == ["a/b"]
        assert store.list("a") == ["a/b", "ab"]
        assert Store.open(f"{s3_url}/a").list() == ["b"]

    def test_keys_with_all_kinds_of_characters(self, s3_url: str, s3: S3Server) -> None:
        store = Store.open(s3_url)
        keys = [
            "sp ace",
            "plus+",
            "100%",
            "a&b=c",
            "q?x#y",
            "é/日本",
            "~!*'()",
            "a;b:c,d",
            "[x]{y}",
        ]
        refs = [store.put(key.encode(), key) for key in keys]
        assert store.list() == sorted(keys)
        for key, ref in zip(keys, refs, strict=True):
            assert store.key_of(ref) == key
            assert store.get(Ref.from_json(ref.to_json())) == store.get(key) == key.encode()
            with urllib.request.urlopen(store.presign(key), timeout=10) as answer:
                assert answer.read() == key.encode()

    def test_more_than_a_page(self, s3_url: str, s3: S3Server) -> None:
        store = Store.open(s3_url)
        many = {f"{i:04}": str(i).encode() for i in range(1100)}
        refs = store.put_many(many)
        assert store.list() == sorted(many)
        assert store.get_many(refs) == list(many.values())

    def test_versions(self, s3: S3Server) -> None:
        bucket = s3.bucket()
        s3.client().put_bucket_versioning(
            Bucket=bucket, VersioningConfiguration={"Status": "Enabled"}
        )
        store = Store.open(f"s3://{bucket}")
        for data in (b"first", bytes(17 * MIB)):
            first = store.put(data, "k")
            second = store.put(b"second", "k")
            assert first.to_dict()["version"] != second.to_dict()["version"]
            assert store.get(first) == b"".join(store.chunks(first)) == data
            assert store.get(second) == store.get("k") == b"second"
            store.delete("k")
            assert store.get(first) == data
            with urllib.request.urlopen(store.presign(second), timeout=10) as answer:
                assert answer.read() == b"second"
            with pytest.raises(ObjectNotFoundError):
                store.get("k")

    def test_an_etag_pins_where_there_are_no_versions(self, s3_url: str, s3: S3Server) -> None:
        store = Store.open(s3_url)
        ref = store.put(b"data", "k")
        store.put(b"else", "k")
        with pytest.raises(CorruptObjectError):
            store.get(ref)
        store.delete("k")
        with pytest.raises(ObjectNotFoundError):
            store.get(ref)

    def test_s3_compares_what_arrives(self, s3_url: str, proxy: FaultProxy) -> None:
        store = Store.open(s3_url)
        for data in (b"", b"data", bytes(17 * MIB)):
            proxy.forget()
            store.put(data, "k")
            puts = proxy.asked("PUT")
            assert puts
            assert all("x-amz-checksum-crc64nvme" in seen.headers for seen in puts)
            # A trailer would need a chunked encoding of S3's own, which some servers refuse.
            assert not any("x-amz-trailer" in seen.headers for seen in puts)

    def test_a_reference_spares_the_head(self, s3_url: str, proxy: FaultProxy) -> None:
        store = Store.open(s3_url)
        ref = store.put(b"data", "k")
        proxy.forget()
        store.get(ref)
        assert [seen.method for seen in proxy.seen] == ["GET"]

    def test_memory_is_bounded_before_it_is_taken(self, s3_url: str, proxy: FaultProxy) -> None:
        store = Store.open(s3_url)
        about = store.put(b"data", "k").to_dict()
        huge = {**about, "bytes": 1 << 50, "crc64nvme": "0" * 16}
        proxy.forget()
        with pytest.raises(InputError, match="memory"):
            store.get(Ref.from_dict(huge))
        assert proxy.seen == []

    def test_encryption_and_payer(
        self, aws_server: AwsServer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        bucket = aws_server.bucket()
        use(aws_server.environ(), monkeypatch)
        key = aws_server.client("kms").create_key()["KeyMetadata"]["Arn"]
        store = Store.open(f"s3://{bucket}", kms_key=key)
        for data in (b"data", bytes(17 * MIB)):
            ref = store.put(data, "k")
            about = aws_server.client("s3").head_object(Bucket=bucket, Key="k")
            assert about["ServerSideEncryption"] == "aws:kms"
            assert about["SSEKMSKeyId"] == key
            assert store.get(ref) == data


class TestPresigned:
    def test_it_works_for_a_while(self, s3_url: str, s3: S3Server) -> None:
        store = Store.open(s3_url)
        ref = store.put(b"data", "k")
        for source in (ref, "k"):
            with urllib.request.urlopen(store.presign(source), timeout=10) as answer:
                assert answer.read() == b"data"
        short = store.presign(ref, expires_s=1)
        time.sleep(2.1)
        for url in (short, store.presign(ref)[:-2] + "00"):
            with pytest.raises(urllib.error.HTTPError, match="403") as caught:
                urllib.request.urlopen(url, timeout=10)
            caught.value.close()

    @pytest.mark.parametrize("expires_s", [0, -1, 604_801])
    def test_limits(self, expires_s: int, s3_url: str, s3: S3Server) -> None:
        with pytest.raises((InputError, OverflowError)):
            Store.open(s3_url).presign("k", expires_s=expires_s)

    def test_other_stores_have_no_urls(self) -> None:
        store = Store.open("memory://presigned")
        store.put(b"", "k")
        with pytest.raises(InputError):
            store.presign("k")


INTERRUPTED = """
import sys, threading, time
from legato import Store
store = Store.open(sys.argv[1])
data = bytes(40 << 20) if sys.argv[2] == "put" else None
print("go", flush=True)
try:
    store.put(data, "k") if data else store.get(sys.argv[2])
except KeyboardInterrupt:
    print("interrupted", flush=True)
    time.sleep(float(sys.argv[3]))
"""


class TestProcesses:
    @pytest.mark.parametrize("what", ["put", "big"])
    def test_ctrl_c(self, what: str, s3_url: str, proxy: FaultProxy, s3: S3Server) -> None:
        store = Store.open(s3_url)
        if what == "big":
            store.put(bytes(10 * MIB), "big")
        proxy.forget()
        proxy.plan.add("stall_first", method="PUT" if what == "put" else "GET", times=None)
        child = subprocess.Popen(
            [sys.executable, "-c", INTERRUPTED, s3_url, what, "3"], stdout=subprocess.PIPE, text=True
        )  # fmt: skip
        assert child.stdout is not None
        assert child.stdout.readline() == "go\n"
        end = time.monotonic() + 20
        while not (proxy.asked("PUT") or proxy.asked("GET")) and time.monotonic() < end:
            time.sleep(0.02)
        begin = time.monotonic()
        child.send_signal(signal.SIGINT)
        assert child.stdout.readline() == "interrupted\n"
        assert time.monotonic() - begin < 1
        # The process lives on for a while, as a notebook does: the parts are removed meanwhile.
        assert child.wait(timeout=20) == 0
        child.stdout.close()
        bucket, _, prefix = s3_url.removeprefix("s3://").partition("/")
        left = s3.client().list_multipart_uploads(Bucket=bucket, Prefix=prefix)
        assert left.get("Uploads", []) == []
        assert not store.exists("k")

    def test_kill_in_the_middle_of_a_write(self, s3_url: str, proxy: FaultProxy) -> None:
        store = Store.open(s3_url)
        proxy.plan.add("stall_first", method="PUT", skip=2, times=None)
        child = subprocess.Popen(
            [sys.executable, "-c", INTERRUPTED, s3_url, "put", "0"], stdout=subprocess.PIPE, text=True
        )  # fmt: skip
        end = time.monotonic() + 20
        while len(proxy.asked("PUT")) < 3 and time.monotonic() < end:
            time.sleep(0.02)
        child.kill()
        child.communicate(timeout=10)
        proxy.forget()
        assert store.list() == []
        assert store.find("k") is None
        assert store.commit("k", b"again").bytes == 5

    def test_import_loads_nothing_of_aws(self) -> None:
        code = """
import os, sys, threading
import legato
before = threading.active_count(), len(os.listdir("/proc/self/task")), len(os.listdir("/proc/self/fd"))
legato.Store.open("s3://bucket/prefix")
after = threading.active_count(), len(os.listdir("/proc/self/task")), len(os.listdir("/proc/self/fd"))
assert before == after, (before, after)
assert before[1] == 1, before
"""
        subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


class TestOthersRead:
    """What a handler in any language needs: the URI, the digests, and plain S3."""

    def test_by_boto3(self, s3_url: str, s3: S3Server) -> None:
        store = Store.open(s3_url)
        store.commit("k", bytes(9 * MIB), media_type="application/x-zeros")
        bucket, _, prefix = s3_url.removeprefix("s3://").partition("/")
        client = s3.client()
        about: dict[str, Any] = json.loads(
            client.get_object(Bucket=bucket, Key=f"{prefix}/k.ref")["Body"].read()
        )
        assert about["uri"] == f"{s3_url}/k"
        assert about["media_type"] == "application/x-zeros"
        found = client.head_object(Bucket=bucket, Key=f"{prefix}/k", ChecksumMode="ENABLED")
        assert found["ContentLength"] == about["bytes"]
        crc = int.from_bytes(base64.b64decode(found["ChecksumCRC64NVME"]), "big")
        assert f"{crc:016x}" == about["crc64nvme"]

    def test_an_object_of_somebody_else(self, s3_url: str, s3: S3Server) -> None:
        bucket, _, prefix = s3_url.removeprefix("s3://").partition("/")
        s3.client().put_object(Bucket=bucket, Key=f"{prefix}/theirs", Body=b"plain")
        store = Store.open(s3_url)
        assert store.get("theirs") == b"plain"
        assert store.list() == ["theirs"]
        assert store.commit("theirs", b"ours").bytes == 5
