"""The result of a run: parts that one manifest names."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import legato._native as native
from legato._native import Ref, Store
from legato.errors import InputError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Hit:
    """A record near a query: its id, and the dot product of the two vectors."""

    id: str
    score: float


@dataclass(frozen=True)
class Results:
    """What a run has made, with ids, in the order of the input.

    Attributes:
        ids: Ids of the records.
        vectors: float32 (n, H); row i belongs to ``ids[i]``. (0, 0) of a task that gives none.
        manifest: What Storage committed: model, dataset, status, parts.
        answers: Of tasks other than feature-extraction, what ``legato.pipeline`` gives for each
            record, without its text, in the order of `ids`; else empty.
    """

    ids: list[str]
    vectors: NDArray[np.float32]
    manifest: Mapping[str, Any]
    answers: list[Any] = field(default_factory=list)

    @classmethod
    def load(cls, store: Store, result: Ref | str) -> Results:
        """Read all parts of a result, verified.

        Args:
            store: The store of the run.
            result: The reference that Storage returned, or the URI that the report shows.

        Raises:
            InputError: The object is no result of legato.
            CorruptObjectError: A part is damaged.
        """
        import numpy as np

        if isinstance(result, str):
            result = _find(store, result)
        manifest = store.load(result)
        if not isinstance(manifest, dict) or manifest.get("legato_manifest") != 1:
            msg = f"{result.uri} is no result that this legato reads; give the reference of a run"
            raise InputError(msg)
        of_vectors = manifest.get("task", "feature-extraction") == "feature-extraction"
        column = "vector" if of_vectors else "answer"
        columns = [
            native.read_parquet(store.get(_here(store, part)), columns=["id", column])
            for part in manifest["parts"]
            if part["records"]
        ]
        ids = [id_ for part in columns for id_ in part["id"]]
        found = of_vectors and columns
        empty = np.empty((0, 0), np.float32)
        vectors = np.concatenate([part["vector"] for part in columns]) if found else empty
        lines = [] if of_vectors else [line for part in columns for line in part["answer"]]
        return cls(ids, vectors, manifest, [json.loads(line) for line in lines])

    def nearest(self, query: NDArray[np.float32], count: int = 5) -> list[Hit]:
        """Return the records whose vectors have the largest dot product with a query's.

        Args:
            query: float32 (H,).
            count: Most records to return.

        Raises:
            InputError: The query has another shape, or the run's task gives no vectors.
        """
        import numpy as np

        query = np.asarray(query, dtype=np.float32)
        if count < 1 or not np.isfinite(query).all():
            msg = "count must be 1 or more, and the query must have no NaN and no infinity"
            raise InputError(msg)
        if not self.ids:
            return []
        if self.answers:
            msg = f"a run of {self.manifest.get('task')} has answers, and no vectors to search"
            raise InputError(msg)
        if query.shape != self.vectors.shape[1:]:
            msg = f"the query has shape {query.shape}, the vectors have {self.vectors.shape[1:]}"
            raise InputError(msg)
        scores = self.vectors @ query
        best = np.argsort(-scores, kind="stable")[:count]
        return [Hit(self.ids[i], float(scores[i])) for i in best]


def _find(store: Store, uri: str) -> Ref:
    found = store.find(uri.removeprefix(f"{store.url}/"))
    if found is None:
        msg = f"nothing is stored at {uri}; give the URI that the run's report shows"
        raise InputError(msg)
    return found


def _here(store: Store, part: Mapping[str, Any]) -> Ref:
    # By its key, not by where it was written: a store may have been moved since.
    return Ref.from_dict({**part["ref"], "uri": f"{store.url}/{part['key']}"})
