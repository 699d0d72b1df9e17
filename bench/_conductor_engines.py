"""The two engines of the benchmark: the conductor in this process, and ministack beside it."""

from __future__ import annotations

import io
import json
import os
import resource
import sys
import time
import uuid
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple

from bench import _conductor_work
from legato import Store, Workflow
from legato.conductor import Conductor, HistoryEvent
from legato.local import BUCKET, run
from legato.workflow import STAGES, STORE_BUCKET, function_placeholder
from tests import aws_stack
from tests.servers.ministack import AwsServer
from tests.servers.proxy import FaultProxy

MANIFEST: Final = "manifest.jsonl"
FEW: Final = "few.jsonl"
"""A manifest of some of the shards: the processes of functions start by them."""
TICK_S: Final = 1 / os.sysconf("SC_CLK_TCK")


class Spent(NamedTuple):
    """What a run took, in seconds.

    Attributes:
        wall: From its start to its end.
        engine: Processor time of what interprets the document; of the conductor that is the
            process, and so also of what its states do.
        work: Processor time of the functions' processes.
        server: Processor time of the S3 server, where it is not the engine's.
        transitions: States that were entered, those of children among them.
    """

    wall: float
    engine: float
    work: float
    server: float
    transitions: int


@dataclass
class Ministack:
    """An emulator, and the processes of its functions."""

    server: AwsServer
    last: str = ""

    def seconds(self) -> tuple[float, float]:
        """Return the processor time of the emulator, and of its functions, until now."""
        own = self.server.server.pid
        group = os.getpgid(own)
        spent: Counter[bool] = Counter()
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit():
                continue
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if int(fields[2]) == group:
                spent[int(entry.name) == own] += int(fields[11]) + int(fields[12])
        return spent[True] * TICK_S, spent[False] * TICK_S

    def execute(self, machine: str, event: dict[str, Any]) -> float:
        """Run an execution to its end; return its seconds."""
        states, name = self.server.client("stepfunctions"), uuid.uuid4().hex
        started = time.perf_counter()
        arn = states.start_execution(stateMachineArn=machine, name=name, input=json.dumps(event))[
            "executionArn"
        ]
        while (found := states.describe_execution(executionArn=arn))["status"] == "RUNNING":
            time.sleep(0.1)
        seconds = time.perf_counter() - started
        if found["status"] != "SUCCEEDED":
            msg = f"the execution ended as {found['status']}: {found.get('error')}"
            raise RuntimeError(msg)
        self.last = str(arn)
        return seconds

    def transitions(self) -> int:
        """Count the states that the last execution and its children have entered."""
        states = self.server.client("stepfunctions")

        def events(arn: str) -> Iterator[str]:
            pages = states.get_paginator("get_execution_history").paginate(executionArn=arn)
            return (event["type"] for page in pages for event in page["events"])

        entered = sum(kind.endswith("StateEntered") for kind in events(self.last))
        for found in states.list_map_runs(executionArn=self.last)["mapRuns"]:
            pages = states.get_paginator("list_executions").paginate(mapRunArn=found["mapRunArn"])
            for child in (child for page in pages for child in page["executions"]):
                # The history of a child names tasks alone, and not the state that ends it.
                tasks = sum(kind == "TaskScheduled" for kind in events(child["executionArn"]))
                entered += tasks + 1
        return entered


@contextmanager
def ministack(folder: Path) -> Iterator[Ministack]:
    """Start an emulator; functions are processes of the Lambda runtime client."""
    server = aws_stack.start(folder, {"PYTHONPATH": ":".join(sys.path)})
    try:
        yield Ministack(server)
    finally:
        server.server.stop()


def idle_conductor(workflow: Workflow, lines: bytes) -> Callable[[], Spent]:
    """Return a run by the conductor whose states do nothing."""
    store = Store.open(f"memory://{uuid.uuid4()}")
    store.put(lines, MANIFEST)
    arns = {stage: f"arn:aws:lambda:local:000000000000:function:{stage}" for stage in STAGES}
    seen: Counter[str] = Counter()

    def listen(event: HistoryEvent) -> None:
        seen["entered"] += event.type.endswith("StateEntered")

    conductor = Conductor(
        workflow.document(),
        functions={arns[stage]: getattr(_conductor_work, stage.lower()) for stage in STAGES},
        buckets={BUCKET: store},
        substitutions={
            STORE_BUCKET: BUCKET,
            **{function_placeholder(stage): arn for stage, arn in arns.items()},
        },
        listener=listen,
        max_concurrency=workflow.fleet,
    )

    def measure() -> Spent:
        seen.clear()
        before, started = own_seconds(), time.perf_counter()
        ended = conductor.run(_event(), name=uuid.uuid4().hex)
        wall = time.perf_counter() - started
        if ended.status != "SUCCEEDED":
            raise RuntimeError(ended.cause)
        return Spent(wall, own_seconds() - before, 0, 0, seen["entered"])

    return measure


def idle_ministack(engine: Ministack, workflow: Workflow, lines: bytes) -> Callable[[], Spent]:
    """Return a run by the emulator whose functions do nothing."""
    server, bucket = engine.server, engine.server.bucket()
    server.client("s3").put_object(Bucket=bucket, Key=MANIFEST, Body=lines)
    few = b"".join(lines.splitlines(keepends=True)[: 4 * workflow.fleet])
    server.client("s3").put_object(Bucket=bucket, Key=FEW, Body=few)
    role = _role(server)
    values = {STORE_BUCKET: bucket}
    functions = server.client("lambda")
    for stage in STAGES:
        made = functions.create_function(
            FunctionName=f"idle-{stage.lower()}",
            Runtime="provided.al2023",
            Role=role,
            Handler=f"_conductor_work.{stage.lower()}",
            Code={"ZipFile": _zip()},
            Timeout=60,
        )
        values[function_placeholder(stage)] = made["FunctionArn"]
    text = json.dumps(workflow.document())
    for name, value in values.items():
        text = text.replace(f"${{{name}}}", value)
    machine = server.client("stepfunctions").create_state_machine(
        name="idle", definition=text, roleArn=role
    )["stateMachineArn"]
    engine.execute(machine, _event(FEW))

    def measure() -> Spent:
        before = engine.seconds()
        wall = engine.execute(machine, _event())
        after = engine.seconds()
        return Spent(wall, after[0] - before[0], after[1] - before[1], 0, engine.transitions())

    return measure


@contextmanager
def stages(
    engine: Ministack, definition: Path, workflow: Workflow
) -> Iterator[tuple[Callable[[Path], Spent], Callable[[Path], Spent]]]:
    """Yield runs of the real stages over a dataset: by the conductor, and by the emulator."""
    with closing(FaultProxy(engine.server.port, secure=True)) as proxy:
        os.environ.update(engine.server.environ())
        stack = aws_stack.deploy(engine.server, proxy, definition)
        seen: Counter[str] = Counter()

        def listen(event: HistoryEvent) -> None:
            seen["entered"] += event.type.endswith("StateEntered")

        def conductor(dataset: Path) -> Spent:
            seen.clear()
            # A place of its own in the same bucket: nothing is there yet.
            store = f"{stack.outputs['StoreUrl']}-{uuid.uuid4().hex}"
            before, served, started = own_seconds(), engine.seconds()[0], time.perf_counter()
            run(
                workflow,
                store=store,
                input=dataset,
                listener=listen,
                max_concurrency=workflow.fleet,
            )
            wall = time.perf_counter() - started
            served = engine.seconds()[0] - served
            return Spent(wall, own_seconds() - before, 0, served, seen["entered"])

        def emulator(dataset: Path) -> Spent:
            before, started = engine.seconds(), time.perf_counter()
            done = stack.run("--input", str(dataset))
            wall = time.perf_counter() - started
            if done.status:
                raise RuntimeError(done.err)
            after = engine.seconds()
            engine.last = str(stack.execution(done)["executionArn"])
            return Spent(wall, after[0] - before[0], after[1] - before[1], 0, engine.transitions())

        yield conductor, emulator


def own_seconds() -> float:
    """Return the processor time of this process until now."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def _event(manifest: str = MANIFEST) -> dict[str, Any]:
    return {"run": {"mode": "dataset"}, "input": {"manifest_key": manifest}}


def _zip() -> bytes:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as file:
        bootstrap = zipfile.ZipInfo("bootstrap")
        bootstrap.external_attr = 0o100755 << 16
        file.writestr(bootstrap, aws_stack.BOOTSTRAP.format(python=sys.executable))
        file.write(_conductor_work.__file__, "_conductor_work.py")
    return data.getvalue()


def _role(server: AwsServer) -> str:
    trust = {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Effect": "Allow",
                "Principal": {"Service": ["lambda.amazonaws.com", "states.amazonaws.com"]},
                "Action": "sts:AssumeRole",
            }
        ],
    }
    made = server.client("iam").create_role(
        RoleName="idle", AssumeRolePolicyDocument=json.dumps(trust)
    )
    return str(made["Role"]["Arn"])
