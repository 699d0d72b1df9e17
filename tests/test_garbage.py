"""What `legato gc` removes, and what it must not."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

import legato
from legato import Ref, Store, Workflow, garbage
from legato.cli import main
from legato.errors import CorruptObjectError, InputError

LATER = 15 * 86_400.0
"""Seconds until a grace period of 14 days has passed."""


@pytest.fixture
def workflow(tiny_bert: Path, tmp_path: Path) -> Workflow:
    lines = [json.dumps({"id": str(i), "text": f"text {i}"}) + "\n" for i in range(40)]
    path = tmp_path / "texts.jsonl"
    path.write_text("".join([*lines, "no JSON\n"]))
    return Workflow(
        name="gc", task="feature-extraction", model=tiny_bert, dataset=path, shard_records=16
    )


def keys(found: garbage.Garbage) -> list[str]:
    return [key for key, _ in found.objects]


def test_results_and_records_stay(workflow: Workflow, store: Store) -> None:
    run = legato.run(workflow, store=store.url)
    before = run.results()
    found = garbage.find(store, now=time.time() + LATER)
    areas = {key.partition("/")[0] for key in keys(found)}
    assert areas == {"inputs", "preprocessing", "inference"}
    assert found.kept == len(store.list()) - len(found.objects)
    garbage.remove(store, found, now=time.time() + LATER)
    assert set(keys(found)).isdisjoint(store.list())
    assert (run.results().vectors == before.vectors).all()
    assert sum(run.rejections().values()) == 1
    # What was removed is made anew.
    again = legato.run(workflow, store=store.url)
    assert again.counts["inference"]["cached"] == 0
    assert (again.results().vectors == before.vectors).all()


def test_the_young_stay(workflow: Workflow, store: Store) -> None:
    legato.run(workflow, store=store.url)
    assert keys(garbage.find(store, now=time.time())) == []
    assert keys(garbage.find(store, now=time.time() + LATER, grace_days=20)) == []


def test_what_is_not_ours_stays(store: Store) -> None:
    for key in ("mine", "my/data.bin", "values/" + "a" * 64, "inference/mine/x"):
        store.put(b"x", key)
    store.put(b"x", "inference/" + "a" * 64 + "/x")
    assert keys(garbage.find(store, now=time.time() + LATER)) == ["inference/" + "a" * 64 + "/x"]


def test_objects_go_before_their_references(store: Store) -> None:
    key = "inference/" + "a" * 64 + "/x"
    store.commit(key, b"x")
    assert keys(garbage.find(store, now=time.time() + LATER)) == [key, f"{key}.ref"]


def test_one_that_was_written_anew_stays(store: Store) -> None:
    key = "inference/" + "a" * 64 + "/x"
    store.commit(key, b"x")
    now = time.time()
    found = garbage.find(store, now=now + LATER)
    garbage.remove(store, found, now=now - 60, grace_days=0)
    assert store.get(key) == b"x"


def test_a_damaged_manifest_ends_it(workflow: Workflow, store: Store) -> None:
    run = legato.run(workflow, store=store.url)
    store.put(b"{", store.key_of(run.result))
    with pytest.raises(CorruptObjectError, match="nothing was removed"):
        garbage.find(store, now=time.time() + LATER)


def test_the_store_that_was_moved(workflow: Workflow, tmp_path: Path) -> None:
    run = legato.run(workflow, store=tmp_path / "here")
    (tmp_path / "here").rename(tmp_path / "there")
    moved = Store.open((tmp_path / "there").as_uri())
    garbage.remove(moved, garbage.find(moved, now=time.time() + LATER), now=time.time() + LATER)
    result = Ref.from_dict(
        {**run.result.to_dict(), "uri": f"{moved.url}/{run.store.key_of(run.result)}"}
    )
    assert len(legato.Results.load(moved, result).ids) == 40


def test_the_verb(workflow: Workflow, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "store"
    run = legato.run(workflow, store=folder)
    listed = run.store.list()
    assert main(["gc", str(folder), "--grace-days", "0"]) == 0
    assert "nothing was removed; --delete removes them" in capsys.readouterr().out
    assert run.store.list() == listed
    assert main(["gc", str(folder), "--grace-days", "0", "--delete"]) == 0
    assert "removed" in capsys.readouterr().out
    assert not [key for key in run.store.list() if key.startswith("inference/")]
    assert len(run.results().ids) == 40


@pytest.mark.parametrize("days", [-1.0, float("nan"), float("inf")])
def test_grace_periods(store: Store, days: float) -> None:
    with pytest.raises(InputError, match="grace period"):
        garbage.find(store, now=time.time(), grace_days=days)
