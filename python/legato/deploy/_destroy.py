"""Remove a stack; its data only when asked to."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from legato._aws import Aws
from legato._aws_errors import code_of, explained
from legato.deploy._artifacts import partition
from legato.deploy._stack import Stack
from legato.errors import AccessDeniedError, LegatoError

Say = Callable[[str], None]

_BUCKET: Final = "AWS::S3::Bucket"
_AT_ONCE: Final = 1000
"""Objects that one request deletes."""


@dataclass(frozen=True)
class Left:
    """What remains after a stack is gone.

    Attributes:
        buckets: Names of its buckets that still are, with all that is in them.
        deleted: Objects that were deleted with their buckets, versions counted one by one.
    """

    buckets: tuple[str, ...]
    deleted: int


def buckets_of(stack: Stack) -> list[str]:
    """Return the names of the buckets that a stack has made."""
    return sorted(
        str(resource["PhysicalResourceId"])
        for resource in stack.resources()
        if resource["ResourceType"] == _BUCKET and resource.get("PhysicalResourceId")
    )


def running(stack: Stack) -> int | None:
    """Count the runs of a stack that are under way, 100 at most; None where that is not told."""
    # Not the machine that starts them: executions of an EXPRESS one cannot be listed.
    machines = [r for r in stack.resources() if r["LogicalResourceId"] == "StateMachine"]
    count = 0
    for arn in filter(None, (machine.get("PhysicalResourceId") for machine in machines)):
        try:
            with explained("states:ListExecutions", str(arn)):
                found = stack.aws.client("stepfunctions").list_executions(
                    stateMachineArn=arn, statusFilter="RUNNING", maxResults=100
                )
        except LegatoError:
            # Who may delete a stack need not be one who may look at its runs.
            return None
        count += len(found["executions"])
    return count


def destroy(stack: Stack, *, delete_data: bool = False, say: Say | None = None) -> Left:
    """Delete a stack and wait; its buckets are kept unless told otherwise.

    Args:
        stack: The stack.
        delete_data: Delete its buckets, too, with all versions of all that is in them.
        say: Called with lines of progress.

    Raises:
        WorkflowError: A resource could not be deleted; the message says which and why.
    """
    if stack.describe() is None:
        return Left((), 0)
    buckets = buckets_of(stack)
    # First the machine and the functions: nothing writes into a bucket that is being emptied.
    stack.delete(say=say)
    kept, deleted = [], 0
    for bucket in buckets:
        if not _exists(stack.aws, bucket):
            continue
        if delete_data:
            deleted += _delete_bucket(stack.aws, bucket)
        else:
            kept.append(bucket)
    return Left(tuple(kept), deleted)


def _exists(aws: Aws, bucket: str) -> bool:
    from botocore.exceptions import ClientError

    with explained("s3:ListBucket", _arn(aws, bucket)):
        try:
            aws.client("s3").head_bucket(Bucket=bucket, ExpectedBucketOwner=aws.account)
        except ClientError as error:
            if code_of(error) in {"404", "NoSuchBucket", "NotFound"}:
                return False
            raise
    return True


def _delete_bucket(aws: Aws, bucket: str) -> int:
    """Delete a bucket and all that is in it; return how many objects and versions that were."""
    s3, count = aws.client("s3"), 0
    with explained("s3:ListBucketVersions", _arn(aws, bucket)):
        pages = s3.get_paginator("list_object_versions").paginate(Bucket=bucket)
        for page in pages:
            found = [*page.get("Versions", ()), *page.get("DeleteMarkers", ())]
            keys = [{"Key": each["Key"], "VersionId": each["VersionId"]} for each in found]
            count += len(keys)
            for start in range(0, len(keys), _AT_ONCE):
                _delete(s3, aws, bucket, keys[start : start + _AT_ONCE])
    with explained("s3:AbortMultipartUpload", _arn(aws, bucket)):
        for page in s3.get_paginator("list_multipart_uploads").paginate(Bucket=bucket):
            for upload in page.get("Uploads", ()):
                s3.abort_multipart_upload(
                    Bucket=bucket, Key=upload["Key"], UploadId=upload["UploadId"]
                )
    with explained("s3:DeleteBucket", _arn(aws, bucket)):
        s3.delete_bucket(Bucket=bucket)
    return count


def _delete(s3: Any, aws: Aws, bucket: str, keys: list[dict[str, str]]) -> None:
    with explained("s3:DeleteObjectVersion", f"{_arn(aws, bucket)}/*"):
        done = s3.delete_objects(Bucket=bucket, Delete={"Objects": keys, "Quiet": True})
    for failed in done.get("Errors", ()):
        msg = (
            f"s3:DeleteObjectVersion of s3://{bucket}/{failed['Key']} was refused "
            f"({failed.get('Code')}); allow it, and run again"
        )
        raise AccessDeniedError(msg)


def _arn(aws: Aws, bucket: str) -> str:
    return f"arn:{partition(aws.region)}:s3:::{bucket}"
