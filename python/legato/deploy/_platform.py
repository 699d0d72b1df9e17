"""Whether native modules fit the functions that will import them."""

from __future__ import annotations

import platform
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from legato.errors import InputError

ARCHITECTURES: Final = {"x86_64": "x86_64", "amd64": "x86_64", "aarch64": "arm64", "arm64": "arm64"}
"""A machine's name as Python says it, and as Lambda does."""

_MACHINES: Final = {62: "x86_64", 183: "arm64"}
"""``e_machine`` of ELF."""

_OLDEST: Final = (3, 12)
"""The oldest Python whose runtime of Lambda is on Amazon Linux 2023."""

_GLIBC_2023: Final = 34
_GLIBC_2: Final = 26
"""Minor versions of glibc 2 in Amazon Linux 2023, and in Amazon Linux 2."""

_PYTHON: Final = re.compile(r"\.cpython-3(\d+)-")
_NEEDS: Final = re.compile(rb"\0GLIBC_2\.(\d+)(?:\.\d+)?(?=\0)")


@dataclass(frozen=True)
class Needs:
    """What the native modules of a package ask of a function.

    Attributes:
        architecture: ``x86_64`` or ``arm64``.
        python: Minor version of Python 3 that extension modules were built for, if any was.
        glibc: Minor version of glibc 2 that the youngest symbol is of.
        module: The module that needs this glibc.
    """

    architecture: str
    python: int | None
    glibc: int
    module: str


def read_needs(modules: Iterable[tuple[str, bytes]]) -> Needs:
    """Read what native modules need from their ELF headers.

    Args:
        modules: Name and bytes of each.

    Raises:
        InputError: One is of no Linux that Lambda has, or two are of different machines or Pythons.
    """
    machines: dict[str, str] = {}
    pythons: dict[int, str] = {}
    glibc, youngest = 0, ""
    for name, data in modules:
        if data[:4] != b"\x7fELF":
            msg = (
                f"{name} is no module for Linux; Lambda is Linux: give the wheel of "
                "a Linux with --wheel FILE"
            )
            raise InputError(msg)
        machine = _MACHINES.get(int.from_bytes(data[18:20], "little"))
        if machine is None:
            msg = f"{name} is built for a machine that Lambda has not; use x86_64 or aarch64"
            raise InputError(msg)
        machines.setdefault(machine, name)
        if found := _PYTHON.search(name):
            pythons.setdefault(int(found.group(1)), name)
        minor = max((int(match) for match in _NEEDS.findall(data)), default=0)
        if minor > glibc:
            glibc, youngest = minor, name
    for kind, seen in (("machines", machines), ("versions of Python", pythons)):
        if len(seen) > 1:
            names = ", ".join(seen.values())
            msg = f"the modules are of different {kind}: {names}; give wheels that fit together"
            raise InputError(msg)
    here = ARCHITECTURES.get(platform.machine().lower(), "x86_64")
    return Needs(next(iter(machines), here), next(iter(pythons), None), glibc, youngest)


def runtime_for(needs: Needs) -> str:
    """Return the runtime of Lambda that modules fit best."""
    if needs.python is None or needs.python < _OLDEST[1]:
        return f"python3.{_OLDEST[1]}"
    return f"python3.{needs.python}"


def misfits(needs: Needs, runtime: str, architecture: str) -> list[str]:
    """Say in words why modules cannot be imported by a function of a runtime.

    Args:
        needs: What the modules need.
        runtime: Such as ``python3.12``; of ``provided.*`` the Python is the bootstrap's own.
        architecture: ``x86_64`` or ``arm64``.
    """
    found = []
    if needs.architecture != architecture:
        found.append(
            f"the modules are built for {needs.architecture}, the functions are {architecture}; "
            f"use --parameter Architecture={needs.architecture}, or give the other wheels "
            "with --wheel FILE"
        )
    name, _, version = runtime.partition("python3.")
    if not name and version.isdecimal():
        if needs.python is not None and needs.python != int(version):
            platform_tag = "x86_64" if architecture == "x86_64" else "aarch64"
            found.append(
                f"numpy here is built for Python 3.{needs.python}, the runtime is {runtime}; fetch "
                f"its wheel, and give it with --wheel FILE: pip download numpy --no-deps "
                f"--only-binary :all: --python-version 3.{version} "
                f"--platform manylinux_2_28_{platform_tag}"
            )
        glibc = _GLIBC_2023 if int(version) >= _OLDEST[1] else _GLIBC_2
        if needs.glibc > glibc:
            found.append(
                f"{needs.module} needs glibc 2.{needs.glibc}, {runtime} has 2.{glibc}; use a later "
                "runtime, or a wheel that was built on an older Linux (--wheel FILE)"
            )
    return found
