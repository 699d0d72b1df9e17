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
