"""The engine from Python: loading, and what it takes for texts and tokens."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from legato import Engine, ModelFiles, Tokenizer
from legato.errors import DeviceError, InputError, ModelError

SECRET = "hunter2"  # stands for a user's words in the tests
TEXTS = ["river", "The quick old man walked quietly through the rain.", "", "the sun " * 60]


def files_of(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


class TestLoad:
    def test_from_bytes_is_from_dir(self, tiny_bert: Path, engine: Engine) -> None:
        files = ModelFiles.from_bytes(files_of(tiny_bert))
        assert files.digest == ModelFiles.from_dir(tiny_bert).digest
        assert files.digest.startswith("sha256:")
        assert files.tokenizer_digest == engine.tokenizer.digest
        assert np.array_equal(Engine(files).embed(TEXTS), engine.embed(TEXTS))

    def test_says_what_it_is(self, tiny_bert: Path, engine: Engine) -> None:
        files = ModelFiles.from_dir(tiny_bert)
        assert (engine.model_type, engine.hidden_size, engine.device) == ("bert", 32, "cpu")
        assert (engine.dtype, engine.max_length) == ("float32", 48)
        for source in (engine, files):
            assert (source.pooling, source.normalize, source.max_length) == ("mean", True, 48)
        other = Engine(files, pooling="cls", normalize=False)
        assert (other.pooling, other.normalize) == ("cls", False)
        assert "hidden_size=32" in repr(engine)

    @pytest.mark.parametrize(
        ("options", "error", "said"),
        [
            ({"device": "cuda:0"}, DeviceError, "no CUDA"),
            ({"device": "tpu"}, DeviceError, "use auto, cpu"),
            ({"dtype": "float16"}, DeviceError, "use float32"),
            ({"dtype": "int4"}, DeviceError, "not known"),
            ({"pooling": "median"}, InputError, "use mean, cls"),
        ],
    )
    def test_options(
        self, tiny_bert: Path, options: dict[str, str], error: type[Exception], said: str
    ) -> None:
        with pytest.raises(error, match=said):
            Engine.from_dir(tiny_bert, **options)

    def test_no_model(self, tmp_path: Path) -> None:
        for path in (tmp_path, tmp_path / "none"):
            with pytest.raises(ModelError, match=str(path)):
                Engine.from_dir(path)
        with pytest.raises(ModelError, match=r"it has no config\.json"):
            ModelFiles.from_bytes({})

    def test_an_engine_does_not_travel(self, engine: Engine) -> None:
        with pytest.raises(TypeError, match="cannot pickle"):
            pickle.dumps(engine)


class TestTexts:
    def test_shapes(self, engine: Engine) -> None:
        assert engine.embed("river").shape == (1, 32)
        assert engine.embed([]).shape == (0, 32)
        assert engine.embed(()).dtype == np.float32
        assert engine.run(engine.tokenizer.encode([])).shape == (0, 32)
        vectors = engine.embed(tuple(TEXTS))
        assert vectors.shape == (4, 32)
        assert vectors.flags.writeable
        assert vectors.flags.c_contiguous
        assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)

    @pytest.mark.parametrize(
        ("texts", "said"),
        [
            (None, "not NoneType"),
            (5, "not int"),
            (b"river", "not bytes"),
            (b"", "not bytes"),
            ({"a": 1}, "not dict"),
            ({"a"}, "not set"),
            (np.array([TEXTS]), "not ndarray"),
            (["a", None], "text 1 must be a str, not NoneType"),
            (["a", ["b"]], "text 1 must be a str, not list"),
            (["a", "b", b"c"], "text 2 must be a str, not bytes"),
            (range(10**12), "text 0 must be a str, not int"),
            (["a", f"{SECRET} \ud800"], "text 1 has a lone surrogate"),
            ("\udcff", "text 0 has a lone surrogate"),
        ],
        ids=lambda value: type(value).__name__,
    )
    def test_what_is_no_text(self, engine: Engine, texts: Any, said: str) -> None:
        for call in (engine.embed, engine.tokenizer.encode):
            with pytest.raises(InputError, match=said) as caught:
                call(texts)
            assert SECRET not in str(caught.value)

    def test_a_sequence_that_raises(self, engine: Engine) -> None:
        class Broken(list[str]):
            def __iter__(self) -> Iterator[str]:
                raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            engine.embed(Broken(["a"]))

    @pytest.mark.parametrize("limit", [-1, 0, 2, 2**64])
    def test_limits_without_room(self, engine: Engine, limit: int) -> None:
        with pytest.raises(InputError):
            engine.embed("river", max_length=limit)

    def test_a_limit_beyond_the_model(self, engine: Engine) -> None:
        assert engine.embed("river", max_length=10_000).shape == (1, 32)
        with pytest.raises(InputError, match="text 1 has 102 tokens, the model takes 64"):
            engine.embed(["river", "the " * 100], max_length=10_000)

    def test_tokens_of_another_tokenizer(self, engine: Engine, tiny_bert: Path) -> None:
        definition = (tiny_bert / "tokenizer.json").read_bytes() + b"\n"
        other = Tokenizer.from_bytes(definition)
        with pytest.raises(InputError, match=f"{other.digest}.*{engine.tokenizer.digest}"):
            engine.run(other.encode("river"))

    @settings(max_examples=50, deadline=None)
    @given(texts=st.lists(st.text(max_size=80), max_size=20))
    def test_a_text_alone_is_as_in_a_batch(self, engine: Engine, texts: list[str]) -> None:
        together = engine.embed(texts)
        assert together.shape == (len(texts), 32)
        assert np.isfinite(together).all()
        for text, vector in zip(texts, together, strict=True):
            assert np.abs(engine.embed(text)[0] - vector).max() <= 1e-6
