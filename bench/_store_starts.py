"""Cold starts: fresh processes, from their start to the first 1 KiB object."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from typing import Final

from bench import _store_data
from bench._store_contest import ROOT, Contest, Series, Spent

CODE: Final = "import os, sys; from bench._store_cold import {} as go; os.write(1, go())"
FUNCTIONS: Final = {
    **{name: name for name in ("legato", "boto3", "obstore", "s3torchconnector", "aiobotocore")},
    "raw sockets": "sockets",
    "Python alone": "nothing",
}


def measure(contest: Contest, key: str, rounds: int) -> Series:
    """Start each client in fresh processes, in turn; the first round only warms the disk."""
    series = Series()
    expected = _store_data.make(key).tobytes()
    url = f"http://{contest.server.address}/{_store_data.BUCKET}/{key}"
    commands = {"curl": ["curl", "-sSf", url]}
    for name, function in FUNCTIONS.items():
        given = contest.refs.get(name, {}).get(key, key)
        code = CODE.format(function)
        commands[name] = [sys.executable, "-c", code, _store_data.BUCKET, given]
    there = [name for name in commands if name in contest.clients or name == "Python alone"]
    for number in range(rounds + 1):
        spent = {}
        for name in there:
            right = b"" if name == "Python alone" else expected
            found, took = start(commands[name], contest.environment, len(right))
            if found != right:
                contest.missing[f"cold start of {name}"] = "it did not return the object"
                there = [other for other in there if other != name]
                break
            spent[name] = took
        if number:
            series.rounds.append(spent)
    return series


def start(command: list[str], environment: dict[str, str], size: int) -> tuple[bytes, Spent]:
    """Run a process; return what it wrote, and what it took.

    Wall time ends with the object, or with the process if there is none; processor time with it.
    """
    began = time.perf_counter()
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, cwd=ROOT, env=environment
    )
    found = process.stdout.read(size or -1) if process.stdout else b""
    wall = time.perf_counter() - began
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    return found, Spent(wall, usage.ru_utime + usage.ru_stime)
