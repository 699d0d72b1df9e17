"""Events and objects that no stage has made: each is refused by name, and nothing else is raised."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import legato
from legato.errors import CorruptObjectError, InputError, LegatoError
from tests.test_stages import SHARD_STAGES, Chain

STAGES = ("Ingestion", *SHARD_STAGES, "Storage")
DEEP = b"[" * 100_000
VALUE = "application/vnd.legato.value+json"


@pytest.fixture(scope="module")
def chain(tiny_bert: Path) -> Chain:
    return Chain(legato.Store.open("memory://hostile"), tiny_bert)


@pytest.fixture(scope="module")
def events(chain: Chain) -> dict[str, Any]:
    """Return the event that each stage gets."""
    source = chain.input(b'{"id": "a", "text": "rain"}').to_dict()
    of = {stage: chain.until(stage) for stage in STAGES[1:]}
    return {"Ingestion": {"run": {"id": "r1"}, "input": source}, **of}


HOSTILE = st.sampled_from(
    [
        *(None, True, -1, 1.5, 10**30, "", "..", "../x", "a/b", "\ud800", "\0", "x" * 300),
        *([], {}, [1], {"id": None}, {"id": ["x"]}, {"legato_ref": 1}, {"stage": "inference"}),
        *({"uri": "file:///etc/passwd"}, {"uri": "memory://hostile/../x"}, {"uri": "\ud800"}),
        *({"uri": "memory://hostile/inputs/x", "version": "\r\n"}, {"inference": {"in": "x"}}),
        *({"preprocessing": 5}, {"validation": {"in": [1]}}, {"index": 0}, float("inf")),
    ]
)
PLACES = st.sampled_from(
    [
        *("run", "input", "shard", "tokens", "vectors", "counts", "left", "legato_ref"),
        *(f"run.{name}" for name in ("id", "mode", "dataset", "definition", "manifest")),
        *(f"shard.{name}" for name in ("index", "ref", "records")),
    ]
)


@settings(max_examples=300, deadline=None)
@given(
    stage=st.sampled_from(STAGES),
    changes=st.lists(st.tuples(PLACES, HOSTILE), min_size=1, max_size=3),
)
def test_a_stage_answers_or_raises_an_error_of_legato(
    stage: str, changes: list[tuple[str, Any]], events: dict[str, Any], chain: Chain
) -> None:
    event = copy.deepcopy(events[stage])
    for place, value in changes:
        *parents, name = place.split(".")
        inner = event.get(parents[0]) if parents else event
        if isinstance(inner, dict):
            inner[name] = value
    message = ""
    try:
        chain.call(stage, event)
    except LegatoError as error:
        message = str(error)
    assert len(message) < 2_000


@pytest.mark.parametrize("stage", STAGES)
def test_an_event_that_is_a_reference(stage: str, chain: Chain) -> None:
    area = stage.lower()
    plain = chain.store.put(b"{}", f"{area}/plain.json").to_dict()
    value = chain.store.put(b"[]", f"{area}/value.json", media_type=VALUE).to_dict()
    for event in (plain, value):
        with pytest.raises(InputError, match="is a reference"):
            chain.call(stage, event)


@pytest.mark.parametrize("dataset", ["d", ["d"], {"id": 7}, {"id": "d", "version": []}])
@pytest.mark.parametrize("stage", ["Ingestion", "Storage"])
def test_a_dataset_that_is_none(
    stage: str, dataset: Any, events: dict[str, Any], chain: Chain
) -> None:
    event = copy.deepcopy(events[stage])
    event["run"]["dataset"] = dataset
    with pytest.raises(InputError, match=r"run\.dataset"):
        chain.call(stage, event)


@pytest.mark.parametrize("counts", [5, {"in": "x"}, {"in": None}, {"in": True}, {"in": 10**400}])
def test_counts_that_cannot_be_summed_stop_the_shard_and_not_the_run(
    counts: Any, events: dict[str, Any], chain: Chain
) -> None:
    event = copy.deepcopy(events["Validation"])
    event["counts"]["inference"] = counts
    with pytest.raises(InputError, match="counts of inference that are no numbers"):
        chain.call("Validation", event)


@pytest.mark.parametrize(
    "record", [b"{}", b"[]", b"5", DEEP, b'{"index":0,"records":1,"ref":{},"counts":{}}']
)
def test_a_record_of_a_shard_that_is_none(
    record: bytes, events: dict[str, Any], chain: Chain
) -> None:
    chain.store.put(record, "runs/other/shards/00000.json")
    event = copy.deepcopy(events["Storage"])
    event["run"]["id"] = "other"
    with pytest.raises(CorruptObjectError, match=r"runs/other/shards/00000\.json is no "):
        chain.call("Storage", event)


@pytest.mark.parametrize("line", [b"{}", b"[]", b"x", DEEP, b'{"index": "1", "records": 2}'])
def test_a_manifest_that_is_none(line: bytes, events: dict[str, Any], chain: Chain) -> None:
    event = copy.deepcopy(events["Storage"])
    event["run"]["manifest"] = chain.store.put(line, "ingestion/other.jsonl").to_dict()
    with pytest.raises(InputError, match="is no manifest of shards"):
        chain.call("Storage", event)


def test_objects_that_are_nested_too_deeply(events: dict[str, Any], chain: Chain) -> None:
    event = copy.deepcopy(events["Validation"])
    event["shard"]["ref"] = chain.store.put(DEEP, "ingestion/deep.jsonl").to_dict()
    for stage in ("Preprocessing", "Validation"):
        with pytest.raises(InputError, match="is no shard of records"):
            chain.call(stage, event)
    event = copy.deepcopy(events["Validation"])
    event["answers"] = chain.store.put(DEEP, "inference/deep.jsonl").to_dict()
    del event["run"]["definition"]
    with pytest.raises(InputError, match="has no JSON lines"):
        chain.other(task="text-classification").call("Validation", event)


def test_a_run_whose_name_has_no_bytes(events: dict[str, Any], chain: Chain) -> None:
    event = copy.deepcopy(events["Storage"])
    event["run"]["id"] = json.loads('"\\ud800"')
    with pytest.raises(InputError, match=r"no run\.id"):
        chain.call("Storage", event)


def test_a_version_is_not_quoted_without_end(chain: Chain) -> None:
    source = chain.input(b'{"text": "rain"}')
    event = {"run": {"id": "r"}, "input": {"uri": source.uri, "version": "v" * 100_000}}
    with pytest.raises(InputError) as caught:
        chain.call("Ingestion", event)
    assert len(str(caught.value)) < 500
