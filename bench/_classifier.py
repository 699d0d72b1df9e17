"""What int8 costs in accuracy: a classifier over real texts, trained here.

The encoder is all-MiniLM-L6-v2, the pooler an identity with its tanh, and the classifier a softmax
regression over what the pooler gives: a ``BertForSequenceClassification`` like any other.
"""

from __future__ import annotations

import argparse
import ast
import json
import random
import shutil
import subprocess
import sys
import sysconfig
import warnings
from collections import Counter
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from bench import _onnx, _texts

PACKAGES: Final = 12
HELD: Final = 1200
STEPS: Final = 300
DECAY: Final = 1e-4
STILL: Final = 0.05
"""The least spread that a feature is scaled by: tanh saturates some, and noise is no feature."""
CHECKED: Final = 300
"""Texts on which float32 is compared with torch."""


def measure(model: Path, folder: Path, trained: int) -> dict[str, Any]:
    """Train the head on so many paragraphs, and return the accuracy in float32 and in int8."""
    import legato

    texts, labels, names = paragraphs()
    cut = min(trained, len(texts) - HELD)
    write(model, folder, texts[:cut], labels[:cut], names)
    held, truth = texts[cut:][:HELD], [names[label] for label in labels[cut:]][:HELD]
    given: dict[str, list[dict[str, Any]]] = {}
    for dtype in ("float32", "int8"):
        run = legato.pipeline("text-classification", folder, device="cpu", dtype=dtype)
        given[dtype] = run(held)
    found = {dtype: [one["label"] for one in each] for dtype, each in given.items()}
    same = [a == b for a, b in zip(found["float32"], found["int8"], strict=True)]
    return {
        "accuracy": {dtype: _share(each, truth) for dtype, each in found.items()},
        "same": sum(same) / len(same),
        "labels": len(names),
        "trained": cut,
        "held": len(held),
        "torch": beside_torch(folder, held[:CHECKED], given["float32"][:CHECKED]),
    }


def _share(found: list[str], truth: list[str]) -> float:
    return sum(a == b for a, b in zip(found, truth, strict=True)) / len(truth)


def paragraphs() -> tuple[list[str], list[int], list[str]]:
    """Return shuffled paragraphs, their labels, and the labels' names."""
    folder = Path(sysconfig.get_path("stdlib"))
    found: dict[str, str] = {}
    for path in sorted(folder.glob("[!_s]*/**/*.py")):
        package = path.relative_to(folder).parts[0]
        if {"test", "tests", "lib2to3", "site-packages", "dist-packages"} & set(path.parts):
            continue
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                ast.parse(path.read_bytes())
                lines = _texts._of_module(path)  # noqa: SLF001 - the benchmark's own
        except SyntaxError:
            continue
        for line in lines:
            found.setdefault(line, package)
    counts = Counter(found.values()).most_common(PACKAGES)
    names = [name for name, _ in counts]
    pairs = [(text, names.index(name)) for text, name in found.items() if name in names]
    random.Random(0).shuffle(pairs)
    return [text for text, _ in pairs], [label for _, label in pairs], names


def write(model: Path, folder: Path, texts: list[str], labels: list[int], names: list[str]) -> None:
    """Train the head and write the checkpoint."""
    from legato._native import Engine, ModelFiles, write_safetensors

    folder.mkdir(parents=True, exist_ok=True)
    for path in model.iterdir():
        if path.is_file() and path.name.startswith(("tokenizer", "vocab", "special")):
            shutil.copyfile(path, folder / path.name)
    engine = Engine(ModelFiles.from_dir(model), device="cpu", pooling="cls", normalize=False)
    weight, bias = regression(np.tanh(engine.embed(texts)), np.array(labels), len(names))
    tensors = {f"bert.{name}": value for name, value in _onnx.weights(model).items()}
    hidden = weight.shape[1]
    tensors["bert.pooler.dense.weight"] = np.eye(hidden, dtype=np.float32)
    tensors["bert.pooler.dense.bias"] = np.zeros(hidden, np.float32)
    tensors["classifier.weight"], tensors["classifier.bias"] = weight, bias
    data = write_safetensors(tensors, metadata={"format": "pt"})
    (folder / "model.safetensors").write_bytes(data)
    config = json.loads((model / "config.json").read_text(encoding="utf-8"))
    config["architectures"] = ["BertForSequenceClassification"]
    config["id2label"] = {str(place): name for place, name in enumerate(names)}
    config["label2id"] = {name: place for place, name in enumerate(names)}
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")


def regression(
    x: NDArray[np.float32], labels: NDArray[Any], classes: int
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return weight (classes, H) and bias of a softmax regression over features (n, H)."""
    mean, scale = x.mean(0), np.maximum(x.std(0), STILL)
    z = np.concatenate([(x - mean) / scale, np.ones((len(x), 1), np.float32)], 1)
    truth = np.eye(classes, dtype=np.float32)[labels]
    weight = np.zeros((z.shape[1], classes), np.float32)
    speed = np.zeros_like(weight)
    for _ in range(STEPS):
        ahead = weight + 0.9 * speed
        logits = z @ ahead
        logits -= logits.max(1, keepdims=True)
        chance = np.exp(logits)
        chance /= chance.sum(1, keepdims=True)
        slope = z.T @ (chance - truth) / len(z) + DECAY * ahead
        speed = 0.9 * speed - 0.5 * slope
        weight = weight + speed
    plain = weight[:-1] / scale[:, None]
    bias = weight[-1] - mean @ plain
    return np.ascontiguousarray(plain.T, np.float32), bias.astype(np.float32)


def beside_torch(folder: Path, texts: list[str], ours: list[dict[str, Any]]) -> str:
    """Compare labels and scores with transformers' pipeline in a process with torch."""
    command = [sys.executable, "-m", "bench._classifier", str(folder)]
    root = Path(__file__).parent.parent
    try:
        done = subprocess.run(
            command, input=json.dumps(texts), capture_output=True, text=True, check=True, cwd=root
        )
    except subprocess.CalledProcessError as error:
        said = error.stderr.strip().splitlines() or ["no reason given"]
        return f"not compared: {said[-1][:120]}"
    theirs = json.loads(done.stdout.splitlines()[-1])
    same = sum(a["label"] == b["label"] for a, b in zip(ours, theirs, strict=True))
    most = max(abs(a["score"] - b["score"]) for a, b in zip(ours, theirs, strict=True))
    return f"{same} of {len(texts)} labels the same, scores within {most:.0e}"


def report(folder: str) -> None:
    """Print what transformers' pipeline says, in the process that :func:`beside_torch` starts."""
    import transformers

    run = transformers.pipeline("text-classification", model=folder, device="cpu")
    # Its tokenizer.json asks for a fixed padding, which this call does away with.
    print(json.dumps(run(json.load(sys.stdin), padding=True, truncation=True)))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder")
    report(parser.parse_args().folder)
