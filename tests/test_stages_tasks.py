"""The stages with tasks whose results are answers, not vectors; and models with prompts."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import legato
import legato._native as native
from legato.errors import InputError, ModelError, WorkflowError
from tests import sentence_models, task_models
from tests.test_stages import Chain

NAMES = {"0": "contradiction", "1": "neutral", "2": "entailment"}
TEXTS = ["w5 w6 w7", "w8", "w9 w31", "w12 w13 w14 w15", "w39"]
CASES: list[tuple[str, dict[str, Any]]] = [
    ("text-classification", {}),
    ("text-classification", {"top_k": None}),
    ("text-classification", {"top_k": 2, "function_to_apply": "sigmoid"}),
    ("zero-shot-classification", {"candidate_labels": ["w20", "w21 w22", "w23"]}),
    (
        "zero-shot-classification",
        {"candidate_labels": "w20, w21", "hypothesis_template": "w30 {}", "multi_label": True},
    ),
    ("text-ranking", {"query": "w5 w31"}),
    ("text-ranking", {"query": "w5 w31", "activation_fn": "sigmoid"}),
]


@pytest.fixture
def model(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    return task_models.make(folder, "bert", "sequence-classification", id2label=NAMES).path


@pytest.fixture
def store(tmp_path: Path) -> legato.Store:
    return legato.Store.open((tmp_path / "store").as_uri())


def expected(model: Path, task: str, parameters: dict[str, Any]) -> list[Any]:
    run = legato.pipeline(task, model=model)
    if task == "text-ranking":
        options = {name: value for name, value in parameters.items() if name != "query"}
        return run([(parameters["query"], text) for text in TEXTS], **options).tolist()
    found = run(TEXTS, **parameters)
    if task == "zero-shot-classification":
        return [{name: one[name] for name in ("labels", "scores")} for one in found]
    return found


def close(found: Any, wanted: Any) -> bool:
    if isinstance(wanted, dict):
        return found.keys() == wanted.keys() and all(close(found[k], wanted[k]) for k in wanted)
    if isinstance(wanted, list):
        return len(found) == len(wanted) and all(map(close, found, wanted))
    return abs(found - wanted) < 1e-5 if isinstance(wanted, float) else found == wanted


@pytest.mark.parametrize(("task", "parameters"), CASES)
def test_the_chain_gives_what_the_pipeline_gives(
    store: legato.Store, model: Path, task: str, parameters: dict[str, Any]
) -> None:
    chain = Chain(store, model, task=task, parameters=parameters)
    output = chain.run(texts=TEXTS)
    assert output["status"] == "complete"
    results = legato.Results.load(store, legato.Ref.from_dict(output["result"]))
    assert results.ids == [f"id-{i}" for i in range(len(TEXTS))]
    assert close(results.answers, expected(model, task, parameters))
    assert results.vectors.shape == (0, 0)
    assert results.manifest["task"] == task
    assert output["counts"]["inference"]["out"] == len(TEXTS)
    with pytest.raises(InputError, match="no vectors to search"):
        results.nearest(np.zeros(3, np.float32))
    # All of it is there already.
    again = chain.run(texts=TEXTS, run_id="r2")
    assert again["counts"]["inference"]["cached"] == again["counts"]["inference"]["tasks"] == 3
    assert again["result"]["sha256"] == output["result"]["sha256"]


def test_a_run_here_is_the_same(tmp_path: Path, model: Path) -> None:
    workflow = legato.Workflow(
        name="w",
        task="text-classification",
        model=model,
        shard_records=2,
        parameters={"top_k": None},
    )
    lines = [json.dumps({"id": str(i), "text": text}) for i, text in enumerate(TEXTS)]
    data = tmp_path / "data.jsonl"
    data.write_text("\n".join(lines))
    run = legato.run(workflow, store=tmp_path / "other", input=data)
    assert close(run.results().answers, expected(model, "text-classification", {"top_k": None}))
    one = legato.run(workflow, store=tmp_path / "other", text=TEXTS[0])
    assert close(one.results().answers, run.results().answers[:1])


def test_tasks_and_parameters_have_outputs_of_their_own(store: legato.Store, model: Path) -> None:
    def outputs(**settings: Any) -> tuple[str, str]:
        chain = Chain(store, model, **settings)
        event = chain.until("Inference")
        answer = chain.call("Inference", event)
        name = "vectors" if "vectors" in answer else "answers"
        return event["tokens"]["uri"], answer[name]["uri"]

    plain = outputs(task="text-classification")
    # A tokenizer alone decides: the tokens are those of feature-extraction.
    vectors = outputs()
    assert plain[0] == vectors[0]
    assert plain[1] != vectors[1]
    assert outputs(task="text-classification", parameters={"top_k": 2})[0] == plain[0]
    assert outputs(task="text-classification", parameters={"top_k": 2})[1] != plain[1]
    ranked = [outputs(task="text-ranking", parameters={"query": query}) for query in ("w5", "w6")]
    assert len({*ranked[0], *ranked[1], *plain}) == 6


def test_answers_that_are_not_finite_are_rejected(store: legato.Store, model: Path) -> None:
    chain = Chain(store, model, task="text-classification")
    event = chain.until("Validation")
    for bad in (float("nan"), float("inf")):
        lines = [{"label": "neutral", "score": 0.5}, {"label": "neutral", "score": bad}]
        data = "".join(json.dumps(line) + "\n" for line in lines).encode()
        event["answers"] = store.put(data, f"inference/{bad}/answers.jsonl").to_dict()
        part = legato.Ref.from_dict(chain.call("Validation", event)["result"])
        columns = native.read_parquet(store.get(part))
        assert columns["answer"] == [json.dumps(lines[0])]
        assert columns["id"] == ["id-0"]
        rejected = store.get(store.key_of(part).replace("part.parquet", "rejected.jsonl"))
        assert json.loads(rejected) == {"row": 1, "id": "id-1", "reason": "not_finite"}


def test_answers_that_do_not_fit_are_refused(store: legato.Store, model: Path) -> None:
    chain = Chain(store, model, task="text-classification")
    event = chain.until("Validation")
    for data, said in [(b"{}\n", "2 records, .* has 1 answers"), (b"no JSON\n", "no JSON lines")]:
        event["answers"] = store.put(data, f"inference/{len(data)}/answers.jsonl").to_dict()
        with pytest.raises(InputError, match=said):
            chain.call("Validation", event)
    with pytest.raises(InputError, match="no reference at answers"):
        chain.call("Validation", {name: event[name] for name in event if name != "answers"})


def test_wrong_parameters_and_models_without_the_head_fail(
    store: legato.Store, model: Path, tiny_bert: Path
) -> None:
    chain = Chain(store, model, task="text-classification", parameters={"top_k": 0})
    with pytest.raises(InputError, match="top_k"):
        chain.run(texts=TEXTS)
    labels = Chain(
        store, model, task="zero-shot-classification", parameters={"candidate_labels": 5}
    )
    with pytest.raises(InputError, match="candidate_labels"):
        labels.run(texts=TEXTS)
    with pytest.raises(ModelError, match="no head for sequence-classification"):
        Chain(store, tiny_bert, task="text-classification").run(texts=TEXTS)
    with pytest.raises(WorkflowError, match="task"):
        legato.Workflow(name="w", task="fill-mask", model=model)


@pytest.mark.parametrize("name", ["default-prompt", "without-prompt-mean", "dense", "old-layout"])
def test_the_chain_does_what_sentence_transformers_files_say(
    tmp_path: Path, store: legato.Store, name: str
) -> None:
    case, file = sentence_models.CASES[name], "config_sentence_transformers.json"
    prompts = case.files.get(file)
    if prompts:
        case = replace(case, files={file: prompts | {"default_prompt_name": "query"}})
    folder = sentence_models.make(tmp_path / "model", case)
    output = Chain(store, folder).run(texts=TEXTS)
    results = legato.Results.load(store, legato.Ref.from_dict(output["result"]))
    embed = legato.pipeline("feature-extraction", model=folder)
    assert np.allclose(results.vectors, embed(TEXTS), atol=1e-6)
    if prompts:
        assert np.abs(results.vectors - embed(TEXTS, prompt="")).max() > 1e-3
