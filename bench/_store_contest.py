"""The server, and a process for each client; they take turns, and the quietest rounds count."""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, NamedTuple

from bench import _store_data
from bench._store_data import BUCKET
from legato.cli._bench.contest import quartiles

ROOT: Final = Path(__file__).parent.parent
SOURCE: Final = Path(__file__).parent / "s3_memory.rs"
CACHE: Final = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "legato"
QUIET: Final = 0.1
"""Processors that others may take in a round; a round with more of it is measured again."""
AGAIN: Final = 1.5
"""Rounds at most, as a multiple of those wanted; the quietest count."""
TUNED: Final = 3
"""Times that a way is tried; the first only warms it."""


class ClientError(Exception):
    """A client that cannot run here; the text says why."""


class Spent(NamedTuple):
    """What an operation took, in seconds."""

    wall: float
    cpu: float


@dataclass
class Series:
    """The rounds of a case.

    Attributes:
        rounds: What an operation took in a round, by client.
        others: Processors that other programs took, by round.
        ways: That were fastest, by client.
    """

    rounds: list[dict[str, Spent]] = field(default_factory=list)
    others: list[float] = field(default_factory=list)
    ways: dict[str, str] = field(default_factory=dict)

    def median(self, name: str) -> Spent | None:
        """Return the medians of a client; None where it was not measured."""
        found = [each[name] for each in self.rounds if name in each]
        if not found:
            return None
        return Spent(*(statistics.median(column) for column in zip(*found, strict=True)))

    def ratio(self, over: str, under: str, what: str) -> tuple[float, float, float] | None:
        """Return the quartiles of the rounds' paired ratios of two clients, of wall or cpu."""
        paired = [
            getattr(each[over], what) / getattr(each[under], what)
            for each in self.rounds
            if over in each and under in each
        ]
        return quartiles(paired) if paired else None


class Server:
    """The S3 server in memory; built on the first use of each version of its source."""

    def __init__(self) -> None:
        """Build it and start it."""
        sources = [SOURCE, *sorted(SOURCE.with_suffix("").iterdir())]
        digest = hashlib.sha256(b"".join(map(Path.read_bytes, sources))).hexdigest()[:16]
        program = CACHE / "bench" / f"s3_memory-{digest}"
        if not program.exists():
            program.parent.mkdir(parents=True, exist_ok=True)
            new = program.with_suffix(f".{os.getpid()}")
            command = ["rustc", "-O", "--edition", "2024", "-o", str(new), str(SOURCE)]
            subprocess.run(command, check=True)
            new.replace(program)
        self.process = subprocess.Popen([str(program)], stdout=subprocess.PIPE, text=True)
        if self.process.stdout is None:
            raise ClientError("the server has no output")
        self.address = f"127.0.0.1:{int(self.process.stdout.readline())}"

    def put(self, key: str) -> None:
        """Store an object."""
        connection = http.client.HTTPConnection(self.address)
        connection.request("PUT", f"/{BUCKET}/{key}", body=_store_data.make(key).data)
        connection.getresponse().read()
        connection.close()

    def delete(self, keys: Sequence[str]) -> None:
        """Remove objects."""
        connection = http.client.HTTPConnection(self.address)
        for key in keys:
            connection.request("DELETE", f"/{BUCKET}/{key}")
            connection.getresponse().read()
        connection.close()

    def environment(self) -> dict[str, str]:
        """Return the environment in which every client finds the server, and nothing else."""
        kept = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith("AWS_") and "proxy" not in name.lower()
        }
        return kept | {
            "AWS_ACCESS_KEY_ID": "bench",
            "AWS_SECRET_ACCESS_KEY": "bench",
            "AWS_REGION": "us-east-1",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_ENDPOINT_URL": f"http://{self.address}",
            "AWS_ENDPOINT_URL_S3": f"http://{self.address}",
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_REQUEST_CHECKSUM_CALCULATION": "when_required",
            "AWS_RESPONSE_CHECKSUM_VALIDATION": "when_required",
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        }

    def close(self) -> None:
        """End it."""
        self.process.kill()
        self.process.communicate()


class Client:
    """A client's process."""

    def __init__(self, name: str, environment: dict[str, str]) -> None:
        """Start it, and wait until it is ready.

        Raises:
            ClientError: The library is missing, or cannot be used.
        """
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the process
        self._process = subprocess.Popen(
            [sys.executable, "-m", "bench._store_worker", name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
            cwd=ROOT,
            env=environment,
        )
        try:
            ready = self._answer()
        except ClientError:
            self.close()
            raise
        self.version: str = ready["version"]
        self.ways: dict[str, list[str]] = ready["ways"]

    def ask(self, do: str, **given: Any) -> dict[str, Any]:
        """Have it do something, and return what it answers.

        Raises:
            ClientError: It failed, or what it read is wrong.
        """
        if self._process.stdin is None:
            raise ClientError("its process has no input")
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(json.dumps({"do": do, **given}) + "\n")
            self._process.stdin.flush()
        return self._answer()

    def measure(self, verb: str, way: str, keys: Sequence[str], times: int) -> Spent:
        """Return the median wall time of operations, and their mean processor time."""
        found = self.ask("measure", verb=verb, way=way, keys=list(keys), times=times)
        return Spent(statistics.median(found["wall_s"]), found["cpu_s"])

    def cpu_s(self) -> float:
        """Return the processor time that the process and its children have taken."""
        return cpu_s(self._process.pid)

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.communicate()
        self._log.close()

    def _answer(self) -> dict[str, Any]:
        if self._process.stdout is None:
            raise ClientError("its process has no output")
        line = self._process.stdout.readline()
        if not line:
            self._log.seek(0)
            said = self._log.read().decode(errors="replace").strip().splitlines()
            last = f": {said[-1][:200]}" if said else ""
            raise ClientError(f"its process ended with status {self._process.wait()}{last}")
        found: dict[str, Any] = json.loads(line)
        if "error" in found:
            raise ClientError(found["error"])
        return found


class Contest:
    """Clients that take turns on one server."""

    def __init__(self, names: Sequence[str]) -> None:
        """Start those that can run; :attr:`missing` says why others cannot."""
        self.server = Server()
        self.environment = self.server.environment()
        self.clients: dict[str, Client] = {}
        self.missing: dict[str, str] = {}
        self.refs: dict[str, dict[str, str]] = {}
        for name in names:
            with self._or_leave(name):
                self.clients[name] = Client(name, self.environment)
        self.versions = {name: client.version for name, client in self.clients.items()}

    def __enter__(self) -> Contest:  # noqa: PYI034 - typing has Self from 3.11
        """Return itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """End all processes."""
        for client in self.clients.values():
            client.close()
        self.server.close()

    def seed(self, keys: Sequence[str]) -> None:
        """Store the objects that are read."""
        for key in keys:
            self.server.put(key)
        for name in list(self.clients):
            with self._or_leave(name):
                self.refs[name] = self.clients[name].ask("seed", keys=list(keys))["refs"]

    def series(
        self,
        verb: str,
        keys: Sequence[str],
        times: int,
        rounds: int,
        ways: dict[str, str] | None = None,
    ) -> Series:
        """Measure a verb in rounds until enough were quiet, and keep the quietest.

        Each client first finds its fastest way, where it is not known.
        """
        series = Series(ways=self.tune(verb, keys, times) if ways is None else ways)
        found: list[tuple[float, dict[str, Spent]]] = []
        for number in range(int(rounds * AGAIN)):
            before, start = self._others()
            spent = {}
            for name in self._turns(number, [name for name in series.ways if name in self.clients]):
                with self._or_leave(name):
                    way = series.ways[name]
                    spent[name] = self.clients[name].measure(verb, way, keys, times)
            after, end = self._others()
            found.append(((after - before) / (end - start), spent))
            if sum(others < QUIET for others, _ in found) >= rounds:
                break
        for others, spent in sorted(found, key=lambda each: each[0])[:rounds]:
            series.rounds.append(spent)
            series.others.append(others)
        return series

    def memory(self, key: str, small: str, ways: dict[str, str]) -> dict[str, int]:
        """Return the peak of memory of one read in fresh processes, above what there was before."""
        found = {}
        # What curl reads lies in a file.
        for name in [name for name in ways if name in self.clients and name != "curl"]:
            with self._or_leave(name):
                client = Client(name, self.environment)
                try:
                    client.ask("adopt", refs=self.refs.get(name, {}))
                    verb = "small" if client.ways["small"] else "get"
                    client.measure(verb, client.ways[verb][0], [small], 3)
                    found[name] = client.ask("memory", way=ways[name], key=key)["peak"]
                finally:
                    client.close()
        return found

    def tune(self, verb: str, keys: Sequence[str], times: int) -> dict[str, str]:
        """Return the fastest way of each client that has the verb."""
        ways = {}
        for name, client in list(self.clients.items()):
            if client.ways[verb]:
                with self._or_leave(name):
                    ways[name] = self._fastest(client, verb, keys, times)
        return ways

    @staticmethod
    def _fastest(client: Client, verb: str, keys: Sequence[str], times: int) -> str:
        took = {}
        for way in client.ways[verb]:
            tried = [client.measure(verb, way, keys, times).wall for _ in range(TUNED)]
            took[way] = min(tried[1:])
        return min(took, key=lambda way: took[way])

    @staticmethod
    def _turns(number: int, names: list[str]) -> list[str]:
        turn = number % len(names) if names else 0
        return names[turn:] + names[:turn]

    @contextlib.contextmanager
    def _or_leave(self, name: str) -> Iterator[None]:
        """Go on without a client that fails, and remember why."""
        try:
            yield
        except ClientError as error:
            self.missing[name] = str(error)
            if name in self.clients:
                self.clients.pop(name).close()

    def _others(self) -> tuple[float, float]:
        """Return the processor time that others have taken so far, and the time it is."""
        ours = cpu_s(os.getpid()) + cpu_s(self.server.process.pid)
        ours += sum(client.cpu_s() for client in self.clients.values())
        with Path("/proc/stat").open(encoding="ascii") as lines:
            user, nice, system, _, _, irq, soft, steal = map(int, lines.readline().split()[1:9])
        busy = (user + nice + system + irq + soft + steal) / os.sysconf("SC_CLK_TCK")
        return busy - ours, time.monotonic()


def cpu_s(pid: int) -> float:
    """Return the processor time of a process and of its children that have ended."""
    # The name in parentheses may have spaces.
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")
