"""A model that functions load from the store, where it is too large for their zip."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import legato
from legato.cli._load import load_workflow
from legato.results import Results
from tests import aws_stack, conftest
from tests.aws_stack import Grant, Stack

# What loads the model; the tokenizer and the configuration are part of it.
LOADING = ("Ingestion", "Preprocessing", "Inference", "Validation")


@pytest.fixture(scope="module")
def mirrored(deployed: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """The same workflow on the same engine, as a stack of its own whose zip has no model."""
    folder = tmp_path_factory.mktemp("mirrored")
    definition = Path(shutil.copy(deployed.definition, folder))
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


@pytest.mark.parametrize("action", ["s3:GetObject", "s3:GetObjectVersion"])
@pytest.mark.parametrize("stage", LOADING)
def test_a_stage_that_may_not_read_the_model(mirrored: Stack, stage: str, action: str) -> None:
    mirrored.forget_model(stage)
    with mirrored.without(Grant(stage, "ReadModel", action, "models/*")):
        done = mirrored.run("--text", f"a prompt without {action} for {stage}")
    assert done.status == 1
    assert "AccessDeniedError" in done.err
    assert action in done.err
    assert "/models/" in done.err
    assert mirrored.failed_in(aws_stack.run_id(done)).removeprefix("Prompt") == stage
    mirrored.forget_model(stage)
