"""The readers: every record of any input comes back once, accepted or rejected with its reason."""

from __future__ import annotations

import csv
import json
import re
import tracemalloc
from collections.abc import Iterator
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from legato.errors import InputError
from legato.stages._readers import (
    KINDS,
    MAX_RECORD_BYTES,
    REASONS,
    Record,
    Rejected,
    _record,
    kind_of,
    read_records,
)
from legato.stages._readers._rows import Row, cells, rows

STREAMED = ("jsonl", "csv", "tsv", "txt")
BOM = b"\xef\xbb\xbf"
# Stands for a user's words, which no message may have.
SECRET = "hunter2"


def read(data: bytes, kind: str = "jsonl", **options: int | str) -> list[Record | Rejected]:
    return list(read_records([data], kind=kind, **options))  # type: ignore[arg-type]


def reasons(data: bytes, kind: str = "jsonl", **options: int) -> list[tuple[int, str]]:
    """Positions and reasons of what is rejected; fails on a record or a word of the user's."""
    found: list[tuple[int, str]] = []
    for item in read(data, kind, **options):
        assert isinstance(item, Rejected), item
        assert SECRET not in item.detail
        found.append((item.position, item.reason))
    return found


def line(**value: object) -> bytes:
    return json.dumps(value).encode() + b"\n"


def in_chunks(data: bytes, size: int) -> Iterator[bytes]:
    return (data[at : at + size] for at in range(0, len(data), size))


class TestAccepted:
    def test_jsonl(self) -> None:
        data = line(id="a", text="one") + b"\n  \t\r\n" + line(text="two", id=7) + line(text="3")
        assert read(data) == [
            Record("a", "one", 1),
            Record("7", "two", 4),
            Record("line-5", "3", 5),
        ]

    def test_other_fields(self) -> None:
        data = line(key="a", body="x", id="no", text="no")
        assert read(data, text_field="body", id_field="key") == [Record("a", "x", 1)]

    def test_a_null_id_is_made_from_the_line(self) -> None:
        assert read(line(id=None, text="x")) == [Record("line-1", "x", 1)]

    def test_csv(self) -> None:
        data = b'n,text,id\r\n1,"a ""b"",\r\nc",x\r\n\r\n2,  5" disk ,y\r\n'
        assert read(data, "csv") == [Record("x", 'a "b",\r\nc', 2), Record("y", '  5" disk ', 5)]

    def test_csv_written_twice_in_text_mode(self) -> None:
        data = b'text,id\r\r\n"a",x\r\r\n\r\r\nb,y\r\r\n'
        assert read(data, "csv") == [Record("x", "a", 2), Record("y", "b", 4)]

    def test_csv_without_ids(self) -> None:
        assert read(b"text\na\n\nb", "csv") == [Record("line-2", "a", 2), Record("line-4", "b", 4)]

    def test_tsv(self) -> None:
        assert read(b"id\ttext\na\tb, c\n", "tsv") == [Record("a", "b, c", 2)]

    def test_txt(self) -> None:
        data = " ü \r\n\n\t\na\rb".encode()
        assert read(data, "txt") == [Record("line-1", " ü ", 1), Record("line-4", "a\rb", 4)]

    def test_csv_cells_over_the_limit_of_the_csv_module(self) -> None:
        text = "x" * (csv.field_size_limit() + 1)
        assert read(f'text\n"{text}"\n{text}\n'.encode(), "csv") == [
            Record("line-2", text, 2),
            Record("line-3", text, 3),
        ]
        assert csv.field_size_limit() == 131_072

    @pytest.mark.parametrize("kind", STREAMED)
    @pytest.mark.parametrize("data", [b"", b"\n\r\n\n", BOM, BOM + b"\n"])
    def test_nothing(self, kind: str, data: bytes) -> None:
        assert read(data, kind) == []

    def test_a_header_alone(self) -> None:
        assert read(b"id,text\n", "csv") == []

    @pytest.mark.parametrize(
        ("kind", "body"),
        [
            ("jsonl", b'{"id": "a", "text": "x"}'),
            ("csv", b'"text",id\nx,a'),
            ("txt", b"x"),
        ],
    )
    @pytest.mark.parametrize("before", [b"", BOM])
    @pytest.mark.parametrize("end", [b"", b"\n", b"\r\n", b"\r"])
    @pytest.mark.parametrize("size", [1, 2, 1000])
    def test_marks_and_ends(
        self, kind: str, body: bytes, before: bytes, end: bytes, size: int
    ) -> None:
        found = list(read_records(in_chunks(before + body + end, size), kind=kind))
        assert [item.text for item in found if isinstance(item, Record)] == ["x"]
        assert len(found) == 1


class TestRejected:
    @pytest.mark.parametrize(
        "broken",
        [
            SECRET.encode(),
            b'{"text": "hunter2"',
            b'{"text": "hunter2\\q"}',
            b'{"text": "hunter2"} {"text": "hunter2"}',
            b'{"text": "hunter2", "n": NaN}',
            b'{"text": "hunter2", "n": -Infinity}',
            b'{"text": "hunter2", "text": "hunter2"}',
            b'{"text": "hunter2", "meta": {"hunter2": 1, "hunter2": 1}}',
            b'{"text": "hunter2", "n": ' + b"9" * 4301 + b"}",
            b'{"text": "hunter2", "n": ' + b"[" * 200_000 + b"]" * 200_000 + b"}",
            b'{"hunter2":' * 50_000,
            b"\x0b{}",
            "{}\u00a0".encode(),
            b"{}" + BOM,
        ],
    )
    def test_invalid_json(self, broken: bytes) -> None:
        found = read(line(text="a") + broken + b"\n" + line(text="b"))
        assert [type(item) for item in found] == [Record, Rejected, Record]
        assert isinstance(found[1], Rejected)
        assert (found[1].position, found[1].id, found[1].reason) == (2, None, "invalid_json")
        assert SECRET not in found[1].detail

    @pytest.mark.parametrize("value", ["[]", '"hunter2"', "1", "null", "true"])
    def test_not_an_object(self, value: str) -> None:
        assert reasons(value.encode()) == [(1, "not_an_object")]

    def test_missing_text(self) -> None:
        assert reasons(b"{}\n" + line(text=None) + line(Text=SECRET)) == [
            (1, "missing_text"),
            (2, "missing_text"),
            (3, "missing_text"),
        ]

    @pytest.mark.parametrize("value", [1, 1.5, True, ["hunter2"], {"hunter2": 1}])
    def test_text_not_a_string(self, value: object) -> None:
        assert reasons(line(text=value)) == [(1, "text_not_a_string")]

    def test_empty_text(self) -> None:
        assert reasons(line(text="") + line(text=" \n\u00a0\u3000")) == [
            (1, "empty_text"),
            (2, "empty_text"),
        ]
        assert reasons(b'id,text\na,\nb,"  "\n', "csv") == [(2, "empty_text"), (3, "empty_text")]
        assert reasons(b'text\n""\n', "csv") == [(2, "empty_text")]
        assert reasons("\u00a0\n".encode(), "txt") == [(1, "empty_text")]

    @pytest.mark.parametrize("wrong", [b"\xff", b"\xc3", b"\xed\xa0\x80", b"\xc0\xaf"])
    def test_not_utf8(self, wrong: bytes) -> None:
        assert reasons(b'{"text": "hunter2' + wrong + b'"}') == [(1, "not_utf8")]
        assert reasons(b"hunter2" + wrong, "txt") == [(1, "not_utf8")]
        found = read(b'id,text\n1,"a\n' + wrong + b'"\n' + b"2,b\n", "csv")
        assert [item.position for item in found] == [2, 4]
        assert isinstance(found[0], Rejected)
        assert found[0].reason == "not_utf8"
        assert found[1] == Record("2", "b", 4)

    def test_utf16(self) -> None:
        data = "hunter2\nhunter2".encode("utf-16")
        assert [reason for _, reason in reasons(data, "txt")] == ["not_utf8", "nul_character"]

    def test_nul_character(self) -> None:
        data = line(text="hunter2\0") + b'{"text": "hunter2\0"}\n' + b"\0" * 4096
        assert reasons(data) == [(at, "nul_character") for at in (1, 2, 3)]
        assert reasons(b"text\nhunter2\0\n", "csv") == [(2, "nul_character")]
        assert reasons(b"hunter2\0\n", "txt") == [(1, "nul_character")]

    def test_lone_surrogate(self) -> None:
        data = rb'{"text": "hunter2 \ud800"}' + b"\n" + rb'{"text": "\udc00\ud800"}'
        assert reasons(data) == [(1, "lone_surrogate"), (2, "lone_surrogate")]
        assert read(rb'{"text": "\ud83d\ude00"}') == [Record("line-1", "\U0001f600", 1)]

    @pytest.mark.parametrize("kind", ["jsonl", "txt"])
    @pytest.mark.parametrize("end", [b"\n", b"\r\n", b""])
    @pytest.mark.parametrize("size", [1, 3, 7, 1000])
    def test_too_long(self, kind: str, end: bytes, size: int) -> None:
        body = b'{"text":"hunter2"}'
        chunks = list(in_chunks(body + end, size))
        (fits,) = read_records(chunks, kind=kind, max_record_bytes=len(body))
        assert isinstance(fits, Record)
        (long,) = read_records(chunks, kind=kind, max_record_bytes=len(body) - 1)
        assert long == Rejected(1, None, "too_long", "the record has 18 bytes, the limit is 17")

    @pytest.mark.parametrize("size", [1, 3, 7, 1000])
    def test_too_long_csv(self, size: int) -> None:
        data = b'text\n"12345\n,""\n8"\n123456789\n1234567890\n"123456789\n"'
        found = list(read_records(in_chunks(data, size), kind="csv", max_record_bytes=10))
        assert [(item.position, getattr(item, "reason", None)) for item in found] == [
            (2, "too_long"),
            (5, None),
            (6, None),
            (7, "too_long"),
        ]
        assert isinstance(found[0], Rejected)
        assert found[0].detail == "the record has 13 bytes, the limit is 10"

    @pytest.mark.parametrize(
        "given_id",
        [
            "",
            "  ",
            "a\nb",
            "\x7f",
            "\x9f",
            "\0",
            "\ud800",
            "x" * 513,
            "ü" * 257,
            1.5,
            True,
            ["hunter2"],
            10**600,
        ],
    )
    def test_bad_id(self, given_id: object) -> None:
        (found,) = read(line(id=given_id, text="x"))
        assert isinstance(found, Rejected)
        assert (found.id, found.reason) == (None, "bad_id")

    def test_bad_id_csv(self) -> None:
        assert reasons(b'id,text\n,hunter2\n"a\nb",hunter2\n', "csv") == [
            (2, "bad_id"),
            (3, "bad_id"),
        ]

    @pytest.mark.parametrize("given_id", ["a b", "ü" * 256, "x" * 512, "日本", -5, 0, "a/b"])
    def test_good_id(self, given_id: object) -> None:
        assert read(line(id=given_id, text="x")) == [Record(str(given_id), "x", 1)]

    def test_duplicate_id(self) -> None:
        data = line(id="7", text="a") + line(id=7, text=SECRET) + line(id="8", text="b")
        found = read(data)
        assert [type(item) for item in found] == [Record, Rejected, Record]
        assert isinstance(found[1], Rejected)
        assert (found[1].id, found[1].reason) == ("7", "duplicate_id")
        found = read(b"id,text\na,x\na,y\n", "csv")
        assert isinstance(found[1], Rejected)
        assert found[1].reason == "duplicate_id"

    def test_duplicate_of_a_made_id(self) -> None:
        later = line(text="a") + line(id="line-1", text="b") + line(id="line-01", text="c")
        assert [type(item) for item in read(later)] == [Record, Rejected, Record]
        earlier = line(id="line-2", text="a") + line(text="b") + line(text="c")
        assert [type(item) for item in read(earlier)] == [Record, Rejected, Record]
        free = line(id="line-3", text="a") + line(id="line-" + "9" * 30, text="b")
        assert [type(item) for item in read(free)] == [Record, Record]

    def test_a_rejected_record_takes_no_id(self) -> None:
        found = read(line(id="a", text="") + line(id="a", text="x"))
        assert isinstance(found[0], Rejected)
        assert (found[0].id, found[0].reason) == ("a", "empty_text")
        assert found[1] == Record("a", "x", 2)

    @pytest.mark.parametrize(
        "row",
        [b"1", b"1,hunter2,3", b'1,"hunter2"x', b'"hunter2" ,x', b"1,hunter\r2", b'"1","x"\r,y'],
    )
    def test_bad_row(self, row: bytes) -> None:
        found = read(b"id,text\n" + row + b"\n2,b\n", "csv")
        assert [item.position for item in found] == [2, 3]
        assert isinstance(found[0], Rejected)
        assert (found[0].reason, found[0].id) == ("bad_row", None)
        assert SECRET not in found[0].detail
        assert found[1] == Record("2", "b", 3)

    @pytest.mark.parametrize("limit", [1000, 10])
    def test_a_quote_that_is_not_closed(self, limit: int) -> None:
        data = b'id,text\n1,a\n2,"b\n3,hunter2\n4,d\n'
        records = read_records([data], kind="csv", max_record_bytes=limit)
        assert next(records) == Record("1", "a", 2)
        # Not one rejected record: the rest of the file would be lost in it.
        with pytest.raises(InputError, match=r"line 3 opens a quoted cell.*not closed") as caught:
            next(records)
        assert "hunter2" not in str(caught.value)


class TestRefused:
    def test_no_column_of_the_text(self) -> None:
        header = ["id", " größe", "a long text that only a file without a header row has"]
        with pytest.raises(InputError) as caught:
            read((",".join(header) + "\n").encode(), "csv")
        assert str(caught.value) == (
            "the header row has no column 'text'; it has 'id', ' gr\\xf6\\xdfe', (a cell of 53 "
            "characters); name the column of the text as text_field, or give the file a header row"
        )

    def test_many_columns(self) -> None:
        with pytest.raises(InputError, match="'c19' and 480 more;"):
            read(",".join(f"c{n}" for n in range(500)).encode(), "csv")

    @pytest.mark.parametrize(
        ("header", "message"),
        [
            (b"text,id,text\n", "2 columns 'text'; rename"),
            (b"text,id,id\n", "2 columns 'id'; rename"),
            (b"id,t\xffxt\n", "byte 5 of the header row .line 1. is not UTF-8; save"),
            (b'\nid,"text" x\n', "header row .line 2. has a broken quoted cell"),
            (b"id,text\r1,a\r2,b\r", "lone carriage return"),
            (b"x" * 100, "100 bytes; give the file a header row"),
        ],
    )
    def test_bad_header(self, header: bytes, message: str) -> None:
        with pytest.raises(InputError, match=message):
            read(header, "csv", max_record_bytes=99)

    def test_arguments(self) -> None:
        with pytest.raises(InputError, match="kind 'xml' is unknown; use one of csv, jsonl, "):
            read(b"", "xml")
        with pytest.raises(InputError, match="max_record_bytes is 0; it must be at least 1"):
            read(b"", max_record_bytes=0)

    def test_what_the_chunks_raise_is_passed_on(self) -> None:
        def chunks() -> Iterator[bytes]:
            yield line(text="a") + b'{"te'
            msg = "the object is gone"
            raise ConnectionError(msg)

        found = read_records(chunks(), kind="jsonl")
        assert next(found) == Record("line-1", "a", 1)
        with pytest.raises(ConnectionError, match="the object is gone"):
            next(found)


class TestKind:
    @pytest.mark.parametrize("ending", KINDS)
    @pytest.mark.parametrize(
        "name", ["a{}", "/x.y/b c{}", "s3://b/k{}", "https://h/k{}?X-Amz=1#a", "s3://b/k?a#b{}"]
    )
    def test_known(self, ending: str, name: str) -> None:
        assert kind_of(name.format(ending)) == KINDS[ending]
        assert kind_of(name.format(ending.upper())) == KINDS[ending]

    @pytest.mark.parametrize("name", ["a.xml", "a.jsonl.gz", "a", "", ".jsonl", "s3://b.csv/k"])
    def test_unknown(self, name: str) -> None:
        with pytest.raises(InputError, match=r"supported are \.jsonl, .*, \.parquet: convert"):
            kind_of(name)

    def test_the_message_has_no_secret(self) -> None:
        with pytest.raises(InputError) as caught:
            kind_of("https://host/a.xml?signature=hunter2")
        assert "'.xml'" in str(caught.value)
        assert SECRET not in str(caught.value)


def test_the_table_has_every_reason() -> None:
    table = re.findall(r"(?m)^([a-z0-9_]+)  +\S", _record.__doc__ or "")
    assert sorted(table) == sorted([*REASONS, "reason"])


@pytest.mark.parametrize("kind", STREAMED)
@pytest.mark.parametrize("body", [b"x", b"x\r", b'""', b"\xff", b" "])
def test_a_line_of_50_mb_is_not_held(kind: str, body: bytes) -> None:
    def chunks() -> Iterator[bytes]:
        yield b"text\n" if kind in {"csv", "tsv"} else b"\n"
        yield b'"' if body == b'""' else b""
        for _ in range(50 * 16):
            yield body * ((1 << 16) // len(body))
        yield b'"\n' if body == b'""' else b"\n"
        yield b'{"text":1}\n'

    tracemalloc.start()
    try:
        found = list(read_records(chunks(), kind=kind))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert [item.position for item in found] == [2, 3]
    assert isinstance(found[0], Rejected)
    assert found[0].reason == "too_long"
    assert peak < 3 * MAX_RECORD_BYTES


def test_a_large_chunk_of_short_lines_is_not_split_at_once() -> None:
    data = b"\n" * 3_000_000
    tracemalloc.start()
    try:
        assert list(read_records([data], kind="jsonl")) == []
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    # 8 bytes for each of 262,144 parts of a piece, and as much again while the list grows.
    assert peak < 8_000_000


# What any of the formats gives a meaning to, and some that none does.
NASTY = st.one_of(
    st.binary(max_size=60),
    st.lists(
        st.sampled_from(
            [
                b"\n",
                b"\r\n",
                b"\r",
                b'"',
                b'""',
                b",",
                b"text",
                b"id,text\n",
                b"\0",
                b"\xff",
                BOM,
                b"\xc3",
                b"\xbc",
                b'{"text": "a"}\n',
                b'{"id": 1, "text": "b"}',
                b" ",
                b"{",
                b"x",
            ]
        ),
        max_size=30,
    ).map(b"".join),
)


@st.composite
def cut(draw: st.DrawFn) -> tuple[bytes, list[bytes]]:
    data = draw(NASTY)
    at = sorted(draw(st.lists(st.integers(0, len(data)), max_size=8)))
    bounds = [0, *at, len(data)]
    return data, [data[a:b] for a, b in pairwise(bounds)]


@given(cut(), st.sampled_from(STREAMED), st.sampled_from([1, 5, 17, 1 << 20]))
def test_chunks_make_no_difference(
    data_and_chunks: tuple[bytes, list[bytes]], kind: str, limit: int
) -> None:
    data, chunks = data_and_chunks

    def outcome(chunks: list[bytes]) -> list[Record | Rejected] | str:
        try:
            return list(read_records(chunks, kind=kind, max_record_bytes=limit))
        except InputError as exc:
            assert kind in {"csv", "tsv"}
            return str(exc)

    whole = outcome([data])
    assert outcome(chunks) == whole
    assert outcome(list(in_chunks(data, 1))) == whole


@given(NASTY, st.sampled_from(["jsonl", "txt"]), st.sampled_from([1, 5, 1 << 20]))
def test_no_line_is_lost(data: bytes, kind: str, limit: int) -> None:
    found = read(data, kind, max_record_bytes=limit)
    all_lines = data.removeprefix(BOM).split(b"\n")
    # A blank line over the limit was not held, so nobody knows that it was blank.
    expected = [
        at
        for at, text in enumerate(all_lines, start=1)
        if text.strip() or len(text.removesuffix(b"\r")) > limit
    ]
    assert [item.position for item in found] == expected
    for item in found:
        if isinstance(item, Record):
            assert item.text.encode() in all_lines[item.position - 1] or kind == "jsonl"
        else:
            assert item.reason in REASONS
    ids = [item.id for item in found if isinstance(item, Record)]
    assert len(ids) == len(set(ids))


CELLS = st.text(st.characters(exclude_categories=["Cs"]), max_size=8) | st.sampled_from(
    ['"', ",", "a,b", '"a"', "a\r\nb", "\n", "\r", 'x"y', ""]
)


def visible(text: str) -> bool:
    return bool(text) and not text.isspace() and "\0" not in text


@given(st.lists(CELLS.filter(visible)), st.booleans(), st.integers(1, 40))
def test_jsonl_round_trip(texts: list[str], escaped: bool, size: int) -> None:
    data = "".join(
        json.dumps({"n": [{}], "id": n, "text": text}, ensure_ascii=escaped) + "\n"
        for n, text in enumerate(texts)
    ).encode()
    found = list(read_records(in_chunks(data, size), kind="jsonl"))
    assert found == [Record(str(n), text, n + 1) for n, text in enumerate(texts)]


class _Lines(list[str]):
    """A file for csv.writer."""

    write = list.append


@given(
    st.lists(CELLS.filter(visible)), st.sampled_from(["\n", "\r\n"]), st.sampled_from([",", "\t"])
)
def test_csv_round_trip(texts: list[str], end: str, delimiter: str) -> None:
    out = _Lines()
    # Otherwise it leaves a lone carriage return unquoted if line ends are line feeds.
    writer = csv.writer(out, lineterminator=end, delimiter=delimiter, quoting=csv.QUOTE_ALL)
    if not any("\r" in text for text in texts):
        writer = csv.writer(out, lineterminator=end, delimiter=delimiter)
    writer.writerow(["text", "id"])
    writer.writerows((text, n) for n, text in enumerate(texts))
    found = read("".join(out).encode(), "csv" if delimiter == "," else "tsv")
    assert [(item.id, getattr(item, "text", None)) for item in found] == [
        (str(n), text) for n, text in enumerate(texts)
    ]


@given(st.text(st.sampled_from('ab,";\n\r ü'), max_size=40))
def test_rows_are_those_of_the_csv_module(text: str) -> None:
    assert list(_ours(text)) == list(_theirs(text))


def _ours(text: str) -> Iterator[list[str] | None]:
    for row in rows([text.encode()], 1000, b","):
        assert isinstance(row, Row)
        assert isinstance(row.data, bytes)
        yield cells(row.data.decode(), ",")


def _theirs(text: str) -> Iterator[list[str] | None]:
    reader = csv.reader(_split(text), strict=True)
    while True:
        try:
            yield from (row for row in reader if row)
        except csv.Error:  # noqa: PERF203 - it is how csv says that a row is broken
            yield None
        else:
            return


def _split(text: str) -> Iterator[str]:
    # Not splitlines: for both, only a line feed ends a line.
    first, *rest = text.split("\n")
    for part in rest:
        yield first + "\n"
        first = part
    if first:
        yield first
