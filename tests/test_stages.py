"""The five stages, each alone and one after the other, on a tiny model."""

from __future__ import annotations

import copy
import json
import shutil
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import legato
import legato._native as native
from legato.errors import (
    CorruptObjectError,
    DeviceError,
    InputError,
    LegatoError,
    ModelError,
    SettingsError,
)
from legato.local import STEPS
from legato.settings import Settings
from legato.stages import _models

TEXTS = [
    "the quick old man walked through the rain",
    "a river in the city",
    "light and wind over the lake",
    "they run home by night",
    "people read what the water has to say",
]
SHARD_STAGES = ("Preprocessing", "Inference", "Validation")


class Context:
    function_name = "local"
    aws_request_id = "request"


class Chain:
    """The stages of one store, called with events as Step Functions passes them on."""

    def __init__(self, store: legato.Store, model: Path, **settings: Any) -> None:
        values = {"model_id": str(model), "dataset_id": "d", "dataset_version": "v"}
        self.store = store
        self.settings = Settings(store=store.url, **{"shard_records": 2, **values, **settings})

    def other(self, **settings: Any) -> Chain:
        """Return a chain on the same store with some settings changed."""
        values = {**vars(self.settings), **settings}
        del values["store"]
        return Chain(self.store, values.pop("model_id"), **values)

    def call(self, stage: str, event: Any) -> dict[str, Any]:
        handler = STEPS[stage].bind(self.settings, self.store)
        answer: dict[str, Any] = json.loads(json.dumps(handler(copy.deepcopy(event), Context())))
        return answer

    def input(self, data: bytes, name: str = "data.jsonl") -> legato.Ref:
        return self.store.put(data, f"inputs/{uuid.uuid4().hex}/{name}")

    def by_anybody(self, stage: str) -> dict[str, Any]:
        """Return the event that a stage gets, as if nobody knew with which settings it was begun."""
        event = self.until(stage)
        del event["run"]["definition"], event["run"]["model"]
        return event

    def ingest(
        self, texts: list[str] | None = None, *, run_id: str = "r1", mode: str = "dataset"
    ) -> dict[str, Any]:
        texts = TEXTS if texts is None else texts
        lines = [json.dumps({"id": f"id-{i}", "text": text}) for i, text in enumerate(texts)]
        source = self.input("\n".join(lines).encode())
        event = {"run": {"id": run_id, "mode": mode}, "input": source.to_dict()}
        return self.call("Ingestion", event)

    def shards(self, ingested: dict[str, Any]) -> list[dict[str, Any]]:
        """Return what the Map's reader and selector make of the manifest."""
        manifest = legato.Ref.from_dict(ingested["run"]["manifest"])
        assert ingested["run"]["manifest_key"].endswith(self.store.key_of(manifest))
        lines = self.store.get(manifest).splitlines()
        return [{"run": ingested["run"], "shard": json.loads(line)} for line in lines]

    def run(self, **options: Any) -> dict[str, Any]:
        """Run all five and return what Storage returns."""
        ingested = self.ingest(**options)
        for event in self.shards(ingested):
            for stage in SHARD_STAGES:
                event = self.call(stage, event)  # noqa: PLW2901 - the state's output is the next input
        return self.call("Storage", ingested)

    def until(self, stage: str) -> dict[str, Any]:
        """Return the event that a stage gets, for the first shard."""
        ingested = self.ingest()
        if stage == "Storage":
            for event in self.shards(ingested):
                for former in SHARD_STAGES:
                    event = self.call(former, event)  # noqa: PLW2901
            return ingested
        event = self.shards(ingested)[0]
        for former in SHARD_STAGES[: SHARD_STAGES.index(stage)]:
            event = self.call(former, event)
        return event


@pytest.fixture
def store(tmp_path: Path) -> legato.Store:
    return legato.Store.open((tmp_path / "store").as_uri())


@pytest.fixture
def chain(store: legato.Store, tiny_bert: Path) -> Chain:
    return Chain(store, tiny_bert)


@pytest.fixture
def model(tmp_path: Path, tiny_bert: Path) -> Path:
    """A copy of the model that a test may change."""
    return Path(shutil.copytree(tiny_bert, tmp_path / "model"))


@pytest.fixture
def forgetful() -> Iterator[Callable[[], None]]:
    """Return a function that makes this process a cold one: no model is loaded."""

    def forget() -> None:
        for loaded in (_models._files, _models._tokenizers, _models._engines):
            loaded.clear()

    yield forget
    forget()


def output(stage: str, answer: dict[str, Any]) -> dict[str, Any]:
    """Return the reference that a stage is there to make."""
    where = {"Ingestion": ("run", "manifest"), "Preprocessing": ("tokens",)}
    where |= {"Inference": ("vectors",), "Validation": ("result",), "Storage": ("result",)}
    for key in where[stage]:
        answer = answer[key]
    return answer


def key_of(store: legato.Store, ref: dict[str, Any]) -> str:
    return store.key_of(legato.Ref.from_dict(ref))


# The chain


def test_the_chain_gives_the_models_vectors_with_ids_and_digests(
    chain: Chain, tiny_bert: Path
) -> None:
    done = chain.run()
    assert done["status"] == "complete"
    assert done["missing"] == []
    results = legato.Results.load(chain.store, legato.Ref.from_dict(done["result"]))
    assert results.ids == [f"id-{i}" for i in range(5)]
    expected = legato.pipeline("feature-extraction", model=tiny_bert)(TEXTS)
    np.testing.assert_allclose(results.vectors, expected, atol=1e-6)
    counts = done["counts"]
    assert [counts[s.lower()]["in"] for s in STEPS] == [5, 5, 5, 5, 5]
    assert [counts[s.lower()]["out"] for s in STEPS] == [5, 5, 5, 5, 5]
    assert [counts[s.lower()]["tasks"] for s in SHARD_STAGES] == [3, 3, 3]
    assert {c["cached"] for c in counts.values()} == {0}
    assert results.manifest["records"] == 5
    assert [part["records"] for part in results.manifest["parts"]] == [2, 2, 1]


def test_the_parts_hold_digests_of_the_texts(chain: Chain) -> None:
    import hashlib

    chain.run()
    (first, *_) = [k for k in chain.store.list("validation/") if k.endswith("part.parquet")]
    part = native.read_parquet(chain.store.get(first))
    texts = {hashlib.sha256(text.encode()).hexdigest() for text in TEXTS}
    assert set(part) == {"id", "text_sha256", "vector"}
    assert set(part["text_sha256"]) <= texts
    assert len(part["text_sha256"]) in (1, 2)


def test_one_prompt_gives_the_same_vector_as_the_dataset(chain: Chain) -> None:
    dataset = chain.run()
    ingested = chain.ingest(TEXTS[:1], mode="prompt", run_id="r2")
    event = ingested
    for stage in (*SHARD_STAGES, "Storage"):
        event = chain.call(stage, event)
    load = legato.Results.load
    prompt = load(chain.store, legato.Ref.from_dict(event["result"])).vectors
    whole = load(chain.store, legato.Ref.from_dict(dataset["result"])).vectors
    assert prompt.shape == (1, 32)
    np.testing.assert_allclose(prompt[0], whole[0], atol=1e-6)


def test_a_prompt_is_one_record(chain: Chain) -> None:
    with pytest.raises(InputError, match="a prompt must be one record, the input has 2"):
        chain.ingest(TEXTS[:2], mode="prompt")


# Once is enough


@pytest.mark.parametrize("stage", STEPS)
def test_a_second_call_returns_the_same_and_computes_nothing(
    stage: str, store: legato.Store, model: Path, forgetful: Callable[[], None]
) -> None:
    chain = Chain(store, model)
    forgetful()
    if stage == "Ingestion":
        chain.ingest()
        source = next(key for key in store.list("inputs/"))
        event = {"run": {"id": "r1"}, "input": store.put(store.get(source), source).to_dict()}
    else:
        event = chain.until(stage)
    first = chain.call(stage, event)
    there = {k for k in store.list() if not k.startswith("runs/")}
    # Without tokenizer and engine in memory, and without the files that they are made of.
    for loaded in (_models._tokenizers, _models._engines):
        loaded.clear()
    for name in ("model.safetensors", "tokenizer.json"):
        (model / name).unlink()
    second = chain.call(stage, event)
    assert output(stage, second) == output(stage, first)
    assert second["counts"][stage.lower()]["cached"] == 1
    assert {k for k in store.list() if not k.startswith("runs/")} == there
    if stage in ("Preprocessing", "Inference"):
        # They are really gone: what is not there yet cannot be computed.
        for key in store.list(f"{stage.lower()}/"):
            store.delete(key)
        with pytest.raises(ModelError):
            chain.call(stage, event)


def test_neither_run_nor_time_enter_keys_or_objects(chain: Chain) -> None:
    def stages() -> dict[str, bytes]:
        keys = [k for k in chain.store.list() if k.partition("/")[0] not in ("runs", "inputs")]
        return {key: chain.store.get(key) for key in keys}

    one = chain.run(run_id="run-one")
    before = stages()
    two = chain.run(run_id="run-two")
    assert stages() == before
    assert one["result"] == two["result"]
    assert all(b"run-one" not in data for data in before.values())
    assert len(before) > 20


# What keys depend on

ALL = tuple(STEPS)
CHANGES: list[tuple[dict[str, Any], tuple[str, ...]]] = [
    ({"shard_records": 3}, ALL),
    ({"text_field": "id", "id_field": "text"}, ALL),
    # Other ids, the same texts: Inference meets the same tokens.
    ({"id_field": "key"}, ("Ingestion", "Preprocessing", "Validation", "Storage")),
    # Other objects of the same content: the shards' stages find what they have made of it.
    ({"max_record_bytes": 1000}, ("Ingestion", "Storage")),
    ({"max_length": 5}, ALL),
    ({"shard_tokens": 10}, ALL),
    ({"shard_tokens": 10_000}, ("Ingestion", "Storage")),
    ({"max_length": 48}, ()),  # the model's own
    ({"device": "cpu"}, ()),
    ({"num_threads": 1}, ()),
    ({"dataset_version": "w"}, ("Storage",)),
    ({"dataset_id": "other"}, ("Storage",)),
    ({"workflow": "other"}, ("Storage",)),
]


@pytest.mark.parametrize(("change", "affected"), CHANGES)
def test_keys_depend_on_these_settings_alone(
    change: dict[str, Any], affected: tuple[str, ...], chain: Chain
) -> None:
    def outputs(chain: Chain) -> dict[str, str]:
        event = {"run": {"id": "r"}, "input": source.to_dict()}
        found, answers = {}, {}
        answers["Ingestion"] = chain.call("Ingestion", event)
        event = chain.shards(answers["Ingestion"])[0]
        for stage in SHARD_STAGES:
            answers[stage] = event = chain.call(stage, event)
        answers["Storage"] = chain.call("Storage", answers["Ingestion"])
        for stage, answer in answers.items():
            found[stage] = key_of(chain.store, output(stage, answer))
        return found

    lines = [json.dumps({"id": f"id-{i}", "text": text}) for i, text in enumerate(TEXTS)]
    source = chain.input("\n".join(lines).encode())
    before, after = outputs(chain), outputs(chain.other(**change))
    assert tuple(stage for stage in STEPS if before[stage] != after[stage]) == affected


def test_the_engines_dtype_is_part_of_the_key(chain: Chain) -> None:
    event = chain.by_anybody("Inference")
    chain.call("Inference", event)
    # Not the float32 vectors that are there: the CPU refuses to compute others.
    with pytest.raises(DeviceError, match="bfloat16"):
        chain.other(dtype="bfloat16").call("Inference", event)


def with_other_weights(model: Path) -> None:
    path = model / "model.safetensors"
    tensors, metadata = native.read_safetensors(path.read_bytes())
    name = "embeddings.LayerNorm.weight"
    path.write_bytes(
        native.write_safetensors({**tensors, name: tensors[name] * 1.5}, metadata=metadata)
    )


def with_another_tokenizer(model: Path) -> None:
    path = model / "tokenizer.json"
    tokenizer = json.loads(path.read_text())
    vocabulary = tokenizer["model"]["vocab"]
    vocabulary["rain"], vocabulary["river"] = vocabulary["river"], vocabulary["rain"]
    path.write_text(json.dumps(tokenizer))


@pytest.mark.parametrize(
    ("change", "first"),
    [(with_other_weights, "Inference"), (with_another_tokenizer, "Preprocessing")],
)
def test_a_changed_model_makes_new_objects_from_its_first_stage_on(
    change: Callable[[Path], None],
    first: str,
    store: legato.Store,
    model: Path,
    tiny_bert: Path,
) -> None:
    old, new = Chain(store, tiny_bert), Chain(store, model)
    change(model)
    shard = old.shards(old.ingest())[0]
    before, after = {}, {}
    old_event = new_event = shard
    for stage in SHARD_STAGES:
        old_event, new_event = old.call(stage, old_event), new.call(stage, new_event)
        before[stage], after[stage] = output(stage, old_event), output(stage, new_event)
    affected = SHARD_STAGES[SHARD_STAGES.index(first) :]
    assert tuple(s for s in SHARD_STAGES if before[s]["uri"] != after[s]["uri"]) == affected
    vectors = [
        native.read_safetensors(store.get(legato.Ref.from_dict(side["Inference"])))[0]
        for side in (before, after)
    ]
    assert not np.allclose(vectors[0]["vectors"], vectors[1]["vectors"], atol=1e-3)


def test_a_model_that_was_installed_again_is_noticed(store: legato.Store, model: Path) -> None:
    first = legato.ModelFiles.from_dir(model).digest
    event = Chain(store, model, model_revision=first).by_anybody("Inference")
    Chain(store, model, model_revision=first).call("Inference", event)
    with_other_weights(model)
    second = legato.ModelFiles.from_dir(model).digest
    assert second != first
    answer = Chain(store, model, model_revision=second).call("Inference", event)
    _, about = native.read_safetensors(store.get(legato.Ref.from_dict(answer["vectors"])))
    assert about["model"] == second


def test_a_model_of_another_revision_is_refused(chain: Chain) -> None:
    event = chain.by_anybody("Preprocessing")
    for stage in ("Preprocessing", "Inference", "Validation"):
        event = {**event, "tokens": event["shard"]["ref"], "vectors": event["shard"]["ref"]}
        with pytest.raises(ModelError, match="LEGATO_MODEL_REVISION says sha256:other"):
            chain.other(model_revision="sha256:other").call(stage, event)


def test_tokens_of_another_tokenizer_are_refused(
    store: legato.Store, model: Path, tiny_bert: Path
) -> None:
    with_another_tokenizer(model)
    event = Chain(store, model).until("Inference")
    with pytest.raises(InputError, match="tokenizer"):
        Chain(store, tiny_bert).call("Inference", event)


# Damage


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    if data:
        data[len(data) // 2] ^= 1
    path.write_bytes(data)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def empty(path: Path) -> None:
    path.write_bytes(b"")


READERS = {
    "Ingestion": ("Preprocessing", ("shard", "ref")),
    "Preprocessing": ("Inference", ("tokens",)),
    "Inference": ("Validation", ("vectors",)),
}


@pytest.mark.parametrize("damage", [flip, cut, empty])
@pytest.mark.parametrize("writer", READERS)
def test_the_reader_detects_damage_and_a_rerun_of_the_writer_heals_it(
    writer: str, damage: Callable[[Path], None], chain: Chain, tmp_path: Path
) -> None:
    reader, where = READERS[writer]
    event = chain.until(reader)
    ref = event
    for key in where:
        ref = ref[key]
    path = tmp_path / "store" / key_of(chain.store, ref)
    whole = path.read_bytes()
    damage(path)
    with pytest.raises(CorruptObjectError) as caught:
        chain.call(reader, event)
    assert ref["uri"] in str(caught.value)
    again = chain.until(reader)
    assert path.read_bytes() == whole
    assert again[where[0]] == event[where[0]]
    assert chain.call(reader, event)["counts"][reader.lower()]["cached"] == 0


@pytest.mark.parametrize("suffix", ["", ".ref"])
@pytest.mark.parametrize("damage", [flip, cut, empty, Path.unlink])
def test_a_run_heals_whatever_object_was_damaged(
    damage: Callable[[Path], None], suffix: str, chain: Chain, tmp_path: Path
) -> None:
    done = chain.run()
    expected = legato.Results.load(chain.store, legato.Ref.from_dict(done["result"]))
    whole = {key: chain.store.get(key) for key in chain.store.list()}
    outputs = [k for k in whole if not k.startswith(("runs/", "inputs/")) and f"{k}.ref" in whole]
    assert len(outputs) == 3 + 3 + 3 * 4 + 1
    for key in outputs:
        damage(tmp_path / "store" / f"{key}{suffix}")
        again = chain.run()
        assert again["result"] == done["result"], key
        found = legato.Results.load(chain.store, legato.Ref.from_dict(again["result"]))
        np.testing.assert_array_equal(found.vectors, expected.vectors)
        # All but Validation's list of rejected rows, which no state reads, is as it was.
        if not (key.startswith("validation/") and key.endswith("rejected.jsonl")):
            assert chain.store.get(key) == whole[key], key
            assert chain.store.find(key) is not None, key


def test_storage_detects_a_damaged_manifest_and_a_damaged_record(
    chain: Chain, tmp_path: Path
) -> None:
    event = chain.until("Storage")
    record = tmp_path / "store/runs/r1/shards/00001.json"
    cut(record)
    with pytest.raises(CorruptObjectError, match=r"runs/r1/shards/00001\.json"):
        chain.call("Storage", event)
    for shard in chain.shards(event):
        for stage in SHARD_STAGES:
            shard = chain.call(stage, shard)  # noqa: PLW2901
    assert chain.call("Storage", event)["status"] == "complete"
    flip(tmp_path / "store" / event["run"]["manifest_key"])
    with pytest.raises(CorruptObjectError):
        chain.call("Storage", event)


def test_results_detect_a_damaged_part_and_a_damaged_manifest(chain: Chain, tmp_path: Path) -> None:
    done = chain.run()
    result = legato.Ref.from_dict(done["result"])
    part = next(k for k in chain.store.list("validation/") if k.endswith(".parquet"))
    flip(tmp_path / "store" / part)
    with pytest.raises(CorruptObjectError, match="part"):
        legato.Results.load(chain.store, result)
    cut(tmp_path / "store" / key_of(chain.store, done["result"]))
    with pytest.raises(CorruptObjectError, match="manifest"):
        legato.Results.load(chain.store, result)


@pytest.mark.parametrize("data", [b"{}", b"[]", b"not json", b"\xff", b'{"legato_manifest": 2}'])
def test_what_is_no_result_is_refused(data: bytes, store: legato.Store) -> None:
    ref = store.put(data, "storage/x", media_type="application/json")
    with pytest.raises(InputError):
        legato.Results.load(store, ref)


# Storage


def test_a_shard_without_a_part_makes_the_result_incomplete_until_it_is_there(
    chain: Chain,
) -> None:
    ingested = chain.ingest()
    events = chain.shards(ingested)
    for index in (0, 2):
        for stage in SHARD_STAGES:
            events[index] = chain.call(stage, events[index])
    partial = chain.call("Storage", ingested)
    assert partial["status"] == "incomplete"
    assert partial["missing"] == [1]
    counts = partial["counts"]["storage"]
    assert (counts["in"], counts["out"], counts["rejected"]) == (5, 3, 2)
    found = legato.Results.load(chain.store, legato.Ref.from_dict(partial["result"]))
    assert found.ids == ["id-0", "id-1", "id-4"]
    assert found.manifest["status"] == "incomplete"
    assert found.manifest["missing"] == [1]
    for stage in SHARD_STAGES:
        events[1] = chain.call(stage, events[1])
    whole = chain.call("Storage", ingested)
    assert whole["status"] == "complete"
    assert whole["result"]["uri"] != partial["result"]["uri"]


def test_a_run_without_any_part_has_an_empty_result(chain: Chain) -> None:
    done = chain.call("Storage", chain.ingest())
    found = legato.Results.load(chain.store, legato.Ref.from_dict(done["result"]))
    assert done["missing"] == [0, 1, 2]
    assert found.ids == []
    assert found.nearest(np.ones(32, np.float32)) == []


def test_the_output_names_few_of_many_missing_shards_and_the_manifest_all(chain: Chain) -> None:
    chain = chain.other(shard_records=1)
    done = chain.call("Storage", chain.ingest([f"text {i}" for i in range(50)]))
    assert done["missing"] == list(range(20))
    manifest = json.loads(chain.store.get(legato.Ref.from_dict(done["result"])))
    assert manifest["missing"] == list(range(50))


# Validation


def validated(chain: Chain, rows: Any, name: str = "vectors") -> dict[str, Any]:
    """Validate rows as the vectors of the first shard, which has two records."""
    event = chain.until("Validation")
    data = native.write_safetensors({name: rows})
    key = f"inference/{uuid.uuid4().hex}/vectors.safetensors"
    event["vectors"] = chain.store.commit(
        key, data, media_type="application/vnd.safetensors"
    ).to_dict()
    return chain.call("Validation", event)


def rejected(chain: Chain, answer: dict[str, Any]) -> list[dict[str, Any]]:
    folder = key_of(chain.store, answer["result"]).rpartition("/")[0]
    lines = chain.store.get(f"{folder}/rejected.jsonl").splitlines()
    return [json.loads(line) for line in lines]


UNIT = np.eye(32, dtype=np.float32)[0]


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (UNIT * np.float32("nan"), "not_finite"),
        (np.where(UNIT > 0, np.float32("inf"), np.float32(0)), "not_finite"),
        (UNIT * np.float32(3e38), "not_normalized"),
        (UNIT * 0, "not_normalized"),
        (UNIT * np.float32(1.01), "not_normalized"),
        (UNIT * np.float32(1.0005), None),
        (UNIT * -1, None),
    ],
)
def test_rows_that_break_a_rule_are_rejected_and_counted(
    row: Any, reason: str | None, chain: Chain
) -> None:
    answer = validated(chain, np.stack([row, UNIT]))
    counts = answer["counts"]["validation"]
    part = native.read_parquet(chain.store.get(legato.Ref.from_dict(answer["result"])))
    if reason is None:
        assert (counts["out"], counts["rejected"]) == (2, 0)
        assert rejected(chain, answer) == []
        np.testing.assert_array_equal(part["vector"], np.stack([row, UNIT]))
    else:
        assert (counts["in"], counts["out"], counts["rejected"]) == (2, 1, 1)
        assert rejected(chain, answer) == [{"row": 0, "id": "id-0", "reason": reason}]
        assert part["id"] == ["id-1"]
        np.testing.assert_array_equal(part["vector"], UNIT[None])


def test_a_shard_of_which_nothing_passes_is_an_empty_part_of_a_complete_result(
    chain: Chain,
) -> None:
    answer = validated(chain, np.zeros((2, 32), np.float32))
    assert answer["result"]["records"] == 0
    assert len(rejected(chain, answer)) == 2
    ingested = chain.ingest()
    for event in chain.shards(ingested)[1:]:
        for stage in SHARD_STAGES:
            event = chain.call(stage, event)  # noqa: PLW2901
    done = chain.call("Storage", ingested)
    found = legato.Results.load(chain.store, legato.Ref.from_dict(done["result"]))
    assert done["status"] == "complete"
    assert found.ids == ["id-2", "id-3", "id-4"]
    assert done["counts"]["validation"]["rejected"] == 2
    assert done["counts"]["storage"]["rejected"] == 2


@pytest.mark.parametrize(
    ("rows", "name", "reason"),
    [
        (np.stack([UNIT] * 3), "vectors", "has 2 records, .* has 3 vectors"),
        (np.zeros((0, 32), np.float32), "vectors", "has 2 records, .* has 0 vectors"),
        (UNIT, "vectors", "no float32 array 'vectors'"),
        (np.stack([UNIT] * 2).astype(np.float64), "vectors", "no float32 array 'vectors'"),
        (np.stack([UNIT] * 2), "other", "no float32 array 'vectors'"),
    ],
)
def test_vectors_that_do_not_fit_are_refused(
    rows: Any, name: str, reason: str, chain: Chain
) -> None:
    with pytest.raises(InputError, match=reason):
        validated(chain, rows, name)


def test_a_model_that_does_not_normalise_is_not_held_to_it(
    store: legato.Store, model: Path
) -> None:
    modules = json.loads((model / "modules.json").read_text())[:-1]
    (model / "modules.json").write_text(json.dumps(modules))
    answer = validated(Chain(store, model), np.stack([UNIT * 5, UNIT * np.float32("nan")]))
    assert rejected(Chain(store, model), answer) == [
        {"row": 1, "id": "id-1", "reason": "not_finite"}
    ]


# Ingestion


def test_ingestion_counts_what_it_rejects_and_says_where_and_why(chain: Chain) -> None:
    lines = [
        b'{"id": "a", "text": "good one"}',
        b'{"id": "b"}',
        b"{broken hunter2",
        b'{"id": "a", "text": "hunter2"}',
        b"\xff\xfe",
        b'{"id": "c", "text": ""}',
        b'{"id": "d", "text": "a good one too"}',
    ]
    source = chain.input(b"\n".join(lines))
    answer = chain.call("Ingestion", {"run": {"id": "r"}, "input": source.to_dict()})
    counts = answer["counts"]["ingestion"]
    assert (counts["in"], counts["out"], counts["rejected"]) == (7, 2, 5)
    folder = answer["run"]["manifest_key"].rpartition("/")[0]
    data = chain.store.get(f"{folder}/rejected.jsonl")
    found = [(r["position"], r["id"], r["reason"]) for r in map(json.loads, data.splitlines())]
    assert found == [
        (2, "b", "missing_text"),
        (3, None, "invalid_json"),
        (4, "a", "duplicate_id"),
        (5, None, "not_utf8"),
        (6, "c", "empty_text"),
    ]
    assert b"hunter2" not in data
    summary = json.loads(chain.store.get(f"{folder}/summary.json"))
    assert summary["rejected"] == {reason: 1 for _, _, reason in found}


@pytest.mark.parametrize(
    ("data", "name", "reason"),
    [
        (b"", "data.jsonl", "is empty"),
        (b"\n \n", "data.jsonl", "is empty"),
        (b"text\n", "data.csv", "is empty"),
        (
            b'{"id": 1}\n{"x": "hunter2"}',
            "data.jsonl",
            "none of the 2 records .* position 1, .*missing_text",
        ),
        (b"name\nhunter2", "data.csv", "no column 'text'"),
        (b"hunter2", "data.parquet", "Parquet"),
        (b"hunter2", "data.pdf", "ending '.pdf' is unknown"),
        (b"hunter2", "data", "no ending"),
    ],
)
def test_an_input_without_a_usable_record_is_refused_with_the_reason(
    data: bytes, name: str, reason: str, chain: Chain
) -> None:
    event = {"run": {"id": "r"}, "input": chain.input(data, name).to_dict()}
    with pytest.raises(InputError, match=f"(?i){reason}") as caught:
        chain.call("Ingestion", event)
    assert "hunter2" not in str(caught.value)
    assert chain.store.list("ingestion/") == []


def test_a_shard_has_few_bytes_whatever_the_number_of_records(chain: Chain) -> None:
    texts = ["word " * 150_000] * 12  # 750 kB each
    chain = chain.other(shard_records=100)
    ingested = chain.ingest(texts)
    sizes = [event["shard"]["ref"]["bytes"] for event in chain.shards(ingested)]
    assert [event["shard"]["records"] for event in chain.shards(ingested)] == [5, 5, 2]
    assert max(sizes) < 5 << 20


# Events


@pytest.mark.parametrize(
    ("stage", "path"),
    [
        ("Ingestion", "input"),
        ("Preprocessing", "shard.ref"),
        ("Inference", "tokens"),
        ("Validation", "shard.ref"),
        ("Storage", "run.manifest"),
    ],
)
@pytest.mark.parametrize("value", [None, "hunter2", {}, [], {"ref": "hunter2"}])
def test_an_event_without_what_the_stage_needs_is_refused_by_path(
    stage: str, path: str, value: Any, chain: Chain
) -> None:
    first = path.partition(".")[0]
    event = {"run": {"id": "r"}, first: value}
    if first == "run":
        event = {"run": {"id": "r", "manifest": value}}
    with pytest.raises(InputError, match=f"no reference at {path}") as caught:
        chain.call(stage, event)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("run", [{}, {"id": ""}, {"id": 7}, {"id": "a/b"}])
@pytest.mark.parametrize("stage", ["Validation", "Storage"])
def test_a_stage_that_writes_or_reads_of_the_run_needs_its_id(
    stage: str, run: dict[str, Any], chain: Chain
) -> None:
    event = chain.until(stage)
    event["run"] = {**event["run"], **run}
    if not run:
        del event["run"]["id"]
    with pytest.raises(InputError, match=r"no run\.id"):
        chain.call(stage, event)


@pytest.mark.parametrize("index", [None, "0", -1, 1.5, True, {}])
def test_validation_needs_the_number_of_the_shard(index: Any, chain: Chain) -> None:
    event = chain.until("Validation")
    event["shard"]["index"] = index
    with pytest.raises(InputError, match=r"no shard\.index"):
        chain.call("Validation", event)


@pytest.mark.parametrize("data", [b"hunter2", b"[]\n", b'{"id": 1}\n', b"\xff"])
def test_a_shard_that_is_none_is_refused(data: bytes, chain: Chain) -> None:
    event = chain.until("Preprocessing")
    event["shard"]["ref"] = chain.store.put(data, "ingestion/x").to_dict()
    with pytest.raises(InputError, match="is no shard of records") as caught:
        chain.call("Preprocessing", event)
    assert "hunter2" not in str(caught.value)


def test_tokens_that_are_none_are_refused(chain: Chain) -> None:
    event = chain.until("Inference")
    event["tokens"] = chain.store.put(b"hunter2", "preprocessing/x").to_dict()
    with pytest.raises(LegatoError) as caught:
        chain.call("Inference", event)
    assert type(caught.value) is InputError
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("stage", SHARD_STAGES)
def test_a_stage_without_a_model_says_which_setting_is_missing(stage: str, chain: Chain) -> None:
    event = chain.until(stage)
    with pytest.raises(SettingsError, match="LEGATO_MODEL_ID is not set"):
        STEPS[stage].bind(Settings(store=chain.store.url), chain.store)(event, Context())
