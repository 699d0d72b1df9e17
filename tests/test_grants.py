"""Grants, and the declarations that they are made from: no stage declares what it could do without."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import legato
from legato import local
from legato._mirror import mirror_model
from legato.settings import Settings
from legato.stages import _models
from legato.workflow import synth
from legato.workflow._grants import compile_grants, stage_steps
from legato.workflow._grants_page import WHO
from legato.workflow._lint import WILDCARDS
from legato.workflow._lint._iam import covers
from legato.workflow._lint._machine import PLACES
from tests.template_variants import VARIANTS, workflow

DOCS = Path(__file__).parents[1] / "docs/permissions.md"


def run(tiny_bert: Path, store: legato.Store, mode: str) -> tuple[str, str]:
    """Run two records, or a prompt, with a mirrored model: the execution's status, and why its steps failed."""
    model = mirror_model(tiny_bert, store)
    definition = legato.Workflow(name="w", task="feature-extraction", model=tiny_bert)
    lines = ['{"id": "a", "text": "the sea"}\n', '{"id": "b", "text": "rain"}\n']
    data = "".join(lines[: 1 if mode == "prompt" else 2]).encode()
    source = store.put(data, "inputs/data.jsonl", media_type="application/jsonl")
    settings = Settings(model_id=model, store=store.url, shard_records=1)
    conductor = local.bind(definition, settings, store)
    done = conductor.run({"run": {"mode": mode}, "input": source.to_dict()}, name="r")
    # The records that the steps left say why.
    told = [store.get(key).decode() for key in store.list("runs/r/failures/")]
    return done.status, " ".join(told)


class Forgetting(dict[Any, Any]):
    """What has been loaded, as if every task were the first of its process."""

    def __contains__(self, key: object) -> bool:
        return False


def declared() -> Iterator[tuple[str, str, str]]:
    for stage, step in stage_steps().items():
        for field in ("reads", "writes"):
            for area in getattr(step, field):
                yield stage, field, area


def test_all_stages_together_do_what_they_are_for(tiny_bert: Path) -> None:
    for mode in ("prompt", "dataset"):
        store = legato.Store.open(f"memory://grants-{mode}")
        assert run(tiny_bert, store, mode)[0] == "SUCCEEDED"


def test_ingestion_puts_what_the_map_reads_where_its_role_may(tiny_bert: Path) -> None:
    store = legato.Store.open("memory://grants-places")
    data = b'{"id": "a", "text": "the sea"}\n'
    source = store.put(data, "inputs/data.jsonl", media_type="application/jsonl")
    settings = Settings(model_id=str(tiny_bert), store=store.url)
    step = stage_steps()["Ingestion"].bind(settings, store)
    done = step({"run": {"id": "r", "mode": "dataset"}, "input": source.to_dict()})["run"]
    for path, place in PLACES.items():
        assert covers(place, done[path.removeprefix("$.run.")])


@pytest.mark.parametrize(("stage", "field", "area"), list(declared()))
def test_without_any_one_area_of_its_declaration_a_stage_is_refused(
    stage: str, field: str, area: str, tiny_bert: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    step = stage_steps()[stage]
    fewer = tuple(name for name in getattr(step, field) if name != area)
    # No area at all would be the stage's own.
    changed = dataclasses.replace(step, **{field: fewer or ("nothing",)})
    monkeypatch.setattr(_models, "_files", Forgetting())
    monkeypatch.setattr(local, "STEPS", {**local.STEPS, stage: changed})
    store = legato.Store.open(f"memory://grants-{stage}-{field}-{area}")
    status, cause = run(tiny_bert, store, "dataset")
    assert status == "FAILED"
    assert re.search(rf"{step.name} may not (read|write) {area}/", cause)


@pytest.mark.parametrize("name", VARIANTS)
def test_every_grant_says_whose_it_is_and_why(name: str) -> None:
    grants = compile_grants(workflow(**VARIANTS[name]))
    assert {grant.principal for grant in grants} <= set(WHO)
    sids = [(grant.principal, grant.sid) for grant in grants]
    assert len(sids) == len(set(sids))
    for grant in grants:
        assert list(grant.actions) == sorted(grant.actions)
        assert grant.reason[-1] != "."
        assert not any("*" in action for action in grant.actions)
        if "*" in grant.resources:
            assert set(grant.actions) <= set(WILDCARDS)


def test_principals_of_the_page_are_those_that_there_are() -> None:
    found = {g.principal for v in VARIANTS.values() for g in compile_grants(workflow(**v))}
    assert found == set(WHO)


def test_policies_are_those_of_the_template() -> None:
    one = workflow(**VARIANTS["all"])
    files = synth(one)
    for principal in ("ingestion", "machine", "schedule"):
        policy = json.loads(files[f"policies/{principal}.json"])
        role = one.template()["Resources"][f"{principal.title()}Role"]["Properties"]
        rendered = json.dumps(role["Policies"][0]["PolicyDocument"])
        for statement in policy["Statement"]:
            assert json.dumps(statement["Sid"]) in rendered
            assert all(json.dumps(action) in rendered for action in statement["Action"])
            assert all(json.dumps(resource) in rendered for resource in statement["Resource"])


# docs/permissions.md


def table(title: str) -> list[list[str]]:
    section = DOCS.read_text().split(f"## {title}\n")[1].split("\n## ")[0]
    rows = [line.strip("| ").split(" | ") for line in section.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in row] for row in rows[1:] if not set(row[0]) <= set("- ")]


def test_the_page_on_permissions_lists_every_accepted_wildcard_with_its_reason() -> None:
    rows = {action.strip("`"): reason for action, reason in table("Actions on everything")}
    assert rows == dict(WILDCARDS)


def test_the_page_on_permissions_has_what_every_stage_reads_and_writes() -> None:
    rows = table("Stages")
    shown: dict[str, Any] = {row[0]: row[1:] for row in rows}
    for stage, step in stage_steps().items():
        reads, writes = shown[stage]
        assert set(re.findall(r"`(\w+)/`", reads)) == set(step.reads)
        assert set(re.findall(r"`(\w+)/`", writes)) == set(step.writes)
    assert set(shown) == set(stage_steps())


def test_the_page_on_permissions_names_every_statement_of_every_role() -> None:
    text = DOCS.read_text()
    sids = {g.sid for v in VARIANTS.values() for g in compile_grants(workflow(**v))}
    assert {sid for sid in sids if f"`{sid}`" not in text} == set()
    shared = workflow().template()["Resources"]["BucketPolicy"]["Properties"]["PolicyDocument"]
    assert all(f"`{statement['Sid']}`" in text for statement in shared["Statement"])
