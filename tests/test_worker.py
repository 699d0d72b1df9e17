"""`python -m legato.worker`: with a task token, and without one, as AWS Batch runs it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

import legato
from legato import Store
from legato._token import TaskToken
from legato.errors import SettingsError, StoreUnavailableError
from tests.conftest import use
from tests.servers.task_tokens import TokenServer
from tests.worker_steps import SECRET

ROOT = Path(__file__).parents[1]
TOKEN = "AQCEAAAAKgAAAAMAAAAAAAAAA-not-a-real-token"
EVENT = {"run": {"id": "r1"}, "shard": {"index": 3}, "question": 21}


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open((tmp_path / "store").as_uri())


@pytest.fixture
def server() -> Iterator[TokenServer]:
    with closing(TokenServer(TOKEN)) as server:
        yield server
        assert server.refused == []


class Worker:
    """Starts workers, each a process of its own."""

    def __init__(self, store: Store, environ: dict[str, str]) -> None:
        self.environ = {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path]),
            "LEGATO_STORE": store.url,
            **environ,
        }

    def start(self, step: str, event: Any = EVENT, **environ: str) -> subprocess.Popen[str]:
        named = {"LEGATO_STEP": f"tests.worker_steps.{step}", "LEGATO_EVENT": json.dumps(event)}
        return subprocess.Popen(
            [sys.executable, "-m", "legato.worker"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**self.environ, **named, **environ},
        )

    def run(
        self, step: str, event: Any = EVENT, **environ: str
    ) -> tuple[int, list[dict[str, Any]]]:
        """Run one to its end; return its exit status and the lines that it logged."""
        return finished(self.start(step, event, **environ))


def finished(process: subprocess.Popen[str]) -> tuple[int, list[dict[str, Any]]]:
    out, err = process.communicate(timeout=60)
    assert "Traceback" not in err, err
    lines = [json.loads(line) for line in out.splitlines() if line.startswith("{")]
    return process.returncode, lines


@pytest.fixture
def with_token(store: Store, server: TokenServer) -> Worker:
    return Worker(store, {**server.environ, "LEGATO_TASK_TOKEN": TOKEN})


@pytest.fixture
def batch(store: Store) -> Worker:
    return Worker(store, {"AWS_BATCH_JOB_ID": "job-7"})


# With a token: ECS


def test_success_carries_the_steps_output(with_token: Worker, server: TokenServer) -> None:
    status, (line,) = with_token.run("quick")
    assert status == 0, line
    assert (line["level"], line["run_id"], line["shard"]) == ("INFO", "r1", 3)
    (call,) = server.of("SendTaskSuccess")
    assert json.loads(call.body["output"]) == {
        "run": {"id": "r1"},
        "shard": {"index": 3},
        "answer": 42,
    }
    assert server.of("SendTaskHeartbeat")
    assert not server.of("SendTaskFailure")


@pytest.mark.parametrize(
    ("step", "error", "reason", "expected"),
    [
        ("wrong", "InputError", "this shard can never be computed", 1),
        ("busy", "StoreUnavailableError", "the store is asleep", 75),
        ("leaky", "ValueError", "ValueError in inference", 1),
    ],
)
def test_a_failure_carries_the_class_and_no_user_text(
    step: str,
    error: str,
    reason: str,
    expected: int,
    with_token: Worker,
    server: TokenServer,
    store: Store,
) -> None:
    status, (line,) = with_token.run(step)
    assert status == expected
    assert line["error"] == error
    (call,) = server.of("SendTaskFailure")
    assert call.body["error"] == error
    assert json.loads(call.body["cause"]) == {"errorType": error, "errorMessage": reason}
    record = store.get("runs/r1/failures/inference-00003.json")
    assert json.loads(record)["error"] == error
    assert SECRET not in f"{call.body}{line}{record!r}"


def test_wrong_settings_are_reported_too(with_token: Worker, server: TokenServer) -> None:
    status, (line,) = with_token.run("quick", LEGATO_SHARD_RECORD="2")
    assert (status, line["error"]) == (1, "SettingsError")
    (call,) = server.of("SendTaskFailure")
    assert call.body["error"] == "SettingsError"
    assert "LEGATO_SHARD_RECORD is not a setting" in json.loads(call.body["cause"])["errorMessage"]


@pytest.mark.parametrize(
    ("environ", "message"),
    [
        ({"LEGATO_EVENT": "[1]"}, "LEGATO_EVENT is no JSON object"),
        ({"LEGATO_EVENT": ""}, "LEGATO_EVENT is not set"),
        ({"LEGATO_STEP": "json.loads"}, "LEGATO_STEP is json.loads, which is no @legato.step"),
        ({"LEGATO_EVENT": "[" * 100_000}, "LEGATO_EVENT is no JSON object"),
        ({"LEGATO_STEP": "nothing"}, "which is no @legato.step"),
        ({"LEGATO_STEP": "tests.worker_broken.x"}, "whose module raises ZeroDivisionError"),
        ({"LEGATO_STORE": "s3://"}, "LEGATO_STORE"),
    ],
)
def test_what_cannot_be_started_says_why(
    environ: dict[str, str], message: str, with_token: Worker, server: TokenServer
) -> None:
    status, (line,) = with_token.run("quick", **environ)
    assert status == 1
    assert message in line["reason"]
    assert message in server.of("SendTaskFailure")[0].body["cause"]


def test_heartbeats_go_on_while_native_code_computes(
    with_token: Worker, server: TokenServer, tiny_bert: Path
) -> None:
    every = 0.1
    status, _ = with_token.run(
        "native",
        {**EVENT, "seconds": 1.5},
        LEGATO_HEARTBEAT_S=str(every),
        LEGATO_MODEL_ID=str(tiny_bert),
    )
    assert status == 0
    output = json.loads(server.of("SendTaskSuccess")[0].body["output"])
    started, ended = output["started"], output["ended"]
    beats = [call for call in server.of("SendTaskHeartbeat") if started < call.at < ended]
    # Half of those that a machine with nothing else to do would send.
    assert len(beats) >= (ended - started) / every / 2


def test_a_stale_token_ends_the_worker_in_the_middle(
    with_token: Worker, server: TokenServer, store: Store
) -> None:
    process = with_token.start("endless", LEGATO_HEARTBEAT_S="0.1")
    assert process.stdout is not None
    assert process.stdout.readline() == "endless\n"
    server.ended = True
    status, (line,) = finished(process)
    assert status == 0
    assert line["level"] == "WARNING"
    assert "ended without this worker" in line["reason"]
    assert TOKEN not in json.dumps(line)
    assert not server.of("SendTaskSuccess") + server.of("SendTaskFailure")


@pytest.mark.parametrize("code", ["TaskTimedOut", "TaskDoesNotExist"])
def test_a_token_that_is_stale_at_the_end(
    code: str, with_token: Worker, server: TokenServer
) -> None:
    server.faults["SendTaskSuccess"] = [code]
    status, lines = with_token.run("quick")
    assert status == 0
    assert [line["level"] for line in lines] == ["INFO", "WARNING"]


@pytest.mark.parametrize("fault", ["ThrottlingException", "InternalFailure", "drop"])
def test_calls_are_made_again(fault: str, with_token: Worker, server: TokenServer) -> None:
    server.faults = {"SendTaskSuccess": [fault, fault], "SendTaskHeartbeat": [fault]}
    status, _ = with_token.run("quick")
    assert status == 0
    assert len(server.of("SendTaskSuccess")) == 1


def test_a_heartbeat_that_fails_does_not_end_the_task(
    with_token: Worker, server: TokenServer
) -> None:
    server.faults = {"SendTaskHeartbeat": ["AccessDeniedException"] * 2}
    status, lines = with_token.run("quick")
    assert status == 0
    reasons = [line.get("reason", "") for line in lines]
    assert any("states:SendTaskHeartbeat was refused" in reason for reason in reasons)
    assert server.of("SendTaskSuccess")


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("AccessDeniedException", "states:SendTaskSuccess was refused"),
        ("InvalidToken", "LEGATO_TASK_TOKEN is no task token"),
    ],
)
def test_an_output_that_may_not_be_reported(
    code: str, reason: str, with_token: Worker, server: TokenServer
) -> None:
    server.faults["SendTaskSuccess"] = [code]
    status, lines = with_token.run("quick")
    assert status == 1
    assert reason in lines[-1]["reason"]


def test_a_call_that_never_comes_through(
    server: TokenServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(server.environ, monkeypatch)
    monkeypatch.setattr("legato._token.ATTEMPTS", 2)
    server.faults["SendTaskSuccess"] = ["InternalFailure"] * 2
    token = TaskToken.open(TOKEN)
    with pytest.raises(StoreUnavailableError, match="states:SendTaskSuccess failed"):
        token.succeed("{}")
    token.succeed("{}")


def test_sigterm_hands_the_task_back(with_token: Worker, server: TokenServer) -> None:
    process = with_token.start("endless")
    assert process.stdout is not None
    assert process.stdout.readline() == "endless\n"
    sent = time.monotonic()
    process.send_signal(signal.SIGTERM)
    status, (line,) = finished(process)
    assert status == 75
    assert time.monotonic() - sent < 10
    assert line["error"] == "WorkerStoppedError"
    (call,) = server.of("SendTaskFailure")
    assert call.body["error"] == "WorkerStoppedError"
    assert call.body["error"] in legato.errors.retryable_names()


def test_a_stopped_worker_leaves_its_record_though_nobody_takes_its_report(
    with_token: Worker, server: TokenServer, store: Store
) -> None:
    server.faults["SendTaskFailure"] = ["InternalFailure"] * 100
    process = with_token.start("endless")
    assert process.stdout is not None
    assert process.stdout.readline() == "endless\n"
    process.send_signal(signal.SIGTERM)
    # The next line is the failure's, which its record follows.
    assert json.loads(process.stdout.readline())["error"] == "WorkerStoppedError"
    ends = time.monotonic() + 10
    while not store.list("runs/") and time.monotonic() < ends:
        time.sleep(0.05)
    assert process.poll() is None
    process.kill()
    process.communicate()
    assert json.loads(store.get("runs/r1/failures/inference-00003.json"))["state"] == "inference"


def test_a_killed_worker_says_nothing_and_the_next_one_does_its_work(
    with_token: Worker, server: TokenServer
) -> None:
    process = with_token.start("endless")
    assert process.stdout is not None
    assert process.stdout.readline() == "endless\n"
    process.kill()
    process.communicate()
    assert not server.of("SendTaskSuccess") + server.of("SendTaskFailure")
    status, _ = with_token.run("quick")
    assert status == 0
    assert len(server.of("SendTaskSuccess")) == 1


@pytest.mark.parametrize("fault", [None, "InternalFailure"])
def test_a_log_that_nobody_reads_fails_no_task(
    fault: str | None, with_token: Worker, server: TokenServer
) -> None:
    server.faults["SendTaskHeartbeat"] = [fault] * 2 if fault else []
    process = with_token.start("quick")
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    with process.stderr:
        assert process.wait(timeout=60) == 0
    assert len(server.of("SendTaskSuccess")) == 1
    assert not server.of("SendTaskFailure")


def test_an_endpoint_that_is_none_is_said(with_token: Worker) -> None:
    status, (line,) = with_token.run("quick", AWS_ENDPOINT_URL="nowhere")
    assert (status, line["error"]) == (1, "SettingsError")


def test_sigterm_before_the_step_is_loaded(batch: Worker) -> None:
    process = batch.start("x", LEGATO_STEP="tests.worker_slow.x")
    assert process.stdout is not None
    assert process.stdout.readline() == "loading\n"
    process.send_signal(signal.SIGTERM)
    status, (line,) = finished(process)
    assert (status, line["error"]) == (75, "WorkerStoppedError")


def test_without_boto3_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "boto3", None)
    with pytest.raises(SettingsError, match=r"legato\[aws\]"):
        TaskToken.open(TOKEN)


def test_a_token_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LEGATO_TASK_TOKEN", TOKEN)
    monkeypatch.setenv("AWS_REGION", "eu-central-1")
    assert TOKEN not in repr(legato.settings.Settings.from_env())
    assert TOKEN not in repr(TaskToken.open(TOKEN))


# Without one: AWS Batch


def test_batch_leaves_the_output_for_the_next_state(batch: Worker, store: Store) -> None:
    status, (line,) = batch.run("quick")
    assert (status, line["function_request_id"]) == (0, "job-7")

    @legato.step(name="next", reads=["runs"])
    def following(event: Any, task: legato.Task) -> dict[str, Any]:
        assert "left" not in event
        return {"answer": event["answer"] + 1}

    handler = following.bind(legato.settings.Settings(store=store.url), store)
    got = handler({**EVENT, "left": {"stage": "inference"}})
    assert got["answer"] == 43


def test_an_output_that_cannot_be_left(batch: Worker, store: Store) -> None:
    Path(store.url.removeprefix("file://"), "runs").mkdir(parents=True)
    Path(store.url.removeprefix("file://"), "runs/r1").write_text("in the way")
    status, lines = batch.run("quick")
    assert status in (1, 75)
    assert [line["level"] for line in lines] == ["INFO", "ERROR"]
    assert lines[1]["error"] in legato.errors.permanent_names() + legato.errors.retryable_names()


@pytest.mark.parametrize(
    ("step", "error", "expected"),
    [
        ("wrong", "InputError", 1),
        ("busy", "StoreUnavailableError", 75),
        ("leaky", "ValueError", 1),
    ],
)
def test_batch_fails_by_its_exit_status(
    step: str, error: str, expected: int, batch: Worker, store: Store
) -> None:
    status, (line,) = batch.run(step)
    assert (status, line["error"]) == (expected, error)
    (record,) = store.list("runs/")
    assert record == "runs/r1/failures/inference-00003.json"
    assert json.loads(store.get(record))["function_request_id"] == "job-7"


def test_sigterm_asks_batch_for_another_try(batch: Worker, store: Store) -> None:
    process = batch.start("endless")
    assert process.stdout is not None
    assert process.stdout.readline() == "endless\n"
    process.send_signal(signal.SIGTERM)
    status, (line,) = finished(process)
    assert (status, line["error"]) == (75, "WorkerStoppedError")
    # Where all attempts are used up, this says why.
    assert json.loads(store.get("runs/r1/failures/inference-00003.json")) == line
