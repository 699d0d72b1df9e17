"""ministack on loopback: an AWS emulator whose IAM says no, with the words that AWS uses."""

from __future__ import annotations

import json
import os
import sys
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .process import Server, free_ports
from .seaweedfs import REGION, Keys

# The emulator takes these for the account's root, and allows it everything.
ROOT = Keys("test", "test")
ACCOUNT = "000000000000"


@dataclass(frozen=True)
class Role:
    """Temporary credentials of a role that may do little."""

    arn: str
    keys: Keys
    token: str

    def __repr__(self) -> str:
        return f"Role({self.arn!r})"


@dataclass(frozen=True)
class AwsServer:
    """A running emulator that checks signatures and policies."""

    endpoint: str
    server: Server

    @property
    def port(self) -> int:
        """The port on loopback that all of its services listen on."""
        return int(self.endpoint.rpartition(":")[2])

    def client(self, service: str, keys: Keys = ROOT) -> Any:
        """A boto3 client of the account's root, or of somebody else."""
        import boto3
        from botocore.config import Config

        return boto3.client(
            service,
            endpoint_url=self.endpoint,
            region_name=REGION,
            aws_access_key_id=keys.access,
            aws_secret_access_key=keys.secret,
            config=Config(retries={"total_max_attempts": 1}, s3={"addressing_style": "path"}),
        )

    def bucket(self) -> str:
        """Make a fresh, empty bucket."""
        name = f"legato-{uuid.uuid4().hex[:12]}"
        self.client("s3").create_bucket(
            Bucket=name, CreateBucketConfiguration={"LocationConstraint": REGION}
        )
        return name

    def user(self, *statements: dict[str, Any]) -> tuple[str, Keys]:
        """Make a user who may do what the statements say: its ARN and its keys."""
        iam = self.client("iam")
        name = f"user-{uuid.uuid4().hex[:8]}"
        arn = iam.create_user(UserName=name)["User"]["Arn"]
        iam.put_user_policy(UserName=name, PolicyName="p", PolicyDocument=policy(*statements))
        made = iam.create_access_key(UserName=name)["AccessKey"]
        return arn, Keys(made["AccessKeyId"], made["SecretAccessKey"])

    def role(self, *statements: dict[str, Any]) -> Role:
        """Make a role that may do what the statements say, and assume it."""
        name = f"stage-{uuid.uuid4().hex[:8]}"
        trusted = {"Effect": "Allow", "Principal": {"AWS": "*"}, "Action": "sts:AssumeRole"}
        iam = self.client("iam")
        made = iam.create_role(RoleName=name, AssumeRolePolicyDocument=policy(trusted))
        iam.put_role_policy(RoleName=name, PolicyName="p", PolicyDocument=policy(*statements))
        _, caller = self.user(allow("sts:AssumeRole", made["Role"]["Arn"]))
        found = self.client("sts", caller).assume_role(
            RoleArn=made["Role"]["Arn"], RoleSessionName="run"
        )["Credentials"]
        keys = Keys(found["AccessKeyId"], found["SecretAccessKey"])
        return Role(made["Role"]["Arn"], keys, found["SessionToken"])

    def environ(self, keys: Keys = ROOT, *, token: str | None = None) -> dict[str, str]:
        """Environment variables that point every AWS SDK here, and nowhere else."""
        environ = {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ACCESS_KEY_ID": keys.access,
            "AWS_SECRET_ACCESS_KEY": keys.secret,
            "AWS_REGION": REGION,
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        }
        return environ if token is None else {**environ, "AWS_SESSION_TOKEN": token}


def allow(action: str | list[str], resource: str | list[str]) -> dict[str, Any]:
    """A statement that allows."""
    return {"Effect": "Allow", "Action": action, "Resource": resource}


def policy(*statements: dict[str, Any]) -> str:
    """A policy document."""
    return json.dumps({"Version": "2012-10-17", "Statement": list(statements)})


def start(
    folder: Path, environ: Mapping[str, str] | None = None, *, port: int | None = None
) -> AwsServer:
    """Start an emulator; its log lies in `folder`.

    `environ` adds to its environment, which the processes of its functions inherit; `port` is that of one which is
    to be started again.
    """
    folder.mkdir(parents=True, exist_ok=True)
    free, mqtt, sftp = free_ports(3)
    port = port or free
    endpoint = f"http://127.0.0.1:{port}"
    environ = {
        **{name: value for name, value in os.environ.items() if not name.startswith("AWS_")},
        # Functions call back here; without it they would call AWS.
        "AWS_ENDPOINT_URL": endpoint,
        "AUTH": "true",
        "BIND_HOST": "127.0.0.1",
        "GATEWAY_PORT": str(port),
        "IOT_MTLS_PORT": str(mqtt),
        "SFTP_PORT": str(sftp),
        "MINISTACK_REGION": REGION,
        **(environ or {}),
    }
    server = Server(
        [sys.executable, "-m", "ministack"], log=folder / "ministack.log", environ=environ
    )
    server.wait_for(f"{endpoint}/_ministack/health")
    return AwsServer(endpoint, server)
