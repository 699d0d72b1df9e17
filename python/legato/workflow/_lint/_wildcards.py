"""The only actions that may be granted on ``*``, each with the reason."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

_DELIVERY: Final = "delivery of logs is set up account-wide; the action knows no resource"
_TRACES: Final = "traces belong to no resource"
_INTERFACES: Final = "Lambda asks for it on all network interfaces; a Deny keeps the code from it"

WILDCARDS: Final[Mapping[str, str]] = {
    "batch:DescribeJobs": "a description knows no resource",
    "ec2:AssignPrivateIpAddresses": _INTERFACES,
    "ec2:CreateNetworkInterface": _INTERFACES,
    "ec2:DeleteNetworkInterface": _INTERFACES,
    "ec2:DescribeNetworkInterfaces": _INTERFACES,
    "ec2:DescribeSubnets": _INTERFACES,
    "ec2:UnassignPrivateIpAddresses": _INTERFACES,
    "ecr:GetAuthorizationToken": "a token is for the registry as a whole",
    "logs:CreateLogDelivery": _DELIVERY,
    "logs:DeleteLogDelivery": _DELIVERY,
    "logs:DescribeLogGroups": _DELIVERY,
    "logs:DescribeResourcePolicies": _DELIVERY,
    "logs:GetLogDelivery": _DELIVERY,
    "logs:ListLogDeliveries": _DELIVERY,
    "logs:PutResourcePolicy": _DELIVERY,
    "logs:UpdateLogDelivery": _DELIVERY,
    "xray:GetSamplingRules": _TRACES,
    "xray:GetSamplingTargets": _TRACES,
    "xray:PutTelemetryRecords": _TRACES,
    "xray:PutTraceSegments": _TRACES,
}
"""Action and reason."""
