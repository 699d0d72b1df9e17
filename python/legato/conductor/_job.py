"""Task states that run a container: on AWS Batch, or on ECS with a task token."""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Mapping
from typing import Any, Final

from legato.conductor._call import Call, timeout_s
from legato.conductor._context import JobContext
from legato.conductor._failure import (
    HEARTBEAT_TIMEOUT,
    RUNTIME,
    TASK_FAILED,
    TIMEOUT,
    StateFailure,
)
from legato.conductor._frame import Frame
from legato.conductor._model import Job
from legato.conductor._payload import check_size, decode, encode
from legato.conductor._task import Attempt
from legato.conductor._template import Scope

MAX_OVERRIDES_CHARS: Final = 8_192
"""ECS's limit on the overrides of a task, which Batch's jobs are too."""

# A token of AWS has up to 2,048 characters, which count against that limit.
_TOKEN_REPEATS: Final = 64
_MAX_REASON_CHARS: Final = 4_096
_LONGEST_S: Final = 99_999_999.0
_JOB_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,127}")


def run_job(frame: Frame, state: Job, scope: Scope) -> tuple[Any, str | None]:
    """Run the state's container and wait for its end.

    Returns:
        Of a Batch job what Batch tells of it, which nothing of its output is in; of an ECS task
        what was sent with its token.

    Raises:
        StateFailure: The job failed (of Batch always ``States.TaskFailed``), took too long, was
            silent for too long, or could not be started.
    """
    token = None if state.batch else uuid.uuid4().hex * _TOKEN_REPEATS
    request = state.parameters(scope if token is None else _with_token(scope, token))
    check_size(request, f"parameters of state {state.name}")
    run = _Run(frame, state, request, token)
    attempt = Attempt(frame, state.name, scope, "Task")
    attempt.record("Scheduled", resource=run.definition)
    allowed_s = timeout_s(state, scope) or _LONGEST_S
    attempt.record("Started")
    try:
        call = run.start()
        attempt.record("Submitted")
        result = run.wait(call, allowed_s)
        encoded = check_size(result, f"result of state {state.name}")
    except StateFailure as failure:
        attempt.fail(failure)
        raise
    attempt.succeed(encoded)
    return result, state.next


class _Run:
    """One container, from the request to its end."""

    def __init__(
        self, frame: Frame, state: Job, request: Mapping[str, Any], token: str | None
    ) -> None:
        self._frame = frame
        self._state = state
        self._request = request
        self._token = token
        self._id = str(uuid.uuid4())
        definition = request["JobDefinition" if state.batch else "TaskDefinition"]
        if not isinstance(definition, str):
            raise self._failure(RUNTIME, "the definition's ARN is no text")
        self.definition = definition

    def start(self) -> Call:
        """Return the call of the job, once the service would have taken the request."""
        refused = "Batch.ClientException" if self._state.batch else "ECS.InvalidParameterException"
        job = self._frame.engine.jobs.get(self.definition)
        if job is None:
            cause = "no job is bound to its definition; bind one in jobs"
            raise self._failure(refused, cause)
        size = len(encode(self._overrides()).decode())
        if size > MAX_OVERRIDES_CHARS:
            cause = f"container overrides have {size:,} characters, at most {MAX_OVERRIDES_CHARS:,}"
            raise self._failure(refused, cause)
        if self._state.batch and not _JOB_NAME.fullmatch(str(self._request["JobName"])):
            cause = "JobName must be 1 to 128 letters, digits, - or _, a letter or digit first"
            raise self._failure(refused, cause)
        environment = self._environment()
        call = Call(lambda: job(environment, context), self._id)
        context = JobContext(
            definition=self.definition, token=self._token, job_id=self._id, beat=call.beat
        )
        return call

    def wait(self, call: Call, allowed_s: float) -> Any:
        """Return what the state's result is once the job has ended."""
        state = self._state
        try:
            data = call.wait(self._frame, state.name, allowed_s, state.heartbeat_s)
        except StateFailure as failure:
            if failure.error == TIMEOUT:
                raise
            if state.batch:
                raise self._failed(failure) from None
            if failure.error == "Runtime.ExitError":
                # Nobody will answer the token any more; this need not be waited for here.
                error = TIMEOUT if state.heartbeat_s is None else HEARTBEAT_TIMEOUT
                raise self._failure(error, "the task ended without a word") from None
            raise
        return self._told("SUCCEEDED") if state.batch else decode(data)

    def _overrides(self) -> Mapping[str, Any]:
        name = "ContainerOverrides" if self._state.batch else "Overrides"
        overrides: Mapping[str, Any] = self._request.get(name, {})
        return overrides

    def _environment(self) -> dict[str, str]:
        overrides = self._overrides()
        container = overrides if self._state.batch else overrides.get("ContainerOverrides", [{}])[0]
        variables = {pair["Name"]: pair["Value"] for pair in container.get("Environment", [])}
        for name, value in variables.items():
            if not isinstance(value, str):
                raise self._failure(RUNTIME, f"environment variable {name} must be a text")
        return variables

    def _failed(self, failure: StateFailure) -> StateFailure:
        # Of Batch only the exit status would be known; that it was which error is a help here.
        try:
            message = json.loads(failure.cause)["errorMessage"]
        except (ValueError, KeyError, TypeError):
            message = failure.cause
        reason = f"{failure.error}: {message}"[:_MAX_REASON_CHARS]
        told = {**self._told("FAILED"), "Container": {"ExitCode": 1, "Reason": reason}}
        return StateFailure(TASK_FAILED, encode(told).decode())

    def _told(self, status: str) -> dict[str, Any]:
        about = {name: self._request[name] for name in ("JobDefinition", "JobName", "JobQueue")}
        return {**about, "JobId": self._id, "Status": status}

    def _failure(self, error: str, cause: str) -> StateFailure:
        return StateFailure(error, f"state {self._state.name}: {cause}")


def _with_token(scope: Scope, token: str) -> Scope:
    return Scope(scope.data, {**scope.context, "Task": {"Token": token}})
