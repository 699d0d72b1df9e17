"""The engine that runs a state machine in this process."""

from __future__ import annotations

import os
import random
import re
from collections.abc import Mapping
from typing import Any, Final

from legato.conductor._aside import interruptible
from legato.conductor._bindings import check_bindings
from legato.conductor._checkpoint import Resumption
from legato.conductor._clock import Clock, SystemClock
from legato.conductor._execution import Execution, Outcome, execute, execution_context
from legato.conductor._frame import Action, Engine, Frame, Handler, JobHandler, ObjectStore
from legato.conductor._history import HistoryEvent, Listener, Recorder
from legato.conductor._job import run_job
from legato.conductor._map import run_map
from legato.conductor._model import Job
from legato.conductor._parse import parse_machine
from legato.conductor._payload import decode, encode
from legato.conductor._region import STOP_GRACE_S, Region
from legato.conductor._shown import shown
from legato.conductor._states import run_choice, run_fail, run_pass, run_succeed, run_wait
from legato.conductor._substitute import substitute
from legato.conductor._task import run_task
from legato.conductor._timestamp import format_timestamp
from legato.errors import InputError, WorkflowError

MAX_DOCUMENT_BYTES: Final = 1_048_576

_NAME: Final = re.compile(r"[A-Za-z0-9._-]{1,80}")

_ACTIONS: Final[Mapping[str, Action]] = {
    "Choice": run_choice,
    "Fail": run_fail,
    "Map": run_map,
    "Pass": run_pass,
    "Succeed": run_succeed,
    "Task": lambda frame, state, scope: (
        run_job(frame, state, scope) if isinstance(state, Job) else run_task(frame, state, scope)
    ),
    "Wait": run_wait,
}


class Conductor:
    """Run a state machine document here, as Step Functions would run it on AWS.

    Args:
        document: The definition in the Amazon States Language (JSONPath). It is checked as a
            whole before anything runs.
        functions: Function ARN to handler, called as ``handler(event, context)`` with a JSON copy
            of the event, in threads other than the caller's.
        buckets: Bucket name to store, for ItemReader and ResultWriter.
        jobs: ARN of a Batch job definition or an ECS task definition to what runs in its container,
            called as ``job(environment, context)``; ``context.heartbeat()`` is a task's heartbeat.
            What the job of an ECS task returns is sent with its token.
        substitutions: The values of ``${Name}`` placeholders in the document.
        max_concurrency: How many iterations of a Map run at the same time at most, whatever its
            MaxConcurrency; the number of usable CPUs by default.
        listener: Called with each event, from several threads but never by two at once.
        name: The state machine's name, for ``$$.StateMachine``.
        clock: The time; a test may bring its own.
        rng: Where the jitter of retries comes from.

    Raises:
        WorkflowError: The document is wrong, needs what is not supported, or names a function or
            bucket that is not bound. The message names the state and the field.
    """

    def __init__(  # noqa: PLR0913 - four bindings and five options
        self,
        document: Mapping[str, Any],
        *,
        functions: Mapping[str, Handler],
        buckets: Mapping[str, ObjectStore],
        jobs: Mapping[str, JobHandler] | None = None,
        substitutions: Mapping[str, str] | None = None,
        max_concurrency: int | None = None,
        listener: Listener | None = None,
        name: str = "legato",
        clock: Clock | None = None,
        rng: random.Random | None = None,
    ) -> None:
        if max_concurrency is not None and max_concurrency < 1:
            msg = f"max_concurrency is {max_concurrency}; use 1 or more"
            raise WorkflowError(msg)
        for arn, handler in [*functions.items(), *(jobs or {}).items()]:
            if not callable(handler):
                msg = f"the handler of {arn!r} cannot be called; bind a callable"
                raise WorkflowError(msg)
        self._functions = dict(functions)
        self._buckets = dict(buckets)
        self._jobs = dict(jobs or {})
        definition = substitute(_checked(document), substitutions or {})
        self._document = encode(definition)
        self._machine = parse_machine(definition)
        check_bindings(self._machine, self._functions, self._jobs, self._buckets)
        self._max_concurrency = max_concurrency or _usable_cpus()
        self._listener = listener
        self._name = name
        self._clock = clock or SystemClock()
        self._rng = rng or random.Random()  # noqa: S311 - jitter needs no secrecy

    def run(self, input: object, *, name: str) -> Execution:  # noqa: A002 - AWS's word
        """Run the machine once, to its end.

        A KeyboardInterrupt stops the run: no further state starts, functions that run are waited
        for up to 2 seconds, then it goes on to the caller.

        Args:
            input: The execution's input, any JSON value of at most 262,144 bytes.
            name: The execution's name: 1 to 80 letters, digits, ``.``, ``_`` or ``-``.

        Returns:
            How it ended; a failure of a state is a result here, not an exception.

        Raises:
            InputError: The input is not JSON, or the name is malformed.
        """
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            what = "must be 1 to 80 letters, digits, '.', '_' or '-'"
            msg = f"execution name {shown(str(name))} {what}"
            raise InputError(msg)
        try:
            data = decode(encode(input))
        except ValueError as exc:
            msg = f"the execution's input is not JSON: {exc}"
            raise InputError(msg) from None
        started = format_timestamp(self._clock.time())
        context = execution_context(name, self._name, data, started)
        return self._run(context, ())

    def redrive(self, execution: Execution) -> Execution:
        """Go on with an execution that did not succeed, as RedriveExecution does on AWS.

        It goes on at the state that has not exited, with that state's input; what is before it is
        not run again. A Map keeps the iterations that succeeded and runs the others: inline ones
        and STANDARD children from where they stopped, EXPRESS children from their start. Retries
        and timeouts begin anew. The items of a Map are read once more.

        Args:
            execution: What :meth:`run` or this method returned; its history goes on.

        Returns:
            How it ended now, under the same name and input.

        Raises:
            InputError: The execution succeeded, ran another definition, or its history is full.

        Example:
            >>> broken = True
            >>> def load(event, context):
            ...     if broken:
            ...         raise OSError
            ...     return event
            >>> states = {"Load": {"Type": "Task", "Resource": ARN, "End": True}}
            >>> definition = {"StartAt": "Load", "States": states}
            >>> conductor = Conductor(definition, functions={ARN: load}, buckets={})
            >>> failed = conductor.run({"day": 3}, name="nightly")
            >>> broken = False  # what was wrong is repaired
            >>> failed.status, conductor.redrive(failed).output
            ('FAILED', {'day': 3})
        """
        resumption = execution.resumption
        if resumption is None:
            msg = f"execution {execution.name} is {execution.status} and cannot be redriven"
            raise InputError(msg)
        if resumption.document != self._document:
            msg = f"execution {execution.name} ran another definition; redrive it with that one"
            raise InputError(msg)
        if (resumption.events_left or 0) <= 1:
            msg = f"the history of execution {execution.name} is full; run it again instead"
            raise InputError(msg)
        return self._run(resumption.redriven, execution.history, resumption)

    def _run(
        self,
        context: dict[str, Any],
        history: tuple[HistoryEvent, ...],
        resumption: Resumption | None = None,
    ) -> Execution:
        recorder = Recorder(self._listener, lambda: format_timestamp(self._clock.time()), history)
        region = Region()
        frame = self._frame(recorder, region, context)
        resumed = None
        if resumption is not None:
            frame.events_left = [resumption.events_left or 0]
            resumed = resumption.checkpoint

        def whole() -> tuple[Outcome, tuple[HistoryEvent, ...]]:
            try:
                outcome = execute(frame, self._machine, context["Execution"]["Input"], resumed)
            except BaseException:
                region.settle(STOP_GRACE_S)
                raise
            finally:
                region.stop()
                history = recorder.close()
            return outcome, history

        outcome, events = interruptible(whole, region)
        failure = outcome.failure
        succeeded = outcome.status == "SUCCEEDED"
        return Execution(
            name=frame.name,
            status=outcome.status,
            output=outcome.output,
            error=failure.error if failure else None,
            cause=failure.cause if failure else None,
            started=context["Execution"]["StartTime"],
            stopped=format_timestamp(self._clock.time()),
            history=events,
            redrives=context["Execution"]["RedriveCount"],
            resumption=None if succeeded else Resumption.of(frame, self._document),
        )

    def _frame(self, recorder: Recorder, region: Region, context: dict[str, Any]) -> Frame:
        timeout_s = self._machine.timeout_s
        engine = Engine(
            actions=_ACTIONS,
            functions=self._functions,
            jobs=self._jobs,
            buckets=self._buckets,
            max_concurrency=self._max_concurrency,
            clock=self._clock,
            rng=self._rng,
            recorder=recorder,
        )
        return Frame(
            engine=engine,
            region=region,
            name=context["Execution"]["Name"],
            context=context,
            deadline=None if timeout_s is None else self._clock.monotonic() + timeout_s,
        )


def _checked(document: object) -> Any:
    try:
        data = encode(document)
    except ValueError as exc:
        msg = f"the document is not JSON: {exc}"
        raise WorkflowError(msg) from None
    if len(data) > MAX_DOCUMENT_BYTES:
        msg = f"the document has {len(data):,} bytes; the limit of AWS is {MAX_DOCUMENT_BYTES:,}"
        raise WorkflowError(msg)
    return decode(data)


def _usable_cpus() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
