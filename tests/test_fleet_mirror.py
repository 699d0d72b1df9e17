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
from tests.aws_grants import SIDECARS, Grant, all_grants
from tests.aws_stack import Stack, assert_names

GRANTS = [
    grant
    for grant in all_grants()
    if grant.place.startswith("models/") and grant.action != "s3:ListBucket"
]


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
