"""The engine that runs a state machine in this process."""

from __future__ import annotations

import os
import random
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, TypeVar

from legato.conductor._aside import Aside
from legato.conductor._clock import Clock, SystemClock
from legato.conductor._execution import Execution, Outcome, execute, execution_context
from legato.conductor._frame import Action, Engine, Frame, Handler, JobHandler, ObjectStore
from legato.conductor._history import HistoryEvent, Listener, Recorder
from legato.conductor._job import run_job
from legato.conductor._map import run_map
from legato.conductor._model import Job, Machine, Map, Task
from legato.conductor._parse import parse_machine
from legato.conductor._payload import decode, encode
from legato.conductor._region import STOP_GRACE_S, Region
from legato.conductor._shown import shown
from legato.conductor._states import run_choice, run_fail, run_pass, run_succeed, run_wait
from legato.conductor._substitute import substitute
from legato.conductor._task import run_task
from legato.conductor._timestamp import format_timestamp
from legato.errors import InputError, WorkflowError

T = TypeVar("T")

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
        self._machine = parse_machine(substitute(_checked(document), substitutions or {}))
        self._check_bindings()
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
        if not _NAME.fullmatch(name):
            msg = f"execution name {shown(name)} must be 1 to 80 letters, digits, '.', '_' or '-'"
            raise InputError(msg)
        try:
            data = decode(encode(input))
        except ValueError as exc:
            msg = f"the execution's input is not JSON: {exc}"
            raise InputError(msg) from None
        recorder = Recorder(self._listener, lambda: format_timestamp(self._clock.time()))
        started = format_timestamp(self._clock.time())
        region = Region()
        frame = self._frame(recorder, region, name, data, started)

        def whole() -> tuple[Outcome, tuple[HistoryEvent, ...]]:
            try:
                outcome = execute(frame, self._machine, data)
            except BaseException:
                region.settle(STOP_GRACE_S)
                raise
            finally:
                region.stop()
                history = recorder.close()
            return outcome, history

        outcome, history = _interruptible(whole, region)
        failure = outcome.failure
        return Execution(
            name=name,
            status=outcome.status,
            output=outcome.output,
            error=failure.error if failure else None,
            cause=failure.cause if failure else None,
            started=started,
            stopped=format_timestamp(self._clock.time()),
            history=history,
        )

    def _frame(
        self, recorder: Recorder, region: Region, name: str, data: object, started: str
    ) -> Frame:
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
            name=name,
            context=execution_context(name, self._name, data, started),
            deadline=None if timeout_s is None else self._clock.monotonic() + timeout_s,
        )

    def _check_bindings(self) -> None:
        for state in _work(self._machine):
            if isinstance(state, Task):
                function = state.static_function
                if function is not None and function not in self._functions:
                    msg = f"state {state.name}: no handler is bound to function {shown(function)}"
                    raise WorkflowError(msg)
                continue
            if isinstance(state, Job):
                job = state.static_definition
                if job is not None and job not in self._jobs:
                    raise WorkflowError(f"state {state.name}: no job is bound to {shown(job)}")
                continue
            for place in (state.item_reader, state.result_writer):
                bucket = place.static_bucket if place is not None else None
                if bucket is not None and bucket not in self._buckets:
                    msg = f"state {state.name}: no store is bound to bucket {shown(bucket)}"
                    raise WorkflowError(msg)


def _interruptible(work: Callable[[], T], region: Region) -> T:
    """Return what `work` returns; a KeyboardInterrupt stops its region, and waits for its end."""
    running = Aside(work)
    try:
        running.start()
        return running.result()
    except KeyboardInterrupt:
        stopping = Aside(lambda: region.settle(STOP_GRACE_S))
        stopping.start()
        stopping.wait()
        running.wait(STOP_GRACE_S)
        raise


def _work(machine: Machine) -> Iterator[Task | Job | Map]:
    for state in machine.states.values():
        if isinstance(state, (Task, Job, Map)):
            yield state
        if isinstance(state, Map):
            yield from _work(state.processor)


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
