"""The schema of references, and the page about them: what they say is what is written and what is refused."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import legato
import legato._native as native
from legato import Ref, Store
from legato.errors import InputError
from tests.test_reference import FULL, GOOD, JSON

DOCS = Path(__file__).parents[1] / "docs"
PAGE = DOCS / "references.md"
MIB = 1 << 20

SCHEMA: dict[str, Any] = json.loads((DOCS / "ref-v1.schema.json").read_text(encoding="utf-8"))
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA)


def valid(value: Any) -> bool:
    return bool(VALIDATOR.is_valid(value))


def test_the_schema_is_one() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    assert set(SCHEMA["properties"]) == set(FULL)
    assert set(SCHEMA["required"]) == set(GOOD)


def test_every_kind_of_reference_is_valid(store: Store, tiny_bert: Path) -> None:
    tokens = legato.Tokenizer.from_dir(tiny_bert).encode(["river"])
    values = [
        b"", b"x", "text", {"a": 1}, [{"a": 1}], np.arange(3), np.array(1.5), {"a": np.ones((2, 0))},
        tokens, bytes(17 * MIB), bytes(130 * MIB),
    ]  # fmt: skip
    refs = [store.put(value) for value in values]
    refs += [store.commit("k/é#1", b"x", records=2), store.put(b"x", "n", media_type="image/png")]
    for ref in refs:
        VALIDATOR.validate(ref.to_dict())
    assert "chunks" not in refs[-3].to_dict()  # 17 chunks lie in the sidecar
    assert len(refs[-4].to_dict()["chunks"]) == 3


@pytest.mark.parametrize("field", GOOD)
def test_a_missing_field_is_refused(field: str) -> None:
    assert not valid({name: value for name, value in GOOD.items() if name != field})


@pytest.mark.parametrize(
    "change",
    [
        {"legato_ref": 2}, {"legato_ref": "1"}, {"extra": 1}, {"uri": "a"}, {"uri": "s3://b/\n"},
        {"bytes": -1}, {"bytes": 1.5}, {"bytes": 2**64}, {"sha256": "AB" * 32}, {"sha256": "ab"}, {"sha256": "ab" * 32 + "\n"},
        {"crc64nvme": "x" * 16}, {"chunk_bytes": 0}, {"chunk_bytes": 2**40}, {"chunks": ["0" * 16]},
        {"chunks": ["0" * 16] * 17}, {"chunks": ["0"] * 2}, {"shape": [-1]}, {"shape": {}},
        {"records": -1}, {"media_type": 1}, {"dtype": []}, {"version": 1},
    ],
    ids=str,
)  # fmt: skip
def test_a_malformed_field_is_refused_by_both(change: dict[str, Any]) -> None:
    assert not valid({**FULL, **change})
    with pytest.raises(InputError):
        Ref.from_dict({**FULL, **change})


@settings(max_examples=300, deadline=None)
@given(field=st.sampled_from(sorted(FULL)), value=JSON)
def test_what_legato_reads_the_schema_allows(field: str, value: Any) -> None:
    changed = {**FULL, field: value}
    try:
        read = Ref.from_dict(changed).to_dict()
    except InputError:
        return
    assert valid(read)


def test_the_page_runs() -> None:
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert blocks
    session: dict[str, object] = {"__name__": "page"}
    for block in blocks:
        exec(compile(block, str(PAGE), "exec"), session)


def test_the_page_names_all_media_types_and_fields() -> None:
    page = PAGE.read_text(encoding="utf-8")
    for media_type in native.MEDIA_TYPES.values():
        assert f"`{media_type}`" in page
    named = re.findall(
        r"^\| ((?:`\w+`(?:, )?)+) \|", page.partition("## The fields")[2], re.MULTILINE
    )
    assert set(re.findall(r"`(\w+)`", " ".join(named))) == set(FULL)


class TestWithoutLegato:
    """The reader of the page, which shares nothing with ours."""

    @pytest.fixture
    def reader(self) -> dict[str, Any]:
        page = PAGE.read_text(encoding="utf-8")
        (code,) = re.findall(r"```python without-legato\n(.*?)```", page, re.DOTALL)
        assert "import legato" not in code
        session: dict[str, Any] = {"__name__": "reader"}
        exec(compile(code, str(PAGE), "exec"), session)
        return session

    def test_the_check_value(self, reader: dict[str, Any]) -> None:
        check = reader["crc64nvme"](b"123456789")
        assert check == "ae8b14860a799888"
        assert f"`{check}`" in PAGE.read_text(encoding="utf-8")

    def test_it_reads_and_verifies_what_we_wrote(
        self, reader: dict[str, Any], tmp_path: Path
    ) -> None:
        store = Store.open((tmp_path / "a store").as_uri())
        for value in (b"abc", bytes(range(256)) * 100):
            ref = store.put(value, "k é/1").to_dict()
            assert reader["verified"](ref) == reader["verified_chunk"](ref, 0) == value
        (tmp_path / "a store" / "k é" / "1").write_bytes(bytes(range(255)) * 100 + bytes(100))
        for read in (reader["verified"], lambda ref: reader["verified_chunk"](ref, 0)):
            with pytest.raises(AssertionError, match="damaged"):
                read(ref)

    @pytest.mark.parametrize("chunks", [3, 17])
    def test_it_finds_the_crcs_of_chunks(
        self, reader: dict[str, Any], tmp_path: Path, chunks: int
    ) -> None:
        store = Store.open(tmp_path.as_uri())
        data = bytes((chunks - 1) * 8 * MIB) + b"the rest"
        ref = store.put(data, "k").to_dict()
        crcs = reader["chunk_crcs"](ref)
        assert len(crcs) == chunks
        assert reader["verified_chunk"](ref, chunks - 1) == b"the rest"
        assert crcs[:-1] == [store.put(bytes(8 * MIB), "chunk").crc64nvme] * (chunks - 1)
