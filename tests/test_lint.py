"""The linter: it finds each grant that is taken away, added or widened, and nothing else."""

from __future__ import annotations

import copy
import inspect
import json
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import legato.stages.storage
from legato._scope import Folder, Scope
from legato.errors import WorkflowError
from legato.step import Step, Task
from legato.workflow import synth
from legato.workflow._lint import ACCESSORS, WILDCARDS, Gap, _lint, _source, lint, views
from legato.workflow._lint._accessors import uses
from legato.workflow._lint._compare import compare
from legato.workflow._lint._iam import Atom, covers, met, overlap
from legato.workflow._lint._source import Function, Sources
from legato.workflow._lint._trust import trust_gaps
from legato.workflow._synth import handlers
from tests.template_variants import VARIANTS, bare, policies, workflow


def gaps_of(
    name: str, template: Mapping[str, Any], steps: dict[str, Step] | None = None
) -> list[Gap]:
    return lint(workflow(**VARIANTS[name]).document(), template, steps or handlers())


@pytest.mark.parametrize("name", VARIANTS)
def test_grants_and_work_of_every_variant_fit(name: str) -> None:
    assert gaps_of(name, workflow(**VARIANTS[name]).template()) == []


class Looked:
    """A variant as the linter sees it, and what it says of one role with other statements."""

    def __init__(self, name: str) -> None:
        self.views = list(views(workflow(**VARIANTS[name]).template(), handlers()))

    def atoms(self) -> list[Atom]:
        """Every action on every resource, with every prefix of a list alone."""
        return list({atom: None for view in self.views for atom in split(view.own)})

    def without(self, atom: Atom, *instead: Atom) -> list[Gap]:
        """The gaps, where a policy has others instead of this atom."""
        found: dict[Gap, None] = {}
        for view in self.views:
            needs = [need for need in view.needs if need.role == atom.owner]
            own = [other for other in split(view.own) if other.owner == atom.owner]
            changed = [other for other in own if other != atom]
            if len(changed) < len(own):
                changed += instead
            found.update(dict.fromkeys(compare(needs, changed, view.shared)))
        return list(found)


def split(own: list[Atom]) -> list[Atom]:
    made = []
    for atom in own:
        prefixes = atom.conditions.get("StringLike", {}).get("s3:prefix", [])
        alone = [{"StringLike": {"s3:prefix": [prefix]}} for prefix in prefixes]
        made += [by_value(replace(atom, conditions=one)) for one in alone] or [by_value(atom)]
    return made


def by_value(atom: Atom) -> Atom:
    return replace(atom, conditions=Conditions(atom.conditions))


class Conditions(dict[str, Any]):
    """Conditions that can be compared by value in a set."""

    def __hash__(self) -> int:  # type: ignore[override]
        return hash(json.dumps(self, sort_keys=True))


@pytest.mark.parametrize("name", VARIANTS)
def test_each_grant_that_is_taken_away_is_missed_and_no_other(name: str) -> None:
    looked = Looked(name)
    tried = looked.atoms()
    assert len(tried) > 100
    for atom in tried:
        found = looked.without(atom)
        assert found, atom
        assert {(gap.kind, gap.role, gap.action) for gap in found} == {
            ("missing", atom.owner, atom.action)
        }
        assert all(covers(atom.resource, gap.resource) for gap in found)


@pytest.mark.parametrize("name", VARIANTS)
def test_each_resource_that_is_widened_is_found(name: str) -> None:
    looked = Looked(name)
    tried = [a for a in looked.atoms() if a.resource != "*" and a.effect == "Allow"]
    assert len(tried) > 60
    for atom in tried:
        for wider in ("*", shorter(atom.resource)):
            assert covers(wider, atom.resource)
            found = looked.without(atom, replace(atom, resource=wider))
            assert {(gap.kind, gap.role, gap.action, gap.resource) for gap in found} == {
                ("wide", atom.owner, atom.action, wider)
            }


def shorter(resource: str) -> str:
    """`ingestion/*` becomes `*`, `function:x:live` becomes `function:x:*`."""
    return re.sub(r"[^/:]+[/:]?\*?$", "*", resource)


@pytest.mark.parametrize("name", ["all", "ecs"])
def test_conditions_that_are_dropped_or_widened_are_found(name: str) -> None:
    looked, seen = Looked(name), set()
    for atom in looked.atoms():
        if not atom.conditions or atom.effect == "Deny":
            continue
        ((operator, keys),) = atom.conditions.items()
        (key,) = keys
        seen.add(key)
        for worse in ({}, {operator.replace("Equals", "Like"): {key: "*"}}):
            found = looked.without(atom, replace(atom, conditions=worse))
            assert {(gap.kind, gap.role) for gap in found} == {("wide", atom.owner)}, (key, worse)
            assert all(key in str(gap) for gap in found)
        other = replace(atom, conditions={operator: {key: "other"}})
        assert "missing" in {gap.kind for gap in looked.without(atom, other)}
    ecs = {"ecs:cluster", "iam:PassedToService"} if name == "ecs" else set()
    assert seen == {"s3:prefix", "kms:ViaService"} | ecs


@pytest.mark.parametrize("name", VARIANTS)
def test_what_nobody_needs_is_found_in_every_role(name: str) -> None:
    template = workflow(**VARIANTS[name]).template()
    foreign = {"Sid": "X", "Effect": "Allow", "Action": ["s3:PutBucketPolicy"], "Resource": ["*"]}
    for _, statements in policies(template):
        statements.append(foreign)
    found = gaps_of(name, template)
    assert {(gap.kind, gap.action) for gap in found} == {("unused", "s3:PutBucketPolicy")}
    assert [gap.role for gap in found] == [role for role, _ in policies(template)]
    assert "s3:PutBucketPolicy on *, which is unused" in str(found[0])


def test_a_pattern_of_actions_is_too_wide() -> None:
    template = workflow().template()
    _, statements = next(policies(template))
    bare(statements[0])["Action"] = ["s3:Get*"]
    (gap,) = {gap.kind: gap for gap in gaps_of("plain", template)}.values()
    assert (gap.kind, gap.action) == ("wide", "s3:Get*")


def test_a_denial_of_what_is_needed_is_found_in_roles_and_in_the_buckets_policy() -> None:
    template = workflow().template()
    _, statements = next(policies(template))
    denial = {"Sid": "No", "Effect": "Deny", "Action": ["s3:PutObject"], "Resource": ["*"]}
    statements.append(denial)
    assert {gap.kind for gap in gaps_of("plain", template)} == {"missing"}
    assert "denies it (No)" in str(gaps_of("plain", template)[0])
    statements.pop()
    shared = template["Resources"]["BucketPolicy"]["Properties"]["PolicyDocument"]["Statement"]
    once = next(s for s in shared if s["Sid"] == "DenyUnconditionalWrites")
    # Records of runs are written anew by a retry: without this exception nothing would record.
    kept = list(once["NotResource"])
    for area in [r for r in kept if "runs/" in r["Fn::Sub"] or "chunks" in r["Fn::Sub"]]:
        once["NotResource"] = [r for r in kept if r != area]
        found = gaps_of("plain", template)
        assert found
        assert all("BucketPolicy denies it" in str(gap) for gap in found)
    once["NotResource"] = kept
    shared.remove(once)
    found = gaps_of("plain", template)
    assert found
    assert all("must be refused, and is not" in str(gap) for gap in found)


def test_who_may_take_a_role() -> None:
    resources = next(iter(views(workflow(**VARIANTS["all"]).template(), handlers()))).stack
    roles = resources.of("AWS::IAM::Role")
    assert len(roles) == 9
    for name, role in roles.items():
        (statement,) = role["AssumeRolePolicyDocument"]["Statement"]

        def found() -> set[tuple[str, str]]:
            return {(gap.kind, gap.role) for gap in trust_gaps(resources)}

        assert found() == set()
        service = statement["Principal"]
        statement["Principal"] = {"Service": "ec2.amazonaws.com"}
        assert ("wide", name) in found()
        statement["Principal"] = service
        condition = statement.pop("Condition", None)
        assert found() == ({("wide", name)} if condition is not None else set())
        assert (condition is None) == (service["Service"] == "lambda.amazonaws.com")
        if condition is not None:
            (operator,) = [name for name, keys in condition.items() if "aws:SourceArn" in keys]
            others: list[Any] = ["arn:aws:other"]
            if operator == "ArnEquals":
                # One of a machine's two is not enough: its Map would not start.
                others += [[own] for own in condition[operator]["aws:SourceArn"]]
            for other in others:
                keys = {**condition[operator], "aws:SourceArn": other}
                statement["Condition"] = {**condition, operator: keys}
                assert found() == {("missing", name)}
            statement["Condition"] = condition


def test_a_role_that_nobody_takes_and_a_document_of_another_workflow() -> None:
    template = workflow().template()
    template["Resources"]["SpareRole"] = copy.deepcopy(template["Resources"]["StorageRole"])
    found = gaps_of("plain", template)
    assert found
    assert {gap.role for gap in found} == {"SpareRole"}
    assert "no resource of the template takes this role" in " ".join(map(str, found))
    other = workflow(fleet=99).document()
    (gap,) = lint(other, workflow().template(), handlers())
    assert "another state machine" in str(gap)


def test_a_declaration_and_what_it_grants_go_together() -> None:
    """A stage that declares more, or less, than its role has: the template is the old one."""
    template = workflow().template()
    storage = "legato.stages.storage.handler"
    more = replace(handlers()[storage], reads=("ingestion", "runs", "inference"))
    found = gaps_of("plain", template, {**handlers(), storage: more})
    assert {(gap.kind, gap.role) for gap in found} == {("missing", "StorageRole")}
    assert all("/inference/" in gap.resource for gap in found)
    less = replace(handlers()[storage], reads=("runs",))
    found = gaps_of("plain", template, {**handlers(), storage: less})
    assert {(gap.kind, gap.role) for gap in found} == {("unused", "StorageRole")}
    assert all("/ingestion/" in gap.resource for gap in found)


def test_code_that_does_more_needs_more(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Storage, with another source: that is what decides what its role needs."""
    path = Path(legato.stages.storage.__file__)
    source = path.read_text(encoding="utf-8")
    asked = "there = set(task.scope.list(folder))"
    assert asked in source
    more = (
        'task.scope.put_json(f"runs/{run_id(task)}/seen.json", 1); task.scope.get_json("inputs/x")'
    )
    found = lint_with(monkeypatch, tmp_path, source.replace(asked, f"{more}; {asked}"))
    assert {(gap.kind, gap.action, gap.resource.rpartition("legato/")[2]) for gap in found} == {
        ("missing", "s3:PutObject", "runs/*/seen.json"),
        ("missing", "s3:GetObject", "inputs/x"),
    }
    less = lint_with(monkeypatch, tmp_path, source.replace(asked, "there = set()"))
    assert {(gap.kind, gap.action) for gap in less} == {("wide", "s3:ListBucket")}
    assert "runs/*/shards/" in str(less[0])
    hidden = source.replace(asked, f"task.scope.get_json(task.settings.workflow); {asked}")
    with pytest.raises(WorkflowError, match="whose area cannot be told"):
        lint_with(monkeypatch, tmp_path, hidden)


def lint_with(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, source: str) -> list[Gap]:
    path = tmp_path / "storage.py"
    path.write_text(source)
    known = _source._path
    sources = Sources()
    monkeypatch.setattr(
        _source, "_path", lambda name: path if name == "legato.stages.storage" else known(name)
    )
    monkeypatch.setattr(_lint, "_SOURCES", sources)
    try:
        return gaps_of("plain", workflow().template())
    finally:
        monkeypatch.undo()


def test_every_method_that_a_step_is_given_is_known_to_the_linter() -> None:
    for kind in (Task, Scope, Folder):
        public = {
            name for name, value in inspect.getmembers(kind, callable) if not name.startswith("_")
        }
        assert public == set(ACCESSORS[kind.__name__]), kind


def test_the_keys_that_stages_make_are_read_from_their_source() -> None:
    found = {}
    for stage in ("validation", "storage"):
        start = Function(f"legato.stages.{stage}", "handler")
        found[stage] = {use.key for use in uses(Sources(), start) if use.key is not None}
    assert "runs/*/shards/*.json" in found["validation"]
    assert {"runs/*/shards/", "runs/*/shards/*.json"} <= found["storage"]


def test_synth_fails_with_each_gap_in_words(monkeypatch: pytest.MonkeyPatch) -> None:
    from legato.workflow import _synth

    storage = "legato.stages.storage.handler"
    less = replace(handlers()[storage], reads=("runs",))
    steps = {**handlers(), storage: less}
    monkeypatch.setattr(_synth, "handlers", lambda: steps)
    with pytest.raises(WorkflowError) as caught:
        synth(workflow())
    text = str(caught.value)
    assert text.startswith("roles and work of demo do not fit, 2 gaps:\n")
    assert (
        "StorageRole allows s3:GetObjectVersion on arn:aws:s3:::BUCKET/legato/ingestion/*" in text
    )


def test_wildcards_are_used_and_have_reasons() -> None:
    used = set()
    for changes in VARIANTS.values():
        for _, statements in policies(workflow(**changes).template()):
            for statement in map(bare, statements):
                if "*" in statement["Resource"]:
                    used |= set(statement["Action"])
    assert used == set(WILDCARDS)
    assert all(WILDCARDS.values())


@pytest.mark.parametrize(
    ("pattern", "other", "covered", "overlapping"),
    [
        ("a/*", "a/b/*", True, True),
        ("a/b/*", "a/*", False, True),
        ("a/*", "b/*", False, False),
        ("*", "", True, True),
        ("a?c", "abc", True, True),
        ("a?c", "a*c", False, True),
        ("a.c", "abc", False, False),
        ("runs/*/map/*", "runs/*", False, True),
        ("*x", "y*", False, True),
    ],
)
def test_patterns(pattern: str, other: str, covered: bool, overlapping: bool) -> None:
    assert covers(pattern, other) is covered
    assert overlap(pattern, other) is overlapping
    assert overlap(other, pattern) is overlapping


@pytest.mark.parametrize(
    ("conditions", "context", "expected"),
    [
        ({"StringEquals": {"k": "v"}}, {"k": "v"}, True),
        ({"StringEquals": {"k": ["u", "v"]}}, {"k": "v"}, True),
        ({"StringEquals": {"k": "v"}}, {}, False),
        ({"StringNotEquals": {"k": "v"}}, {}, True),
        ({"StringLike": {"k": "a/*"}}, {"k": "a/b"}, True),
        ({"StringLike": {"k": "a/*"}}, {"k": "*"}, False),
        ({"Null": {"k": "true"}}, {}, True),
        ({"Null": {"k": "true"}}, {"k": "v"}, False),
        ({"Bool": {"k": "true"}}, {}, False),
        ({"BoolIfExists": {"k": "true"}}, {}, True),
        ({"Bool": {"k": "true"}, "Null": {"j": "true"}}, {"k": "true", "j": "x"}, False),
    ],
)
def test_conditions(conditions: Any, context: dict[str, str], expected: bool) -> None:
    atom = Atom("Role", "Sid", "Allow", "s3:GetObject", "*", conditions=conditions)
    assert met(atom, context) is expected


def test_what_the_linter_does_not_know_it_refuses() -> None:
    atom = Atom("Role", "Sid", "Allow", "a:B", "*", conditions={"NumericEquals": {"k": "1"}})
    with pytest.raises(WorkflowError, match="NumericEquals is not known"):
        met(atom, {})
    template = workflow().template()
    template["Resources"]["Bucket"]["Properties"]["BucketName"] = {"Fn::Base64": "x"}
    with pytest.raises(WorkflowError, match="Fn::Base64 in the template is not known"):
        gaps_of("plain", template)
