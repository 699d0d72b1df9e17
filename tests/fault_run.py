"""Thousands of randomised operations through the fault proxy, with writers killed by kill -9; nothing may be lost.

    python -m tests.fault_run --operations 10000 --output docs/reliability.md

Several processes use one store on SeaweedFS at the same time. What they journal says what must be there: it is compared
all along by themselves, and at the end, without faults, by this process. Figures go to the page between its markers.
"""

from __future__ import annotations

import argparse
import os
import random
import re
import subprocess
import sys
import tempfile
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from legato import Ref, Store
from legato.errors import LegatoError
from tests.fault_model import Committed, Operation, Own, content, operations
from tests.servers import seaweedfs
from tests.servers.faults import KINDS
from tests.servers.proxy import FaultProxy

# The probability of each kind, for each request that it can happen to. The slow ones are rarer.
CHANCES = {
    "internal_error": 0.01, "bad_gateway": 0.005, "slow_down": 0.01, "conflict": 0.02, "request_timeout": 0.005,
    "error_in_200": 0.2, "reset": 0.01, "swallow": 0.01, "cut_upload": 0.015, "corrupt_upload": 0.01,
    "cut_fin": 0.015, "cut_rst": 0.015, "truncate": 0.015, "overlong": 0.005, "corrupt": 0.01,
    "corrupt_stripped": 0.01, "delay_first": 0.005, "delay_middle": 0.005, "stall_first": 0.001,
    "stall_middle": 0.001, "close_idle": 0.01, "reset_idle": 0.01, "drop_idle": 0.001,
}  # fmt: skip
WRITERS, READERS = 3, 1
# What a call may take over its deadline on a machine that does other things.
GRACE_S = 2.0
BEGIN, END = "<!-- fault run: begin -->", "<!-- fault run: end -->"


@dataclass
class Findings:
    """What came of a run."""

    seed: int
    operations: list[Operation] = field(default_factory=list)
    requests: int = 0
    repeated: int = 0
    faults: Counter[str] = field(default_factory=Counter)
    kills: int = 0
    outputs: int = 0
    lost: list[str] = field(default_factory=list)
    wall_s: float = 0.0

    @property
    def ended(self) -> list[Operation]:
        return [each for each in self.operations if each.outcome is not None]

    @property
    def wrong(self) -> list[str]:
        """What a store has said or given that cannot be."""
        return [f"{each.worker}: {each.wrong}" for each in self.ended if each.wrong]

    @property
    def late(self) -> list[Operation]:
        return [each for each in self.ended if each.seconds > each.limit_s + GRACE_S]

    @property
    def refused(self) -> Counter[str]:
        """Operations that ended in an error, by its class."""
        outcomes = (each.outcome for each in self.ended)
        return Counter(
            outcome for outcome in outcomes if outcome and outcome not in {"ok", "wrong"}
        )


def run(count: int, *, seed: int, kill_every_s: float, timeout_s: float, folder: Path) -> Findings:
    """Make a run of `count` operations; everything that it makes lies in `folder`."""
    found = Findings(seed)
    server = seaweedfs.start(folder / "seaweedfs")
    try:
        url = f"s3://{server.bucket()}/{uuid.uuid4()}"
        with closing(FaultProxy(server.port)) as proxy:
            proxy.plan.draw(CHANCES, seed=seed, seconds=0.5)
            begin = time.monotonic()
            workers = Workers(count, url, server.environ(endpoint=proxy.endpoint), found, folder)
            workers.work(timeout_s, kill_every_s)
            found.wall_s = time.monotonic() - begin
            with proxy.lock:
                found.faults, found.requests = proxy.faults.copy(), len(proxy.seen)
                tries = (seen.headers.get("amz-sdk-request", "") for seen in proxy.seen)
                found.repeated = sum(
                    re.match(r"attempt=([2-9]|\d\d)", t) is not None for t in tries
                )
        with environment(server.environ()):
            examine(Store.open(url), folder, found)
    finally:
        server.server.stop()
    return found


@contextmanager
def environment(settings: dict[str, str]) -> Iterator[None]:
    """These AWS settings and no others, for a while."""
    former = {name: value for name, value in os.environ.items() if name.startswith("AWS_")}
    for name in former:
        del os.environ[name]
    os.environ.update(settings)
    yield
    for name in settings:
        del os.environ[name]
    os.environ.update(former)


class Workers:
    """The processes of a run."""

    def __init__(
        self, count: int, url: str, environ: dict[str, str], found: Findings, folder: Path
    ) -> None:
        self._url, self._found, self._folder = url, found, folder
        self._share = -(-count // (WRITERS + READERS))
        self._outputs = max(count // 25, 20)
        kept = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
        self._environ = {**kept, **environ}

    def _start(self, name: str, timeout_s: float) -> subprocess.Popen[bytes]:
        command = [
            sys.executable, "-m", "tests.fault_worker", "--name", name, "--url", self._url,
            "--folder", str(self._folder), "--seed", str(self._found.seed), "--operations", str(self._share),
            "--outputs", str(self._outputs), "--timeout-s", str(timeout_s),
        ]  # fmt: skip
        command += ["--reader"] if name.startswith("reader") else []
        return subprocess.Popen(command, env=self._environ, cwd=Path(__file__).parents[1])

    def work(self, timeout_s: float, kill_every_s: float) -> None:
        """Let them work, and kill a writer now and then, until all have done their share."""
        names = [f"writer{i}" for i in range(WRITERS)] + [f"reader{i}" for i in range(READERS)]
        running = {name: self._start(name, timeout_s) for name in names}
        dice = random.Random(self._found.seed)
        try:
            while running:
                time.sleep(dice.uniform(0.5, 1.5) * kill_every_s)
                for name, process in list(running.items()):
                    if process.poll() is not None:
                        if process.returncode != 0:
                            raise RuntimeError(f"{name} ended with {process.returncode}")
                        del running[name]
                writers = [name for name in running if name.startswith("writer")]
                if writers:
                    name = dice.choice(writers)
                    running[name].kill()
                    self._found.kills += running[name].wait() != 0
                    running[name] = self._start(name, timeout_s)
        finally:
            for process in running.values():
                process.kill()
                process.wait()


def examine(store: Store, folder: Path, found: Findings) -> None:
    """Compare what is there, read without faults, with what must be there."""
    committed = Committed()
    for path in sorted(folder.glob("*.jsonl")):
        own = Own()
        for each in operations(path):
            found.operations.append(each)
            own.take(each)
            committed.take(each)
        for key, tokens in own.possible.items():
            there = store.get(key) if store.exists(key) else None
            if there not in {None if token is None else content(token) for token in tokens}:
                found.lost.append(f"{key}: not one of {sorted(map(str, tokens))}")
    for key, refs in committed.returned.items():
        found.outputs += 1
        if len({ref["sha256"] for ref in refs}) > 1:
            found.lost.append(f"{key}: committed more than once")
        try:
            now, data = store.find(key), store.get(Ref.from_dict(refs[0]))
        except LegatoError as error:
            found.lost.append(f"{key}: {error}")
            continue
        if now is None or now.sha256 != refs[0]["sha256"]:
            found.lost.append(f"{key}: the committed output is another or gone")
        if data not in {content(token) for token in committed.tried[key]}:
            found.lost.append(f"{key}: bytes that nobody wrote")


def table(found: Findings) -> str:
    """The figures as Markdown."""
    kinds = Counter(each.kind for each in found.ended)
    slowest = max(found.ended, key=lambda each: each.seconds)
    corrupt = sum(line.partition(": ")[2].startswith("corrupt") for line in found.wrong)
    rows = {
        "operations": f"{len(found.ended):,} ({', '.join(f'{n:,} {kind}' for kind, n in kinds.most_common())})",
        "processes": f"{WRITERS} writers, {READERS} reader; writers killed by kill -9 {found.kills} times",
        "requests": f"{found.requests:,}, of which {found.repeated:,} repeated by the SDK",
        "faults injected": f"{found.faults.total():,}",
        **{f"&nbsp;&nbsp;{KINDS[kind]}": f"{n:,}" for kind, n in found.faults.most_common()},
        "operations that ended in a typed error": ", ".join(
            f"{n} {name}" for name, n in found.refused.most_common()
        ) or "0",
        "outputs committed and still there with their bytes": f"{found.outputs - len(found.lost):,} of {found.outputs:,}",
        "lost": str(len(found.lost)),
        "corrupt bytes accepted": str(corrupt),
        "wrong answers of another kind": str(len(found.wrong) - corrupt),
        "longest operation": f"{slowest.seconds:.1f} s ({slowest.kind}, deadline {slowest.limit_s:.0f} s)",
        "operations over their deadline": str(len(found.late)),
        "wall time, seed": f"{found.wall_s:.0f} s, {found.seed}",
    }  # fmt: skip
    lines = [f"| {name} | {value} |" for name, value in rows.items()]
    return "\n".join(["| what | figure |", "|---|---|", *lines])


def main() -> int:
    """Run, print the table, and write it into a page."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--operations", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--kill-every-s", type=float, default=2.0)
    parser.add_argument("--timeout-s", type=float, default=30.0)
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = run(
            options.operations, seed=options.seed, kill_every_s=options.kill_every_s,
            timeout_s=options.timeout_s, folder=Path(folder),
        )  # fmt: skip
    print(table(found))
    for each in found.ended:
        if each.message is not None:
            print(
                f"{each.worker} {each.id} {each.kind}: {each.outcome}: {each.message}",
                file=sys.stderr,
            )
    for line in [*found.lost, *found.wrong, *map(str, found.late)]:
        print(line, file=sys.stderr)
    if options.output is not None:
        before, _, rest = options.output.read_text().partition(BEGIN)
        _, _, after = rest.partition(END)
        options.output.write_text(f"{before}{BEGIN}\n{table(found)}\n{END}{after}")
    return 1 if found.lost or found.wrong or found.late else 0


if __name__ == "__main__":
    sys.exit(main())
