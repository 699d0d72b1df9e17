"""The embedded engine: run a Step Functions state machine in this process.

The conductor interprets the very document that is deployed. It binds function ARNs to handlers and
buckets to stores, enforces the limits of AWS, and refuses by name what it does not support.
"""

from legato.conductor._clock import Clock
from legato.conductor._conductor import Conductor
from legato.conductor._context import JobContext, TaskContext
from legato.conductor._execution import Execution
from legato.conductor._frame import Handler, JobHandler, ObjectStore
from legato.conductor._history import HistoryEvent
from legato.conductor._payload import MAX_PAYLOAD_BYTES

__all__ = [
    "MAX_PAYLOAD_BYTES",
    "Clock",
    "Conductor",
    "Execution",
    "Handler",
    "HistoryEvent",
    "JobContext",
    "JobHandler",
    "ObjectStore",
    "TaskContext",
]
