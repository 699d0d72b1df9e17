"""microburst (PyPI) between a client and an S3 server: faults as somebody else makes them."""

from __future__ import annotations

import json
import os
import sys
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .process import Server, free_ports
from .seaweedfs import S3Server


@dataclass(frozen=True)
class Microburst:
    """A running proxy.

    It re-chunks bodies, without a Content-Length: what it truncates ends validly, and is merely too short.
    """

    endpoint: str
    server: Server

    def rules(self, *rules: dict[str, Any]) -> None:
        """Take these rules, and no others."""
        self._ask("rules", list(rules))

    def fired(self) -> list[str]:
        """What it has done so far, oldest first."""
        return [event["action"] for event in self._ask("fired")]

    def _ask(self, what: str, body: Any = None) -> Any:
        request = urllib.request.Request(
            f"{self.endpoint}/_microburst/{what}",
            data=None if body is None else json.dumps(body).encode(),
            headers={"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=10) as answer:
            return json.load(answer)


def start(folder: Path, behind: S3Server) -> Microburst:
    """Start it in front of a server. It names itself in `Host`, so it must sign anew what it forwards."""
    folder.mkdir(parents=True, exist_ok=True)
    (port,) = free_ports(1)
    server = Server(
        [sys.executable, "-m", "microburst", "--upstream", behind.endpoint, "--port", str(port), "--resign"],
        log=folder / "microburst.log",
        environ={**os.environ, **behind.environ()},
    )  # fmt: skip
    endpoint = f"http://127.0.0.1:{port}"
    server.wait_for(f"{endpoint}/_microburst/health")
    return Microburst(endpoint, server)
