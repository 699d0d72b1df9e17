"""The whole workflow on a real S3 server: the same document, the same results."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import legato
from legato import Store, Workflow
from legato.cli import main
from legato.errors import AccessDeniedError, InputError


@pytest.fixture
def workflow(tiny_bert: Path, tmp_path: Path) -> Workflow:
    path = tmp_path / "texts.jsonl"
    lines = (json.dumps({"id": str(i), "text": f"text {i} of many"}) + "\n" for i in range(100))
    path.write_text("".join(lines))
    return Workflow(
        name="s3", task="feature-extraction", model=tiny_bert, dataset=path, shard_records=16
    )


@pytest.mark.usefixtures("s3")
def test_a_run_is_the_same_as_in_memory(workflow: Workflow, s3_url: str) -> None:
    run = legato.run(workflow, store=f"{s3_url}/below/a prefix".replace(" ", "%20"))
    here = legato.run(workflow, store=f"memory://{s3_url.rpartition('/')[2]}")
    assert run.status == "complete"
    assert run.results().ids == here.results().ids
    assert np.array_equal(run.results().vectors, here.results().vectors)
    again = legato.run(workflow, store=run.store.url)
    assert again.result == run.result
    assert all(counts["cached"] for counts in again.counts.values())


@pytest.mark.usefixtures("s3")
def test_one_prompt(workflow: Workflow, s3_url: str) -> None:
    run = legato.run(workflow, store=s3_url, text="a prompt")
    assert run.results().vectors.shape == (1, 32)
    listed = "".join(run.store.list())
    assert "prompt" not in listed.replace("data.jsonl", "")


@pytest.mark.usefixtures("s3")
def test_the_command_line(
    workflow: Workflow, s3_url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    definition = tmp_path / "workflow.py"
    definition.write_text(
        "from legato import Workflow\n"
        f"workflow = Workflow(name='s3', task='feature-extraction', model={str(workflow.model)!r},"
        f" dataset={str(workflow.dataset)!r})\n"
    )
    assert main(["run", str(definition), "--store", s3_url]) == 0
    assert f"result    {s3_url}/storage/" in capsys.readouterr().out
    assert main(["gc", s3_url, "--grace-days", "0", "--delete"]) == 0
    assert not Store.open(s3_url).list("inference/")


@pytest.mark.usefixtures("s3")
def test_a_function_reads_only_what_it_may(
    s3_url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    other = Store.open(f"{s3_url}-other").put(b"x", "inputs/x")
    monkeypatch.setenv("LEGATO_STORE", s3_url)
    with pytest.raises(AccessDeniedError, match="LEGATO_ALLOWED_STORES"):
        legato.Ref.from_dict(other.to_dict()).load()
    monkeypatch.setenv("LEGATO_ALLOWED_STORES", f"{s3_url}-other")
    assert legato.Ref.from_dict(other.to_dict()).load() == b"x"


@pytest.mark.usefixtures("s3")
def test_a_bucket_that_is_not_there(workflow: Workflow, s3_url: str) -> None:
    with pytest.raises(InputError, match="there is no bucket"):
        legato.run(workflow, store="s3://legato-no-such-bucket/x")
