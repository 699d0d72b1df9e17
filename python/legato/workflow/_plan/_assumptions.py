"""What a plan starts from: how much there is to do, and how fast it goes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from legato.workflow._template._parameters import MEMORY_MB

MB_PER_PROCESSOR: Final = 1769
"""Lambda gives one processor for each of these MiB of memory."""

INFERENCE_RATE: Final = 1000.0
"""Tokens per second and processor where nothing was measured: less than small models do."""

TOKENIZING_RATE: Final = 2_000_000.0
"""Tokens per second and processor that tokenization makes, where nothing was measured: less than
any of the fast paths does."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """What a run has to do.

    Args:
        records: Records of the dataset.
        tokens_per_record: Mean, of what the model sees.
        bytes_per_record: Mean, of the text.
        weights_bytes: Size of the model's weights; None where it is not known.
    """

    records: int
    tokens_per_record: float
    bytes_per_record: float
    weights_bytes: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Speed:
    """How fast the stages are.

    Args:
        inference: Tokens per second of one Inference function or container.
        tokenizing: Tokens per second and processor, of Ingestion and Preprocessing.
        request_s: Seconds of one request to S3.
        start_s: Seconds until a function that nobody has called yet answers, its model loaded.
        container_start_s: Seconds until a container does; each shard starts one.
        record_s: Seconds in which a processor reads and writes a record.
        memory_mb: Memory of each function besides Inference, whose memory the workflow says.
    """

    inference: float
    tokenizing: float = TOKENIZING_RATE
    request_s: float = 0.03
    start_s: float = 5.0
    container_start_s: float = 60.0
    record_s: float = 4e-5
    memory_mb: Mapping[str, int] = field(default_factory=lambda: dict(MEMORY_MB))

    def processors(self, stage: str) -> float:
        """Return how many processors the function of a stage besides Inference gets."""
        return self.memory_mb[stage] / MB_PER_PROCESSOR


ACCOUNT_CONCURRENCY: Final = 1000
"""Functions that an account runs at the same time, until it asks for more."""
