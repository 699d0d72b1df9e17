"""Vectors of all-MiniLM-L6-v2 against those of sentence-transformers on 200 real texts."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

import legato
from legato._native import Engine, read_safetensors

DATA = Path(__file__).parent / "data" / "parity"
LIMITS = {"the model's own": (None, "max256"), "512": (512, "max512")}

Vectors = NDArray[np.float32]


@pytest.fixture(scope="module")
def texts() -> list[str]:
    lines = (DATA / "texts.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line)["text"] for line in lines]


@pytest.fixture(scope="module")
def expected() -> dict[str, Vectors]:
    return read_safetensors((DATA / "minilm.safetensors").read_bytes())[0]


@pytest.fixture(scope="module")
def engine(minilm: Path) -> Engine:
    return Engine.from_dir(minilm)


@pytest.fixture(scope="module")
def vectors(engine: Engine, texts: list[str]) -> Vectors:
    return engine.embed(texts)


def furthest(a: Vectors, b: Vectors) -> float:
    assert a.shape == b.shape
    return float(np.abs(a - b).max())


def test_the_expected_vectors_are_of_these_texts_and_this_model(minilm: Path) -> None:
    metadata = read_safetensors((DATA / "minilm.safetensors").read_bytes())[1]
    for path, name in (
        (minilm / "model.safetensors", "model-sha256"),
        (DATA / "texts.jsonl", "texts-sha256"),
    ):
        assert hashlib.sha256(path.read_bytes()).hexdigest() == metadata[name]


@pytest.mark.parametrize("limit", LIMITS)
def test_parity(engine: Engine, texts: list[str], expected: dict[str, Vectors], limit: str) -> None:
    max_length, name = LIMITS[limit]
    vectors = engine.embed(texts, max_length=max_length)
    assert vectors.dtype == np.float32
    assert vectors.shape == (200, 384)
    assert furthest(vectors, expected[name]) <= 1e-5
    norms = np.linalg.norm(expected[name], axis=1) * np.linalg.norm(vectors, axis=1)
    assert ((vectors * expected[name]).sum(axis=1) / norms).min() >= 0.99999


def test_the_two_limits_differ(expected: dict[str, Vectors]) -> None:
    # Otherwise the limit could be ignored and the test above would pass.
    changed = np.abs(expected["max256"] - expected["max512"]).max(axis=1) > 1e-3
    assert changed.sum() >= 30


@pytest.mark.parametrize("limit", LIMITS)
def test_a_text_alone_is_as_in_a_batch(engine: Engine, texts: list[str], limit: str) -> None:
    max_length = LIMITS[limit][0]
    some = texts[:: 2 if max_length is None else 6]
    alone = np.concatenate([engine.embed(text, max_length=max_length) for text in some])
    assert furthest(alone, engine.embed(some, max_length=max_length)) <= 1e-6


def test_the_order_of_texts_is_kept(engine: Engine, texts: list[str], vectors: Vectors) -> None:
    order = np.random.default_rng(7).permutation(len(texts))[:80]
    shuffled = engine.embed([texts[i] for i in order])
    assert furthest(shuffled, vectors[order]) <= 1e-6


def test_tokens_in_between_change_nothing(
    engine: Engine, texts: list[str], vectors: Vectors
) -> None:
    tokens = engine.tokenizer.encode(texts)
    again = type(tokens).from_bytes(tokens.to_bytes())
    assert np.array_equal(engine.run(again), vectors)


def test_options_in_the_tokenizer_file_do_not_leak(
    minilm: Path, engine: Engine, texts: list[str]
) -> None:
    embedded = json.loads((minilm / "tokenizer.json").read_bytes())
    assert embedded["truncation"]["max_length"] == 128
    assert embedded["padding"]["strategy"] == {"Fixed": 128}
    assert engine.max_length == 256
    lengths = engine.tokenizer.encode(texts).lengths
    assert lengths.min() == 3
    assert lengths.max() == 256
    assert (lengths == 256).sum() >= 30
    assert np.unique(lengths).size > 50
    uncut = engine.tokenizer.encode(texts, truncation=False)
    assert uncut.lengths.max() > 512
    assert uncut.truncated == 0


def test_the_pipeline_is_the_engine(minilm: Path, engine: Engine, texts: list[str]) -> None:
    pipeline = legato.pipeline("feature-extraction", model=minilm)
    few = pipeline(texts[:20])
    assert np.array_equal(few, engine.embed(texts[:20]))
    single = pipeline(texts[3])
    assert single.shape == (384,)
    assert furthest(single, few[3]) <= 1e-6
