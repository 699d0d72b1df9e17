"""Parquet files of other writers, which users bring: what is read, what is refused, and damage."""

from __future__ import annotations

import contextlib
import io
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from legato._native import read_parquet, write_parquet
from legato.errors import InputError


def written(table: pa.Table | dict[str, Any], **options: Any) -> bytes:
    sink = io.BytesIO()
    pq.write_table(table if isinstance(table, pa.Table) else pa.table(table), sink, **options)
    return sink.getvalue()


TEXTS = ["a", "", None, "ü 🙂", "x" * 3000] * 40
VECTORS = [[float(i), 2.0] for i in range(200)]
TABLE = pa.table(
    {
        "text": TEXTS,
        "n": pa.array([None if i % 7 == 0 else i for i in range(200)], pa.int32()),
        "f": pa.array([i / 2 for i in range(200)], pa.float64()),
        "v": pa.array(VECTORS, pa.list_(pa.float32(), 2)),
    }
)


@pytest.mark.parametrize("codec", ["none", "snappy", "zstd", "lz4", "gzip"])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"use_dictionary": False, "data_page_version": "2.0"},
        {"row_group_size": 17, "data_page_size": 100, "write_statistics": False},
        {"store_schema": False, "version": "1.0"},
    ],
    ids=["default", "plain v2", "small groups", "old"],
)
def test_codecs_and_layouts(codec: str, options: dict[str, Any]) -> None:
    columns = read_parquet(written(TABLE, compression=codec, **options))
    assert list(columns) == ["text", "n", "f", "v"]
    assert columns["text"] == TEXTS
    assert columns["n"] == TABLE["n"].to_pylist()
    assert columns["f"] == TABLE["f"].to_pylist()
    assert np.array_equal(columns["v"], np.array(VECTORS, "f4"))


@pytest.mark.parametrize(
    "kind",
    [pa.string(), pa.large_string(), pa.string_view(), pa.dictionary(pa.int32(), pa.string())],
    ids=str,
)
def test_texts(kind: pa.DataType) -> None:
    array = (
        pa.array(TEXTS).cast(kind)
        if not pa.types.is_dictionary(kind)
        else pa.array(TEXTS).dictionary_encode()
    )
    assert read_parquet(written({"t": array}))["t"] == TEXTS


@pytest.mark.parametrize("kind", ["int8", "int16", "int32", "int64", "uint8", "uint16", "uint32"])
def test_whole_numbers(kind: str) -> None:
    info = np.iinfo(kind)
    values = [info.min, info.max, 0, None]
    assert read_parquet(written({"n": pa.array(values, kind)}))["n"] == values


def test_numbers() -> None:
    for kind in (pa.float32(), pa.float64()):
        assert read_parquet(written({"f": pa.array([0.5, None, -2.0], kind)}))["f"] == [
            0.5,
            None,
            -2.0,
        ]


def test_lists_of_one_width() -> None:
    for kind in (pa.list_(pa.float32()), pa.large_list(pa.float32()), pa.list_(pa.float32(), 2)):
        vectors = read_parquet(written({"v": pa.array(VECTORS, kind)}))["v"]
        assert vectors.tolist() == VECTORS
    for uneven in ([[1.0], [1.0, 2.0]], [[1.0], None], [[1.0], [None]], [[], [1.0]]):
        with pytest.raises(InputError, match="null or of several widths"):
            read_parquet(written({"v": pa.array(uneven, pa.list_(pa.float32()))}))


def test_columns_are_chosen_by_name() -> None:
    data = written(TABLE.append_column("odd", pa.array([True] * 200)))
    assert list(read_parquet(data, columns=["v", "text"])) == ["v", "text"]
    assert read_parquet(data, columns=[]) == {}
    with pytest.raises(InputError, match=r"no column 'none'; it has text, n, f, v, odd"):
        read_parquet(data, columns=["none"])
    # A column of another type is in the way only when it is asked for.
    with pytest.raises(InputError, match="column 'odd' has type Boolean"):
        read_parquet(data)
    assert read_parquet(data, columns=["text"])["text"] == TEXTS


@pytest.mark.parametrize(
    "array",
    [
        pa.array([b"x"]),
        pa.array([{"a": 1}]),
        pa.array([["x"]]),
        pa.array([0], pa.timestamp("us")),
        pa.array([1], pa.uint64()),
        pa.array([None], pa.null()),
        pa.array([1], pa.decimal128(5)),
    ],
    ids=lambda array: str(array.type),
)
def test_types_that_are_not_read(array: pa.Array) -> None:
    with pytest.raises(InputError, match="column 'x' has type"):
        read_parquet(written({"x": array}))


def test_a_codec_that_is_not_built_in() -> None:
    with pytest.raises(InputError, match=r"(?i)brotli"):
        read_parquet(written({"x": ["a"]}, compression="brotli"))


def test_rows_without_end() -> None:
    """A few kilobytes can claim any number of rows: run lengths repeat one cell."""
    rows = 70_000_000
    codes = pa.array(np.zeros(rows, "i1"))
    data = written({"x": pa.DictionaryArray.from_arrays(codes, ["a"])}, row_group_size=rows)
    assert len(data) < 200_000
    with pytest.raises(InputError, match="has 70000000 rows, the limit is 67108864; split it"):
        read_parquet(data)


FILES = [
    written(TABLE.slice(0, 30), compression=codec, data_page_version=version)
    for codec in ("none", "snappy", "zstd", "lz4", "gzip")
    for version in ("1.0", "2.0")
]
FILES.append(write_parquet({"id": ["a", "b"] * 20, "v": np.ones((40, 3), "f4")}))


@settings(max_examples=600, deadline=None)
@given(
    file=st.sampled_from(FILES),
    # Counted from the end too, where the footer is.
    changes=st.lists(
        st.tuples(st.integers(-1000, 1000), st.integers(0, 255)), min_size=1, max_size=6
    ),
)
def test_damage(file: bytes, changes: list[tuple[int, int]]) -> None:
    data = bytearray(file)
    for at, byte in changes:
        data[at % len(data)] = byte
    with contextlib.suppress(InputError):
        read_parquet(bytes(data))


@settings(max_examples=100, deadline=None)
@given(file=st.sampled_from(FILES), end=st.integers(0, 10_000), noise=st.binary(max_size=40))
def test_no_whole_file(file: bytes, end: int, noise: bytes) -> None:
    for data in (file[: end % len(file)], noise, b"PAR1" + noise + b"PAR1"):
        with pytest.raises(InputError, match="write it again"):
            read_parquet(data)


def test_known_panics_of_the_crate() -> None:
    """Every single byte of a footer changed: some make the crate panic, which is damage like any other."""
    file = FILES[0]
    for at in range(len(file) - 400, len(file)):
        for byte in (0, 0x7F, 0xFF):
            data = bytearray(file)
            data[at] = byte
            with contextlib.suppress(InputError):
                read_parquet(bytes(data))
