"""A stack of another kind: its functions load the model from the store, and a tenth of the shards may fail."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import legato
from legato.cli._load import load_workflow
from legato.results import Results
from tests import aws_stack, conftest
from tests.aws_grants import SIDECARS, Grant, all_grants
from tests.aws_stack import Stack, assert_names

GRANTS = [
    grant
    for grant in all_grants()
    if grant.place.startswith("models/") and grant.action != "s3:ListBucket"
]


@pytest.fixture(scope="module")
def mirrored(deployed: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Another stack on the same engine, whose zip has no model."""
    definition = tmp_path_factory.mktemp("mirrored") / "workflow.py"
    text = deployed.definition.read_text()
    tolerant = text.replace("trigger=", "tolerated_failure_percentage=10,\n    trigger=")
    assert tolerant != text
    definition.write_text(tolerant)
    with pytest.MonkeyPatch.context() as patch:
        conftest.use(deployed.environ, patch)
        yield aws_stack.deploy(
            deployed.server, deployed.proxy, definition, "--mirror-model", name="mirrored"
        )


def test_the_model_is_that_of_the_folder(mirrored: Stack) -> None:
    model = mirrored.client("lambda").get_function_configuration(
        FunctionName=mirrored.function("Inference")
    )["Environment"]["Variables"]["LEGATO_MODEL_ID"]
    assert model.startswith(f"{mirrored.outputs['StoreUrl']}/models/")
    done = mirrored.run("--text", "a prompt")
    assert done.status == 0, done.err
    found = Results.load(mirrored.store, aws_stack.result_of(mirrored.execution(done)))
    here = legato.run(
        load_workflow(mirrored.definition), store="memory://mirrored", text="a prompt"
    ).results()
    assert np.array_equal(found.vectors, here.vectors)


@pytest.mark.parametrize(
    "grant", [grant for grant in GRANTS if not grant.place.endswith(SIDECARS)], ids=str
)
def test_a_stage_that_may_not_read_the_model(mirrored: Stack, grant: Grant) -> None:
    mirrored.forget_model(grant.stage)
    with mirrored.without(grant):
        done = mirrored.run("--text", f"a prompt for {grant}")
    mirrored.forget_model(grant.stage)
    assert done.status == 1, "it is not needed"
    assert_names(mirrored, grant, done)
    assert mirrored.failed_in(aws_stack.run_id(done)).removeprefix("Prompt") == grant.stage


def test_failures_that_are_tolerated(mirrored: Stack, tmp_path: Path) -> None:
    texts = aws_stack.write_texts(tmp_path / "texts.jsonl", 80, about=tmp_path.name)
    mirrored.proxy.forget()
    mirrored.proxy.plan.add("corrupt", method="GET", path="shard-00007.jsonl", times=None)
    done = mirrored.run("--input", str(texts))
    mirrored.proxy.forget()
    assert done.status == 3, done.err
    assert "incomplete" in done.out
    assert "missing shards: 7;" in done.out
    execution = mirrored.execution(done)
    assert execution["status"] == "SUCCEEDED"
    output = json.loads(execution["output"])
    assert (output["status"], output["missing"]) == ("incomplete", [7])
    found = Results.load(mirrored.store, aws_stack.result_of(execution))
    expected = [str(number) for number in range(80) if number // 4 != 7]
    assert found.ids == expected
    # Two of twenty are not: the third is more than a tenth.
    for shard in (3, 7, 9):
        mirrored.proxy.plan.add(
            "corrupt", method="GET", path=f"shard-{shard:05d}.jsonl", times=None
        )
    other = aws_stack.write_texts(tmp_path / "other.jsonl", 80, about=f"other {tmp_path.name}")
    failed = mirrored.run("--input", str(other))
    mirrored.proxy.forget()
    assert failed.status == 1
    assert "CorruptObjectError" in failed.err
    again = mirrored.run("--input", str(texts))
    assert again.status == 0, again.err
    assert json.loads(mirrored.execution(again)["output"])["counts"]["inference"]["cached"] == 19
