"""What the resources of a stack need: functions, containers, state machines and what starts them."""

from __future__ import annotations

import importlib
import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from legato._scope import plain
from legato.errors import WorkflowError
from legato.step import Step
from legato.workflow._lint._evaluate import HERE, role_arn
from legato.workflow._lint._machine import machine_needs
from legato.workflow._lint._needs import Need
from legato.workflow._lint._source import Sources
from legato.workflow._lint._stages import Place, stage_needs
from legato.workflow._lint._wildcards import WILDCARDS

Resources = Mapping[str, Any]
_STORE: Final = re.compile(r"s3://([^/]+)/(.+)")
_S3_WRITES: Final = ("s3:PutObject",)
_S3_READS: Final = ("s3:GetObject",)
_LAMBDA_ROLE: Final = ("xray:PutTelemetryRecords", "xray:PutTraceSegments")
_VIA: Final = "kms:ViaService"
