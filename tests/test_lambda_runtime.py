"""The local Lambda, with handlers that do next to nothing."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from lambda_runtime import FUNCTION_ARN, invoke, start

pytest.importorskip("awslambdaric")

HANDLER = """
import os, subprocess, sys, time

class ObjectNotFoundError(Exception):
    pass

print("started")

def echo(event, context):
    print("out", event["n"])
    print("err", event["n"], file=sys.stderr)
    return {
        "event": event,
        "pid": os.getpid(),
        "environ": sorted(os.environ),
        "arn": context.invoked_function_arn,
        "left_ms": context.get_remaining_time_in_millis(),
        "request_id": context.aws_request_id,
    }

def fail(event, context):
    raise ObjectNotFoundError("nothing under k; run the producing state again")

def sometimes(event, context):
    if event["fail"]:
        fail(event, context)
    return os.getpid()

def leave(event, context):
    if event["status"] is None:
        os.kill(os.getpid(), 9)
    os._exit(event["status"])

def child(event, context):
    if event["leave"]:
        os._exit(0)
    return subprocess.Popen(["sleep", "600"]).pid

def hang(event, context):
    print("hanging")
    time.sleep(600)

def big(event, context):
    return event["text"] * 2

def unserialisable(event, context):
    return object()
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "app.py").write_text(HANDLER)
    (tmp_path / "broken.py").write_text("import a_module_that_is_not_there\n")
    (tmp_path / "raising.py").write_text("raise KeyError('at import')\n")
    return tmp_path


def test_success(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LEGATO_TEST_SECRET", "x")
    events: list[dict[str, object]] = [{"n": 1, "text": "ü"}, {"n": 2}]
    first, second = invoke("app.echo", events, {"MY_NAME": "y"}, folder=folder)
    assert first.error is None
    assert first.error_type is None
    assert first.payload["event"] == {"n": 1, "text": "ü"}
    assert first.payload["arn"] == FUNCTION_ARN
    assert 0 < first.payload["left_ms"] <= 60_000
    assert "MY_NAME" in first.payload["environ"]
    assert "LEGATO_TEST_SECRET" not in first.payload["environ"]
    assert first.payload["pid"] == second.payload["pid"]
    assert first.payload["request_id"] != second.payload["request_id"]
    assert (first.stdout, first.stderr) == ("started\nout 1\n", "err 1\n")
    assert (second.stdout, second.stderr) == ("out 2\n", "err 2\n")


def test_the_class_name_arrives_as_error_type(folder: Path) -> None:
    (result,) = invoke("app.fail", [{}], {}, folder=folder)
    assert result.payload is None
    assert result.error is not None
    assert result.error_type == "ObjectNotFoundError"
    assert result.error["errorMessage"] == "nothing under k; run the producing state again"
    assert "in fail" in result.error["stackTrace"][0]
    assert "[ERROR] ObjectNotFoundError: nothing under k" in result.stdout


def test_an_error_leaves_the_process_alive(folder: Path) -> None:
    events = [{"fail": False}, {"fail": True}, {"fail": False}]
    first, second, third = invoke("app.sometimes", events, {}, folder=folder)
    assert second.error_type == "ObjectNotFoundError"
    assert first.payload == third.payload


@pytest.mark.parametrize(
    ("handler", "error_type"),
    [
        ("broken.handler", "Runtime.ImportModuleError"),
        ("missing.handler", "Runtime.ImportModuleError"),
        ("app.missing", "Runtime.HandlerNotFound"),
        ("raising.handler", "KeyError"),
    ],
)
def test_init_error(folder: Path, handler: str, error_type: str) -> None:
    results = invoke(handler, [{}, {}], {}, folder=folder)
    assert [result.error_type for result in results] == [error_type] * 2


def test_what_cannot_be_serialised(folder: Path) -> None:
    (result,) = invoke("app.unserialisable", [{}], {}, folder=folder)
    assert result.error_type == "Runtime.MarshalError"


@pytest.mark.parametrize(("status", "how"), [(3, "exit status 3"), (None, "signal: SIGKILL")])
def test_a_process_that_ends(folder: Path, status: int | None, how: str) -> None:
    first, second = invoke("app.leave", [{"status": status}, {"status": 0}], {}, folder=folder)
    assert first.error_type == second.error_type == "Runtime.ExitError"
    assert first.error is not None
    assert first.error["errorMessage"].endswith(how)
    assert "started" in second.stdout


def test_large_payloads(folder: Path) -> None:
    (result,) = invoke("app.big", [{"text": "ü" * 1_000_000}], {}, folder=folder)
    assert result.payload == "ü" * 2_000_000


def test_timeout(folder: Path) -> None:
    started = time.monotonic()
    with pytest.raises(TimeoutError, match=r"(?s)no answer after 2 s.*hanging"):
        invoke("app.hang", [{}], {}, folder=folder, timeout_s=2)
    assert time.monotonic() - started < 10


@pytest.mark.parametrize("leave", [False, True])
def test_children_are_killed(folder: Path, leave: bool) -> None:
    with start("app.child", {}, folder=folder) as runtime:
        pid = int(runtime.invoke({"leave": False}).payload)
        assert _is_running(pid)
        if leave:
            assert runtime.invoke({"leave": True}).error_type == "Runtime.ExitError"
    deadline = time.monotonic() + 10
    while _is_running(pid) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not _is_running(pid)


def _is_running(pid: int) -> bool:
    try:
        # Where nobody reaps orphans a killed child stays as a zombie.
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def test_no_events(folder: Path) -> None:
    assert invoke("app.echo", [], {}, folder=folder) == []
