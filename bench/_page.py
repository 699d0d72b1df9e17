"""Write ``BENCHMARKS.md``: each benchmark owns its sections and leaves the others alone."""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path

import legato


def machine() -> str:
    """Name the day, the machine and the versions."""
    model = "unknown processor"
    if (info := Path("/proc/cpuinfo")).exists():
        found = re.search(
            r"^model name\s*:\s*(.+)$", info.read_text(encoding="utf-8"), re.MULTILINE
        )
        model = found[1] if found else model
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    today = datetime.now(timezone.utc).date()
    return (
        f"{today}, {model}, {cores} processors, load {os.getloadavg()[0]:.1f} at the start, "
        f"{platform.system()} {platform.machine()}, Python {platform.python_version()}, "
        f"legato {legato.__version__}."
    )


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def section(text: str, title: str) -> str | None:
    """Return the section with a title, or None."""
    found = re.search(rf"^## {re.escape(title)}\n.*?(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)
    return found[0].rstrip() if found else None


def replace(text: str, title: str, new: str) -> str:
    """Return the page with a section replaced, or added at its end."""
    old = section(text, title)
    page = text.replace(old, new) if old else f"{text.rstrip()}\n\n{new}"
    return page.rstrip() + "\n"
