"""Settings from the environment: the one place that reads it.

The table of all variables is :data:`VARIABLES`; ``docs/settings.md`` shows it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from legato.errors import SettingsError


@dataclass(frozen=True, kw_only=True)
class Variable:
    """One environment variable: its field in :class:`Settings`, how it is read, and what it is."""

    name: str
    field: str
    read: Callable[[str], Any]
    default: str | None
    meaning: str


def _text(value: str) -> str:
    return value


def _store(value: str) -> str:
    if "://" not in value:
        msg = "a URL such as file:///data/legato or memory://name"
        raise ValueError(msg)
    return value.rstrip("/") if not value.endswith("://") else value


def _whole(low: int, high: int) -> Callable[[str], int]:
    def read(value: str) -> int:
        number = int(value) if value.isascii() and value.isdecimal() else -1
        if not low <= number <= high:
            msg = f"a whole number from {low:,} to {high:,}"
            raise ValueError(msg)
        return number

    return read


def _one_of(*known: str) -> Callable[[str], str]:
    def read(value: str) -> str:
        if value not in known:
            raise ValueError(" or ".join(known))
        return value

    return read


VARIABLES: Final = tuple(
    Variable(name=name, field=field, read=read, default=default, meaning=meaning)
    for name, field, read, default, meaning in (
        ("LEGATO_WORKFLOW", "workflow", _text, "legato", "name of the workflow"),
        ("LEGATO_TASK", "task", _one_of("feature-extraction"), "feature-extraction", "what the model does"),
        ("LEGATO_MODEL_ID", "model_id", _text, None, "folder of the model"),
        ("LEGATO_MODEL_REVISION", "model_revision", _text, None, "digest that the model's files must have, `sha256:...`"),
        ("LEGATO_DATASET_ID", "dataset_id", _text, None, "name of the dataset"),
        ("LEGATO_DATASET_VERSION", "dataset_version", _text, None, "version or digest of the dataset"),
        ("LEGATO_STORE", "store", _store, None, "where objects lie: `file:///folder` or `memory://name`"),
        ("LEGATO_DEVICE", "device", _text, "auto", "`auto`, `cpu`, `cuda`, `cuda:N` or `metal`"),
        ("LEGATO_DTYPE", "dtype", _one_of("float32", "float16", "bfloat16"), "float32", "what the model computes in"),
        ("LEGATO_MAX_LENGTH", "max_length", _whole(1, 1_000_000), None, "tokens that a text is cut to; default: the model's own limit"),
        ("LEGATO_SHARD_RECORDS", "shard_records", _whole(1, 1_000_000), "512", "most records in a shard"),
        ("LEGATO_TEXT_FIELD", "text_field", _text, "text", "field or column of the text"),
        ("LEGATO_ID_FIELD", "id_field", _text, "id", "field or column of the id"),
        ("LEGATO_MAX_RECORD_BYTES", "max_record_bytes", _whole(1, 64 << 20), str(1 << 20), "longest record in bytes; longer ones are rejected"),
        ("LEGATO_NUM_THREADS", "num_threads", _whole(1, 1024), None, "computing threads; default: the processors that the process may use"),
    )
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What a state needs to know besides its event; see :data:`VARIABLES`."""

    workflow: str = "legato"
    task: str = "feature-extraction"
    model_id: str | None = None
    model_revision: str | None = None
    dataset_id: str | None = None
    dataset_version: str | None = None
    store: str | None = None
    device: str = "auto"
    dtype: str = "float32"
    max_length: int | None = None
    shard_records: int = 512
    text_field: str = "text"
    id_field: str = "id"
    max_record_bytes: int = 1 << 20
    num_threads: int | None = None

    @classmethod
    def from_env(
        cls, environ: Mapping[str, str] | None = None, *, over: Mapping[str, str] | None = None
    ) -> Settings:
        """Read the settings.

        Args:
            environ: The variables; the process's own by default. An empty one counts as not set.
            over: Variables that replace those of `environ`.

        Raises:
            SettingsError: A variable is malformed, or a name that starts with LEGATO_ is not known.
        """
        environ = {**(os.environ if environ is None else environ), **(over or {})}
        known = {variable.name for variable in VARIABLES}
        unknown = sorted(n for n in environ if n.startswith("LEGATO_") and n not in known)
        if unknown:
            msg = f"{unknown[0]} is not a setting of legato; unset it, or use one of {', '.join(sorted(known))}"
            raise SettingsError(msg)
        values: dict[str, Any] = {}
        for variable in VARIABLES:
            raw = environ.get(variable.name) or variable.default
            if raw is not None:
                try:
                    values[variable.field] = variable.read(raw)
                except ValueError as error:
                    msg = f"{variable.name} is {raw!r}; use {error}"
                    raise SettingsError(msg) from None
        return cls(**values)

    def require(self, field: str) -> str:
        """Return a setting that this state cannot do without.

        Raises:
            SettingsError: It is not set; the message names the variable.
        """
        value = getattr(self, field)
        if value is None:
            variable = next(v for v in VARIABLES if v.field == field)
            msg = f"{variable.name} is not set; set it to the {variable.meaning}"
            raise SettingsError(msg)
        return str(value)
