"""The bucket of code and templates: objects that are named by their content, uploaded once."""

from __future__ import annotations

import hashlib
import json
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from legato._aws import Aws
from legato._aws_errors import code_of, explained
from legato.deploy._package import Package
from legato.errors import InputError

_MISSING: Final = frozenset({"404", "NoSuchKey", "NoSuchBucket", "NotFound"})
_EAST: Final = "us-east-1"
"""The one region that a new bucket must not name."""

_UNFINISHED_DAYS: Final = 7


@dataclass(frozen=True)
class Artifacts:
    """A place in a bucket.

    Attributes:
        aws: The account and region.
        bucket: The bucket's name.
        prefix: Empty, or a folder with ``/`` at its end.
    """

    aws: Aws
    bucket: str
    prefix: str = ""

    def put_package(self, package: Package) -> tuple[str, bool]:
        """Upload a function's zip where it is not there; return its key, and whether it was new."""
        key = f"{self.prefix}functions/{package.digest}.zip"
        if self._is_there(key):
            return key, False
        with tempfile.TemporaryDirectory(prefix="legato-") as folder:
            path = Path(folder, "function.zip")
            package.write(path)
            with explained("s3:PutObject", self.arn(key)):
                self.aws.client("s3").upload_file(str(path), self.bucket, key)
        return key, True

    def put_text(self, text: str, *, name: str, suffix: str) -> str:
        """Upload a text where it is not there; return its key."""
        data = text.encode()
        key = f"{self.prefix}{name}/{hashlib.sha256(data).hexdigest()}{suffix}"
        if not self._is_there(key):
            with explained("s3:PutObject", self.arn(key)):
                self.aws.client("s3").put_object(Bucket=self.bucket, Key=key, Body=data)
        return key

    def url(self, key: str) -> str:
        """Return the address of an object as CloudFormation takes it."""
        if self.aws.endpoint_url:
            return f"{self.aws.endpoint_url.rstrip('/')}/{self.bucket}/{key}"
        suffix = ".cn" if self.aws.region.startswith("cn-") else ""
        return f"https://{self.bucket}.s3.{self.aws.region}.amazonaws.com{suffix}/{key}"

    def arn(self, key: str) -> str:
        """Return the ARN of an object."""
        return f"arn:{partition(self.aws.region)}:s3:::{self.bucket}/{key}"

    def _is_there(self, key: str) -> bool:
        from botocore.exceptions import ClientError

        with explained("s3:GetObject", self.arn(key)):
            try:
                self.aws.client("s3").head_object(Bucket=self.bucket, Key=key)
            except ClientError as error:
                # Without s3:ListBucket a missing object answers 403: then the upload says what is.
                if code_of(error) not in _MISSING | {"403"}:
                    raise
                return False
        return True


def partition(region: str) -> str:
    """Return the partition of a region: the second part of its ARNs."""
    if region.startswith("cn-"):
        return "aws-cn"
    return "aws-us-gov" if region.startswith("us-gov-") else "aws"


def open_artifacts(aws: Aws, url: str | None = None) -> Artifacts:
    """Return the place for artifacts; the account's own bucket is made where it is missing.

    Args:
        aws: The account and region.
        url: ``s3://bucket/prefix`` that exists; by default ``legato-artifacts-<account>-<region>``.

    Raises:
        InputError: The URL is no such thing, or there is no such bucket.
    """
    if url is not None:
        scheme, _, rest = url.partition("://")
        bucket, _, prefix = rest.partition("/")
        if scheme != "s3" or not bucket:
            msg = f"--artifacts is {url!r}; use s3://bucket/prefix"
            raise InputError(msg)
        if not has_bucket(aws, bucket):
            msg = f"there is no bucket {bucket}; create it, or leave --artifacts out"
            raise InputError(msg)
        return Artifacts(aws, bucket, f"{prefix.strip('/')}/" if prefix.strip("/") else "")
    bucket = f"legato-artifacts-{aws.account}-{aws.region}"
    # Its owner is checked: names of buckets are the whole world's, and anybody can have this one.
    if not has_bucket(aws, bucket, ExpectedBucketOwner=aws.account):
        _make(aws, bucket)
    return Artifacts(aws, bucket)


def has_bucket(aws: Aws, bucket: str, **owner: str) -> bool:
    """Return whether a bucket is there.

    Raises:
        AccessDeniedError: It may be, and is somebody else's or not to be looked at.
    """
    from botocore.exceptions import ClientError

    with explained("s3:ListBucket", f"arn:{partition(aws.region)}:s3:::{bucket}"):
        try:
            aws.client("s3").head_bucket(Bucket=bucket, **owner)
        except ClientError as error:
            if code_of(error) not in _MISSING:
                raise
            return False
    return True


def _make(aws: Aws, bucket: str) -> None:
    """Make a private, encrypted bucket; what an upload left unfinished goes after a week."""
    from botocore.exceptions import ClientError

    s3 = aws.client("s3")
    arn = f"arn:{partition(aws.region)}:s3:::{bucket}"
    where = (
        {}
        if aws.region == _EAST
        else {"CreateBucketConfiguration": {"LocationConstraint": aws.region}}
    )
    with explained("s3:CreateBucket", arn):
        try:
            s3.create_bucket(Bucket=bucket, **where)
        except ClientError as error:
            # Two first deployments at the same time.
            if code_of(error) != "BucketAlreadyOwnedByYou":
                raise
    with explained("s3:PutBucketPublicAccessBlock", arn):
        blocked = ["BlockPublicAcls", "IgnorePublicAcls"]
        blocked += ["BlockPublicPolicy", "RestrictPublicBuckets"]
        s3.put_public_access_block(
            Bucket=bucket, PublicAccessBlockConfiguration=dict.fromkeys(blocked, True)
        )
    with explained("s3:PutEncryptionConfiguration", arn):
        rule = {"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "AES256"}}
        s3.put_bucket_encryption(Bucket=bucket, ServerSideEncryptionConfiguration={"Rules": [rule]})
    if not (aws.endpoint_url or "").startswith("http://"):
        with explained("s3:PutBucketPolicy", arn):
            s3.put_bucket_policy(Bucket=bucket, Policy=json.dumps(_only_tls(arn)))
    with explained("s3:PutLifecycleConfiguration", arn):
        s3.put_bucket_lifecycle_configuration(
            Bucket=bucket,
            LifecycleConfiguration={
                "Rules": [
                    {
                        "ID": "unfinished",
                        "Status": "Enabled",
                        "Filter": {"Prefix": ""},
                        "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": _UNFINISHED_DAYS},
                    }
                ]
            },
        )


def _only_tls(arn: str) -> dict[str, object]:
    return {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Sid": "OnlyTls",
                "Effect": "Deny",
                "Principal": "*",
                "Action": "s3:*",
                "Resource": [arn, f"{arn}/*"],
                "Condition": {"Bool": {"aws:SecureTransport": "false"}},
            }
        ],
    }
