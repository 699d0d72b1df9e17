"""The table of environment variables, and what each may say."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final


@dataclass(frozen=True)
class Variable:
    """One environment variable.

    Attributes:
        name: Its name; without ``LEGATO_`` and in lower case, the field of :class:`Settings`.
        read: Makes the field's value of the text, or raises ValueError with what is allowed.
        default: The text that stands for a variable which is not set.
        meaning: What it is, for people.
    """

    name: str
    read: Callable[[str], Any]
    default: str | None
    meaning: str

    @property
    def field(self) -> str:
        """The field of :class:`Settings`."""
        return self.name.removeprefix("LEGATO_").lower()


def _text(value: str) -> str:
    return value


def _matching(pattern: str, allowed: str) -> Callable[[str], str]:
    def read(value: str) -> str:
        if not re.fullmatch(pattern, value):
            raise ValueError(allowed)
        return value

    return read


def _whole(low: int, high: int) -> Callable[[str], int]:
    def read(value: str) -> int:
        digits = value.isascii() and value.isdecimal() and len(value) <= len(str(high))
        if not digits or not low <= int(value) <= high:
            msg = f"a whole number from {low:,} to {high:,}"
            raise ValueError(msg)
        return int(value)

    return read


def _one_of(*known: str) -> Callable[[str], str]:
    def read(value: str) -> str:
        if value not in known:
            raise ValueError(" or ".join(known))
        return value

    return read


def _object(value: str) -> dict[str, Any]:
    try:
        found = json.loads(value)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        msg = "a JSON object"
        raise ValueError(msg)  # noqa: TRY004 - what all readers raise
    return found


TASKS: Final = (
    "feature-extraction",
    "text-classification",
    "zero-shot-classification",
    "text-ranking",
)
"""What a workflow's model can do."""


def _list_of(read: Callable[[str], str], allowed: str) -> Callable[[str], tuple[str, ...]]:
    def read_list(value: str) -> tuple[str, ...]:
        try:
            return tuple(read(part.strip()) for part in value.split(","))
        except ValueError:
            raise ValueError(allowed) from None

    return read_list


def _seconds_up_to(most: int) -> Callable[[str], float]:
    def read(value: str) -> float:
        try:
            seconds = float(value)
        except ValueError:
            seconds = 0
        if not 0 < seconds <= most:
            msg = f"a number of seconds above 0 and up to {most:,}"
            raise ValueError(msg)
        return seconds

    return read


MOST_SECONDS: Final = 86_400
"""Longest time that a call of a store may take."""

_seconds = _seconds_up_to(MOST_SECONDS)


def _url(value: str) -> str:
    # Loaded where it is used: most functions call no endpoint.
    from legato._endpoint._hosts import Place

    Place.of(value)
    return value


def _hosts(value: str) -> tuple[str, ...]:
    from legato._endpoint._hosts import Allowed

    entries = tuple(part.strip() for part in value.split(","))
    Allowed(entries)
    return entries


MOST_GRACE_S: Final = 30 * 86_400
"""Longest time for which a token that was replaced may stay valid."""

HUB_FILE: Final = (
    r"((datasets|spaces)/)?[A-Za-z0-9][A-Za-z0-9_.-]{0,95}(/[A-Za-z0-9][A-Za-z0-9_.-]{0,95})?"
    r"@[0-9a-f]{40}/(?!\S*\.\./)[^\s?#\\]{1,500}"
)
"""A file of a repository of the Hub, at a commit."""

_store = _matching(
    "[a-z][a-z0-9+.-]*://.+",
    "a URL such as s3://bucket/prefix, file:///data/legato or memory://name",
)
_device = _matching("auto|cpu|metal|cuda(:[0-9]{1,3})?", "auto, cpu, cuda, cuda:N or metal")
_dtype = _one_of("float32", "float16", "bfloat16", "int8")

MIB: Final = 1 << 20

VARIABLES: Final = (
    Variable("LEGATO_WORKFLOW", _text, "legato", "name of the workflow"),
    Variable("LEGATO_TASK", _one_of(*TASKS), "feature-extraction", "what the model does"),
    Variable(
        "LEGATO_PARAMETERS",
        _object,
        "{}",
        'arguments of the task\'s call as JSON, such as `{"top_k": 2}`',
    ),
    Variable(
        "LEGATO_MODEL_ID",
        _text,
        None,
        "folder of the model, or URL of its mirror, `<store>/models/<digest>`",
    ),
    Variable(
        "LEGATO_MODEL_REVISION",
        _text,
        None,
        "digest that the model's files must have, `sha256:...`; without it any will do",
    ),
    Variable("LEGATO_DATASET_ID", _text, None, "name of the dataset"),
    Variable("LEGATO_DATASET_VERSION", _text, None, "version or digest of the dataset"),
    Variable(
        "LEGATO_STORE",
        _store,
        None,
        "where objects lie: `s3://bucket/prefix`, `file:///folder` or `memory://name`",
    ),
    Variable(
        "LEGATO_ALLOWED_STORES",
        _list_of(_store, "URLs as of LEGATO_STORE, with commas between them"),
        None,
        "other stores that references may point to, URLs with commas between them",
    ),
    Variable(
        "LEGATO_BUCKET_OWNER",
        _matching("[0-9]{12}", "an account id, 12 digits"),
        None,
        "account that must own every bucket; a bucket of that name in another one is refused",
    ),
    Variable("LEGATO_KMS_KEY", _text, None, "key that S3 encrypts new objects with: its id or ARN"),
    Variable(
        "LEGATO_REQUEST_PAYER",
        _one_of("requester"),
        None,
        "`requester`: this account pays for its requests to a bucket of another one",
    ),
    Variable(
        "LEGATO_S3_ADDRESSING",
        _one_of("auto", "path", "virtual"),
        "auto",
        "how a bucket stands in URLs: `path`, `virtual`, or `auto`, which asks the endpoint",
    ),
    Variable(
        "LEGATO_STORE_TIMEOUT_S",
        _seconds,
        "60",
        "seconds that a call of the store may take, and one more for each MiB that it moves",
    ),
    Variable("LEGATO_DEVICE", _device, "auto", "`auto`, `cpu`, `cuda`, `cuda:N` or `metal`"),
    Variable("LEGATO_DTYPE", _dtype, "float32", "`float32`, `float16`, `bfloat16` or `int8`"),
    Variable(
        "LEGATO_MAX_LENGTH",
        _whole(1, 1_000_000),
        None,
        "tokens that a text is cut to; without it the model's own limit",
    ),
    Variable(
        "LEGATO_SHARD_TOKENS",
        _whole(1, 1_000_000_000),
        "32768",
        "most tokens in a shard, a single record aside",
    ),
    Variable("LEGATO_SHARD_RECORDS", _whole(1, 1_000_000), "512", "most records in a shard"),
    Variable("LEGATO_TEXT_FIELD", _text, "text", "field or column of the text"),
    Variable("LEGATO_ID_FIELD", _text, "id", "field or column of the id"),
    Variable(
        "LEGATO_MAX_RECORD_BYTES",
        _whole(1, 64 * MIB),
        str(MIB),
        "longest record in bytes; longer ones are rejected",
    ),
    Variable(
        "LEGATO_NUM_THREADS",
        _whole(1, 1024),
        None,
        "computing threads; without it the processors that the process may use",
    ),
    Variable(
        "LEGATO_ENDPOINT",
        _url,
        None,
        "URL of the server that computes instead of this machine; without it the engine does",
    ),
    Variable(
        "LEGATO_ENDPOINT_SERVER",
        _one_of("tei", "pipeline"),
        None,
        "what the server speaks: `tei`, or `pipeline` as transformers' pipelines; "
        "without it the server is asked",
    ),
    Variable(
        "LEGATO_ENDPOINT_REVISION",
        _matching("[0-9a-f]{40}", "a commit, 40 hexadecimal digits"),
        None,
        "commit that the server's model must have; another one is refused",
    ),
    Variable(
        "LEGATO_ENDPOINT_CONCURRENCY",
        _whole(1, 64),
        "4",
        "most requests of a function to the server at the same time",
    ),
    Variable("LEGATO_ENDPOINT_TIMEOUT_S", _seconds, "60", "seconds that a request may take"),
    Variable(
        "LEGATO_ENDPOINT_SCALE_UP_S",
        _whole(0, 20),
        "10",
        "seconds that an endpoint which is scaled to zero may hold a request",
    ),
    Variable(
        "LEGATO_ALLOWED_HOSTS",
        _hosts,
        None,
        "hosts that may be called besides those of Hugging Face, and networks that are not "
        "public, with commas between them",
    ),
    Variable(
        "LEGATO_HF_CREDENTIALS",
        _one_of("none", "env"),
        "none",
        "where the token of requests comes from: `none`, or `env`, which is HF_TOKEN",
    ),
    Variable("LEGATO_EVENT", _text, None, "of `python -m legato.worker`: the task's event as JSON"),
    Variable(
        "LEGATO_TASK_TOKEN",
        _text,
        None,
        "of the worker: the token that reports to Step Functions; without it the output is left",
    ),
    Variable(
        "LEGATO_STEP",
        _text,
        "legato.stages.inference.handler",
        "of the worker: module and name of the step that it runs",
    ),
    Variable(
        "LEGATO_HEARTBEAT_S",
        _seconds,
        "30",
        "of the worker: seconds between two heartbeats, less than half of the state's "
        "`HeartbeatSeconds`",
    ),
    Variable(
        "LEGATO_ROTATION",
        _one_of("staged", "exchange"),
        None,
        "of the rotation: `staged` (an operator stages tokens) or `exchange` (Enterprise)",
    ),
    Variable(
        "LEGATO_ROTATION_FILE",
        _matching(HUB_FILE, "namespace/name@commit/path, the commit with 40 digits"),
        None,
        "of the rotation: file that a new token must be able to read, "
        "`namespace/name@commit/config.json`",
    ),
    Variable(
        "LEGATO_ROTATION_GRACE_S",
        _seconds_up_to(MOST_GRACE_S),
        "86400",
        "of the rotation: seconds after which a token that was replaced is revoked",
    ),
    Variable(
        "LEGATO_ROTATION_CLIENT",
        _text,
        None,
        "of the rotation, `exchange`: ARN of the secret with `client_id` and `client_secret`",
    ),
    Variable(
        "LEGATO_ROTATION_SUBJECT",
        _matching(r"[!-~]{1,64}@[A-Za-z0-9.-]{1,190}", "an e-mail address"),
        None,
        "of the rotation, `exchange`: e-mail address of the user whom tokens act for",
    ),
)
"""Every variable; ``docs/settings.md`` shows them as a table."""
