"""What the stages need of the store: read from their source and their declarations."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from legato.errors import WorkflowError
from legato.step import Step
from legato.workflow._lint import _accessors
from legato.workflow._lint._accessors import Use, uses
from legato.workflow._lint._needs import Need
from legato.workflow._lint._source import Function, Sources

MODELS: Final = "models"
RUNS: Final = "runs"
_WRITE: Final = {"s3:ObjectCreationOperation": "true"}
_ONCE: Final = {**_WRITE, "s3:if-none-match": "*"}
_PREFIX: Final = "s3:prefix"
_READ: Final = ("s3:GetObject", "s3:GetObjectVersion")


@dataclass(frozen=True)
class Place:
    """Where a stage of the stack works.

    Attributes:
        role: Logical id of its role.
        bucket: ARN of the bucket.
        prefix: What keys begin with, without a slash at its end.
        mirrored: Whether the model lies in the store.
        fetches: Stages whose outputs it fetches, since no state passes them on.
        leaves: Whether its own output is fetched so.
        datasets: ARNs of objects outside of the store that it reads.
    """

    role: str
    bucket: str
    prefix: str
    mirrored: bool = False
    fetches: tuple[str, ...] = ()
    leaves: bool = False
    datasets: tuple[str, ...] = ()


def stage_needs(sources: Sources, step: Step, place: Place) -> list[Need]:
    """Return what a step needs of its store.

    Args:
        sources: To read its source from.
        step: The step.
        place: Where it works.

    Raises:
        WorkflowError: The source makes a key of which nothing is known.
    """
    module, name = step.function.__module__, step.function.__qualname__
    texts = (("self.name", step.name),)
    starts = [
        Function(module, name),
        Function("legato.step", "Step._run", texts),
        Function("legato.step", "Step._handle", texts),
    ]
    if place.leaves:
        starts.append(Function("legato._left", "leave", (("stage", step.name),)))
    found = {use: None for start in starts for use in uses(sources, start)}
    return list(_Stage(step, place).needs(found))


class _Stage:
    def __init__(self, step: Step, place: Place) -> None:
        self._step, self._place = step, place
        # References point to what states hand on; models and records of runs have keys.
        self._referred = [area for area in step.reads if area not in {MODELS, RUNS}]

    def needs(self, found: Iterable[Use]) -> Iterator[Need]:
        for use in found:
            if use.area == MODELS and not self._place.mirrored:
                continue
            for key in self._keys(use):
                yield from self._of(use, key)

    def _keys(self, use: Use) -> list[str | None]:
        """Return the patterns of keys of a use; None, where it is of no key."""
        if use.where != "legato._left.fetched":
            return [use.key]
        return [str(use.key).replace("/*-", f"/{stage}-") for stage in self._place.fetches]

    def _of(self, use: Use, key: str | None) -> Iterator[Need]:
        if key is not None and key.startswith("*"):
            msg = f"{use.where} makes a key whose area cannot be told; write it as f'area/...'"
            raise WorkflowError(msg)
        if use.kind == _accessors.READ:
            yield from self._read(use)
        elif use.kind == _accessors.ADOPT:
            yield from self._each(_READ, ["inputs/*"], use)
            yield self._listed("inputs/*", use)
            yield from self._outside(use)
        elif use.kind in {_accessors.FIND, _accessors.COMMIT}:
            yield from self._output(use)
        else:
            yield from self._keyed(str(key), use)

    def _read(self, use: Use) -> Iterator[Need]:
        for area in self._areas(use):
            # A reference pins a version; the sums of a large object's chunks lie beside it.
            yield from self._each(("s3:GetObjectVersion",), [f"{area}/*"], use)
            yield from self._each(("s3:GetObject",), [f"{area}/*.chunks"], use)
        yield from self._outside(use)

    def _keyed(self, key: str, use: Use) -> Iterator[Need]:
        if use.kind == _accessors.READ_KEY:
            yield from self._each(("s3:GetObject",), [key], use)
        elif use.kind == _accessors.WRITE_KEY:
            yield from self._each(("s3:PutObject",), [key], use, _WRITE)
        if use.kind == _accessors.LIST or use.missing:
            yield self._listed(key, use)

    def _output(self, use: Use) -> Iterator[Need]:
        own = f"{self._step.name}/*"
        # By key: the object, its `.ref` and the sums of its chunks, whatever their versions.
        yield from self._each(("s3:GetObject", "s3:DeleteObject"), [own], use)
        yield self._listed(own, use)
        if use.kind == _accessors.COMMIT:
            yield from self._each(("s3:PutObject",), [own], use, _ONCE)
            # The sums of a large object's chunks.
            yield from self._each(("s3:PutObject",), [f"{own}.chunks"], use, _WRITE)
            yield from self._each(("s3:AbortMultipartUpload",), [own], use)
            resource = f"{self._place.bucket}/{self._place.prefix}/{own}"
            who = f"{self._who(use)} replacing an output"
            yield Need(self._place.role, "s3:PutObject", resource, who, _WRITE, refused=True)

    def _areas(self, use: Use) -> list[str]:
        if use.area is not None:
            return [use.area]
        return [self._step.name] if use.own else self._referred

    def _each(
        self,
        actions: Iterable[str],
        keys: Iterable[str],
        use: Use,
        context: Mapping[str, str] | None = None,
    ) -> Iterator[Need]:
        where = f"{self._place.bucket}/{self._place.prefix}"
        for key in keys:
            for action in actions:
                yield Need(
                    self._place.role, action, f"{where}/{key}", self._who(use), context or {}
                )

    def _outside(self, use: Use) -> Iterator[Need]:
        if "inputs" in self._step.reads and use.area is None:
            for dataset in self._place.datasets:
                for action in _READ:
                    yield Need(self._place.role, action, dataset, self._who(use))

    def _listed(self, key: str, use: Use) -> Need:
        context = {_PREFIX: f"{self._place.prefix}/{key}"}
        who = f"{self._who(use)}, where a missing object must not read as forbidden"
        return Need(self._place.role, "s3:ListBucket", self._place.bucket, who, context, (_PREFIX,))

    def _who(self, use: Use) -> str:
        return f"{self._step.name} ({use.where})"
