"""Stores through Python. What every store does is tested in `tests/core`; here is what crosses the border."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from legato import Store
from legato.errors import (
    AccessDeniedError,
    CorruptObjectError,
    InputError,
    LegatoError,
    ObjectNotFoundError,
    StoreFullError,
)

MIB = 1 << 20


def local(folder: Path) -> Store:
    return Store.open(folder.as_uri())


class TestCalls:
    def test_what_is_stored_comes_back(self, store: Store) -> None:
        ref = store.put(b"data", "a/b", media_type="text/plain", records=1, dtype="u1", shape=[4])
        assert (ref.records, ref.dtype, ref.shape) == (1, "u1", (4,))
        assert ref.uri == f"{store.url}/a/b"
        assert store.get(ref) == store.get("a/b") == b"".join(store.chunks(ref)) == b"data"
        assert store.key_of(ref) == "a/b"
        assert store.exists("a/b")
        assert not store.exists("a")
        assert store.list() == store.list("a/") == ["a/b"]
        store.delete("a/b")
        store.delete("a/b")
        assert store.list() == []

    def test_a_commit_is_made_once(self, store: Store) -> None:
        assert store.find("k") is None
        first = store.commit("k", b"first")
        assert store.commit("k", b"second") == first == store.find("k")
        assert store.get("k") == b"first"

    def test_a_file(self, store: Store, tmp_path: Path) -> None:
        path = tmp_path / "source"
        path.write_bytes(b"x" * 100_000)
        assert store.put_file(path, "k") == store.put(path.read_bytes(), "k")
        for wrong in (tmp_path, tmp_path / "none", Path("/dev/zero")):
            with pytest.raises(InputError, match="check the path"):
                store.put_file(wrong, "k")

    def test_chunks_are_verified_and_end_at_the_first_that_is_not(self, store: Store) -> None:
        data = bytearray(17 * MIB)
        ref = store.put(bytes(data), "k")
        assert [len(chunk) for chunk in store.chunks(ref)] == [8 * MIB, 8 * MIB, MIB]
        data[9 * MIB] = 1
        store.put(bytes(data), "k")
        chunks = store.chunks(ref)
        # S3 says at once that it is another object.
        if not store.url.startswith("s3:"):
            assert len(next(chunks)) == 8 * MIB
        with pytest.raises(CorruptObjectError, match=r"crc64nvme|version"):
            next(chunks)
        # One that is left out must not go unseen.
        assert list(chunks) == []

    def test_typed_errors(self, store: Store) -> None:
        ref = store.put(b"data", "k")
        for source in ("none", "k/none"):
            with pytest.raises(ObjectNotFoundError, match=source):
                store.get(source)
        store.put(b"Data", "k")
        with pytest.raises(
            CorruptObjectError,
            match=r"(crc64nvme [0-9a-f]{16}|version another), the reference says",
        ):
            store.get(ref)
        store.delete("k")
        with pytest.raises(ObjectNotFoundError):
            store.get(ref)
        with pytest.raises(InputError, match="outside of the store"):
            Store.open("memory://elsewhere").get(ref)
        with pytest.raises(InputError, match="give a Ref or a key"):
            store.get(5)  # type: ignore[arg-type]

    @pytest.mark.parametrize(
        "key", ["", "/a", "a/", "../a", "a\0", "a\nb", ".legato-x", "x" * 241, "\ud800"]
    )
    def test_keys(self, store: Store, key: str) -> None:
        for call in (store.get, store.exists, store.find, store.delete):
            with pytest.raises(InputError):
                call(key)
        for write in (lambda: store.put(b"", key), lambda: store.commit(key, b"")):
            with pytest.raises(InputError):
                write()
        assert store.list() == []

    @pytest.mark.parametrize(
        "url", ["", "x", "s3://b", "file://x", "memory://a/b", "file:///\udcff"]
    )
    def test_urls(self, url: str) -> None:
        with pytest.raises(InputError):
            Store.open(url)

    def test_a_store_travels(self, store: Store) -> None:
        ref = store.put(b"data", "k")
        again = pickle.loads(pickle.dumps(store))
        assert again.url == store.url
        assert again.get(ref) == b"data"


class TestAtOnce:
    def test_threads(self, store: Store) -> None:
        def use(i: int) -> bool:
            key = f"{i % 4}"
            ref = store.commit(key, key.encode() * 100_000)
            return store.get(ref) == key.encode() * 100_000 and f"{key}.ref" in store.list()

        with ThreadPoolExecutor(16) as pool:
            assert all(pool.map(use, range(200)))

    def test_processes(self, tmp_path: Path) -> None:
        code = """
import sys
from legato import Store
store = Store.open(sys.argv[1])
sys.stdin.readline()
for i in range(50):
    print(store.commit(f"k{i}", sys.argv[2].encode() * 10_000).sha256)
"""
        store = local(tmp_path)
        writers = [
            subprocess.Popen(
                [sys.executable, "-c", code, store.url, name],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            )
            for name in "abc"
        ]  # fmt: skip
        outputs = {writer.communicate("go\n", timeout=60)[0] for writer in writers}
        assert [writer.returncode for writer in writers] == [0, 0, 0]
        assert len(outputs) == 1
        for i, sha256 in enumerate(outputs.pop().split()):
            ref = store.find(f"k{i}")
            assert ref is not None
            assert ref.sha256 == sha256
            assert len(set(store.get(ref))) == 1

    @pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
    def test_a_child_after_fork(self, store: Store) -> None:
        ref = store.put(b"data", "k")
        child = os.fork()
        if child == 0:
            code = 1
            try:
                same = store.get(ref) == b"data" and store.commit("c", b"x").bytes == 1
                code = 0 if same else 2
            finally:
                os._exit(code)
        end = time.monotonic() + 20
        while (found := os.waitpid(child, os.WNOHANG)) == (0, 0) and time.monotonic() < end:
            time.sleep(0.01)
        assert found == (child, 0)
        assert store.get(ref) == b"data"
        assert store.exists("c") != store.url.startswith("memory:")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 1 MiB of its own."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("only root can mount a small file system")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


class TestDisk:
    def test_full(self, small_disk: Path, tmp_path: Path) -> None:
        store = local(small_disk / "store")
        kept = store.commit("kept", b"x" * (600 << 10))
        source = tmp_path / "source"
        source.write_bytes(b"y" * MIB)
        for write in (
            lambda: store.put(b"y" * MIB, "k"),
            lambda: store.commit("k", b"y" * MIB),
            lambda: store.put_file(source, "k"),
            lambda: store.put(b"y" * MIB, "kept"),
        ):
            with pytest.raises(StoreFullError, match="free some and run again"):
                write()
        assert store.list() == ["kept", "kept.ref"]
        assert list((small_disk / "store" / ".legato-staging").iterdir()) == []
        assert store.find("kept") == kept
        store.delete("kept")
        assert store.commit("k", b"y" * (600 << 10)).bytes == 600 << 10

    def test_read_only(self, small_disk: Path) -> None:
        store = local(small_disk)
        ref = store.commit("k", b"data")
        subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
        for write in (
            lambda: store.put(b"", "k"),
            lambda: store.commit("other", b""),
            lambda: store.delete("k"),
            lambda: local(small_disk / "new").put(b"", "k"),
        ):
            with pytest.raises(AccessDeniedError, match="was refused"):
                write()
        assert store.get(ref) == b"data"
        assert store.commit("k", b"else") == ref

    def test_forbidden(self, tmp_path: Path) -> None:
        store = local(tmp_path / "store")
        ref = store.put(b"data", "a/k")
        (tmp_path / "store").chmod(0o000)
        if os.access(tmp_path / "store", os.R_OK):
            pytest.skip("no permission binds root")
        for mode, call in (
            (0o500, lambda: store.put(b"", "new")),
            (0o000, lambda: store.get(ref)),
            (0o000, store.list),
        ):
            (tmp_path / "store").chmod(mode)
            with pytest.raises(AccessDeniedError, match="was refused"):
                call()
        (tmp_path / "store").chmod(0o700)
        assert store.get(ref) == b"data"

    def test_a_name_as_file_and_folder(self, tmp_path: Path) -> None:
        store = local(tmp_path)
        store.put(b"", "a")
        with pytest.raises(InputError, match="file and folder") as caught:
            store.put(b"", "a/b")
        assert not LegatoError.retryable
        assert not caught.value.retryable
