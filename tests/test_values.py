"""Values and their forms: what is put comes back, slices are rows of it, and nothing is read that is not needed."""

from __future__ import annotations

import doctest
import gc
import json
import subprocess
import sys
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import legato
import legato._native as native
from legato import Ref, Store, Tokens
from legato.errors import AccessDeniedError, CorruptObjectError, InputError
from legato.settings import Settings

MIB = 1 << 20
MEDIA = native.MEDIA_TYPES
SECRET = "hunter2, the words of a user"

KINDS = (
    hnp.boolean_dtypes() | hnp.integer_dtypes() | hnp.unsigned_integer_dtypes()
    | hnp.floating_dtypes(sizes=(16, 32, 64))
)  # fmt: skip
ARRAYS = hnp.arrays(KINDS, hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=6))
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | TEXTS
    | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=12,
)  # fmt: skip


def memory() -> Store:
    return Store.open("memory://values")


def same(found: Any, value: Any) -> None:
    assert found.dtype == value.dtype.newbyteorder("<")
    assert found.shape == value.shape
    assert found.tobytes() == np.ascontiguousarray(value, value.dtype.newbyteorder("<")).tobytes()


class TestRoundTrip:
    @given(ARRAYS)
    def test_arrays(self, value: Any) -> None:
        ref = memory().put(value)
        assert ref.media_type == MEDIA["array"]
        assert (ref.dtype, ref.shape) == (value.dtype.name, value.shape)
        same(ref.load(), value)
        assert not ref.load().flags.writeable

    @given(
        st.dictionaries(TEXTS.filter(lambda n: n != "__metadata__"), ARRAYS, min_size=1, max_size=4)
    )
    def test_named_arrays(self, value: dict[str, Any]) -> None:
        ref = memory().put(value)
        assert ref.media_type == MEDIA["tensors"]
        found = ref.load()
        assert found.keys() == value.keys()
        for name, array in value.items():
            same(found[name], array)

    @pytest.mark.parametrize(
        "view",
        [
            lambda a: a[:, ::2], lambda a: a.T, lambda a: a[::-1], lambda a: a[1:, 1:],
            lambda a: a.astype(">f4"), np.asfortranarray, lambda a: np.broadcast_to(a[0], (5, 6)),
        ],
    )  # fmt: skip
    def test_arrays_that_lie_otherwise(self, view: Any) -> None:
        array = view(np.arange(24, dtype="float32").reshape(4, 6))
        np.testing.assert_array_equal(memory().put(array).load(), array)

    @given(JSON)
    def test_json(self, value: Any) -> None:
        ref = memory().put(value)
        lines = isinstance(value, list) and value and all(isinstance(v, dict) for v in value)
        text = isinstance(value, str)
        assert ref.media_type == MEDIA["jsonl" if lines else "text" if text else "json"]
        assert ref.records == (len(value) if lines else None)
        assert ref.load() == value

    @given(st.lists(st.dictionaries(TEXTS, JSON), min_size=1, max_size=5))
    def test_records_are_compressed_where_that_is_asked(self, value: list[Any]) -> None:
        ref = memory().put(value, media_type=MEDIA["jsonl_zstd"])
        assert ref.uri.endswith(".jsonl.zst")
        assert ref.records == len(value)
        assert ref.load() == value
        assert memory().put(value * 200, media_type=MEDIA["jsonl_zstd"]).bytes < 200 * ref.bytes

    @pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
    def test_bytes_and_texts(self, kind: Any, store: Store) -> None:
        assert store.put(kind(b"\0\xff"), "a").load() == b"\0\xff"
        assert store.put("é").load() == "é"
        image = store.put(kind(b"x"), "b", media_type="image/png", records=2, dtype="u1", shape=[1])
        assert (image.media_type, image.records, image.dtype, image.shape) == (
            "image/png",
            2,
            "u1",
            (1,),
        )
        assert image.load() == b"x"
        assert store.put("1 2", "c", media_type="text/csv").load() == b"1 2"
        assert store.put('{"a":1}', "d", media_type=MEDIA["json"]).load() == {"a": 1}

    def test_tokens(self, store: Store, tiny_bert: Path) -> None:
        tokens = legato.Tokenizer.from_dir(tiny_bert).encode(["river", "rain and sea"])
        ref = store.put(tokens)
        assert (ref.media_type, ref.records) == (MEDIA["tokens"], 2)
        found = ref.load()
        assert isinstance(found, Tokens)
        assert found.to_bytes() == tokens.to_bytes()

    def test_tables(self, store: Store) -> None:
        table = pa.table({"id": ["a", "b"], "n": [1, 2], "v": [[1.0, 2.0], [3.0, 4.0]]})
        ref = store.put(table)
        assert (ref.media_type, ref.records) == (MEDIA["parquet"], 2)
        assert ref.load(arrow=True) == store.load(ref, arrow=True) == table
        assert store.put([{"a": 1}, {"a": 2}]).load(arrow=True) == pa.table({"a": [1, 2]})
        floats = table.set_column(2, "v", pa.array([[1, 2], [3, 4]], pa.list_(pa.float32())))
        columns = store.put(floats).load()
        assert (columns["id"], columns["n"]) == (["a", "b"], [1, 2])
        np.testing.assert_array_equal(columns["v"], np.array([[1, 2], [3, 4]], "f4"))
        with pytest.raises(InputError, match="arrow=True is for Parquet and JSON lines"):
            store.put(b"x").load(arrow=True)

    def test_what_converts_itself(self) -> None:
        class Tensor:
            def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
                return np.arange(3)

        np.testing.assert_array_equal(memory().put(Tensor()).load(), [0, 1, 2])


class TestKeys:
    def test_the_same_value_is_stored_once(self, store: Store) -> None:
        first, second = store.put({"a": 1}), store.put({"a": 1})
        assert first == second
        assert first.uri == f"{store.url}/values/{first.sha256}.json"
        assert len(store.list()) == 2  # it, and its .ref
        for other in ({"a": 2}, b'{"a":1}', '{"a":1}'):
            assert store.put(other).uri != first.uri

    def test_the_same_bytes_told_otherwise_are_another_object(self, store: Store) -> None:
        refs = [
            store.put(b"x"),
            store.put(b"x", media_type="image/png"),
            store.put(b"x", media_type="image/gif"),
            store.put(b"x", records=1),
        ]
        assert len({ref.uri for ref in refs}) == 4
        assert [store.find(store.key_of(ref)) for ref in refs] == refs

    def test_a_key_replaces(self, store: Store) -> None:
        store.put([1], "k")
        assert store.put([2], "k").load() == [2]


class TestRefusals:
    @pytest.mark.parametrize(
        ("value", "options", "said"),
        [
            (np.array([object()]), {}, "dtype object"),
            (np.array(["a"]), {}, "dtype"),
            (np.array(1, "M8[s]"), {}, "dtype datetime64"),
            ({"__metadata__": np.ones(1)}, {}, "reserves"),
            ({"a": {SECRET}}, {}, "type set"),
            ({"a": [np.ones(1)]}, {}, "type ndarray"),
            (object(), {}, "type object"),
            (float("nan"), {}, "NaN"),
            (SECRET + "\ud800", {}, "surrogate"),
            ([SECRET + "\ud800"], {}, "surrogate"),
            ({"a": 1}, {"media_type": "image/png"}, "only bytes and text"),
            ({"a": 1}, {"media_type": MEDIA["jsonl"]}, "only a list"),
            ({"a": 1}, {"media_type": MEDIA["array"]}, "is stored as application/json"),
            (np.ones(1), {"media_type": MEDIA["json"]}, "leave media_type out"),
            (b"", {"media_type": "a\nb"}, "plain text"),
        ],
        ids=lambda value: str(value)[:30],
    )  # fmt: skip
    def test_what_has_no_form(self, value: Any, options: Any, said: str, store: Store) -> None:
        with pytest.raises(InputError, match=said) as caught:
            store.put(value, **options)
        assert "hunter2" not in str(caught.value)
        assert store.list() == []

    def test_a_data_frame_would_lose_its_names(self, store: Store) -> None:
        class Frame:
            columns = ("a", "b")

            def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
                return np.ones((2, 2))

        with pytest.raises(InputError, match=r"pyarrow.Table"):
            store.put(Frame())

    def test_a_reference_is_no_value(self, store: Store) -> None:
        with pytest.raises(InputError, match="a Ref cannot be stored"):
            store.put(store.put(b"x"))

    @pytest.mark.parametrize("media_type", sorted(MEDIA.values()))
    @pytest.mark.parametrize("data", [SECRET.encode() + b"\xff", b"\xff\xfe", b"[" * 100_000, b""])
    def test_bytes_that_are_not_what_they_are_called(
        self, media_type: str, data: bytes, store: Store
    ) -> None:
        ref = store.put(data, media_type=media_type)
        if media_type == MEDIA["binary"]:
            assert ref.load() == data
            return
        if data == b"" and media_type in {MEDIA["text"], MEDIA["jsonl"]}:
            assert not ref.load()
            return
        if data[:1] == b"[" and media_type == MEDIA["text"]:
            assert ref.load() == data.decode()
            return
        with pytest.raises(InputError) as caught:
            ref.load()
        assert "hunter2" not in str(caught.value)

    def test_a_frame_that_claims_too_much_takes_no_memory(self, store: Store) -> None:
        frame = b"\x28\xb5\x2f\xfd\xe0" + (1 << 62).to_bytes(8, "little")
        ref = store.put(frame, media_type=MEDIA["jsonl_zstd"])
        with pytest.raises(InputError, match="zstd"):
            ref.load()

    def test_damage_is_found(self, store: Store) -> None:
        ref = store.put(np.arange(9), "k")
        data = bytearray(store.get("k"))
        data[-1] ^= 1
        store.put(bytes(data), "k", media_type=MEDIA["array"])
        for read in (ref.load, lambda: ref.slice(0, 1)):
            with pytest.raises(CorruptObjectError):
                read()


class TestInflate:
    def packed(self, records: list[Any]) -> bytes:
        return memory().get(memory().put(records, media_type=MEDIA["jsonl_zstd"]))

    @settings(max_examples=50, deadline=None)
    @given(st.lists(st.dictionaries(TEXTS, JSON), min_size=1, max_size=20), st.integers(1, 50))
    def test_cut_anywhere(self, records: list[Any], cut: int) -> None:
        packed = self.packed(records)
        chunks = [packed[at : at + cut] for at in range(0, len(packed), cut)]
        plain = b"".join(native.inflate(chunks))
        assert [json.loads(line) for line in plain.split(b"\n")[:-1]] == records
        with pytest.raises(InputError, match="it is cut"):
            list(native.inflate([packed[:-1]]))

    def test_a_bomb_comes_in_pieces(self) -> None:
        packed = self.packed([{"a": "x" * (64 * MIB)}])
        assert len(packed) < MIB
        assert max(map(len, native.inflate([packed]))) <= MIB

    def test_what_is_none(self) -> None:
        assert list(native.inflate([])) == []
        for chunks in ([b"hunter2"], [b"\x28\xb5\x2f\xfd" + b"\xff" * 40]):
            with pytest.raises(InputError, match="zstd") as caught:
                list(native.inflate(chunks))
            assert "hunter2" not in str(caught.value)

        def failing() -> Any:
            yield b""
            msg = "the object is gone"
            raise ConnectionError(msg)

        with pytest.raises(ConnectionError, match="gone"):
            list(native.inflate(failing()))


class TestMemory:
    def test_an_array_is_neither_copied_out_nor_in(self, tmp_path: Path) -> None:
        store = Store.open(tmp_path.as_uri())
        array = np.ones(4 * MIB)
        size = array.nbytes
        tracemalloc.start()
        try:
            ref = store.put(array, "k")
            assert tracemalloc.get_traced_memory()[1] < size // 8
            tracemalloc.reset_peak()
            found = ref.load()
            assert size <= tracemalloc.get_traced_memory()[1] < size * 9 // 8
        finally:
            tracemalloc.stop()
        np.testing.assert_array_equal(found, array)

    def test_arrays_of_an_object_share_one_memory_and_keep_it(self, store: Store) -> None:
        arrays = store.put({"a": np.arange(100), "b": np.arange(50.0)}).load()
        a, b = arrays["a"], arrays["b"]
        assert np.lib.array_utils.byte_bounds(b)[0] - np.lib.array_utils.byte_bounds(a)[0] in {
            -400,
            800,
        }
        del arrays, b
        gc.collect()
        np.testing.assert_array_equal(a, np.arange(100))
        with pytest.raises(ValueError, match="read-only"):
            a[0] = 1
        with pytest.raises(ValueError, match="WRITEABLE"):
            a.flags.writeable = True


class TestSlices:
    @given(
        hnp.arrays(KINDS, hnp.array_shapes(min_dims=1, max_dims=3, min_side=0, max_side=9)),
        st.integers(0, 12),
        st.integers(0, 12),
    )
    def test_rows_of_an_array(self, value: Any, start: int, stop: int) -> None:
        ref = memory().put(value)
        same(ref.slice(start, stop), value[start:stop])

    @settings(max_examples=30, deadline=None)
    @given(
        st.integers(0, 3_000_000), st.integers(0, 3_000_000),
        st.lists(st.sampled_from([("u1", 1), ("f4", 3), ("f8", 1), ("i2", 2)]), min_size=1, max_size=4),
    )  # fmt: skip
    def test_rows_of_large_arrays(self, start: int, length: int, kinds: list[Any]) -> None:
        arrays = {
            f"{i}": np.arange(2_000_000 * width, dtype="u8").astype(kind).reshape(-1, width)
            for i, (kind, width) in enumerate(kinds)
        }
        ref = Store.open("memory://large").put(arrays, "k")
        found, whole = ref.slice(start, start + length), ref.load()
        for name, array in whole.items():
            np.testing.assert_array_equal(found[name], array[start : start + length])

    def test_only_the_needed_chunks_are_read_and_those_are_verified(self, tmp_path: Path) -> None:
        store = Store.open(tmp_path.as_uri())
        rows = np.arange(10 * MIB, dtype="u4").reshape(-1, 1024)  # 40 MiB: five chunks and the rest
        ref = store.put(rows, "k")
        per_chunk = 8 * MIB // 4096
        path = tmp_path / "k"
        for bad in range(5):
            data = bytearray(path.read_bytes())
            data[bad * 8 * MIB + 5000] ^= 1
            path.write_bytes(data)
            for first in range(1, 4):
                rows_of = (first * per_chunk + 1, first * per_chunk + 100)
                if bad in {0, first}:  # the header's, and that of the rows
                    with pytest.raises(CorruptObjectError):
                        ref.slice(*rows_of)
                else:
                    np.testing.assert_array_equal(ref.slice(*rows_of), rows[slice(*rows_of)])
            data[bad * 8 * MIB + 5000] ^= 1
            path.write_bytes(data)

    @settings(max_examples=60, deadline=None)
    @given(st.integers(0, 1200), st.integers(0, 1200), st.integers(1, 400))
    def test_rows_of_columns(self, start: int, length: int, group: int) -> None:
        table = pa.table({"n": range(1000), "s": [str(i) for i in range(1000)]})
        sink = pa.BufferOutputStream()
        pq.write_table(table, sink, row_group_size=group)
        ref = memory().put(sink.getvalue().to_pybytes(), media_type=MEDIA["parquet"])
        found, whole = ref.slice(start, start + length), ref.load()
        assert found == {name: cells[start : start + length] for name, cells in whole.items()}

    def test_only_the_needed_row_groups_are_read(self, tmp_path: Path) -> None:
        store = Store.open(tmp_path.as_uri())
        noise = np.random.default_rng(0).integers(0, 2**62, 5_000_000)  # 40 MB that do not compress
        ref = store.put(pa.table({"n": noise}), "k")
        path = tmp_path / "k"
        data = bytearray(path.read_bytes())
        data[20 * MIB] ^= 1
        path.write_bytes(data)
        assert ref.slice(0, 3) == {"n": noise[:3].tolist()}
        assert ref.slice(4_999_999, 9_000_000) == {"n": noise[-1:].tolist()}
        with pytest.raises(CorruptObjectError):
            ref.slice(0, 5_000_000)

    @pytest.mark.parametrize(
        ("value", "said"),
        [
            ([{"a": 1}], "use load"),
            (b"x", "use load"),
            (np.array(1), "use load"),
            ({"a": np.ones(1), "b": np.ones(2)}, "differ in their first dimension"),
        ],
        ids=str,
    )
    def test_what_has_no_rows(self, value: Any, said: str, store: Store) -> None:
        with pytest.raises(InputError, match=said):
            store.put(value).slice(0, 1)

    def test_negative_rows(self, store: Store) -> None:
        ref = store.put(np.arange(3))
        for rows in ((-1, 2), (0, -1), (0, 2**70)):
            with pytest.raises(InputError, match="0 or more"):
                store.slice(ref, *rows)
        assert ref.slice(2, 1).shape == (0,)


class TestHomes:
    def test_a_reference_knows_the_store_that_made_it(self, tmp_path: Path) -> None:
        store = Store.open(tmp_path.as_uri())
        for ref in (store.put(b"x", "a"), store.commit("b", b"x"), store.find("b")):
            assert ref is not None
            assert ref.load() == b"x"

    def test_its_home_is_no_part_of_it(self, store: Store) -> None:
        bound = store.put([1])
        loose = Ref.from_json(bound.to_json())
        assert bound == loose
        assert hash(bound) == hash(loose)
        assert bound.to_dict() == loose.to_dict()
        assert store.bind(loose).load() == loose.load(store) == store.load(loose) == [1]

    @pytest.mark.parametrize("kind", ["memory", "file"])
    def test_one_that_has_none_opens_what_it_names(
        self, kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for name in ("LEGATO_STORE", "LEGATO_ALLOWED_STORES"):
            monkeypatch.delenv(name, raising=False)
        url = "memory://homes" if kind == "memory" else tmp_path.as_uri()
        ref = Ref.from_dict(Store.open(url).put(b"x", "a b/c").to_dict())
        assert ref.load() == b"x"

    def test_settings_bound_what_it_may_open(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        own, other, third = (Store.open(f"memory://homes-{n}") for n in ("own", "other", "third"))
        refs = [Ref.from_dict(store.put([1], "a").to_dict()) for store in (own, other, third)]
        monkeypatch.setenv("LEGATO_STORE", own.url)
        assert refs[0].load() == [1]
        for ref in refs[1:]:
            with pytest.raises(AccessDeniedError, match="LEGATO_ALLOWED_STORES"):
                ref.load()
        monkeypatch.setenv("LEGATO_ALLOWED_STORES", f"{other.url}, memory://none")
        assert refs[1].load() == [1]
        monkeypatch.delenv("LEGATO_STORE")
        for ref in (
            refs[0],
            refs[2],
            Ref.from_dict({**refs[1].to_dict(), "uri": "memory://homes-other2/a"}),
        ):
            with pytest.raises(AccessDeniedError, match="homes-other, memory://none"):
                ref.load()

    def test_a_native_module_alone_asks_for_a_store(self) -> None:
        code = """
import importlib.util, sys, types
spec = importlib.util.spec_from_file_location("legato._native", sys.argv[1])
package = sys.modules["legato"] = types.ModuleType("legato")
package.__path__ = [sys.argv[1].rpartition("/")[0]]
native = importlib.util.module_from_spec(spec)
spec.loader.exec_module(native)
ref = native.Ref.from_json(native.Store.open("memory://x").put(b"x", "k").to_json())
try:
    ref.load()
except Exception as error:
    assert type(error).__name__ == "InputError", error
    print(error)
"""
        done = subprocess.run(
            [sys.executable, "-c", code, native.__file__],
            capture_output=True,
            text=True,
            check=True,
        )
        assert "ref.load(store)" in done.stdout


class TestScopes:
    def scoped(self, store: Store, **areas: Any) -> Store:
        return store.scoped("own", reads=areas.get("reads", []), writes=areas.get("writes", []))

    def test_what_is_not_declared_is_refused(self, store: Store) -> None:
        for key in ("in/a", "out/a", "other/a"):
            store.commit(key, b"x")
        ref = store.put(np.arange(3), "other/b")
        seen = self.scoped(store, reads=["in"], writes=["out"])
        assert seen.get("in/a") == seen.get("out/a") == b"x"
        assert seen.list("in/") == ["in/a", "in/a.ref"]
        assert seen.put([1]).uri.startswith(f"{store.url}/out/values/")
        denied = [
            lambda: seen.get("other/a"), lambda: seen.load(ref), lambda: seen.bind(ref).slice(0, 1),
            lambda: seen.bind(ref).load(), lambda: list(seen.chunks(ref)), seen.list,
            lambda: seen.list("i"), lambda: seen.list("other/"), lambda: seen.find("other/a"),
            lambda: seen.exists("other/a"), lambda: seen.put(b"", "in/x"), lambda: seen.delete("in/a"),
            lambda: seen.commit("in/x", b""), lambda: seen.get("in-b/a"), lambda: seen.get_many(["other/a"]),
        ]  # fmt: skip
        for call in denied:
            with pytest.raises(AccessDeniedError, match="own may"):
                call()
        assert store.list("in") == ["in/a", "in/a.ref"]

    def test_it_travels_as_it_is(self, tmp_path: Path) -> None:
        import pickle

        seen = self.scoped(Store.open(tmp_path.as_uri()), reads=["in"], writes=["out"])
        again = pickle.loads(pickle.dumps(seen))
        again.put(b"x", "out/a")
        with pytest.raises(AccessDeniedError, match="it declares in, out"):
            again.get("other/a")
        for way in (lambda: again.scoped("x"), lambda: again.beside("memory://other")):
            with pytest.raises(InputError):
                way()

    def test_a_step_reads_allowed_stores_as_inputs(self) -> None:
        own, other = Store.open("memory://scopes-own"), Store.open("memory://scopes-other")
        ref = other.put({"a": np.arange(4)}, "any/a")
        settings = Settings(allowed_stores=(other.url,))

        def read(event: Any, task: legato.Task) -> Any:
            assert event["r"].slice(1, 2)["a"].tolist() == [1]
            assert task.get(event["r"])
            return {"n": task.load(Ref.from_dict(event["r"].to_dict()))["a"].sum()}

        event = json.loads(json.dumps({"r": ref.to_dict()}))
        handler = legato.step(name="own", reads=["inputs"])(read).bind(settings, own)
        assert handler(event) == {"n": 6}
        undeclared = legato.step(name="own", reads=["up"])(read).bind(settings, own)
        with pytest.raises(
            AccessDeniedError, match="own may not read inputs/ in memory://scopes-other"
        ):
            undeclared(event)
        elsewhere = legato.step(name="own", reads=["inputs"])(read).bind(Settings(), own)
        with pytest.raises(InputError, match="outside of the store memory://scopes-own"):
            elsewhere(event)


def test_examples_in_docstrings_run() -> None:
    session = {"legato": legato, "numpy": np}
    runner = doctest.DocTestRunner()
    for method in (Ref.load, Ref.slice, Store.put):
        name = f"{method.__objclass__.__name__}.{method.__name__}"
        example = doctest.DocTestParser().get_doctest(method.__doc__ or "", session, name, None, 0)
        assert example.examples, name
        assert runner.run(example).failed == 0, name


def test_a_text_needs_no_numpy_and_columns_no_pyarrow() -> None:
    code = """
import sys, legato
store = legato.Store.open("memory://x")
for value in (b"x", "x", {"a": [1]}, [{"a": 1}]):
    assert store.put(value).load() == value
assert "numpy" not in sys.modules
assert store.put([{"a": 1}], media_type="application/jsonl+zstd").load() == [{"a": 1}]
sys.modules["pyarrow"] = None
try:
    store.put([{"a": 1}]).load(arrow=True)
except legato.errors.InputError as error:
    assert "pip install legato[arrow]" in str(error)
else:
    raise SystemExit("no error")
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
