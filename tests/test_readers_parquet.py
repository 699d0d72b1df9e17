"""The Parquet reader, on files by legato and by pyarrow."""

from __future__ import annotations

import io
from typing import Any

import pytest

from legato.errors import InputError
from legato.stages._readers import Record, Rejected, read_records

native = pytest.importorskip("legato._native", exc_type=ImportError)


def read(data: bytes, **options: Any) -> list[Record | Rejected]:
    half = len(data) // 2
    return list(read_records([data[:half], b"", data[half:]], kind="parquet", **options))


def by_pyarrow(**columns: Any) -> bytes:
    pa = pytest.importorskip("pyarrow")
    pq = pytest.importorskip("pyarrow.parquet")
    out = io.BytesIO()
    pq.write_table(pa.table(columns), out)
    return out.getvalue()


def reasons(data: bytes, **options: Any) -> list[str]:
    found = read(data, **options)
    assert [item.position for item in found] == list(range(1, len(found) + 1))
    return [item.reason for item in found if isinstance(item, Rejected)]


def test_records() -> None:
    data = native.write_parquet({"n": ["1", "2"], "text": ["one", "zwölf"], "id": ["a", "b"]})
    assert read(data) == [Record("a", "one", 1), Record("b", "zwölf", 2)]
    assert read(data, text_field="n", id_field="text") == [
        Record("one", "1", 1),
        Record("zwölf", "2", 2),
    ]


def test_without_ids() -> None:
    data = native.write_parquet({"text": ["one", "two"]})
    assert read(data) == [Record("row-1", "one", 1), Record("row-2", "two", 2)]


def test_integer_and_null_ids() -> None:
    data = by_pyarrow(id=[7, None, 8], text=["a", "b", "c"])
    assert read(data) == [Record("7", "a", 1), Record("row-2", "b", 2), Record("8", "c", 3)]


def test_other_columns_may_be_of_any_type() -> None:
    data = by_pyarrow(when=[{"a": [1.5]}], text=["a"])
    assert read(data) == [Record("row-1", "a", 1)]


@pytest.mark.parametrize("data", [b"", native.write_parquet({"text": []})])
def test_nothing(data: bytes) -> None:
    assert read(data) == []


def test_rejected_texts() -> None:
    texts = [None, "", " \n", "a\0b", "x" * 11, "ü" * 6, "x" * 10]
    assert reasons(by_pyarrow(text=texts), max_record_bytes=10) == [
        "missing_text",
        "empty_text",
        "empty_text",
        "nul_character",
        "too_long",
        "too_long",
    ]


def test_texts_that_are_numbers() -> None:
    assert reasons(by_pyarrow(text=[1, None])) == ["text_not_a_string", "missing_text"]


def test_rejected_ids() -> None:
    ids = ["a", "a", "", "a\nb", "x" * 513, "row-7", None]
    found = read(by_pyarrow(id=ids, text=["t"] * len(ids)))
    assert [getattr(item, "reason", None) for item in found] == [
        None,
        "duplicate_id",
        "bad_id",
        "bad_id",
        "bad_id",
        None,
        "duplicate_id",
    ]
    assert reasons(by_pyarrow(id=[1.5], text=["a"])) == ["bad_id"]


def test_no_column_of_the_text() -> None:
    data = native.write_parquet({"id": ["a"], "body": ["b"]})
    with pytest.raises(InputError, match="no column 'text'; it has id, body"):
        read(data)
    with pytest.raises(InputError, match="no column 'text'; it has body"):
        read(native.write_parquet({"body": ["b"]}))


def test_ids_of_a_type_that_cannot_be_read_are_not_passed_over() -> None:
    with pytest.raises(InputError, match="column 'id' has type"):
        read(by_pyarrow(id=[{"a": 1}], text=["a"]))


@pytest.mark.parametrize(("text_field", "id_field"), [("v", "id"), ("text", "v")])
def test_vectors_are_no_texts_and_no_ids(text_field: str, id_field: str) -> None:
    np = pytest.importorskip("numpy")
    vectors = np.ones((1, 2), dtype=np.float32)
    data = native.write_parquet({"text": ["a"], "id": ["a"], "v": vectors})
    with pytest.raises(InputError, match="column 'v' holds vectors"):
        read(data, text_field=text_field, id_field=id_field)


@pytest.mark.parametrize("cut", [1, 100, -1])
def test_a_file_that_is_not_whole(cut: int) -> None:
    with pytest.raises(InputError):
        read(native.write_parquet({"text": ["one", "two"]})[:cut])
