"""Prices of AWS, in one place, with their date."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from legato.errors import InputError

REGION: Final = "us-east-1"
DATED: Final = "2026-11"
SOURCES: Final = "aws.amazon.com/{step-functions,lambda,s3}/pricing"
NOT_INCLUDED: Final = (
    "storage in S3, logs, metrics and traces, keys, data transfer, free tiers and discounts"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Prices:
    """US dollars, without free tiers, of us-east-1 as of DATED: check them before you rely on them.

    Args:
        transition: Of STANDARD executions, each.
        express_request: Start of an EXPRESS execution, each.
        express_gb_s: Its duration, each GB and second.
        lambda_request: Each.
        lambda_gb_s: Each GB and second, x86_64.
        s3_put: PUT or LIST, each.
        s3_get: GET or HEAD, each.
        container_hour: Of one Inference container; None where it is not known.
    """

    transition: float = 0.000025
    express_request: float = 0.000001
    express_gb_s: float = 0.00001667
    lambda_request: float = 0.0000002
    lambda_gb_s: float = 0.0000166667
    s3_put: float = 0.000005
    s3_get: float = 0.0000004
    container_hour: float | None = None

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Prices:
        """Return the prices that a JSON object changes.

        Raises:
            InputError: It has an unknown name, or a value that is no number of 0 or more.
        """
        known = [field.name for field in dataclasses.fields(cls)]
        for name, value in values.items():
            if name not in known:
                msg = f"price {name!a} is unknown; use {', '.join(known)}"
                raise InputError(msg)
            if value is None and name == "container_hour":
                continue
            number = isinstance(value, (int, float)) and not isinstance(value, bool)
            if not number or not 0 <= value < float("inf"):
                msg = f"price {name} is no number of 0 or more; give US dollars"
                raise InputError(msg)
        return cls(**values)
