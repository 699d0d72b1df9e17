"""Ingestion: shards by tokens, and inputs that lie where somebody else has put them."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import legato
from legato.errors import (
    AccessDeniedError,
    InputError,
    ModelError,
    ObjectNotFoundError,
    StoreUnavailableError,
)
from legato.stages._at_once import mapped
from legato.stages._readers import Record
from legato.stages._shards import Limits, cut
from tests import task_models
from tests.servers import ministack
from tests.servers.proxy import FaultProxy
from tests.servers.seaweedfs import S3Server
from tests.test_stages import TEXTS, Chain


@pytest.fixture
def local(tmp_path: Path) -> legato.Store:
    return legato.Store.open((tmp_path / "store").as_uri())


# Where the cuts are


def plainly(weights: list[tuple[int, int]], limits: Limits) -> list[list[int]]:
    """The reference: (tokens, bytes) of records to the indices in each shard, one by one."""
    shards: list[list[int]] = []
    for index, (tokens, size) in enumerate(weights):
        last = shards[-1] if shards else []
        held = [weights[i] for i in last]
        fits = (
            sum(t for t, _ in held) + tokens <= limits.tokens
            and len(held) < limits.records
            and sum(s for _, s in held) + size <= limits.size
        )
        if last and fits:
            last.append(index)
        else:
            shards.append([index])
    return shards


def record(index: int, size: int) -> Record:
    return Record(position=index, id=str(index), text="x" * size)


@given(
    weights=st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30)), max_size=40),
    limits=st.builds(Limits, st.integers(1, 60), st.integers(1, 8), st.integers(1, 60)),
    batch_bytes=st.integers(0, 100),
)
def test_cuts_are_those_of_the_plain_reference(
    weights: list[tuple[int, int]], limits: Limits, batch_bytes: int
) -> None:
    asked: list[int] = []

    def count(texts: Any) -> list[int]:
        first = len(asked)
        asked.extend(range(first, first + len(texts)))
        return [weights[i][0] for i in asked[first:]]

    records = iter([record(i, size) for i, (_, size) in enumerate(weights)])
    shards = list(cut(records, [], count, limits, batch_bytes=batch_bytes))
    assert [[int(r.id) for r in shard.records] for shard in shards] == plainly(weights, limits)
    for shard in shards:
        assert shard.tokens == sum(weights[int(r.id)][0] for r in shard.records)


@pytest.mark.parametrize("task", ["feature-extraction", "text-classification", "zero-shot"])
@pytest.mark.parametrize("limit", [None, 6])
def test_counts_are_those_of_preprocessing(
    task: str, limit: int | None, local: legato.Store, tiny_bert: Path, tmp_path: Path
) -> None:
    settings: dict[str, Any] = {"max_length": limit, "shard_records": 3}
    model, rows = tiny_bert, 1
    if task != "feature-extraction":
        names = {"0": "contradiction", "1": "neutral", "2": "entailment"}
        made = task_models.make(
            tmp_path / "model", "bert", "sequence-classification", id2label=names
        )
        model = made.path
        settings |= {"task": task}
    if task == "zero-shot":
        rows = 3
        settings |= {
            "task": "zero-shot-classification",
            "parameters": {"candidate_labels": ["rain", "light", "the old city"]},
        }
        settings["max_length"] = None if limit is None else 12
    chain = Chain(local, model, **settings)
    for event in chain.shards(chain.ingest()):
        tokens = chain.call("Preprocessing", event)["tokens"]
        found = legato.Tokens.from_bytes(local.get(legato.Ref.from_dict(tokens)))
        assert event["shard"]["tokens"] == found.lengths.sum()
        assert len(found) == rows * event["shard"]["records"]


def test_a_prompt_of_the_model_counts(local: legato.Store, tiny_bert: Path, tmp_path: Path) -> None:
    import shutil

    model = Path(shutil.copytree(tiny_bert, tmp_path / "model"))
    prompts = {"prompts": {"p": "the old city: "}, "default_prompt_name": "p"}
    (model / "config_sentence_transformers.json").write_text(json.dumps(prompts))
    plain, prompted = Chain(local, tiny_bert), Chain(local, model)
    without, within = (c.shards(c.ingest())[0]["shard"]["tokens"] for c in (plain, prompted))
    # Two texts; the prompt has words of the vocabulary and a colon.
    assert within >= without + 2 * 4


def test_a_record_above_the_limit_is_a_shard_of_its_own(chain_of: Callable[..., Chain]) -> None:
    chain = chain_of(shard_tokens=8, shard_records=100)
    texts = ["rain", "light", "the quick old man walked through the rain by night", "wind"]
    shards = [event["shard"] for event in chain.shards(chain.ingest(texts))]
    assert [shard["records"] for shard in shards] == [2, 1, 1]
    assert shards[1]["tokens"] > 8 >= max(shards[0]["tokens"], shards[2]["tokens"])


@pytest.fixture
def chain_of(local: legato.Store, tiny_bert: Path) -> Callable[..., Chain]:
    return lambda **settings: Chain(local, tiny_bert, **settings)


def test_it_needs_no_weights(local: legato.Store, tiny_bert: Path, tmp_path: Path) -> None:
    import shutil

    model = Path(shutil.copytree(tiny_bert, tmp_path / "model"))
    (model / "model.safetensors").unlink()
    files = legato.ModelFiles.from_dir(model, weights=False)
    whole = legato.ModelFiles.from_dir(tiny_bert)
    assert files.tokenizer_digest == whole.tokenizer_digest
    assert files.max_length == whole.max_length
    with pytest.raises(ModelError, match=r"no model\.safetensors"):
        _ = files.digest
    with pytest.raises(ModelError, match=r"no model\.safetensors"):
        legato.ModelFiles.from_dir(model)
    Chain(local, model).ingest()


def test_the_order_of_results_is_that_of_the_items_and_memory_is_bounded() -> None:
    import threading

    taken: list[int] = []
    done = threading.Semaphore(0)

    def items() -> Any:
        for i in range(50):
            taken.append(i)
            yield i

    def slow(item: int) -> int:
        time.sleep(0.001 * (item % 3))
        done.release()
        return item

    for given_out, result in enumerate(mapped(slow, items(), calls=4)):
        assert result == given_out
        assert len(taken) <= given_out + 4


def test_the_first_error_of_several_calls_is_raised() -> None:
    def fails(item: int) -> int:
        if item >= 3:
            raise StoreUnavailableError(str(item))
        return item

    found = mapped(fails, range(10), calls=4)
    assert [next(found) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(StoreUnavailableError, match="3"):
        next(found)


# Objects where they lie


def lines(texts: list[str]) -> bytes:
    made = [json.dumps({"id": f"id-{i}", "text": text}) for i, text in enumerate(texts)]
    return "\n".join(made).encode()


def ingest(chain: Chain, uri: str, version: str | None = None) -> dict[str, Any]:
    source = {"uri": uri} if version is None else {"uri": uri, "version": version}
    return chain.call("Ingestion", {"run": {"id": "r1", "mode": "dataset"}, "input": source})


def test_an_object_in_the_inputs_of_the_store(store: legato.Store, tiny_bert: Path) -> None:
    chain = Chain(store, tiny_bert)
    source = store.put(lines(TEXTS), "inputs/incoming/a b.jsonl")
    before = set(store.list("inputs/"))
    found = ingest(chain, f"{store.url}/inputs/incoming/a b.jsonl")
    again = chain.call("Ingestion", {"run": {"id": "r1"}, "input": source.to_dict()})
    # The same bytes: the same shards, and nothing is written beside the input.
    assert found["run"]["manifest"] == again["run"]["manifest"]
    assert again["counts"]["ingestion"]["cached"] == 1
    assert set(store.list("inputs/")) == before


def test_other_kinds_of_files(store: legato.Store, tiny_bert: Path) -> None:
    store.put(b"the rain\nthe light\n", "inputs/in/t.txt")
    found = ingest(Chain(store, tiny_bert), f"{store.url}/inputs/in/t.txt")
    assert found["counts"]["ingestion"]["out"] == 2
    store.put(b"x", "inputs/in/t.pdf")
    with pytest.raises(InputError, match="pdf"):
        ingest(Chain(store, tiny_bert), f"{store.url}/inputs/in/t.pdf")


def test_what_is_not_there_or_not_allowed(store: legato.Store, tiny_bert: Path) -> None:
    chain = Chain(store, tiny_bert)
    with pytest.raises(ObjectNotFoundError):
        ingest(chain, f"{store.url}/inputs/nothing.jsonl")
    store.put(lines(TEXTS), "preprocessing/x.jsonl")
    with pytest.raises(AccessDeniedError, match="ingestion may not read preprocessing/"):
        ingest(chain, f"{store.url}/preprocessing/x.jsonl")
    with pytest.raises(AccessDeniedError, match="LEGATO_ALLOWED_STORES"):
        ingest(chain, "s3://somebody-elses/in.jsonl")
    # A store whose URL begins with this one's is another store.
    with pytest.raises(AccessDeniedError, match="LEGATO_ALLOWED_STORES"):
        ingest(chain, f"{store.url}-other/inputs/in.jsonl")


def test_an_allowed_store(store: legato.Store, tiny_bert: Path) -> None:
    other = legato.Store.open(f"{store.url}-other")
    other.put(lines(TEXTS), "any/where.jsonl")
    chain = Chain(store, tiny_bert, allowed_stores=(other.url,))
    found = ingest(chain, f"{other.url}/any/where.jsonl")
    assert found["counts"]["ingestion"]["out"] == len(TEXTS)
    assert other.list() == ["any/where.jsonl"]


@pytest.mark.parametrize("value", [{"uri": 7}, {"uri": "x", "version": 7}, {"url": "s3://b/k"}])
def test_a_source_that_is_none(value: Any, chain_of: Callable[..., Chain]) -> None:
    with pytest.raises(InputError, match="no reference at input, nor where an object lies"):
        chain_of().call("Ingestion", {"run": {"id": "r"}, "input": value})


def test_the_version_is_pinned_on_s3(s3: S3Server, s3_url: str, tiny_bert: Path) -> None:
    store = legato.Store.open(s3_url)
    chain, uri = Chain(store, tiny_bert), f"{s3_url}/inputs/in/x.jsonl"
    first = store.put(lines(TEXTS), "inputs/in/x.jsonl")
    assert first.version is not None
    # As an event of S3 says it: without quotes.
    etag = first.version.strip('"')
    found = ingest(chain, uri, etag)
    assert found["counts"]["ingestion"]["out"] == len(TEXTS)
    # Whatever dataset the functions were deployed with.
    assert found["run"]["dataset"] == {"id": first.uri, "version": f"sha256:{first.sha256}"}
    assert ingest(chain, uri, "")["counts"]["ingestion"]["cached"] == 1
    store.put(lines(TEXTS[:2]), "inputs/in/x.jsonl")
    with pytest.raises(InputError, match="it was replaced since"):
        ingest(chain, uri, etag)


def test_an_older_version_of_a_bucket_with_versions(
    aws_server: ministack.AwsServer, tiny_bert: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tests.conftest import use

    use(aws_server.environ(), monkeypatch)
    bucket = aws_server.bucket()
    client = aws_server.client("s3")
    client.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    put = [
        client.put_object(Bucket=bucket, Key="legato/inputs/in/x.jsonl", Body=lines(texts))
        for texts in (TEXTS, TEXTS[:2])
    ]
    store = legato.Store.open(f"s3://{bucket}/legato")
    chain, uri = Chain(store, tiny_bert), f"s3://{bucket}/legato/inputs/in/x.jsonl"
    counts = [ingest(chain, uri, one["VersionId"])["counts"]["ingestion"]["out"] for one in put]
    assert counts == [len(TEXTS), 2]
    # The object is gone, its versions are not.
    client.delete_object(Bucket=bucket, Key="legato/inputs/in/x.jsonl")
    adopted = store.adopt("inputs/in/x.jsonl", version=put[0]["VersionId"])
    assert store.get(adopted) == lines(TEXTS)
    with pytest.raises((ObjectNotFoundError, InputError)):
        store.adopt("inputs/in/x.jsonl", version="no-such-version")


@pytest.mark.parametrize("kind", ["cut_fin", "cut_rst", "slow_down", "internal_error", "reset"])
def test_an_object_that_comes_badly_is_adopted_all_the_same(
    kind: str, s3_url: str, proxy: FaultProxy
) -> None:
    store = legato.Store.open(s3_url)
    ref = store.put(bytes(range(256)) * (80 << 10), "inputs/x")
    proxy.plan.add(kind, method="GET", path="/inputs/x", times=3)
    adopted = store.adopt("inputs/x")
    assert proxy.faults == {kind: 3}
    assert (adopted.sha256, adopted.crc64nvme) == (ref.sha256, ref.crc64nvme)
    assert adopted.version == ref.version


def test_an_object_that_is_replaced_meanwhile_is_refused(
    s3: S3Server, s3_url: str, proxy: FaultProxy
) -> None:
    store = legato.Store.open(s3_url)
    store.put(bytes(40 << 20), "inputs/x")
    bucket, _, prefix = s3_url.removeprefix("s3://").partition("/")

    def replace() -> None:
        s3.client().put_object(Bucket=bucket, Key=f"{prefix}/inputs/x", Body=b"x" * (40 << 20))

    proxy.plan.add("delay_first", method="GET", path="/inputs/x", skip=1, seconds=0, then=replace)
    with pytest.raises(InputError, match="changed while it was read"):
        store.adopt("inputs/x")


def test_shards_are_stored_at_the_same_time(
    s3_url: str, tiny_bert: Path, proxy: FaultProxy
) -> None:
    chain = Chain(legato.Store.open(s3_url), tiny_bert, shard_records=1)
    source = chain.input(lines([f"rain {i}" for i in range(40)]))
    late_s = 0.1
    proxy.plan.add("delay_first", method="PUT", path="/shard-", times=None, seconds=late_s)
    event = {"run": {"id": "r1", "mode": "dataset"}, "input": source.to_dict()}
    started = time.perf_counter()
    first = chain.call("Ingestion", event)
    # An object and its reference each: one after the other they would wait for longer.
    assert time.perf_counter() - started < 2 * 40 * late_s
    assert chain.call("Ingestion", event)["run"] == first["run"]


@pytest.mark.usefixtures("s3")
def test_a_dataset_on_s3_is_not_copied_locally_either(
    s3_url: str, tiny_bert: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    legato.Store.open(f"{s3_url}-data").put(lines(TEXTS), "x.jsonl")
    workflow = legato.Workflow(
        name="w", task="feature-extraction", model=tiny_bert, dataset=f"{s3_url}-data/x.jsonl"
    )
    with pytest.raises(AccessDeniedError, match="LEGATO_ALLOWED_STORES"):
        legato.run(workflow, store=s3_url)
    monkeypatch.setenv("LEGATO_ALLOWED_STORES", f"{s3_url}-data")
    run = legato.run(workflow, store=s3_url)
    assert run.results().ids == [f"id-{i}" for i in range(len(TEXTS))]
    assert run.results().manifest["dataset"]["id"] == f"{s3_url}-data/x.jsonl"
    assert run.store.list("inputs/") == []
    other = legato.run(workflow, store=s3_url, input=f"{s3_url}-data/x.jsonl")
    assert np_equal(other, run)


def np_equal(one: legato.Run, other: legato.Run) -> bool:
    return bool((one.results().vectors == other.results().vectors).all())


def test_a_run_info_fits_into_the_overrides_of_a_task(
    tiny_bert: Path,
) -> None:
    """ECS takes 8,192 characters: our largest event with long, but real, names."""
    import uuid

    store = legato.Store.open(f"memory://{uuid.uuid4().hex}-{'p' * 400}")
    chain = Chain(store, tiny_bert)
    ingested = chain.ingest(run_id="r" * 80)
    ingested["run"] |= {
        "workflow": "w" * 80,
        "model": {"id": f"{store.url}/models/{'f' * 64}", "revision": f"sha256:{'f' * 64}"},
        "dataset": {"id": f"s3://{'b' * 63}/{'k' * 300}", "version": f"sha256:{'f' * 64}"},
    }
    event = chain.call("Preprocessing", chain.shards(ingested)[0])
    text = json.dumps(event, separators=(",", ":"))
    variables = [
        {"name": "LEGATO_EVENT", "value": text},
        {"name": "LEGATO_TASK_TOKEN", "value": "A" * 1024},
    ]
    assert len(json.dumps({"containerOverrides": [{"environment": variables}]})) < 8192
