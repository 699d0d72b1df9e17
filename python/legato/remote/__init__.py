"""Runs on AWS: start them, follow them, say how they are, and restart what failed.

Nothing here is needed to run a workflow in this process. boto3 is needed: ``legato[aws]``.
"""

from legato.remote._follow import follow
from legato.remote._redrive import redrive
from legato.remote._run import run, start
from legato.remote._status import Status, recent, status, stop
from legato.remote._target import Target

__all__ = ["Status", "Target", "follow", "recent", "redrive", "run", "start", "status", "stop"]
