"""Look at some records of a dataset, and run the model on them: what a plan starts from."""

from __future__ import annotations

import itertools
import os
import random
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from legato._native import Engine, ModelFiles, inflate
from legato.errors import InputError
from legato.pipeline import task_class
from legato.settings import Settings
from legato.stages import _models
from legato.stages._readers import COMPRESSED, Record, Rejected, kind_of, read_records
from legato.workflow import Workflow

MOST: Final = 1000
"""Records that are looked at."""

_BATCH: Final = 32
_CHUNK: Final = 1 << 20
_MEASURED_S: Final = 1.5


@dataclass(frozen=True, slots=True)
class Sample:
    """What was found: means of some records, and tokens per second and processor here.

    ``records`` is how many the whole file has, None where they were not counted.
    """

    seen: int
    records: int | None
    tokens_per_record: float
    bytes_per_record: float
    tokenizing: float
    inference: float | None
    weights_bytes: int


def take_sample(workflow: Workflow, path: Path, *, count: bool, measure: bool) -> Sample:
    """Read records of a file, and run the model on them.

    Args:
        workflow: Says the model, the task and the fields of a record.
        path: JSONL, CSV, TXT or Parquet.
        count: Whether to read to the end and count the records, not only the beginning.
        measure: Whether to run the model too, for about two seconds.

    Raises:
        InputError: The file cannot be read, or has no record that can be used.
        ModelError: The workflow's model is no model.
    """
    texts, total = _drawn(_records(workflow, path), count=count)
    if not texts:
        msg = f"sample {path} has no record that can be used; check its fields"
        raise InputError(msg)
    files = ModelFiles.from_dir(workflow.model)
    settings = _settings(workflow, files)
    length = _models.max_length(settings, files)
    counter = _models.Counter(settings, files, length)
    started = time.perf_counter()
    tokens = sum(counter(texts))
    tokenizing = tokens / (time.perf_counter() - started) / _processors()
    rate = _inference(workflow, settings, files, texts, length) if measure else None
    return Sample(
        seen=len(texts),
        records=total if count else None,
        tokens_per_record=tokens / len(texts),
        bytes_per_record=sum(len(text.encode()) for text in texts) / len(texts),
        tokenizing=tokenizing,
        inference=rate,
        weights_bytes=weights_bytes(workflow.model),
    )


def _drawn(records: Iterator[Record], *, count: bool) -> tuple[list[str], int]:
    """Return some texts, of the whole file where it is read to its end, and how many there were.

    Each record is as likely as any other, and the same file gives the same texts.
    """
    texts = [record.text for record in itertools.islice(records, MOST)]
    total = len(texts)
    if count:
        rng = random.Random(0)  # noqa: S311 - no secret
        for total, record in enumerate(records, MOST + 1):
            place = rng.randrange(total)
            if place < MOST:
                texts[place] = record.text
    return texts, total


def weights_bytes(model: str | os.PathLike[str]) -> int:
    """Return the size of a model's weights, 0 where the folder has none."""
    return sum(path.stat().st_size for path in Path(model).glob("*.safetensors"))


def _records(workflow: Workflow, path: Path) -> Iterator[Record]:
    kind = kind_of(path.name)
    chunks = _chunks(path)
    found = read_records(
        inflate(chunks) if path.name.lower().endswith(COMPRESSED) else chunks,
        kind=kind,
        text_field=workflow.text_field,
        id_field=workflow.id_field,
    )
    return (record for record in found if not isinstance(record, Rejected))


def _chunks(path: Path) -> Iterator[bytes]:
    try:
        with path.open("rb") as file:
            while chunk := file.read(_CHUNK):
                yield chunk
    except OSError as error:
        msg = f"sample {path} cannot be read ({error.strerror}); check the path"
        raise InputError(msg) from None


def _settings(workflow: Workflow, files: ModelFiles) -> Settings:
    environment = workflow.environment(
        store="memory://plan",
        model_revision=files.digest,
        dataset_id="sample",
        dataset_version="sample",
    )
    return Settings.from_env(over={"LEGATO_MAX_LENGTH": "", **environment})


def _inference(
    workflow: Workflow,
    settings: Settings,
    files: ModelFiles,
    texts: Sequence[str],
    length: int | None,
) -> float:
    """Return tokens per second and processor of the model; the first batch only warms it up."""
    run = _runner(workflow, files)
    batches = [
        _models.encode(settings, files, texts[first : first + _BATCH], length)
        for first in range(0, min(len(texts), 8 * _BATCH), _BATCH)
    ]
    run(batches[0])
    tokens, started = 0, time.perf_counter()
    for batch in itertools.cycle(batches):
        run(batch)
        tokens += int(batch.lengths.sum())
        if (passed := time.perf_counter() - started) > _MEASURED_S:
            return tokens / passed / _processors()
    raise AssertionError


def _runner(workflow: Workflow, files: ModelFiles) -> Callable[[Any], object]:
    if workflow.task == _models.VECTORS:
        return Engine(files, device=workflow.device, dtype=workflow.dtype).run
    head = task_class(workflow.task)(files, device=workflow.device, dtype=workflow.dtype)
    return lambda tokens: head.answers(tokens, **workflow.parameters)


def _processors() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
