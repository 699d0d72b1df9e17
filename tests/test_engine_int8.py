"""Eight bits: near to float32 on a real model, whatever company a text is in."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import legato
from legato import Engine
from legato.errors import DeviceError

TEXTS = [
    "A short one.",
    "How to read a file line by line in Python?",
    "Step Functions runs a state machine, and each of its states may be a Lambda function.",
    "café, naïve, 東京, and an emoji \N{ROCKET}",
    " ".join(f"word {i} of a long text about nothing in particular" for i in range(12)),
    " ".join(str(i * 7919) for i in range(200)),
]


def cosines(dtype: str, model: Path) -> np.ndarray:
    exact = Engine.from_dir(model, device="cpu", normalize=True).embed(TEXTS)
    return np.sum(exact * Engine.from_dir(model, dtype=dtype, device="cpu").embed(TEXTS), axis=1)


def test_is_near_to_float32(minilm: Path) -> None:
    near = cosines("int8", minilm)
    assert near.mean() >= 0.995, near
    assert np.abs(near - 1).max() > 1e-6  # something was quantized


def test_a_text_has_one_vector_in_any_company(minilm: Path) -> None:
    engine = Engine.from_dir(minilm, device="cpu", dtype="int8")
    alone = np.concatenate([engine.embed(text) for text in TEXTS])
    together = engine.embed(TEXTS * 20)
    assert np.abs(together - np.tile(alone, (20, 1))).max() <= 1e-5


def test_is_what_it_says(tiny_bert: Path) -> None:
    engine = Engine.from_dir(tiny_bert, device="cpu", dtype="int8")
    assert engine.dtype == "int8"
    found = legato.pipeline("feature-extraction", tiny_bert, device="cpu", dtype="int8")("hello")
    assert np.array_equal(found, engine.embed("hello")[0])


@pytest.mark.parametrize("dtype", ["int4", "INT8", "uint8"])
def test_other_integers_are_refused(tiny_bert: Path, dtype: str) -> None:
    with pytest.raises(DeviceError, match="float32, float16, bfloat16 or int8"):
        Engine.from_dir(tiny_bert, dtype=dtype)
