"""The zip of the functions: legato, numpy and the model, the same bytes for the same content."""

from __future__ import annotations

import hashlib
import os
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path, PurePosixPath
from typing import Final

import legato
from legato.deploy._platform import Needs, read_needs
from legato.errors import InputError, ModelError, OutputTooLargeError, SettingsError

MAX_UNZIPPED_BYTES: Final = 262_144_000
"""Lambda's limit on a function's files, its layers among them."""

MODEL: Final = "model"
"""The folder of the model in the zip, and LEGATO_MODEL_ID of the functions."""

MIB: Final = 1 << 20

_RUNTIME_CLIENT: Final = ("awslambdaric", "simplejson", "snapshot-restore-py")
_MODEL_SUFFIXES: Final = (".json", ".safetensors")
"""All that legato reads of a model."""

_MODEL_OTHERS: Final = ("onnx", "openvino", "coreml", "tf", "flax")
"""Folders that hold the same model for other engines."""

_USELESS: Final = (".pyi", ".h", ".c", ".pxd", ".pyx", ".a", ".pyc", ".md", ".html")
_USELESS_FOLDERS: Final = frozenset({"tests", "__pycache__", "include", "doc"})
_STORED: Final = (".safetensors",)
"""What hardly gets smaller by compression is not compressed."""

_EPOCH: Final = (1980, 1, 1, 0, 0, 0)


@dataclass(frozen=True)
class Entry:
    """A file of the zip: its name, and where its bytes come from.

    Attributes:
        name: Path in the zip.
        source: The file, or the wheel that has it.
        member: Its name in the wheel; None for a file.
        mode: Its permissions.
    """

    name: str
    source: Path
    member: str | None = None
    mode: int = 0o644

    def read(self) -> bytes:
        """Return the bytes.

        Raises:
            InputError: The file cannot be read.
        """
        try:
            if self.member is None:
                return self.source.read_bytes()
            with zipfile.ZipFile(self.source) as wheel:
                return wheel.read(self.member)
        except (OSError, zipfile.BadZipFile, KeyError) as error:
            kind = type(error).__name__
            msg = f"{self.source} cannot be read ({kind}); check the path"
            raise InputError(msg) from None


@dataclass(frozen=True)
class Package:
    """What a function is made of.

    Attributes:
        entries: Its files, sorted by name.
        digest: sha256 over names, permissions and contents: what makes one package another.
        sizes: Bytes of each part, unzipped: ``legato``, ``numpy``, ``model`` and so on.
        needs: What its native modules ask of the runtime.
    """

    entries: tuple[Entry, ...]
    digest: str
    sizes: dict[str, int]
    needs: Needs

    @property
    def unzipped(self) -> int:
        """Bytes of all files."""
        return sum(self.sizes.values())

    def write(self, path: Path) -> int:
        """Write the zip; return its size in bytes."""
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=6) as made:
            for entry in self.entries:
                info = zipfile.ZipInfo(entry.name, _EPOCH)
                info.create_system = 3  # Unix, whatever wrote it: permissions count
                info.external_attr = (0o100000 | entry.mode) << 16
                stored = entry.name.endswith(_STORED)
                info.compress_type = zipfile.ZIP_STORED if stored else zipfile.ZIP_DEFLATED
                made.writestr(info, entry.read())
        return path.stat().st_size


def build(
    model: Path | None, *, wheels: Sequence[Path] = (), bootstrap: Path | None = None
) -> Package:
    """Collect the files of a function.

    Args:
        model: The model's folder; None where the functions read it from the store.
        wheels: Wheels instead of the installed packages, of legato and numpy.
        bootstrap: A program for the runtime ``provided.al2023``; awslambdaric comes with it.

    Raises:
        InputError: A file cannot be read, or native modules do not fit together.
        ModelError: The folder is no model.
        SettingsError: A package is not installed here.
    """
    for wheel in wheels:
        if not wheel.name.startswith(("legato-", "numpy-")):
            msg = f"{wheel.name} is a wheel of neither legato nor numpy; leave it out"
            raise InputError(msg)
    parts = {"legato": list(_legato(wheels)), "numpy": list(_numpy(wheels))}
    if model is not None:
        parts["model"] = list(_model(model))
    if bootstrap is not None:
        parts["runtime"] = list(_runtime(bootstrap))
    digest = hashlib.sha256()
    sizes = dict.fromkeys(parts, 0)
    native: list[tuple[str, bytes]] = []
    entries = sorted(
        ((entry, part) for part, found in parts.items() for entry in found),
        key=lambda pair: pair[0].name,
    )
    for entry, part in entries:
        data = entry.read()
        sizes[part] += len(data)
        line = f"{entry.name}\0{entry.mode:o}\0{hashlib.sha256(data).hexdigest()}\n"
        digest.update(line.encode())
        if _is_native(entry.name):
            native.append((entry.name, data))
    needs = read_needs(native)
    return Package(tuple(entry for entry, _ in entries), digest.hexdigest(), sizes, needs)


def model_bytes(model: Path) -> int:
    """Return the size of what a model brings into the zip."""
    return sum(entry.source.stat().st_size for entry in _model(model))


def check_size(package: Package) -> None:
    """Refuse what Lambda would.

    Raises:
        OutputTooLargeError: The files have more than 250 MB; the message says what takes how much.
    """
    if package.unzipped > MAX_UNZIPPED_BYTES:
        listed = ", ".join(f"{part} {size / MIB:,.0f}" for part, size in package.sizes.items())
        msg = (
            f"the functions have {package.unzipped / MIB:,.0f} MiB unzipped ({listed}), the limit "
            f"of Lambda is {MAX_UNZIPPED_BYTES / MIB:,.0f}; leave the model in the store with "
            "--mirror-model, or store it in 8 bits: legato quantize"
        )
        raise OutputTooLargeError(msg)


def _is_native(name: str) -> bool:
    file = PurePosixPath(name).name
    return file.endswith(".so") or ".so." in file


def _is_useful(name: str) -> bool:
    path = PurePosixPath(name)
    return not (
        path.name.endswith(_USELESS)
        or not _USELESS_FOLDERS.isdisjoint(path.parts)
        or any(part.endswith(".dist-info") for part in path.parts)
    )


def _files(folder: Path) -> Iterator[tuple[str, Path]]:
    # Links are followed: a cache of models consists of them. One that leads back is not.
    above = {os.fspath(folder): frozenset({os.path.realpath(folder)})}
    for at, folders, names in os.walk(folder, followlinks=True):
        chain = above.pop(at)
        inner = {name: os.path.realpath(Path(at, name)) for name in sorted(folders)}
        folders[:] = [name for name, real in inner.items() if real not in chain]
        above.update({os.path.join(at, name): chain | {inner[name]} for name in folders})  # noqa: PTH118 - as os.walk does
        for name in sorted(names):
            path = Path(at, name)
            yield path.relative_to(folder).as_posix(), path


def _legato(wheels: Sequence[Path]) -> Iterator[Entry]:
    given = _of_wheel("legato", wheels)
    if given is not None:
        yield from given
        return
    for name, path in _files(Path(legato.__file__).parent):
        if _is_useful(name):
            yield Entry(f"legato/{name}", path)


def _numpy(wheels: Sequence[Path]) -> Iterable[Entry]:
    given = _of_wheel("numpy", wheels)
    return given if given is not None else _installed("numpy")


def _of_wheel(name: str, wheels: Sequence[Path]) -> list[Entry] | None:
    wheel = next((wheel for wheel in wheels if wheel.name.startswith(f"{name}-")), None)
    if wheel is None:
        return None
    try:
        with zipfile.ZipFile(wheel) as opened:
            members = [info.filename for info in opened.infolist() if not info.is_dir()]
    except (OSError, zipfile.BadZipFile):
        msg = f"{wheel} is no wheel that can be read; check the path"
        raise InputError(msg) from None
    return [Entry(member, wheel, member) for member in members if _is_useful(member)]


def _installed(name: str) -> Iterator[Entry]:
    try:
        files = metadata.files(name) or []
    except metadata.PackageNotFoundError:
        msg = f"{name} is not installed here, and the functions need it; pip install {name}"
        raise SettingsError(msg) from None
    for file in files:
        path = PurePosixPath(str(file))
        # Programs of the package lie outside of where it is imported from.
        if ".." not in path.parts and _is_useful(str(path)):
            yield Entry(str(path), Path(str(file.locate())))


def _model(folder: Path) -> Iterator[Entry]:
    if not folder.is_dir():
        msg = f"the model {folder} is no folder; give the folder with config.json"
        raise ModelError(msg)
    for name, path in _files(folder):
        parts = PurePosixPath(name).parts
        hidden = any(part.startswith(".") for part in parts)
        if name.endswith(_MODEL_SUFFIXES) and not hidden and parts[0] not in _MODEL_OTHERS:
            yield Entry(f"{MODEL}/{name}", path)


def _runtime(bootstrap: Path) -> Iterator[Entry]:
    yield Entry("bootstrap", bootstrap, mode=0o755)
    for name in _RUNTIME_CLIENT:
        yield from _installed(name)
