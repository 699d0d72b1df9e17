"""The part of a store that a state may touch."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from legato._native import Ref, Store
from legato.errors import AccessDeniedError, CorruptObjectError

FORMAT = 1
"""Version of what stages write; part of every key, so that a new one never meets old objects."""


@dataclass(frozen=True)
class Scope:
    """A store, seen through what a state has declared that it reads and writes.

    The first part of a key is the name of the stage that writes it (or ``inputs`` or ``runs``).
    What is granted to a function's role on AWS is refused here in the same way.

    Attributes:
        store: The store of the run, which refuses what the state has not declared.
        stage: The state's name.
        reads: What it reads.
        writes: What it writes, and may read.
        others: Other stores that references may point to; a state that declares ``inputs`` reads
            them.
    """

    store: Store
    stage: str
    reads: tuple[str, ...]
    writes: tuple[str, ...]
    others: tuple[Store, ...] = ()

    @classmethod
    def of(
        cls,
        store: Store,
        stage: str,
        reads: Sequence[str],
        writes: Sequence[str],
        allowed: Sequence[Store] = (),
    ) -> Scope:
        """Return what a state may touch of its store, and of other stores that are allowed."""
        own = store.scoped(stage, reads=reads, writes=writes)
        others = tuple(
            other.scoped(stage, reads=reads, writes=writes, area="inputs") for other in allowed
        )
        return cls(own, stage, tuple(reads), tuple(writes), others)

    def bind(self, ref: Ref) -> Ref:
        """Return a reference whose ``load`` and ``slice`` obey the declaration."""
        return self._home(ref).bind(ref)

    def get(self, ref: Ref) -> bytes:
        """Return the bytes of an object, verified.

        Raises:
            AccessDeniedError: The state has not declared that it reads there.
            CorruptObjectError: The bytes are not those of the reference.
            ObjectNotFoundError: There is no such object.
        """
        return self._home(ref).get(ref)

    def chunks(self, ref: Ref) -> Iterator[bytes]:
        """Iterate over the bytes of an object in verified chunks of at most 8 MiB."""
        return self._home(ref).chunks(ref)

    def adopt(self, uri: str, version: str | None = None) -> Ref:
        """Return the reference to an object that somebody else has stored, where it lies.

        Args:
            uri: Where, as people write it: nothing in it is percent-encoded.
            version: Version id or etag that it must have; None takes what is there.

        Raises:
            AccessDeniedError: It lies outside of the run's store and of those that are allowed.
            InputError: It has another version, or changed while it was read.
            ObjectNotFoundError: There is no such object.
        """
        return adopt((self.store, *self.others), uri, version, self.stage)

    def get_many_json(self, keys: Sequence[str]) -> list[Any]:
        """Return small JSON objects by their keys, read at the same time.

        Raises:
            CorruptObjectError: One is no JSON.
        """
        found = self.store.get_many(list(keys))
        return [self._parsed(key, data) for key, data in zip(keys, found, strict=True)]

    def list(self, prefix: str) -> list[str]:
        """Return the keys below a folder of an area that the state reads, sorted."""
        return self.store.list(prefix)

    def get_json(self, key: str) -> Any:
        """Return a small JSON object by its key.

        Raises:
            CorruptObjectError: It is no JSON.
        """
        return self._parsed(key, self.store.get(key))

    def _parsed(self, key: str, data: bytes) -> Any:
        try:
            return json.loads(data)
        except (ValueError, RecursionError):
            msg = f"object {self.store.url}/{key} is no JSON; run the state again that wrote it"
            raise CorruptObjectError(msg) from None

    def put_json(self, key: str, value: Any) -> Ref:
        """Store a small JSON object, replacing what was there."""
        return self.store.put(value, key, media_type="application/json")

    def put(self, value: Any, *, media_type: str | None = None) -> Ref:
        """Store a value under its digest, as an output of this state."""
        return self.store.put(value, media_type=media_type)

    def commit(self, key: str, data: bytes, **about: Any) -> Ref:
        """Store an output exactly once; see :meth:`legato.Store.commit`."""
        return self.store.commit(key, data, **about)

    def find(self, key: str) -> Ref | None:
        """Return the reference of a finished, intact output of this state, or None."""
        return self.store.find(key)

    def folder(self, *, inputs: Sequence[Ref], parameters: Mapping[str, Any]) -> Folder:
        """Return the place of this state's outputs for these inputs and parameters."""
        return Folder(self, f"{self.stage}/{derive(self.stage, inputs, parameters)}")

    def _home(self, ref: Ref) -> Store:
        own, others = self.store, self.others
        return next((o for o in others if holds(o, ref) and not holds(own, ref)), own)


def adopt(stores: Sequence[Store], uri: str, version: str | None, who: str) -> Ref:
    """Return the reference to an object in one of some stores, as :meth:`Scope.adopt` does.

    Args:
        stores: The run's own, and those that are allowed besides.
        uri: Where, with nothing percent-encoded.
        version: Version id or etag that it must have; None takes what is there.
        who: Who reads it, for messages.
    """
    for store in stores:
        prefix = f"{plain(store.url)}/"
        if uri.startswith(prefix):
            return store.adopt(uri.removeprefix(prefix), version=version)
    msg = (
        f"{who} may not read {uri}: it lies outside of the run's store {stores[0].url}; "
        "add its bucket or folder to LEGATO_ALLOWED_STORES"
    )
    raise AccessDeniedError(msg)


def holds(store: Store, ref: Ref) -> bool:
    """Say whether a reference points into a store."""
    return ref.uri.startswith(f"{store.url}/")


@dataclass(frozen=True)
class Folder:
    """The outputs of a state for one set of inputs and parameters: ``<stage>/<digest>/<name>``."""

    scope: Scope
    key: str

    def find(self, name: str) -> Ref | None:
        """Return the reference of a finished, intact output, or None."""
        return self.scope.find(f"{self.key}/{name}")

    def commit(self, name: str, data: bytes, **about: Any) -> Ref:
        """Store an output exactly once; the loser of a race gets the winner's reference."""
        return self.scope.commit(f"{self.key}/{name}", data, **about)


def bucket_key(url: str, key: str) -> str:
    """Return the key of an object in its bucket, which holds more than the store.

    Args:
        url: The store's URL. A folder or a memory store is a bucket of its own.
        key: The key in the store.
    """
    scheme, _, rest = url.partition("://")
    prefix = plain(rest.partition("/")[2]) if scheme == "s3" else ""
    return f"{prefix}/{key}" if prefix else key


def plain(url: str) -> str:
    """Return a URL of a store or an object without percent-encoding, which keys do not have."""
    if "%" not in url:
        return url
    from urllib.parse import unquote

    return unquote(url)


def derive(stage: str, inputs: Sequence[Ref], parameters: Mapping[str, Any]) -> str:
    """Return the digest that names outputs: sha256 over stage, format, inputs and parameters.

    Run, attempt and time are not part of it, so a retry and a second run find what is there.
    """
    recipe = {
        "stage": stage,
        "format": FORMAT,
        "inputs": [ref.sha256 for ref in inputs],
        "parameters": dict(parameters),
    }
    text = json.dumps(recipe, sort_keys=True, ensure_ascii=True, separators=(",", ":"))
    import hashlib  # and OpenSSL: not for those who only compute

    return hashlib.sha256(text.encode()).hexdigest()
