"""References: their schema, their identity, and what a hostile event can put in one."""

from __future__ import annotations

import copy
import json
import pickle
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from legato import Ref, Store
from legato.errors import InputError

GOOD = {
    "legato_ref": 1,
    "uri": "s3://bucket/a/b%20c",
    "bytes": 11,
    "sha256": "ab" * 32,
    "crc64nvme": "0123456789abcdef",
    "chunk_bytes": 8 << 20,
    "media_type": "text/plain",
}
FULL = GOOD | {
    "version": "v1", "records": 3, "dtype": "float32", "shape": [3, 4],
    "bytes": (8 << 20) + 1, "chunks": ["0" * 16, "f" * 16],
}  # fmt: skip
SECRET = "hunter2 my secret prompt"  # stands for a user's words in the tests

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4)
    ),
    max_leaves=12,
)


class TestSchema:
    @pytest.mark.parametrize("value", [GOOD, FULL], ids=["least", "full"])
    def test_round_trip(self, value: dict[str, Any]) -> None:
        ref = Ref.from_dict(value)
        assert ref.to_dict() == value
        assert json.loads(ref.to_json()) == value
        for again in (Ref.from_json(ref.to_json()), Ref.from_json(ref.to_json().encode())):
            assert again == ref

    def test_fields(self) -> None:
        ref = Ref.from_dict(FULL)
        assert (ref.uri, ref.version, ref.bytes) == (FULL["uri"], "v1", FULL["bytes"])
        assert (ref.sha256, ref.crc64nvme) == (FULL["sha256"], FULL["crc64nvme"])
        assert (ref.media_type, ref.records) == ("text/plain", 3)
        assert (ref.dtype, ref.shape) == ("float32", (3, 4))
        least = Ref.from_dict(GOOD)
        assert (least.version, least.records, least.dtype, least.shape) == (None,) * 4

    def test_what_a_store_writes(self, store: Store) -> None:
        ref = store.put(b"hello world", "a", media_type="text/plain", records=1)
        assert set(ref.to_dict()) == {*GOOD, "records"}
        assert len(ref.to_json()) < 512
        assert (ref.bytes, ref.records, ref.crc64nvme) == (
            11,
            1,
            store.put(b"hello world", "b").crc64nvme,
        )

    def test_identity(self) -> None:
        ref, same = Ref.from_dict(FULL), Ref.from_dict(FULL)
        assert ref == same
        assert hash(ref) == hash(same)
        assert len({ref, same}) == 1
        for field, other in (
            ("uri", "s3://b/x"),
            ("records", 4),
            ("sha256", "cd" * 32),
            ("version", "v2"),
        ):
            assert Ref.from_dict(FULL | {field: other}) != ref
        assert ref != FULL
        assert ref != None  # noqa: E711 - it is the operator that is tested

    def test_travels(self) -> None:
        ref = Ref.from_dict(FULL)
        for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
            assert pickle.loads(pickle.dumps(ref, protocol)) == ref
        assert copy.copy(ref) == copy.deepcopy(ref) == ref

    def test_is_frozen(self) -> None:
        ref = Ref.from_dict(GOOD)
        with pytest.raises(AttributeError):
            ref.uri = "s3://other/x"  # type: ignore[misc]
        assert "s3://bucket/a/b%20c" in repr(ref)


class TestRefusals:
    @pytest.mark.parametrize(
        ("change", "said"),
        [
            ({"legato_ref": 2}, "its schema version is 2, this legato reads 1; install a newer legato"),
            ({"legato_ref": 2, "new": 1}, "install a newer legato"),
            ({"legato_ref": 0}, "its schema version is 0"),
            ({"legato_ref": "1"}, "no JSON object with a version"),
            ({"legato_ref": 1.5}, "no JSON object with a version"),
            ({"legato_ref": None}, "no JSON object with a version"),
            ({"extra": 1}, "unknown field `extra`"),
            ({SECRET: 1}, "unknown field"),
            ({"x" * 5000: 1}, "unknown field"),
            ({"uri": SECRET}, "uri must be"),
            ({"uri": f"s3://b/\n{SECRET}"}, "uri must be"),
            ({"uri": None}, "wrong type"),
            ({"bytes": SECRET}, "wrong type"),
            ({"bytes": -1}, "wrong type"),
            ({"bytes": 2**64}, "wrong type"),
            ({"bytes": 1.5}, "wrong type"),
            ({"bytes": 20 << 20}, "chunk CRCs"),
            ({"chunk_bytes": 0}, "chunk_bytes must"),
            ({"chunk_bytes": 1}, "chunk CRCs"),
            ({"chunk_bytes": 2**40}, "chunk_bytes must"),
            ({"chunks": ["0" * 16]}, "chunk CRCs"),
            ({"sha256": "AB" * 32}, "sha256 must be"),
            ({"sha256": "ab"}, "sha256 must be"),
            ({"sha256": "ß" * 32}, "sha256 must be"),
            ({"crc64nvme": SECRET}, "a CRC must be"),
            ({"shape": [-1]}, "wrong type"),
            ({"shape": {"a": 1}}, "wrong type"),
            ({"records": [SECRET]}, "wrong type"),
            ({"media_type": "x" * (16 << 10)}, "the limit is 16384"),
        ],
        ids=lambda value: str(value)[:40],
    )  # fmt: skip
    def test_fields(self, change: dict[str, Any], said: str) -> None:
        with pytest.raises(InputError) as caught:
            Ref.from_dict(GOOD | change)
        message = str(caught.value)
        assert message.startswith("a reference is not valid: ")
        assert said in message
        assert SECRET not in message
        assert len(message) < 500

    @pytest.mark.parametrize("field", GOOD)
    def test_missing(self, field: str) -> None:
        rest = {name: value for name, value in GOOD.items() if name != field}
        with pytest.raises(InputError, match=field):
            Ref.from_dict(rest)

    def test_twice(self) -> None:
        text = json.dumps(GOOD)[:-1] + ', "bytes": 12}'
        with pytest.raises(InputError, match="duplicate field `bytes`"):
            Ref.from_json(text)

    def test_what_is_no_json(self) -> None:
        circular: dict[str, Any] = dict(GOOD)
        circular["self"] = circular
        deep: Any = []
        for _ in range(100_000):
            deep = [deep]
        for value in (circular, deep, {"a": deep}, {1: object()}, object(), {"legato_ref": {1}}):
            with pytest.raises(InputError):
                Ref.from_dict(value)
        while deep:  # taken apart here: its destructor would go as deep
            deep = deep.pop()
        for text in (5, None, bytearray(b"{}"), "\ud800", "[" * 100_000, '{"legato_ref":1,' * 9999):
            with pytest.raises(InputError):
                Ref.from_json(text)  # type: ignore[arg-type]

    @settings(max_examples=300, deadline=None)
    @given(value=JSON)
    @example(value={"legato_ref": float("nan")})
    @example(value={"legato_ref": 10**400})
    def test_any_event(self, value: Any) -> None:
        with pytest.raises(InputError):
            Ref.from_dict(value)

    @settings(max_examples=300, deadline=None)
    @given(field=st.sampled_from(sorted(FULL)), value=JSON)
    def test_any_value_of_a_field(self, field: str, value: Any) -> None:
        try:
            ref = Ref.from_dict(FULL | {field: value})
        except InputError as error:
            message = str(error)
            assert len(message) < 500
            if isinstance(value, str) and len(value) > 8:
                assert value not in message
        else:
            assert Ref.from_json(ref.to_json()) == ref

    @settings(max_examples=300, deadline=None)
    @given(data=st.binary(max_size=60) | st.text(max_size=60))
    def test_any_text(self, data: str | bytes) -> None:
        with pytest.raises(InputError):
            Ref.from_json(data)
