"""Which errors a task tries again, and how patiently."""

from __future__ import annotations

from typing import Any, Final

from legato.errors import retryable_names

# AWS's advice for faults of the Lambda service itself: 2 s, 6 attempts, rate 2. Capped, because
# a child of the Distributed Map is EXPRESS and has 5 minutes for all its attempts together.
_SERVICE: Final = (
    "Lambda.ClientExecutionTimeoutException",
    "Lambda.ServiceException",
    "Lambda.AWSLambdaException",
    "Lambda.SdkClientException",
)
_THROTTLED: Final = ("Lambda.TooManyRequestsException",)

# A crash or the function's own timeout may be the sandbox's fault, or that of a shard which will
# crash every time: two attempts tell them apart. States.Timeout is not here: TimeoutSeconds is no
# shorter than the function's own limit, and a second attempt of that length would not fit into an
# EXPRESS child.
_CRASHED: Final = ("Runtime.ExitError", "Sandbox.Timedout")

# How a crash, a timeout or a throttled call can also arrive: nothing is known of it, so it stands
# alone and last, where it cannot take attempts from an error that has a name.
_UNKNOWN: Final = ("Lambda.Unknown",)


# An endpoint that is scaled to zero takes minutes to start; meanwhile nothing is billed but the
# transitions. A STANDARD child waits for a quarter of an hour and more; an EXPRESS one has
# 5 minutes for all that it does.
_ENDPOINT: Final = ("EndpointUnavailableError",)
_ENDPOINT_WAITS: Final = {"EXPRESS": (5, 5, 40), "STANDARD": (10, 30, 60)}


# What Batch and ECS answer to the call that starts a job: faults and throttling of the service. A
# request that is wrong (Batch.ClientException, ECS.InvalidParameterException) fails at once.
_BATCH: Final = (
    "Batch.AWSBatchException",
    "Batch.SdkClientException",
    "Batch.ServerException",
    "Batch.TooManyRequestsException",
)
_ECS: Final = (
    "ECS.AmazonECSException",
    "ECS.SdkClientException",
    "ECS.ServerException",
    "ECS.ThrottlingException",
)

# RunTask answers with failures: no instance has room now. One may be started, or become free.
_NO_ROOM: Final = ("AmazonECS.Unknown",)

# The worker is gone, perhaps with its machine: as of a function that crashes, two attempts tell.
_SILENT: Final = ("States.HeartbeatTimeout",)


def batch_retry_policy() -> list[dict[str, Any]]:
    """Return the ``Retry`` of a Batch task: errors of the service alone.

    A job that fails arrives as ``States.TaskFailed``, whatever the reason, so that is not retried
    here: the job definition's RetryStrategy tells by the exit status what is worth it.
    """
    return [retrier(_BATCH, interval_s=2, attempts=8, max_delay_s=60)]


def ecs_retry_policy() -> list[dict[str, Any]]:
    """Return the ``Retry`` of an ECS task, whose worker reports errors by their class names."""
    return [
        retrier(tuple(retryable_names()), interval_s=1, attempts=5, max_delay_s=20),
        retrier(_ECS, interval_s=2, attempts=8, max_delay_s=60),
        retrier(_NO_ROOM, interval_s=15, attempts=10, max_delay_s=300),
        retrier(_SILENT, interval_s=2, attempts=2, max_delay_s=10),
    ]


def endpoint_retry_policy(children: str) -> list[dict[str, Any]]:
    """Return the ``Retry`` of a Lambda task that calls an endpoint.

    Args:
        children: Type of the execution that it is part of, ``EXPRESS`` or ``STANDARD``.
    """
    interval_s, attempts, max_delay_s = _ENDPOINT_WAITS[children]
    first, *others = retry_policy()
    names = [name for name in first["ErrorEquals"] if name not in _ENDPOINT]
    return [
        retrier(_ENDPOINT, interval_s=interval_s, attempts=attempts, max_delay_s=max_delay_s),
        {**first, "ErrorEquals": names},
        *others,
    ]


def retry_policy() -> list[dict[str, Any]]:
    """Return the ``Retry`` of a Lambda task; errors that are not named fail at once."""
    return [
        retrier(tuple(retryable_names()), interval_s=1, attempts=5, max_delay_s=20),
        retrier(_SERVICE, interval_s=2, attempts=6, max_delay_s=30),
        retrier(_THROTTLED, interval_s=2, attempts=8, max_delay_s=30),
        retrier(_CRASHED, interval_s=2, attempts=2, max_delay_s=10),
        retrier(_UNKNOWN, interval_s=2, attempts=2, max_delay_s=10),
    ]


def retrier(
    errors: tuple[str, ...], *, interval_s: int, attempts: int, max_delay_s: int
) -> dict[str, Any]:
    """Return one entry of ``Retry``: exponential backoff with full jitter.

    Args:
        errors: Names that it takes, compared exactly.
        interval_s: Longest wait before the first retry, in seconds; doubled for each further one.
        attempts: Retries at most.
        max_delay_s: Longest wait of all, in seconds; over `interval_s`.
    """
    return {
        "ErrorEquals": list(errors),
        "IntervalSeconds": interval_s,
        "MaxAttempts": attempts,
        "BackoffRate": 2.0,
        "MaxDelaySeconds": max_delay_s,
        # A whole fleet meets the same fault at once; without jitter it would come back at once.
        "JitterStrategy": "FULL",
    }
