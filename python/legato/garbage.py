"""Find and remove what no manifest reaches, and what writers that died have left.

A run's result names its parts; its records under ``runs/`` name what its shards have made. All
that these reach stays, as well as the records themselves and whatever is younger than a grace
period. Only keys that states derive from digests are looked at. Tokens and vectors between the
states are reached by none once a run is done: they only save work if the same inputs come again.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from legato._native import Ref, Store
from legato.errors import CorruptObjectError, InputError, ObjectNotFoundError

GRACE_DAYS: Final = 14.0
"""Days for which everything stays: longer than a run, its redrive and its review take."""

ROOTS: Final = re.compile(r"runs/.*|storage/[^/]+/manifest\.json")
"""What is kept for its own sake, and searched for references."""

DERIVED: Final = re.compile(r"[^/]+/[0-9a-f]{64}/.+|[^/]+/values/[0-9a-f]{64}[^/]*")
"""Keys that states make of digests. What lies under other keys is somebody's own, and stays."""

ACCOUNTS: Final = ("rejected.jsonl", "summary.json")
"""What tells of the output in the same folder, and stays as long."""

_BESIDE: Final = re.compile(r"\.ref$|\.[0-9a-f]{16}\.chunks$")
_SEARCHED: Final = (".json", ".jsonl")
_MOST_SEARCHED_BYTES: Final = 256 << 20


@dataclass(frozen=True)
class Garbage:
    """What can go.

    Attributes:
        objects: Key and size in bytes of each object that nothing reaches, in the order of removal.
        unfinished: Uploads, or staged files, that their writers never completed.
        kept: Number of objects that stay.
    """

    objects: list[tuple[str, int]]
    unfinished: list[str]
    kept: int

    @property
    def bytes(self) -> int:
        """Size of all objects that can go."""
        return sum(size for _, size in self.objects)


def find(store: Store, *, now: float, grace_days: float = GRACE_DAYS) -> Garbage:
    """Look for what can go; nothing is changed.

    Args:
        store: The store.
        now: The time, in seconds since 1970.
        grace_days: Days for which everything stays.

    Raises:
        InputError: The number of days is negative.
        CorruptObjectError: A manifest is damaged: what it reaches cannot be told, so all stays.
    """
    before = _before(now, grace_days)
    entries = {key: (size, written) for key, size, written in store.entries()}
    reached = _reached(store, entries)
    objects = [
        (key, size)
        for key, (size, written) in entries.items()
        if written < before and DERIVED.fullmatch(key) and not _kept(key, reached)
    ]
    # An object before its reference: one that has lost its object is found so, and made again.
    objects.sort(key=lambda entry: (bool(_BESIDE.search(entry[0])), entry[0]))
    return Garbage(objects, store.abandon(before), len(entries) - len(objects))


def remove(store: Store, garbage: Garbage, *, now: float, grace_days: float = GRACE_DAYS) -> None:
    """Remove what was found, unless it was written anew since.

    Args:
        store: The store.
        garbage: What :func:`find` returned.
        now: The time that it was given.
        grace_days: The days that it was given.
    """
    before = _before(now, grace_days)
    written = {key: at for key, _, at in store.entries()}
    for key, _ in garbage.objects:
        if written.get(key, before) < before:
            store.delete(key)
    if garbage.unfinished:
        store.abandon(before, dry_run=False)


def _kept(key: str, reached: set[str]) -> bool:
    key = _BESIDE.sub("", key)
    folder, _, name = key.rpartition("/")
    return key in reached or (name in ACCOUNTS and folder in reached)


def _before(now: float, grace_days: float) -> float:
    if not 0 <= grace_days < float("inf"):
        msg = f"a grace period of {grace_days} days is not possible; give 0 or more"
        raise InputError(msg)
    return max(now - grace_days * 86_400, 0.0)


def _reached(store: Store, entries: dict[str, tuple[int, float]]) -> set[str]:
    reached: set[str] = set()
    waiting = [key for key in entries if ROOTS.fullmatch(key) and not _BESIDE.search(key)]
    while waiting:
        key = waiting.pop()
        if key in reached:
            continue
        reached |= {key, key.rpartition("/")[0]}
        if key in entries and key.endswith(_SEARCHED) and _leads_on(key):
            waiting.extend(_named(store, key, entries[key][0]))
    return reached


def _leads_on(key: str) -> bool:
    # Manifests and records name other objects; shards of records are the user's data.
    area, _, rest = key.partition("/")
    return area in {"runs", "storage"} or rest.endswith("/manifest.jsonl")


def _named(store: Store, key: str, size: int) -> Iterator[str]:
    if size > _MOST_SEARCHED_BYTES:
        msg = f"{store.url}/{key} has {size:,} bytes, too many for a manifest; nothing was removed"
        raise InputError(msg)
    try:
        data = store.get(key)
    except ObjectNotFoundError:
        return
    lines = data.splitlines() if key.endswith(".jsonl") else [data]
    try:
        for line in lines:
            yield from _keys(json.loads(line), store)
    except ValueError:
        msg = f"{store.url}/{key} is no JSON; what it reaches cannot be told, nothing was removed"
        raise CorruptObjectError(msg) from None


def _keys(value: Any, store: Store) -> Iterator[str]:
    if isinstance(value, dict):
        if "legato_ref" in value:
            uri = str(value.get("uri"))
            if uri.startswith(f"{store.url}/"):
                yield store.key_of(Ref.from_dict(value))
        elif isinstance(value.get("key"), str):
            # A store that was moved keeps its keys, not its URL.
            yield value["key"]
        for inner in value.values():
            yield from _keys(inner, store)
    elif isinstance(value, list):
        for inner in value:
            yield from _keys(inner, store)
