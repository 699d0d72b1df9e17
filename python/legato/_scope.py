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
    """

    store: Store
    stage: str
    reads: tuple[str, ...]
    writes: tuple[str, ...]

    def get(self, ref: Ref) -> bytes:
        """Return the bytes of an object, verified.

        Raises:
            AccessDeniedError: The state has not declared that it reads there.
            CorruptObjectError: The bytes are not those of the reference.
            ObjectNotFoundError: There is no such object.
        """
        self._readable(self.store.key_of(ref))
        return self.store.get(ref)

    def chunks(self, ref: Ref) -> Iterator[bytes]:
        """Iterate over the bytes of an object in verified chunks of at most 8 MiB."""
        self._readable(self.store.key_of(ref))
        return self.store.chunks(ref)

    def get_json(self, key: str) -> Any:
        """Return a small JSON object by its key.

        Raises:
            CorruptObjectError: It is no JSON.
        """
        self._readable(key)
        try:
            return json.loads(self.store.get(key))
        except ValueError:
            msg = f"object {self.store.url}/{key} is no JSON; run the state again that wrote it"
            raise CorruptObjectError(msg) from None

    def put_json(self, key: str, value: Any) -> Ref:
        """Store a small JSON object, replacing what was there."""
        self._writable(key)
        data = json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
        return self.store.put(key, data, media_type="application/json")

    def commit(self, key: str, data: bytes, **about: Any) -> Ref:
        """Store an output exactly once; see :meth:`legato.Store.commit`."""
        self._writable(key)
        return self.store.commit(key, data, **about)

    def find(self, key: str) -> Ref | None:
        """Return the reference of a finished, intact output of this state, or None."""
        self._writable(key)
        return self.store.find(key)

    def folder(self, *, inputs: Sequence[Ref], parameters: Mapping[str, Any]) -> Folder:
        """Return the place of this state's outputs for these inputs and parameters."""
        return Folder(self, f"{self.stage}/{derive(self.stage, inputs, parameters)}")

    def _readable(self, key: str) -> None:
        self._check("read", key, (*self.reads, *self.writes))

    def _writable(self, key: str) -> None:
        self._check("write", key, self.writes)

    def _check(self, action: str, key: str, allowed: tuple[str, ...]) -> None:
        area = key.partition("/")[0]
        if area not in allowed:
            declared = ", ".join(allowed) or "nothing"
            msg = (
                f"{self.stage} may not {action} {area}/ in {self.store.url}: it declares "
                f"{declared}; add {area!r} to {action}s=[...] of its @legato.step"
            )
            raise AccessDeniedError(msg)


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
    prefix = rest.partition("/")[2] if scheme == "s3" else ""
    return f"{prefix}/{key}" if prefix else key


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
