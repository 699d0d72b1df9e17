"""The servers that the store's tests stand on: they must do what those tests believe."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import BotoCoreError, ClientError

from tests.servers import seaweedfs
from tests.servers.faults import KINDS
from tests.servers.proxy import FaultProxy

DATA = bytes(range(256)) * 1000
# What boto3, trying once, makes of a fault while it reads: another answer than DATA, or an error, or nothing.
CHANGED = {"truncate", "corrupt", "corrupt_stripped"}
HARMLESS = {"delay_first", "delay_middle", "close_idle", "reset_idle", "drop_idle"}
WRITING = {"conflict", "error_in_200", "cut_upload", "corrupt_upload"}


@pytest.fixture(scope="module")
def behind(s3_server: seaweedfs.S3Server) -> Iterator[tuple[FaultProxy, Any, str]]:
    """A proxy, a client that tries once, and a bucket with one object."""
    bucket = s3_server.bucket()
    s3_server.client().put_object(Bucket=bucket, Key="k", Body=DATA)
    with closing(FaultProxy(s3_server.port, owner="123456789012")) as proxy:
        client = seaweedfs.s3_client(proxy.endpoint, seaweedfs.ADMIN, read_timeout=1)
        yield proxy, client, bucket


def read(client: Any, bucket: str) -> bytes:
    data = client.get_object(Bucket=bucket, Key="k")["Body"].read()
    assert isinstance(data, bytes)
    return data


class TestProxy:
    @pytest.mark.parametrize("kind", sorted(KINDS.keys() - WRITING))
    def test_reading(self, behind: tuple[FaultProxy, Any, str], kind: str) -> None:
        proxy, client, bucket = behind
        proxy.forget()
        proxy.plan.add(kind, method="GET", path="/k")
        try:
            found: bytes | None = read(client, bucket)
        except (BotoCoreError, ClientError):
            found = None
        if kind in HARMLESS:
            assert found == DATA
        elif kind in CHANGED:
            assert found not in {None, DATA}
        else:
            assert found is None
        if kind in {"reset_idle", "drop_idle"}:
            with pytest.raises(BotoCoreError):
                read(client, bucket)
        assert proxy.faults == {kind: 1}
        assert proxy.asked("GET", "/k")[0].fault == kind
        assert read(client, bucket) == DATA

    @pytest.mark.parametrize("kind", ["cut_upload", "swallow", "conflict", "corrupt_upload"])
    def test_writing(self, behind: tuple[FaultProxy, Any, str], kind: str) -> None:
        proxy, client, bucket = behind
        proxy.forget()
        proxy.plan.add(kind, method="PUT")
        send = {"Bucket": bucket, "Key": kind, "Body": DATA}
        if kind == "corrupt_upload":
            client.put_object(**send)
        else:
            with pytest.raises((BotoCoreError, ClientError)):
                client.put_object(**send, IfNoneMatch="*")
        assert proxy.faults == {kind: 1}
        if kind == "swallow":
            with pytest.raises(ClientError, match="PreconditionFailed"):
                client.put_object(**send, IfNoneMatch="*")
        elif kind == "corrupt_upload":
            stored = client.get_object(Bucket=bucket, Key=kind)["Body"].read()
            assert len(stored) == len(DATA)
            assert stored != DATA
        else:
            client.put_object(**send, IfNoneMatch="*")

    def test_an_error_in_a_200(self, behind: tuple[FaultProxy, Any, str]) -> None:
        proxy, client, bucket = behind
        proxy.forget()
        proxy.plan.add("error_in_200")
        at = {"Bucket": bucket, "Key": "parts"}
        upload = client.create_multipart_upload(**at)["UploadId"]
        tag = client.upload_part(**at, UploadId=upload, PartNumber=1, Body=b"x")["ETag"]
        parts = {"Parts": [{"PartNumber": 1, "ETag": tag}]}
        with pytest.raises(ClientError, match="InternalError"):
            client.complete_multipart_upload(**at, UploadId=upload, MultipartUpload=parts)

    def test_the_owner_is_checked(self, behind: tuple[FaultProxy, Any, str]) -> None:
        proxy, client, bucket = behind
        proxy.forget()
        at = {"Bucket": bucket, "Key": "k"}
        client.get_object(**at, ExpectedBucketOwner="123456789012")["Body"].read()
        with pytest.raises(ClientError, match="AccessDenied"):
            client.get_object(**at, ExpectedBucketOwner="210987654321")

    def test_chance_is_seeded(self, behind: tuple[FaultProxy, Any, str]) -> None:
        proxy, client, bucket = behind
        drawn = []
        for _ in range(2):
            proxy.forget()
            proxy.plan.draw({"slow_down": 0.5}, seed=7)
            for _ in range(20):
                with suppress(ClientError):
                    client.head_object(Bucket=bucket, Key="k")
            drawn.append([seen.fault for seen in proxy.asked("HEAD")])
        proxy.forget()
        assert drawn[0] == drawn[1]
        assert set(drawn[0]) == {None, "slow_down"}


def test_no_server_outlives_its_owner(s3_server: seaweedfs.S3Server, tmp_path: Path) -> None:
    code = """
import sys, time
from pathlib import Path
from tests.servers import seaweedfs
print(seaweedfs.start(Path(sys.argv[1])).server.pid, flush=True)
time.sleep(600)
"""
    owner = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path / "own")], stdout=subprocess.PIPE, text=True
    )
    assert owner.stdout is not None
    server = int(owner.stdout.readline())
    os.kill(server, 0)
    owner.send_signal(signal.SIGKILL)
    owner.communicate(timeout=10)
    end = time.monotonic() + 10
    while Path(f"/proc/{server}").exists() and time.monotonic() < end:
        time.sleep(0.05)
    assert not Path(f"/proc/{server}").exists()
