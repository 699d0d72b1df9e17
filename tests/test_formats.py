"""safetensors and Parquet: round trips, other writers and readers, and hostile bytes."""

from __future__ import annotations

import contextlib
import io
import json
import struct
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from legato._native import read_parquet, read_safetensors, write_parquet, write_safetensors
from legato.errors import InputError

DTYPES = ["bool", "u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f2", "f4", "f8"]


def tensors_file(header: Any, body: bytes = b"") -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + body


def by_pyarrow(table: pa.Table, **options: Any) -> bytes:
    sink = io.BytesIO()
    pq.write_table(table, sink, **options)
    return sink.getvalue()


class TestSafetensors:
    @pytest.mark.parametrize("dtype", DTYPES)
    @pytest.mark.parametrize("shape", [(), (0,), (3,), (2, 0, 4), (2, 3, 4), (1,) * 32])
    def test_round_trip(self, dtype: str, shape: tuple[int, ...]) -> None:
        count = int(np.prod(shape, dtype=int))
        array = (np.arange(count) * 37 % 200).astype(dtype).reshape(shape)
        data = write_safetensors({"a": array}, metadata={"k": "v ü"})
        tensors, metadata = read_safetensors(data)
        assert tensors["a"].dtype == array.dtype
        assert tensors["a"].shape == shape
        assert np.array_equal(tensors["a"], array)
        assert metadata == {"k": "v ü"}

    def test_layouts(self) -> None:
        base = np.arange(24, dtype="f4").reshape(4, 6)
        arrays = {
            "transposed": base.T,
            "strided": base[::2, ::-3],
            "big endian": base.astype(">f4"),
            "broadcast": np.broadcast_to(np.float32(1), (2, 3)),
            "ü 東京": base,
        }
        tensors, metadata = read_safetensors(write_safetensors(arrays))
        assert set(tensors) == set(arrays)
        assert all(np.array_equal(tensors[name], array) for name, array in arrays.items())
        assert metadata == {}

    def test_special_values(self) -> None:
        array = np.array([np.nan, np.inf, -np.inf, -0.0, 1e-45], dtype="f4")
        assert (
            read_safetensors(write_safetensors({"a": array}))[0]["a"].tobytes() == array.tobytes()
        )

    def test_same_input_same_bytes(self) -> None:
        metadata = {f"k{i}": "v" for i in range(20)}
        arrays = {f"a{i}": np.ones(i) for i in range(20)}
        backwards = dict(reversed(arrays.items()))
        once = write_safetensors(arrays, metadata=metadata)
        assert write_safetensors(backwards, metadata=dict(reversed(metadata.items()))) == once

    def test_views_do_not_write(self) -> None:
        tensors, _ = read_safetensors(write_safetensors({"a": np.ones(3)}))
        assert not tensors["a"].flags.writeable

    @pytest.mark.parametrize(
        ("arrays", "metadata"),
        [
            ({"a": np.array(["x"])}, None),
            ({"a": np.array([object()])}, None),
            ({"a": np.array([1j])}, None),
            ({"a": np.array(["2020"], dtype="M8[s]")}, None),
            ({"a": np.zeros(1, dtype=[("x", "f4")])}, None),
            ({"__metadata__": np.ones(1)}, {"k": "v"}),
            ({"\ud800": np.ones(1)}, None),
            ({"a": np.ones(1)}, {"k": "\ud800"}),
        ],
        ids=str,
    )
    def test_what_cannot_be_stored(self, arrays: dict[str, Any], metadata: Any) -> None:
        with pytest.raises(InputError):
            write_safetensors(arrays, metadata=metadata)

    @pytest.mark.parametrize(
        "data",
        [
            b"",
            b"\0" * 8,
            struct.pack("<Q", 2**63) + b"{}",
            tensors_file(b"["),
            tensors_file(b'{"a":' * 9999),
            tensors_file({"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}),
            tensors_file({"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 4]}}, b"0000"),
            tensors_file({"a": {"dtype": "F32", "shape": [1], "data_offsets": [4, 0]}}, b"0000"),
            tensors_file({"a": {"dtype": "X99", "shape": [1], "data_offsets": [0, 4]}}, b"0000"),
            tensors_file({"a": {"dtype": "BF16", "shape": [2], "data_offsets": [0, 4]}}, b"0000"),
            tensors_file(
                {"a": {"dtype": "F32", "shape": [1] * 80, "data_offsets": [0, 4]}}, b"0000"
            ),
            tensors_file({"a": {"dtype": "F32", "shape": [0, 2**62], "data_offsets": [0, 0]}}),
            tensors_file({"a": {"dtype": "F32", "shape": [2**62, 2**62], "data_offsets": [0, 0]}}),
        ],
        ids=lambda data: str(data[8:70]),
    )
    def test_hostile_files(self, data: bytes) -> None:
        with pytest.raises(InputError):
            read_safetensors(data)

    @settings(max_examples=300, deadline=None)
    @given(noise=st.binary(max_size=60), at=st.integers(0, 200), bit=st.integers(0, 7))
    def test_damage(self, noise: bytes, at: int, bit: int) -> None:
        whole = bytearray(write_safetensors({"a": np.ones(3), "b": np.ones((2, 2), "f4")}))
        with pytest.raises(InputError):
            read_safetensors(bytes(whole[: at % len(whole)]))
        whole[at % len(whole)] ^= 1 << bit
        for data in (noise, bytes(whole)):
            with contextlib.suppress(InputError):
                tensors, _ = read_safetensors(data)
                assert sum(array.nbytes for array in tensors.values()) <= len(data)


class TestParquetOut:
    COLUMNS: dict[str, Any] = {  # noqa: RUF012 - a constant
        "id": ["a", "", "ü\0 🙂"],
        "n": np.array([1, -(2**63), 2**63 - 1]),
        "score": np.array([0.5, np.nan, -np.inf], dtype="f4"),
        "vector": np.arange(12, dtype="f4").reshape(3, 4),
    }

    def test_pyarrow_reads_it(self) -> None:
        data = write_parquet(self.COLUMNS, metadata={"k": "v ü"})
        table = pq.read_table(io.BytesIO(data))
        assert [str(kind) for kind in table.schema.types] == [
            "string", "int64", "float", "fixed_size_list<item: float not null>[4]",
        ]  # fmt: skip
        assert table["id"].to_pylist() == self.COLUMNS["id"]
        assert table["n"].to_pylist() == self.COLUMNS["n"].tolist()
        vectors = table["vector"].combine_chunks().flatten().to_numpy().reshape(3, 4)
        assert np.array_equal(vectors, self.COLUMNS["vector"])
        assert np.array_equal(table["score"].to_numpy(), self.COLUMNS["score"], equal_nan=True)
        assert pq.read_metadata(io.BytesIO(data)).metadata[b"k"] == "v ü".encode()

    def test_round_trip(self) -> None:
        columns = read_parquet(write_parquet(self.COLUMNS))
        assert list(columns) == list(self.COLUMNS)
        assert columns["id"] == self.COLUMNS["id"]
        assert columns["n"] == self.COLUMNS["n"].tolist()
        assert np.array_equal(columns["score"], self.COLUMNS["score"], equal_nan=True)
        assert np.array_equal(columns["vector"], self.COLUMNS["vector"])
        assert columns["vector"].dtype == np.float32

    def test_no_rows(self) -> None:
        empty = {"id": [], "n": np.zeros(0, "i8"), "vector": np.zeros((0, 4), "f4")}
        data = write_parquet(empty)
        assert pq.read_table(io.BytesIO(data)).num_rows == 0
        columns = read_parquet(data)
        assert (columns["id"], columns["n"], columns["vector"].size) == ([], [], 0)

    def test_many_rows(self) -> None:
        vectors = np.random.default_rng(7).standard_normal((5000, 16)).astype("f4")
        columns = {"id": [f"record {i}" for i in range(5000)], "vector": vectors}
        again = read_parquet(write_parquet(columns))
        assert again["id"] == columns["id"]
        assert np.array_equal(again["vector"], vectors)
        assert write_parquet(columns) == write_parquet(columns)

    def test_layouts(self) -> None:
        base = np.arange(24, dtype="f4").reshape(4, 6)
        columns = {"t": base.T, "s": base[::-1].T[:, ::2], "strs": tuple("abcdef")}
        again = read_parquet(write_parquet(columns))
        assert np.array_equal(again["t"], base.T)
        assert np.array_equal(again["s"], columns["s"])
        assert again["strs"] == list("abcdef")

    @pytest.mark.parametrize(
        "columns",
        [
            {},
            {"a": ["x"], "b": ["x", "y"]},
            {"a": [1, 2]},
            {"a": ["x", None]},
            {"a": "text"},
            {"a": np.ones(3)},
            {"a": np.ones((1, 2, 3), "f4")},
            {"a": np.ones((2, 0), "f4")},
            {"a": ["\ud800"]},
            {"\ud800": ["x"]},
        ],
        ids=str,
    )
    def test_what_cannot_be_written(self, columns: dict[str, Any]) -> None:
        with pytest.raises(InputError):
            write_parquet(columns)
