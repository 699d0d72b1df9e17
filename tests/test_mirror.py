"""Models in a store, and their copies on a function's disk."""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import legato
from legato import ModelFiles, Store
from legato._mirror import INDEX, copied, mirror_model
from legato._scope import Scope
from legato.errors import (
    AccessDeniedError,
    CorruptObjectError,
    ModelError,
    SettingsError,
    StoreFullError,
)
from legato.stages import _models
from tests.test_stages import SHARD_STAGES, TEXTS, Chain


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The temporary folder of a function that has just been started."""
    folder = tmp_path / "tmp"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder / "legato-models"


@pytest.fixture
def cold() -> Iterator[Callable[[], None]]:
    """Make this process one that has loaded no model."""

    def forget() -> None:
        for loaded in (_models._files, _models._tokenizers, _models._engines, _models._heads):
            loaded.clear()

    forget()
    yield forget
    forget()


def scope(store: Store) -> Scope:
    return Scope.of(store, "inference", ["models"], ["inference"])


def names(folder: Path) -> set[str]:
    return {str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()}


def test_a_mirror_is_the_same_model(store: Store, tiny_bert: Path, home: Path) -> None:
    url = mirror_model(tiny_bert, store)
    files = ModelFiles.from_dir(tiny_bert)
    assert url == f"{store.url}/models/{files.digest.removeprefix('sha256:')}"
    copy = copied(scope(store), url, files.digest, weights=True)
    assert copy.digest == files.digest
    texts = copied(scope(store), url, files.digest, weights=False)
    assert texts.tokenizer_digest == files.tokenizer_digest
    (light,) = home.glob("*-texts")
    assert "model.safetensors" not in names(light)
    # Nothing is left of the way there.
    left = {p.name.partition(".")[2] for p in home.iterdir()}
    assert left == {"", "lock"}


def test_the_layout_with_a_folder_of_the_transformer(
    store: Store, tiny_bert: Path, tmp_path: Path, home: Path
) -> None:
    model = tmp_path / "nested"
    shutil.copytree(tiny_bert, model / "0_Transformer")
    modules = [
        {"idx": 0, "name": "0", "path": "0_Transformer", "type": "a.models.Transformer"},
        {"idx": 1, "name": "1", "path": "1_Pooling", "type": "a.models.Pooling"},
    ]
    (model / "modules.json").write_text(json.dumps(modules))
    (model / "1_Pooling").mkdir()
    (model / "1_Pooling" / "config.json").write_text('{"pooling_mode_cls_token": true}')
    files = ModelFiles.from_dir(model)
    copy = copied(scope(store), mirror_model(model, store), files.digest, weights=True)
    assert (copy.digest, copy.pooling) == (files.digest, "cls")


def test_it_is_stored_once(store: Store, tiny_bert: Path) -> None:
    url = mirror_model(tiny_bert, store)
    before = store.entries("models/")
    assert mirror_model(tiny_bert, store) == url
    assert store.entries("models/") == before
    # What was deleted, or never stored, is stored now.
    for key, _, _ in before:
        store.delete(key)
        mirror_model(tiny_bert, store)
        assert [key for key, _, _ in store.entries("models/")] == [key for key, _, _ in before]
    store.put(b"{", f"{url.removeprefix(store.url + '/')}/{INDEX}")
    mirror_model(tiny_bert, store)
    assert json.loads(store.get(f"{url.removeprefix(store.url + '/')}/{INDEX}"))


@pytest.mark.usefixtures("home")
def test_stages_run_on_a_mirror_as_on_a_folder(
    store: Store, tiny_bert: Path, cold: Callable[[], None]
) -> None:
    digest = ModelFiles.from_dir(tiny_bert).digest
    url = mirror_model(tiny_bert, store)
    chain = Chain(store, tiny_bert).other(model_id=url, model_revision=digest)
    done = chain.run()
    found = legato.Results.load(store, legato.Ref.from_dict(done["result"]))
    cold()
    folder = Chain(store, tiny_bert).run(run_id="r2")
    # The keys name the model by its digest, so what was made of one serves the other.
    assert [folder["counts"][s.lower()]["cached"] for s in SHARD_STAGES] == [3, 3, 3]
    expected = legato.pipeline("feature-extraction", model=tiny_bert)(TEXTS)
    assert (abs(found.vectors - expected) < 1e-6).all()


@pytest.mark.usefixtures("home")
def test_only_inference_copies_the_weights(
    store: Store, tiny_bert: Path, cold: Callable[[], None], home: Path
) -> None:
    chain = Chain(store, tiny_bert).other(model_id=mirror_model(tiny_bert, store))
    copies: dict[str, set[str]] = {}
    ingested = chain.ingest()
    event = chain.shards(ingested)[0]
    copies["Ingestion"] = names(home)
    for stage in SHARD_STAGES:
        cold()
        shutil.rmtree(home)
        event = chain.call(stage, event)
        copies[stage] = names(home)
    weights = {s for s, found in copies.items() if any(n.endswith("safetensors") for n in found)}
    assert weights == {"Inference"}


def break_size(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1])


def break_byte(folder: Path) -> None:
    data = bytearray((folder / "tokenizer.json").read_bytes())
    data[-2] ^= 1
    (folder / "tokenizer.json").write_bytes(data)


def break_file(folder: Path) -> None:
    (folder / "config.json").unlink()


@pytest.mark.parametrize("damage", [break_size, break_byte, break_file, shutil.rmtree])
@pytest.mark.parametrize("weights", [True, False])
def test_a_damaged_copy_is_made_anew(
    damage: Callable[[Path], None], weights: bool, store: Store, tiny_bert: Path, home: Path
) -> None:
    if damage is break_size and not weights:
        pytest.skip("there are no weights")
    url = mirror_model(tiny_bert, store)
    copied(scope(store), url, None, weights=weights)
    (folder,) = (p for p in home.iterdir() if p.is_dir())
    before = names(folder)
    damage(folder)
    # Of a process that was killed in the middle.
    (folder.parent / f".{folder.name}.half").mkdir()
    again = copied(scope(store), url, None, weights=weights)
    assert again.tokenizer_digest == ModelFiles.from_dir(tiny_bert).tokenizer_digest
    assert names(folder) == before
    assert not list(home.glob(".*"))


def test_what_is_there_is_not_copied_again(store: Store, tiny_bert: Path, home: Path) -> None:
    url = mirror_model(tiny_bert, store)
    copied(scope(store), url, None, weights=True)
    for key in store.list("models/"):
        if not key.endswith(INDEX):
            store.delete(key)
    copied(scope(store), url, None, weights=True)


def _copy(url: str, store_url: str, home: str, results: Any) -> None:
    tempfile.tempdir = home
    try:
        files = copied(scope(Store.open(store_url)), url, None, weights=True)
        results.put(files.digest)
    except Exception as error:  # noqa: BLE001 - the parent fails with it
        results.put(repr(error))


def test_several_processes_at_once(tmp_path: Path, tiny_bert: Path) -> None:
    store = Store.open((tmp_path / "store").as_uri())
    url, home = mirror_model(tiny_bert, store), tmp_path / "tmp"
    home.mkdir()
    spawn = multiprocessing.get_context("spawn")
    results = spawn.Queue()
    workers = [
        spawn.Process(target=_copy, args=(url, store.url, str(home), results)) for _ in range(4)
    ]
    for worker in workers:
        worker.start()
    found = {results.get(timeout=60) for _ in workers}
    for worker in workers:
        worker.join()
    assert found == {ModelFiles.from_dir(tiny_bert).digest}


@pytest.mark.usefixtures("home")
def test_what_is_wrong_is_said(store: Store, tiny_bert: Path) -> None:
    url = mirror_model(tiny_bert, store)
    key = f"{url.removeprefix(store.url + '/')}/{INDEX}"
    with pytest.raises(ModelError, match="LEGATO_MODEL_REVISION says sha256:ab"):
        copied(scope(store), url, "sha256:ab", weights=False)
    with pytest.raises(SettingsError, match="where no model is"):
        copied(scope(store), f"{store.url}/models/nothing", None, weights=False)
    with pytest.raises(SettingsError, match="a mirror lies below"):
        copied(scope(store), "s3://other/models/x", None, weights=False)
    with pytest.raises(AccessDeniedError, match="reads"):
        copied(Scope.of(store, "own", [], ["own"]), url, None, weights=False)
    index = json.loads(store.get(key))
    config = index["files"]["config.json"]
    for damaged in (
        {**index, "digest": "sha256:ab"},
        {**index, "files": {**index["files"], "../../etc/passwd": config}},
        {**index, "files": {**index["files"], "/etc/passwd": config}},
        {**index, "files": []},
        [],
    ):
        store.put(json.dumps(damaged).encode(), key)
        with pytest.raises(CorruptObjectError, match=r"index of model .* is damaged"):
            copied(scope(store), url, None, weights=False)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_disk_that_may_not_be_written(store: Store, tiny_bert: Path, home: Path) -> None:
    url = mirror_model(tiny_bert, store)
    home.parent.chmod(0o500)
    with pytest.raises(AccessDeniedError, match="TMPDIR"):
        copied(scope(store), url, None, weights=True)


def test_a_disk_that_is_full(
    store: Store, tiny_bert: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import errno

    url = mirror_model(tiny_bert, store)

    def full(*_: Any, **__: Any) -> Any:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "rename", full)
    with pytest.raises(StoreFullError, match="more ephemeral storage"):
        copied(scope(store), url, None, weights=True)
    assert not list(home.glob(".*"))
