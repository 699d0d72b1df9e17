"""Grants of the function that replaces the Hugging Face token."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from legato.workflow._arns import log_streams
from legato.workflow._grant import ROTATION, Grant, trace, use_key

if TYPE_CHECKING:
    from legato.workflow._workflow import Workflow

SECRET: Final = "${HfToken}"  # noqa: S105 - its name
"""ARN of the secret that holds the token."""

CLIENT: Final = "${RotationClientArn}"
"""ARN of the secret of the application that may exchange tokens."""


def rotation_grants(workflow: Workflow) -> Iterator[Grant]:
    yield Grant(
        ROTATION,
        "ReadVersions",
        ("secretsmanager:DescribeSecret", "secretsmanager:GetSecretValue"),
        (SECRET,),
        "a step looks which version is under way, and tries its token",
    )
    yield Grant(
        ROTATION,
        "WriteVersions",
        ("secretsmanager:PutSecretValue", "secretsmanager:UpdateSecretVersionStage"),
        (SECRET,),
        "the new token is stored, and becomes the current one by its label",
    )
    if workflow.rotation == "exchange":
        yield Grant(
            ROTATION,
            "ReadApplication",
            ("secretsmanager:GetSecretValue",),
            (CLIENT,),
            "the token exchange asks for the application's id and password",
        )
    yield use_key(ROTATION, "secretsmanager")
    yield Grant(
        ROTATION,
        "WriteLogs",
        ("logs:CreateLogStream", "logs:PutLogEvents"),
        (log_streams(ROTATION),),
        "the function logs to its own group",
    )
    yield trace(ROTATION, ("xray:PutTelemetryRecords", "xray:PutTraceSegments"))
