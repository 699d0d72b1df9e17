"""What legato doctor looks at on this machine."""

from __future__ import annotations

import importlib.util
import os
import platform
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import legato
from legato._native import ModelFiles
from legato.deploy._check import Check, looked
from legato.deploy._package import MAX_UNZIPPED_BYTES, MIB, build, model_bytes
from legato.deploy._platform import misfits, runtime_for
from legato.workflow import Workflow

_FREE_BYTES: Final = 2 << 30
"""Room for a package, and for a store of a run here."""

_TIMES_MODEL: Final = 2.5
"""Memory that a function needs, in sizes of its model, besides what Python takes."""

_PYTHON_MIB: Final = 150


def look_here(workflow: Workflow | None) -> Iterator[Check]:
    """Iterate over the checks that need no AWS."""
    yield from looked("python", _python)
    yield from looked("disk", _disk)
    yield from looked("memory", _memory)
    yield from looked("package", _package)
    if workflow is not None:
        yield from looked("model", lambda: _model(workflow))


def look_for_boto3() -> Iterator[Check]:
    """Check that there is a boto3."""
    if importlib.util.find_spec("boto3") is None:
        fix = "pip install 'legato[aws]'"
        yield Check("boto3", "fail", "is not installed, and AWS cannot be asked", fix)
        return
    import boto3

    yield Check("boto3", "ok", str(boto3.__version__))


def _python() -> Iterator[Check]:
    libc = " ".join(platform.libc_ver())
    found = (
        f"{platform.python_version()}, {platform.machine()}, {libc}, legato {legato.__version__}"
    )
    if sys.platform != "linux":
        fix = "runs here work; deploy with --wheel of a Linux, as Lambda is one"
        yield Check("python", "warn", f"{found}, {sys.platform}", fix)
    else:
        yield Check("python", "ok", f"{found}, {legato.instruction_set()}")


def _disk() -> Iterator[Check]:
    for folder in dict.fromkeys((tempfile.gettempdir(), str(Path.cwd()))):
        free = shutil.disk_usage(folder).free
        found = f"{free / MIB:,.0f} MiB free in {folder}"
        if free < _FREE_BYTES:
            yield Check(
                "disk", "warn", found, f"free some: {_FREE_BYTES / MIB:,.0f} MiB are enough"
            )
        else:
            yield Check("disk", "ok", found)


def _memory() -> Iterator[Check]:
    total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    yield Check("memory", "ok", f"{total / MIB:,.0f} MiB, {cpus} processors")


def _package() -> Iterator[Check]:
    package = build(None)
    runtime = runtime_for(package.needs)
    reasons = misfits(package.needs, runtime, package.needs.architecture)
    found = f"{package.unzipped / MIB:,.0f} MiB for {runtime} on {package.needs.architecture}"
    if reasons:
        yield Check("package", "warn", f"cannot be deployed as {runtime} as it is", reasons[0])
    else:
        yield Check("package", "ok", found)


def _model(workflow: Workflow) -> Iterator[Check]:
    files = ModelFiles.from_dir(workflow.model)
    size = model_bytes(Path(workflow.model))
    found = f"{size / MIB:,.0f} MiB, {files.digest[:19]}"
    if size + build(None).unzipped > MAX_UNZIPPED_BYTES:
        found += ", too large for a function: it will lie in the store"
    needed = int(size / MIB * _TIMES_MODEL) + _PYTHON_MIB
    if workflow.compute == "lambda" and workflow.memory_mb < needed:
        fix = f"set memory_mb to {needed} or more"
        yield Check("model", "warn", f"{found}; memory_mb is {workflow.memory_mb}", fix)
        return
    yield Check("model", "ok", found)
