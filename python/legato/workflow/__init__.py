"""Workflows: the definition in Python, compiled to one Amazon States Language document."""

from legato.workflow._states import STAGES, STORE_BUCKET, function_placeholder
from legato.workflow._workflow import Workflow

__all__ = ["STAGES", "STORE_BUCKET", "Workflow", "function_placeholder"]
