"""The same task delivered twice at the same time: both find one output."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest

import legato
from legato.local import STEPS
from tests.test_stages import SHARD_STAGES, Chain, output

DELIVERIES = 4


def at_once(chain: Chain, stage: str, event: Any) -> list[Any]:
    """Deliver an event several times; every delivery begins before the first one ends."""
    barrier = threading.Barrier(DELIVERIES)
    answers: list[Any] = [None] * DELIVERIES

    def deliver(number: int) -> None:
        # A store of its own, as a function in another process has.
        other = Chain(legato.Store.open(chain.store.url), Path(str(chain.settings.model_id)))
        barrier.wait()
        try:
            answers[number] = other.call(stage, event)
        except Exception as error:  # noqa: BLE001 - the test fails with it
            answers[number] = error

    threads = [threading.Thread(target=deliver, args=(n,)) for n in range(DELIVERIES)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return answers


@pytest.mark.parametrize("stage", STEPS)
def test_deliveries_at_the_same_time_agree(
    stage: str, store: legato.Store, tiny_bert: Path
) -> None:
    chain = Chain(store, tiny_bert)
    if stage == "Ingestion":
        source = chain.input(b'{"id": "a", "text": "the rain"}\n{"id": "b", "text": "light"}\n')
        event: Any = {"run": {"id": "r1", "mode": "dataset"}, "input": source.to_dict()}
    else:
        event = chain.until(stage)
    answers = at_once(chain, stage, event)
    assert not [a for a in answers if isinstance(a, Exception)]
    made = [output(stage, answer) for answer in answers]
    assert all(one == made[0] for one in made)
    # One object, and a retry finds it by its .ref.
    ref = legato.Ref.from_dict(made[0])
    key = store.key_of(ref)
    assert [k for k in store.list(f"{stage.lower()}/") if k.endswith(key.rpartition("/")[2])]
    assert store.find(key) == ref
    again = chain.call(stage, event)
    assert output(stage, again) == made[0]
    assert again["counts"][stage.lower()]["cached"] == 1


def test_a_whole_run_delivered_twice(store: legato.Store, tiny_bert: Path) -> None:
    chain = Chain(store, tiny_bert)
    ingested = chain.ingest()
    for event in chain.shards(ingested):
        for stage in SHARD_STAGES:
            answers = at_once(chain, stage, event)
            assert not [a for a in answers if isinstance(a, Exception)]
            event = answers[0]  # noqa: PLW2901 - the state's output is the next input
    results = [output("Storage", answer) for answer in at_once(chain, "Storage", ingested)]
    assert all(one == results[0] for one in results)
