"""Settings from the environment: the one place that reads it.

The table of all variables is :data:`VARIABLES`; ``docs/settings.md`` shows it.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from legato._variables import MIB, VARIABLES, Variable
from legato.errors import SettingsError

__all__ = ["VARIABLES", "Settings", "hf_token", "hub_endpoint", "job_id", "region", "task_token"]

MOST_SHOWN: Final = 200
"""Characters of a malformed value that a message quotes."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What a state needs to know besides its event; see :data:`VARIABLES`."""

    workflow: str = "legato"
    task: str = "feature-extraction"
    parameters: Mapping[str, Any] = field(default_factory=dict, hash=False)
    model_id: str | None = None
    model_revision: str | None = None
    dataset_id: str | None = None
    dataset_version: str | None = None
    store: str | None = None
    allowed_stores: tuple[str, ...] = ()
    bucket_owner: str | None = None
    kms_key: str | None = None
    request_payer: str | None = None
    s3_addressing: str = "auto"
    store_timeout_s: float = 60.0
    device: str = "auto"
    dtype: str = "float32"
    max_length: int | None = None
    shard_tokens: int = 32_768
    shard_records: int = 512
    text_field: str = "text"
    id_field: str = "id"
    max_record_bytes: int = MIB
    num_threads: int | None = None
    endpoint: str | None = None
    endpoint_server: str | None = None
    endpoint_revision: str | None = None
    endpoint_concurrency: int = 4
    endpoint_timeout_s: float = 60.0
    endpoint_scale_up_s: int = 10
    allowed_hosts: tuple[str, ...] = ()
    hf_credentials: str = "none"
    event: str | None = field(default=None, repr=False)
    task_token: str | None = field(default=None, repr=False)
    step: str = "legato.stages.inference.handler"
    heartbeat_s: float = 30.0
    rotation: str | None = None
    rotation_file: str | None = None
    rotation_grace_s: float = 86_400.0
    rotation_client: str | None = None
    rotation_subject: str | None = None

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
            msg = (
                f"{unknown[0]} is not a setting of legato; "
                f"unset it, or use one of {', '.join(sorted(known))}"
            )
            raise SettingsError(msg)
        values: dict[str, Any] = {}
        for variable in VARIABLES:
            raw = environ.get(variable.name) or variable.default
            if raw is not None:
                values[variable.field] = _read(variable, raw)
        return cls(**values)

    def of_stores(self) -> dict[str, str]:
        """Return the variables that say how stores are opened, where they are not the defaults.

        A function of a deployed workflow needs them as much as this process does.
        """
        texts = {
            "LEGATO_ALLOWED_STORES": ",".join(self.allowed_stores),
            "LEGATO_BUCKET_OWNER": self.bucket_owner,
            "LEGATO_KMS_KEY": self.kms_key,
            "LEGATO_REQUEST_PAYER": self.request_payer,
            "LEGATO_S3_ADDRESSING": self.s3_addressing,
            "LEGATO_STORE_TIMEOUT_S": f"{self.store_timeout_s:g}",
        }
        defaults = {variable.name: variable.default for variable in VARIABLES}
        return {name: text for name, text in texts.items() if text and text != defaults[name]}

    def require(self, field: str) -> str:
        """Return a setting that this state cannot do without.

        Args:
            field: A field of this class whose variable has no default.

        Raises:
            SettingsError: It is not set; the message names the variable.
        """
        value = getattr(self, field)
        if value is None:
            variable = next(v for v in VARIABLES if v.field == field)
            msg = f"{variable.name} is not set; set it: {variable.meaning}"
            raise SettingsError(msg)
        return str(value)


def task_token() -> str | None:
    """Return LEGATO_TASK_TOKEN alone: by it a worker reports even that its settings are wrong."""
    return os.environ.get("LEGATO_TASK_TOKEN") or None


def hf_token() -> str | None:
    """Return HF_TOKEN, which Hugging Face's own libraries read; never a field: it has no repr."""
    return os.environ.get("HF_TOKEN") or None


def region() -> str | None:
    """Return AWS_REGION, which containers have and boto3 does not read; None leaves it to boto3."""
    return os.environ.get("AWS_REGION") or None


def hub_endpoint() -> str:
    """Return HF_ENDPOINT, the Hub's address for every client of it, without a slash at its end."""
    return (os.environ.get("HF_ENDPOINT") or "https://huggingface.co").rstrip("/")


def job_id() -> str:
    """Return what AWS calls the job or the container of this process; empty outside of one."""
    container = os.environ.get("ECS_CONTAINER_METADATA_URI_V4", "").rpartition("/")[2]
    return os.environ.get("AWS_BATCH_JOB_ID", container)


def _read(variable: Variable, raw: str) -> Any:
    try:
        # Bytes that are not UTF-8 arrive as lone surrogates, which no object can hold.
        raw.encode()
        return variable.read(raw)
    except UnicodeEncodeError:
        msg = f"{variable.name} is {_shown(raw)}, which is not UTF-8; rename it"
        raise SettingsError(msg) from None
    except ValueError as error:
        msg = f"{variable.name} is {_shown(raw)}; use {error}"
        raise SettingsError(msg) from None


def _shown(raw: str) -> str:
    return repr(raw if len(raw) <= MOST_SHOWN else f"{raw[:MOST_SHOWN]}...")
