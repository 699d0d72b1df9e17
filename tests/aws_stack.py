"""A workflow that `legato deploy` has put on the AWS emulator, and what tests do to it.

Its functions are processes of the real Lambda runtime client, each with the credentials of its own role, and the
emulator refuses what a role may not do. Between the functions and S3 stands a proxy that can make faults.
"""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import signal
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from legato import Ref, Store
from legato.cli import main
from tests.aws_grants import Grant
from tests.servers import ministack
from tests.servers.ministack import AwsServer
from tests.servers.proxy import FaultProxy

NAME = "fleet"
FLEET = 3
"""Shards at the same time: a function has so many processes at most, on two processors."""

# As on AWS, each function has a /tmp of its own.
BOOTSTRAP = """#!/bin/sh
export TMPDIR="$TMPDIR/$AWS_LAMBDA_FUNCTION_NAME"
mkdir -p "$TMPDIR"
exec {python} -m awslambdaric "$_HANDLER"
"""

WORKFLOW = """
from pathlib import Path
from legato import Workflow

workflow = Workflow(
    name={name!r},
    task="feature-extraction",
    model={model!r},
    dataset={dataset!r},
    fleet={fleet},
    shard_records={shard_records},
    trigger="incoming/",
)
"""


@dataclass(frozen=True)
class Done:
    """What a command of the command line gave."""

    status: int
    out: str
    err: str


@dataclass
class Stack:
    """A deployed workflow."""

    server: AwsServer
    proxy: FaultProxy
    definition: Path
    name: str = NAME
    outputs: dict[str, str] = field(default_factory=dict)

    @property
    def environ(self) -> dict[str, str]:
        """Environment variables of somebody who may do everything, with the engine's thread count."""
        return {**self.server.environ(), "LEGATO_NUM_THREADS": "1"}

    @property
    def store(self) -> Store:
        """The store of the stack, past the proxy."""
        return Store.open(self.outputs["StoreUrl"])

    @property
    def machine(self) -> str:
        return self.outputs["StateMachineArn"]

    def client(self, service: str) -> Any:
        return self.server.client(service)

    def legato(self, verb: str, *arguments: str) -> Done:
        """Run a command of the command line that speaks to AWS, as it is typed."""
        out, err = io.StringIO(), io.StringIO()
        with redirect_stdout(out), redirect_stderr(err):
            status = main(
                [
                    verb,
                    str(self.definition),
                    "--endpoint-url",
                    self.server.endpoint,
                    "--stack-name",
                    self.name,
                    *arguments,
                ]
            )
        return Done(status, out.getvalue(), err.getvalue())

    def run(self, *arguments: str) -> Done:
        """Run the workflow on the engine."""
        return self.legato("run", "--aws", *arguments)

    def execute(self, name: str, event: Mapping[str, Any]) -> dict[str, Any]:
        """Start an execution with an event of one's own, and wait for its end."""
        self.client("stepfunctions").start_execution(
            stateMachineArn=self.machine, name=name, input=json.dumps(event)
        )
        return self.wait(name)

    def wait(self, name: str) -> dict[str, Any]:
        """Wait until an execution has ended."""
        while (found := self.describe(name))["status"] == "RUNNING":
            time.sleep(0.05)
        return found

    def execution(self, done: Done) -> dict[str, Any]:
        """The execution of a run that the command line reported."""
        return self.describe(run_id(done))

    def describe(self, name: str) -> dict[str, Any]:
        arn = self.machine.replace(":stateMachine:", ":execution:") + f":{name}"
        return dict(self.client("stepfunctions").describe_execution(executionArn=arn))

    def children(self, name: str) -> list[dict[str, Any]]:
        """The executions that the Map of a run has started."""
        states = self.client("stepfunctions")
        found = []
        for run in states.list_map_runs(executionArn=self.describe(name)["executionArn"])[
            "mapRuns"
        ]:
            pages = states.get_paginator("list_executions").paginate(mapRunArn=run["mapRunArn"])
            found += [
                dict(states.describe_execution(executionArn=child["executionArn"]))
                for page in pages
                for child in page["executions"]
            ]
        return found

    def invoke(self, stage: str, event: Mapping[str, Any]) -> dict[str, Any]:
        """Call a stage's function by its alias, as the state machine does."""
        answer = self.client("lambda").invoke(
            FunctionName=self.function(stage), Qualifier="live", Payload=json.dumps(event)
        )
        found: dict[str, Any] = json.loads(answer["Payload"].read())
        assert "FunctionError" not in answer, found
        return found

    def events(self, name: str) -> list[dict[str, Any]]:
        """The history of an execution, and after it those of the children of its Map."""
        states = self.client("stepfunctions")
        arns = [each["executionArn"] for each in (self.describe(name), *self.children(name))]
        found = []
        for each in arns:
            pages = states.get_paginator("get_execution_history").paginate(executionArn=each)
            found += [event for page in pages for event in page["events"]]
        return found

    def failed_in(self, name: str) -> str:
        """The state that an execution failed in: the last that it entered."""
        entered = [
            event["stateEnteredEventDetails"]["name"]
            for event in self.events(name)
            if event["type"].endswith("StateEntered")
        ]
        return str(entered[-1])

    def failures(self, name: str) -> list[str]:
        """The errors of all attempts of tasks of an execution, also of those that were tried again."""
        return [
            event["taskFailedEventDetails"]["error"]
            for event in self.events(name)
            if event["type"] == "TaskFailed"
        ]

    def function(self, stage: str) -> str:
        """The name of a stage's function."""
        return f"{self.name}-{stage.lower()}"

    def role(self, stage: str) -> str:
        """The name of a stage's role."""
        arn = self.client("lambda").get_function_configuration(FunctionName=self.function(stage))[
            "Role"
        ]
        return str(arn).rpartition("/")[2]

    @contextmanager
    def without(self, *grants: Grant) -> Iterator[None]:
        """Take grants away from the role of their stage, and nothing else, for a while."""
        iam, role = self.client("iam"), self.role(grants[0].stage)
        named = {"RoleName": role, "PolicyName": "grants"}
        document = iam.get_role_policy(**named)["PolicyDocument"]
        left = document["Statement"]
        for grant in grants:
            before, left = left, [part for s in left for part in grant.left_of(s)]
            assert left != before, f"{role} has no {grant}"
        iam.put_role_policy(**named, PolicyDocument=ministack.policy(*left))
        try:
            yield
        finally:
            iam.put_role_policy(**named, PolicyDocument=json.dumps(document))

    @contextmanager
    def throttled(self, stage: str, executions: int) -> Iterator[None]:
        """Reserve so many concurrent executions for a stage's function; what is above is throttled.

        The emulator counts those of $LATEST alone, and not those of a version, so the alias points there meanwhile.
        """
        functions, name = self.client("lambda"), self.function(stage)
        version = functions.get_alias(FunctionName=name, Name="live")["FunctionVersion"]
        functions.put_function_concurrency(
            FunctionName=name, ReservedConcurrentExecutions=executions
        )
        functions.update_alias(FunctionName=name, Name="live", FunctionVersion="$LATEST")
        try:
            yield
        finally:
            functions.update_alias(FunctionName=name, Name="live", FunctionVersion=version)
            functions.delete_function_concurrency(FunctionName=name)

    def workers(self, stage: str) -> list[int]:
        """The processes of a stage's function."""
        ours = os.getpgid(self.server.server.pid)
        handler = f"legato.stages.{stage.lower()}.handler"
        pids = [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]
        return [pid for pid in pids if _runs(pid, handler, ours)]

    def forget_model(self, stage: str) -> None:
        """Let the next call of a stage be the first on a machine that never had the model."""
        self.kill(stage, grown_s=0)
        shutil.rmtree(
            self.server.server.log.parent / "tmp" / self.function(stage), ignore_errors=True
        )

    def kill(self, stage: str, *, grown_s: float = 1) -> int:
        """Kill the processes of a stage's function, as kill -9 does; say how many there were.

        Those that have only just started are left: a death before the first event has a name in this emulator,
        Runtime.Unknown, that AWS has not.
        """
        grown = [pid for pid in self.workers(stage) if _age_s(pid) > grown_s]
        for pid in grown:
            os.kill(pid, signal.SIGKILL)
        return len(grown)


def assert_names(stack: Stack, grant: Grant, done: Done) -> None:
    """The error of a run says which role lacks which action on which resource."""
    assert "AccessDeniedError" in done.err
    assert grant.action in done.err
    assert grant.sid in done.err
    assert stack.role(grant.stage) in done.err
    bucket = f"arn:aws:s3:::{stack.outputs['BucketName']}"
    pattern = bucket if grant.action == "s3:ListBucket" else f"{bucket}/legato/{grant.place}"
    named = [arn.strip(",;:") for arn in re.findall(r"arn:aws:s3:::[^\s\"\]]+", done.err)]
    assert any(fnmatchcase(arn, pattern) for arn in named), (pattern, done.err)


def run_id(done: Done) -> str:
    """The id of the run that a report, or an error, names."""
    words = (done.out + done.err).split()
    return next(word.strip(":,.;") for word in words if word.startswith("run-2"))


def write_workflow(
    folder: Path, model: Path, *, records: int, shard_records: int = 4, name: str = NAME
) -> Path:
    """Write a definition and its dataset of short texts of several lengths; return the definition."""
    folder.mkdir(parents=True, exist_ok=True)
    dataset = write_texts(folder / "texts.jsonl", records)
    definition = folder / "workflow.py"
    values = {"model": str(model), "dataset": str(dataset), "shard_records": shard_records}
    definition.write_text(WORKFLOW.format(name=name, fleet=FLEET, **values))
    return definition


def write_texts(path: Path, records: int, about: str = "the fleet") -> Path:
    """Write a dataset; `about` tells its texts from those of other tests, whose outputs would be found."""
    lines = (
        json.dumps({"id": str(i), "text": f"{i} of {records} of {about}, " * (1 + i % 5)}) + "\n"
        for i in range(records)
    )
    path.write_text("".join(lines))
    return path


def start(
    folder: Path, environ: Mapping[str, str] | None = None, *, port: int | None = None
) -> AwsServer:
    """Start an engine whose functions are processes like this one, and whose retries come soon."""
    (folder / "tmp").mkdir(parents=True, exist_ok=True)
    return ministack.start(
        folder,
        {
            # A function's process computes with one thread, as the run that it is compared with.
            "LEGATO_NUM_THREADS": "1",
            "SFN_WAIT_SCALE": "0.05",
            "TMPDIR": str(folder / "tmp"),
            # The folder of a function's code is read-only on AWS: compiled files lie elsewhere.
            "PYTHONDONTWRITEBYTECODE": "",
            "PYTHONPYCACHEPREFIX": str(folder / "pycache"),
            **(environ or {}),
        },
        port=port,
    )


def deploy(
    server: AwsServer, proxy: FaultProxy, definition: Path, *options: str, name: str = NAME
) -> Stack:
    """Deploy a definition with `legato deploy`.

    The emulator takes every resource of the template, and the template as it is: none is made by API here.
    """
    bootstrap = definition.with_name("bootstrap")
    bootstrap.write_text(BOOTSTRAP.format(python=sys.executable))
    bootstrap.chmod(0o755)
    stack = Stack(server, proxy, definition, name)
    done = stack.legato(
        "deploy",
        "--bootstrap",
        str(bootstrap),
        "--parameter",
        f"S3EndpointUrl={proxy.endpoint}",
        *options,
    )
    assert done.status == 0, done.err
    described = stack.client("cloudformation").describe_stacks(StackName=stack.name)["Stacks"][0]
    stack.outputs = {o["OutputKey"]: o["OutputValue"] for o in described["Outputs"]}
    return stack


def shut_down(server: AwsServer, *, timeout_s: float = 30) -> None:
    """Ask the engine to end, as the one that keeps its state must be, and wait for it."""
    server.server.signal(signal.SIGTERM)
    end = time.monotonic() + timeout_s
    while time.monotonic() < end and _is_alive(server.server.pid):
        time.sleep(0.05)
    server.server.stop()


def _runs(pid: int, handler: str, group: int) -> bool:
    try:
        words = Path(f"/proc/{pid}/cmdline").read_text().split("\0")
        return handler in words and "awslambdaric" in words and os.getpgid(pid) == group
    except OSError:
        # It has ended meanwhile.
        return False


def _age_s(pid: int) -> float:
    started = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])
    return time.clock_gettime(time.CLOCK_BOOTTIME) - started / os.sysconf("SC_CLK_TCK")


def _is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def result_of(execution: Mapping[str, Any]) -> Ref:
    """The manifest that an execution returned."""
    return Ref.from_dict(json.loads(execution["output"])["result"])
