"""The exceptions that legato raises.

A class name is part of the wire protocol: the Lambda runtime reports it as ``errorType`` and Step
Functions compares that string exactly. So there are few leaves, one for each different reaction,
and the ``Retry`` blocks of a state machine are generated from :attr:`LegatoError.retryable`.

::

    LegatoError
    ├── SettingsError            an environment variable is missing or malformed
    ├── InputError               an event, a file, a record or an argument is wrong
    ├── ModelError               a model folder, a weight file or an endpoint cannot be used
    ├── DeviceError              the device or dtype is not available here
    ├── ObjectNotFoundError      nothing is stored under that key
    ├── AccessDeniedError        a store or an endpoint refuses: permissions, IAM, a token
    ├── CorruptObjectError       stored bytes differ from what their reference says
    ├── StoreFullError           no space, or a quota is reached
    ├── OutputTooLargeError      a state's output is over the limit and cannot be offloaded
    ├── WorkflowError            a workflow or its document is wrong, or uses what is not supported
    ├── InternalError            a defect in legato itself; please report it
    └── TransientError           worth another try; every class below is retried
        ├── EndpointUnavailableError the server of a model is busy, starting or not reached
        ├── StoreUnavailableError    transport fault, throttling, a conditional write under way
        └── WorkerStoppedError       the machine is taken away: a Spot instance, a deployment
"""

from __future__ import annotations

from typing import ClassVar


class LegatoError(Exception):
    """Base of every exception that legato raises on purpose."""

    retryable: ClassVar[bool] = False
    """Whether the same call may succeed if it is made again."""


class SettingsError(LegatoError):
    """An environment variable is missing or malformed."""


class InputError(LegatoError):
    """An event, a file, a record or an argument is wrong."""


class ModelError(LegatoError):
    """A model folder, its tokenizer or its weights, or the endpoint of one, cannot be used."""


class DeviceError(LegatoError):
    """The device or dtype that was asked for is not available here."""


class ObjectNotFoundError(LegatoError):
    """Nothing is stored under that key."""


class AccessDeniedError(LegatoError):
    """A store or an endpoint refuses: permissions, a read-only folder, IAM, a token, a host."""


class CorruptObjectError(LegatoError):
    """Stored bytes differ from what their reference says."""


class StoreFullError(LegatoError):
    """The store has no space left, or a quota is reached."""


class OutputTooLargeError(LegatoError):
    """A state's output is over the limit and cannot be offloaded."""


class WorkflowError(LegatoError):
    """A workflow or its state machine document is wrong, or uses what is not supported."""


class InternalError(LegatoError):
    """A defect in legato itself (a caught panic, a broken invariant); please report it."""


class TransientError(LegatoError):
    """Worth another try. Raised as one of its subclasses, never itself."""

    retryable = True


class EndpointUnavailableError(TransientError):
    """The server of a model is busy, still starting, failing, or cannot be reached.

    A state machine waits longer for it than for others: an endpoint takes minutes to start.
    """


class StoreUnavailableError(TransientError):
    """The store did not answer, throttled the call, or has a conditional write under way."""


class WorkerStoppedError(TransientError):
    """A worker was told to stop before its task was done: a Spot instance, a deployment."""


def retryable_names() -> list[str]:
    """Return the names of the leaf classes that a state machine retries, sorted."""
    return sorted(_leaf_names(TransientError))


def permanent_names() -> list[str]:
    """Return the names of the leaf classes that fail at once, sorted."""
    return sorted(set(_leaf_names(LegatoError)) - set(retryable_names()))


def _leaf_names(cls: type[LegatoError]) -> list[str]:
    children = cls.__subclasses__()
    if not children:
        return [cls.__name__]
    return [name for child in children for name in _leaf_names(child)]
