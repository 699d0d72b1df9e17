"""What legato doctor looks at in an account, whatever is deployed there."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator
from email.utils import parsedate_to_datetime
from typing import Any, Final

from legato._aws import Aws
from legato._aws_errors import code_of, explained, translated
from legato._native import Store
from legato._scope import bucket_key
from legato.deploy._artifacts import partition
from legato.deploy._check import Check
from legato.errors import AccessDeniedError, LegatoError
from legato.workflow import Workflow

_SKEW_WARN_S: Final = 60
_SKEW_FAIL_S: Final = 300
"""AWS refuses signatures that are more than five minutes old."""

_REFUSED: Final = frozenset({"PreconditionFailed", "412", "ConditionalRequestConflict"})


def look_at_identity(aws: Aws) -> Iterator[Check]:
    """Check who asks, and whether the clocks agree."""
    where = f"{aws.region} at {aws.endpoint_url or 'AWS'}"
    with explained("sts:GetCallerIdentity", "the configured credentials"):
        client = aws.client("sts")
        answer = client.get_caller_identity()
    arn = str(answer["Arn"])
    yield Check("region", "ok", where)
    if arn.endswith(":root") and not aws.endpoint_url:
        fix = "use a role: the root user can do what nobody should"
        yield Check("credentials", "warn", arn, fix)
    else:
        yield Check("credentials", "ok", arn)
    yield from _clock(answer)


def _clock(answer: dict[str, Any]) -> Iterator[Check]:
    said = answer["ResponseMetadata"]["HTTPHeaders"].get("date")
    if not said:
        return
    skew = time.time() - parsedate_to_datetime(said).timestamp()
    found = f"{abs(skew):,.0f} s {'ahead of' if skew > 0 else 'behind'} AWS"
    fix = "set this machine's clock right (NTP): AWS refuses signatures 5 minutes off"
    if abs(skew) > _SKEW_FAIL_S:
        yield Check("clock", "fail", found, fix)
    elif abs(skew) > _SKEW_WARN_S:
        yield Check("clock", "warn", found, fix)
    else:
        yield Check("clock", "ok", "agrees with AWS's")


def look_at_quotas(aws: Aws, workflow: Workflow | None) -> Iterator[Check]:
    """Check that Lambda runs as many functions at the same time as the fleet wants."""
    with explained("lambda:GetAccountSettings", "*"):
        limits = aws.client("lambda").get_account_settings()["AccountLimit"]
    free = int(limits["UnreservedConcurrentExecutions"])
    found = f"{free:,} functions at the same time, unreserved"
    if workflow is not None and workflow.compute == "lambda" and workflow.fleet > free:
        fix = f"lower fleet ({workflow.fleet:,}), or ask for more: Service Quotas, Lambda"
        yield Check("concurrency", "warn", found, fix)
    else:
        yield Check("concurrency", "ok", found)


def look_at_store(aws: Aws, store: Store) -> Iterator[Check]:
    """Check that the store can be read and written, and that conditional writes are honoured."""
    key = f"runs/doctor-{uuid.uuid4().hex}/check.json"
    bucket, whole = _place(store, key)
    arn = f"arn:{partition(aws.region)}:s3:::{bucket}/{whole}"
    # Through the very client that runs use: endpoint, addressing and credentials are its own.
    store.put(b"{}", key, media_type="application/json")
    try:
        if store.get(key) != b"{}":
            yield Check("store", "fail", f"{store.url} returns other bytes than were written")
            return
        yield from _conditional(aws, bucket, whole, arn, store.url)
    finally:
        left = _remove(store, key)
    if left:
        fix = f"allow s3:DeleteObject, or remove it: {store.url}/{key}"
        yield Check("store", "warn", "an object of this check is left", fix)


def _conditional(aws: Aws, bucket: str, key: str, arn: str, url: str) -> Iterator[Check]:
    from botocore.exceptions import ClientError

    try:
        aws.client("s3").put_object(Bucket=bucket, Key=key, Body=b"x", IfNoneMatch="*")
    except ClientError as error:
        if code_of(error) not in _REFUSED:
            raise translated(error, "s3:PutObject", arn) from None
        yield Check("store", "ok", f"{url}: read, written, conditional writes are honoured")
        return
    fix = "use a store that honours If-None-Match: two writers can replace each other's output"
    yield Check("store", "fail", f"{url} ignores conditions of writes", fix)


def _remove(store: Store, key: str) -> bool:
    try:
        store.delete(key)
    except AccessDeniedError:
        return True
    except LegatoError:
        return store.exists(key)
    return False


def _place(store: Store, key: str) -> tuple[str, str]:
    bucket = store.url.removeprefix("s3://").partition("/")[0]
    return bucket, bucket_key(store.url, key)
