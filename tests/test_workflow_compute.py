"""Inference on Batch or ECS: what changes in the document, and that it runs here as it stands."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import legato
from legato import errors
from legato._jobs import job
from legato.conductor import JobContext
from legato.errors import InputError, StoreUnavailableError
from legato.settings import Settings
from legato.stages import inference
from legato.workflow import Workflow
from legato.workflow._states import JOB_PLACEHOLDERS

INFERENCE = ("Inference", "PromptInference")


def workflow(**changes: Any) -> Workflow:
    values: dict[str, Any] = {"name": "w", "task": "feature-extraction", "model": "/models/m"}
    return Workflow(**{**values, **changes})


def states_of(document: dict[str, Any]) -> dict[str, dict[str, Any]]:
    shards = document["States"]["Shards"]["ItemProcessor"]["States"]
    return {**document["States"], **shards}


def states(compute: str) -> dict[str, dict[str, Any]]:
    return states_of(workflow(compute=compute).document())


def names(retry: list[dict[str, Any]]) -> list[str]:
    return [name for retrier in retry for name in retrier["ErrorEquals"]]


@pytest.mark.parametrize("compute", ["batch", "ecs"])
def test_compute_changes_inference_and_nothing_else(compute: str) -> None:
    plain = workflow(children="STANDARD").document()
    other = workflow(compute=compute).document()
    for document in (plain, other):
        shards = document["States"]["Shards"]["ItemProcessor"]["States"]
        assert document["States"].pop("PromptInference") != shards.pop("Inference")
    assert plain == other


@pytest.mark.parametrize("compute", ["batch", "ecs"])
def test_the_twin_for_a_prompt_differs_in_where_it_leads_only(compute: str) -> None:
    inside, outside = (states(compute)[name] for name in INFERENCE)
    assert {key for key in inside if inside[key] != outside.get(key)} == {"Next"}
    assert set(inside) == set(outside)


def test_a_batch_job_is_asked_for_as_aws_documents_it() -> None:
    task = states("batch")["Inference"]
    assert task["Resource"] == "arn:aws:states:::batch:submitJob.sync"
    assert task["Parameters"] == {
        "JobName.$": "States.Format('legato-w-{}', $.shard.index)",
        "JobDefinition": "${InferenceJobDefinitionArn}",
        "JobQueue": "${InferenceJobQueueArn}",
        "ContainerOverrides": {
            "Environment": [{"Name": "LEGATO_EVENT", "Value.$": "States.JsonToString($)"}]
        },
    }
    assert task["ResultSelector"] == {"stage": "inference"}
    assert task["ResultPath"] == "$.left"
    # The input goes on to the next state, and with it the run and the shard.
    assert not {"InputPath", "OutputPath"} & set(task)


def test_an_ecs_task_is_asked_for_as_aws_documents_it() -> None:
    task = states("ecs")["Inference"]
    assert task["Resource"] == "arn:aws:states:::ecs:runTask.waitForTaskToken"
    assert task["Parameters"] == {
        "Cluster": "${InferenceClusterArn}",
        "TaskDefinition": "${InferenceTaskDefinitionArn}",
        "NetworkConfiguration": {
            "AwsvpcConfiguration": {
                "Subnets.$": "States.StringSplit('${InferenceSubnets}', ',')",
                "SecurityGroups.$": "States.StringSplit('${InferenceSecurityGroups}', ',')",
            }
        },
        "Overrides": {
            "ContainerOverrides": [
                {
                    "Name": "legato",
                    "Environment": [
                        {"Name": "LEGATO_EVENT", "Value.$": "States.JsonToString($)"},
                        {"Name": "LEGATO_TASK_TOKEN", "Value.$": "$$.Task.Token"},
                    ],
                }
            ]
        },
    }
    # What is sent with the token is the state's output: nothing may wrap or move it.
    assert not {"ResultSelector", "ResultPath", "OutputPath"} & set(task)


def test_heartbeats_come_before_the_timeout_and_only_with_a_token() -> None:
    for compute, expected in (("lambda", 0), ("batch", 0), ("ecs", 2)):
        beating = [state for state in states(compute).values() if "HeartbeatSeconds" in state]
        assert len(beating) == expected
        assert all(0 < s["HeartbeatSeconds"] < s["TimeoutSeconds"] for s in beating)


def test_batch_retries_its_service_and_never_a_failed_job() -> None:
    retried = names(states("batch")["Inference"]["Retry"])
    assert retried
    assert all(name.startswith("Batch.") for name in retried)
    # A request that is wrong stays wrong.
    assert "Batch.ClientException" not in retried


def test_ecs_retries_transient_classes_its_service_and_silence() -> None:
    retried = names(states("ecs")["Inference"]["Retry"])
    assert set(errors.retryable_names()) <= set(retried)
    assert {"States.HeartbeatTimeout", "ECS.AmazonECSException", "AmazonECS.Unknown"} <= set(
        retried
    )
    assert not set(errors.permanent_names()) & set(retried)
    assert not {"States.ALL", "States.TaskFailed", "States.Timeout"} & set(retried)
    assert not any(name.startswith("Lambda.") for name in retried)
    assert len(retried) == len(set(retried))


def test_jobs_have_names_that_batch_takes_whatever_the_workflow_is_called() -> None:
    name = "-" + "n" * 79
    call = states_of(workflow(compute="batch", name=name).document())["Inference"]["Parameters"]
    longest = f"legato-{name}-{10**9}"
    assert call["JobName.$"] == f"States.Format('legato-{name}-{{}}', $.shard.index)"
    assert len(longest) <= 128
    assert longest[0].isalnum()


@pytest.mark.parametrize("compute", ["lambda", "batch", "ecs"])
def test_every_placeholder_has_one_place(compute: str) -> None:
    text = json.dumps(workflow(compute=compute).document())
    used = {name for name in JOB_PLACEHOLDERS if f"${{{name}}}" in text}
    expected: dict[str, set[str]] = {
        "lambda": set(),
        "batch": {"InferenceJobDefinitionArn", "InferenceJobQueueArn"},
        "ecs": set(JOB_PLACEHOLDERS) - {"InferenceJobDefinitionArn", "InferenceJobQueueArn"},
    }
    assert used == expected[compute]
    assert ("${InferenceFunctionArn}" in text) == (compute == "lambda")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    path = tmp_path / "data.jsonl"
    rows = [{"id": f"id-{n}", "text": f"text number {n}"} for n in range(11)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.mark.parametrize("compute", ["batch", "ecs"])
def test_it_runs_here_by_the_same_document_with_the_same_results(
    compute: str, tiny_bert: Path, tmp_path: Path, data: Path
) -> None:
    found = {}
    for where in ("lambda", compute):
        given = workflow(model=tiny_bert, compute=where, shard_records=3)
        run = legato.run(given, store=tmp_path / where, input=data)
        assert (run.status, run.counts["inference"]["tasks"]) == ("complete", 4)
        assert [run.counts[stage]["out"] for stage in ("inference", "storage")] == [11, 11]
        found[where] = run.results()
        assert legato.run(given, store=tmp_path / where, text="a prompt").status == "complete"
    assert found["lambda"].ids == found[compute].ids
    assert np.array_equal(found["lambda"].vectors, found[compute].vectors)


@pytest.mark.parametrize("compute", ["lambda", "batch", "ecs"])
def test_a_failure_has_its_class_wherever_inference_runs(
    compute: str, tiny_bert: Path, tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise InputError("the tokens are of another tokenizer")

    monkeypatch.setattr(inference, "ref_of", broken)
    given = workflow(model=tiny_bert, compute=compute)
    for source in ({"input": data}, {"text": "a prompt"}):
        with pytest.raises(InputError, match=r"failed in .*Inference: the tokens are of another"):
            legato.run(given, store=tmp_path / "store", **source)


@pytest.mark.parametrize("compute", ["batch", "ecs"])
def test_a_transient_failure_is_tried_again_wherever_inference_runs(
    compute: str, tiny_bert: Path, tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[int] = []
    whole = inference.ref_of

    def flaky(*args: Any) -> Any:
        calls.append(1)
        if len(calls) == 1:
            raise StoreUnavailableError("busy")
        return whole(*args)

    monkeypatch.setattr(inference, "ref_of", flaky)
    given = workflow(model=tiny_bert, compute=compute)
    assert legato.run(given, store=tmp_path / "store", input=data).status == "complete"
    assert len(calls) == 2


def test_a_job_that_takes_long_is_heard_of_meanwhile(tiny_bert: Path, tmp_path: Path) -> None:
    environment = workflow(model=tiny_bert).environment(
        store=(tmp_path / "store").as_uri(),
        model_revision="r",
        dataset_id="d",
        dataset_version="v",
    )
    settings = Settings.from_env(over={**environment, "LEGATO_HEARTBEAT_S": "1"})
    beats = threading.Event()

    @legato.step(writes=["slow"])
    def slow(_event: Any, _task: Any) -> dict[str, Any]:
        return {"heard": beats.wait(20)}

    run = job(slow, settings, legato.Store.open(settings.require("store")))
    context = JobContext(definition="d", token="t", job_id="i", beat=beats.set)
    assert run({"LEGATO_EVENT": "{}"}, context) == {"heard": True}
