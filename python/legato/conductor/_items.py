"""What a Map runs over: an array in the data, an object in a bucket, or a bucket's keys."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

from legato.conductor._failure import ITEM_READER_FAILED, RUNTIME, StateFailure
from legato.conductor._frame import Engine
from legato.conductor._model import ItemReader, Map
from legato.conductor._payload import decode
from legato.conductor._shown import shown
from legato.conductor._template import Scope
from legato.errors import LegatoError


@dataclass(frozen=True, slots=True)
class Items:
    """How many items there are, and the items one after another, parsed when they are needed."""

    count: int
    values: Iterator[Any]


def open_items(engine: Engine, state: Map, scope: Scope) -> Items:
    """Find the items of a Map state.

    Args:
        engine: Knows the buckets.
        state: The state.
        scope: Its data.

    Raises:
        StateFailure: ``States.ItemReaderFailed`` where a bucket's object cannot be read, with the
            number of the line; ``States.Runtime`` where the data has no array.
    """
    if state.item_reader is not None:
        return _read(engine, state.name, state.item_reader, scope)
    items = scope.require(state.items_path, "ItemsPath")
    if not isinstance(items, list):
        what = f"ItemsPath {state.items_path.text} gives no array; a Map runs over an array"
        raise StateFailure(RUNTIME, f"state {state.name}: {what}")
    return Items(len(items), iter(items))


def _read(engine: Engine, state: str, reader: ItemReader, scope: Scope) -> Items:
    where = reader.parameters(scope)
    bucket, key = where["Bucket"], where.get("Key", where.get("Prefix", ""))
    if not isinstance(bucket, str) or not isinstance(key, str):
        raise _failed(state, "Bucket, Key and Prefix must be texts")
    store = engine.buckets.get(bucket)
    if store is None:
        raise _failed(state, f"bucket {shown(bucket)} is not bound; bind a store to it in buckets")
    try:
        if reader.operation == "list":
            keys = store.list(key)
            return _opened(lambda: ({"Key": name} for name in keys), reader.max_items)
        data = store.get(key)
    except LegatoError as exc:
        raise _failed(state, f"object {shown(key)} of bucket {shown(bucket)}: {exc}") from exc
    except Exception as exc:
        what = f"object {shown(key)} of bucket {shown(bucket)} cannot be read: {type(exc).__name__}"
        raise _failed(state, what) from exc
    try:
        return _opened(lambda: _parse(reader, data), reader.max_items)
    except ValueError as exc:
        raise _failed(state, f"object {shown(key)} of bucket {shown(bucket)}: {exc}") from None


def _opened(parse: Callable[[], Iterator[Any]], max_items: int) -> Items:
    # The first pass refuses a broken object before any child runs, and keeps nothing.
    limit = max_items or None
    count = sum(1 for _ in islice(parse(), limit))
    return Items(count, islice(parse(), limit))


def _parse(reader: ItemReader, data: bytes) -> Iterator[Any]:
    if reader.input_type == "JSONL":
        return _parse_jsonl(data)
    if reader.input_type == "CSV":
        return _parse_csv(reader, data)
    return _parse_json(data)


def _parse_jsonl(data: bytes) -> Iterator[Any]:
    for number, line in enumerate(io.BytesIO(data), start=1):
        if line.strip():
            try:
                yield decode(line.decode("utf-8"))
            except ValueError:
                # The parser's own message may quote the line.
                msg = f"line {number} is not JSON in UTF-8"
                raise ValueError(msg) from None


def _parse_json(data: bytes) -> Iterator[Any]:
    try:
        items = decode(data.decode("utf-8"))
    except ValueError:
        msg = "it is not JSON in UTF-8"
        raise ValueError(msg) from None
    if not isinstance(items, list):
        msg = "it is no JSON array"
        raise ValueError(msg)  # noqa: TRY004 - of what the object holds, not of an argument
    return iter(items)


def _parse_csv(reader: ItemReader, data: bytes) -> Iterator[dict[str, str]]:
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as exc:
        msg = f"byte {exc.start} is not UTF-8"
        raise ValueError(msg) from None
    rows = csv.reader(io.StringIO(text, newline=""), delimiter=reader.csv_delimiter, strict=True)
    headers = reader.csv_headers
    try:
        if headers is None:
            headers = tuple(next(rows, ()))
        if len(set(headers)) < len(headers):
            msg = "CSV headers cannot contain duplicates"
            raise ValueError(msg)
        for row in rows:
            if row:
                # As on AWS: fields beyond the headers are dropped, missing ones are empty.
                padded = row + [""] * (len(headers) - len(row))
                yield dict(zip(headers, padded, strict=False))
    except csv.Error:
        msg = f"line {rows.line_num} is not CSV"
        raise ValueError(msg) from None


def _failed(state: str, what: str) -> StateFailure:
    return StateFailure(ITEM_READER_FAILED, f"state {state}: {what}")
