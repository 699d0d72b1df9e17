"""feature-extraction, against the stored vectors of sentence-transformers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import legato
from legato import Engine, ModelFiles
from legato._native import read_safetensors
from legato.errors import InputError, ModelError
from tests import sentence_models
from tests.sentence_models import CASES, TEXTS, Case, make

EXPECTED, _ = read_safetensors((sentence_models.OWN / "expected.safetensors").read_bytes())
CALLS = [(name, number) for name, case in CASES.items() for number in range(len(case.calls))]


def arguments(call: dict[str, Any]) -> dict[str, Any]:
    return {{"normalize_embeddings": "normalize"}.get(name, name): v for name, v in call.items()}


@pytest.mark.parametrize(("name", "number"), CALLS)
def test_vectors_are_those_of_sentence_transformers(tmp_path: Path, name: str, number: int) -> None:
    embed = legato.pipeline("feature-extraction", model=make(tmp_path, CASES[name]))
    call = arguments(CASES[name].calls[number])
    expected = EXPECTED[f"{name}/{number}"]
    vectors = embed(TEXTS, **call)
    assert vectors.dtype == np.float32
    assert vectors.shape == expected.shape
    assert np.abs(vectors - expected).max() < 2e-5
    assert np.abs(embed(TEXTS[2], **call) - expected[2]).max() < 2e-5
    if set(call) <= {"prompt"}:
        assert np.array_equal(embed.engine.embed(TEXTS, **call), vectors)


def test_cases_differ() -> None:
    """Else the comparison above would say little."""
    base = EXPECTED["prompts/0"]
    for other in ("prompts/1", "prompts/2", "default-prompt/0", "as-written/0", "cut-left/0"):
        assert np.abs(EXPECTED[other] - base).max() > 1e-2, other
    for mode in ("mean", "cls", "max", "weightedmean", "mean_sqrt_len_tokens"):
        without = EXPECTED[f"without-prompt-{mode}/1"]
        assert np.abs(without - EXPECTED[f"without-prompt-{mode}/0"]).max() > 1e-2
    assert np.array_equal(EXPECTED["old-layout/0"], base)
    assert np.abs(EXPECTED["lower-case/0"] - EXPECTED["as-written/0"]).max() > 1e-2


def test_arguments_at_loading_are_those_of_calls(tmp_path: Path, tiny_bert: Path) -> None:
    call = legato.pipeline("feature-extraction", model=tiny_bert)
    for options in (
        {"pooling": "cls+max"},
        {"normalize": False},
        {"truncate_dim": 8},
        {"truncate_dim": 8, "normalize": True, "pooling": "weightedmean"},
    ):
        loaded = legato.pipeline("feature-extraction", model=tiny_bert, **options)
        assert np.array_equal(loaded(TEXTS), call(TEXTS, **options))
        assert loaded.engine.width == loaded(TEXTS).shape[1]
    named = legato.pipeline(
        "feature-extraction", model=tiny_bert, prompts={"a": "the rain "}, default_prompt_name="a"
    )
    assert np.array_equal(named("x"), call("x", prompt="the rain "))
    assert np.array_equal(named("x", prompt=""), call("x"))
    assert np.array_equal(named("x", prompt_name="query"), call("x"))


def test_states_of_tokens_have_the_shape_of_transformers(tiny_bert: Path) -> None:
    embed = legato.pipeline("feature-extraction", model=tiny_bert)
    states = embed(TEXTS, pooling="none")
    lengths = embed.engine.tokenizer.encode(TEXTS).lengths
    assert [s.shape for s in states] == [(1, length, 32) for length in lengths]
    assert all(s.base is states[0].base for s in states), "views of one array"
    means = np.stack([s[0].mean(0) for s in states])
    assert np.allclose(means, embed(TEXTS, pooling="mean", normalize=False), atol=1e-5)
    one = embed(TEXTS[3], pooling="none")
    assert np.allclose(one, states[3], atol=1e-5)
    loaded = legato.pipeline("feature-extraction", model=tiny_bert, pooling="none")
    assert np.array_equal(loaded(TEXTS[3]), one)
    assert embed([], pooling="none") == []
    assert embed([]).shape == (0, 32)
    with pytest.raises(InputError, match="pooled vectors"):
        embed("x", pooling="none", truncate_dim=3)


class Series:
    """What pandas' Series looks like from outside: not a Sequence, of one dimension."""

    ndim = 1

    def __init__(self, values: list[str]) -> None:
        self.values = values

    def __iter__(self) -> Any:
        return iter(self.values)

    def __len__(self) -> int:
        return len(self.values)


def test_texts_come_in_many_ways(tiny_bert: Path) -> None:
    embed = legato.pipeline("feature-extraction", model=tiny_bert)
    texts = TEXTS[1:5]
    expected = embed(texts)
    for given in (tuple(texts), np.array(texts), np.array(texts, object), Series(texts)):
        assert np.array_equal(embed(given), expected)
        assert np.array_equal(embed.engine.embed(given), expected)
    assert np.array_equal(embed(t for t in texts), expected)
    assert np.array_equal(embed.engine.embed(t for t in texts), expected)
    assert embed(np.str_("one text")).shape == (32,)
    table = Series(texts)
    table.ndim = 2
    wrong = [{"a": "b"}, {"a", "b"}, b"bytes", 5, None, [1], [["a"]], np.array([["a"]]), table]
    for given in wrong:
        with pytest.raises(InputError):
            embed(given)
        with pytest.raises(InputError):
            embed.engine.embed(given)


def test_long_texts_are_cut_and_counted_or_refused(tiny_bert: Path) -> None:
    embed = legato.pipeline("feature-extraction", model=tiny_bert)
    embed(TEXTS)
    assert embed.truncated == embed.engine.tokenizer.encode(TEXTS).truncated > 0
    before = embed.truncated
    embed("the rain and the sea", max_length=4)
    assert embed.truncated == before + 1
    with pytest.raises(InputError, match="truncate it"):
        embed("the rain " * 60, truncation=False)


def test_wrong_arguments(tiny_bert: Path) -> None:
    embed = legato.pipeline("feature-extraction", model=tiny_bert)
    for wrong, said in [
        ({"truncate_dim": 0}, "1 to 32"),
        ({"truncate_dim": 33}, "1 to 32"),
        ({"pooling": "median"}, "use mean, cls"),
        ({"prompt_name": "nothing"}, "the model has document, query"),
        ({"max_length": 1}, "max_length"),
    ]:
        with pytest.raises(InputError, match=said):
            embed("x", **wrong)
    with pytest.raises(InputError, match="no prompt 'b'"):
        legato.pipeline("feature-extraction", model=tiny_bert, default_prompt_name="b")
    with pytest.raises(InputError, match="1 to 32"):
        Engine.from_dir(tiny_bert, truncate_dim=40)
    with pytest.raises(InputError, match="no option pooling"):
        legato.pipeline("fill-mask", model=tiny_bert, pooling="cls")


@pytest.mark.parametrize(
    ("file", "change", "said"),
    [
        ("2_Dense/config.json", {"activation_function": "torch.nn.Softmax"}, "activation Softmax"),
        ("2_Dense/config.json", {"in_features": 31}, "takes 31 numbers, what it gets has 32"),
        ("2_Dense/config.json", {"out_features": 13}, "linear"),
        ("2_Dense/config.json", {"out_features": None}, "no out_features"),
        ("2_Dense/config.json", {"use_residual": True}, "use_residual"),
        ("2_Dense/config.json", {"module_input_name": "token_embeddings"}, "module_input_name"),
        ("1_Pooling/config.json", {"pooling_mode": "median"}, "pooling 'median'"),
    ],
)
def test_modules_that_are_not_supported_are_refused(
    tmp_path: Path, file: str, change: dict[str, Any], said: str
) -> None:
    path = make(tmp_path, CASES["dense"]) / file
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(ModelError, match=said):
        legato.pipeline("feature-extraction", model=tmp_path)


def test_a_pooling_that_dense_does_not_take_and_missing_weights(tmp_path: Path) -> None:
    embed = legato.pipeline("feature-extraction", model=make(tmp_path, CASES["dense"]))
    assert (embed.engine.width, embed.engine.hidden_size) == (12, 32)
    with pytest.raises(InputError, match="Dense layer takes 32"):
        embed("x", pooling="cls+mean")
    (tmp_path / "2_Dense" / "model.safetensors").unlink()
    with pytest.raises(ModelError, match=r"no 2_Dense/model\.safetensors"):
        legato.pipeline("feature-extraction", model=tmp_path)


def test_prompts_are_checked(tmp_path: Path) -> None:
    for prompts, said in [
        ({"prompts": []}, "not by name"),
        ({"prompts": {"a": 5}}, "no text"),
        ({"default_prompt_name": "a"}, "none of its prompts"),
    ]:
        case = Case(files={"config_sentence_transformers.json": prompts})
        with pytest.raises(ModelError, match=said):
            legato.pipeline("feature-extraction", model=make(tmp_path, case))
    files = ModelFiles.from_dir(make(tmp_path, CASES["default-prompt"]))
    assert files.prompts == {"query": "to find: ", "document": "", "empty": ""}
    assert files.default_prompt_name == "query"
