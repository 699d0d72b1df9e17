"""``@legato.step``: what a user's own state is given, what travels on, and what is said when it fails."""

from __future__ import annotations

import json
import logging
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import legato
from legato._events import MAX_OUTPUT_BYTES
from legato.errors import (
    AccessDeniedError,
    CorruptObjectError,
    InputError,
    ObjectNotFoundError,
    OutputTooLargeError,
    StoreUnavailableError,
)
from legato.settings import Settings
from legato.step import Function, Step

SECRET = "hunter2, the words of a user"


@dataclass
class Context:
    function_name: str = "fn"
    aws_request_id: str = "req-1"


@pytest.fixture
def store() -> legato.Store:
    return legato.Store.open(f"memory://{uuid.uuid4().hex}")


@pytest.fixture
def lines(caplog: pytest.LogCaptureFixture) -> Callable[[], list[dict[str, Any]]]:
    """Return a function that returns the log lines so far, parsed."""
    caplog.set_level(logging.INFO, logger="legato.step")

    def parsed() -> list[dict[str, Any]]:
        messages = [r.getMessage() for r in caplog.records if r.name == "legato.step"]
        assert not any("\n" in message for message in messages)
        return [json.loads(message) for message in messages if message.startswith("{")]

    return parsed


def call(step: Step, event: Any, store: legato.Store) -> dict[str, Any]:
    """Call a step as the conductor does: the event and the answer pass through JSON."""
    handler = step.bind(Settings(), store)
    answer = handler(json.loads(json.dumps(event)), Context())
    text = json.dumps(answer, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    assert len(text.encode()) <= MAX_OUTPUT_BYTES
    parsed: dict[str, Any] = json.loads(text)
    return parsed


def returning(value: Any, name: str = "own") -> Step:
    return legato.step(name=name)(lambda event, task: value)


def echo(reads: list[str], seen: dict[str, Any]) -> Step:
    def function(event: Mapping[str, Any], task: legato.Task) -> Mapping[str, Any]:
        seen.update(event=event, task=task)
        return {}

    return legato.step(reads=reads, name="echo")(function)


# What goes in


def test_references_arrive_as_refs_at_any_depth(store: legato.Store) -> None:
    ref = store.put(b"abc", "up/a")
    seen: dict[str, Any] = {}
    event = {"a": ref.to_dict(), "b": [{"c": ref.to_dict()}, 1, None], "d": "text"}
    call(echo(["up"], seen), event, store)
    assert seen["event"] == {"a": ref, "b": [{"c": ref}, 1, None], "d": "text"}
    assert seen["task"].get(ref) == b"abc"


@pytest.mark.parametrize("event", [[1], "text", None, 7, True])
def test_an_event_that_is_no_object_is_refused(event: Any, store: legato.Store) -> None:
    with pytest.raises(InputError, match=f"is a {type(event).__name__}; send a JSON object"):
        call(returning({}), event, store)


@pytest.mark.parametrize("key", ["run", "counts"])
@pytest.mark.parametrize("value", [SECRET, [1], None])
def test_a_context_that_is_no_object_is_refused(key: str, value: Any, store: legato.Store) -> None:
    with pytest.raises(InputError, match=f"{key} in the event of own is a ") as caught:
        call(returning({}), {key: value}, store)
    assert SECRET not in str(caught.value)


def broken_references() -> Iterator[Any]:
    good = legato.Store.open("memory://refs").put(b"x", "a/b").to_dict()
    yield {"legato_ref": 1}
    yield {**good, "legato_ref": 99}
    yield {**good, "legato_ref": SECRET}
    yield {**good, "bytes": SECRET}
    yield {**good, "sha256": "00"}
    yield {**good, "uri": "not a url"}
    yield {**good, "extra": 1}
    yield {**good, "bytes": -1}


@pytest.mark.parametrize("broken", list(broken_references()))
def test_a_broken_reference_is_refused_wherever_it_stands(broken: Any, store: legato.Store) -> None:
    for event in ({"x": broken}, {"x": [1, {"y": broken}]}, {"run": broken}):
        with pytest.raises(InputError, match="reference is not valid") as caught:
            call(returning({}), event, store)
        assert SECRET not in str(caught.value)


def test_an_event_nested_too_deeply_is_refused(store: legato.Store) -> None:
    event: dict[str, Any] = {}
    for _ in range(100_000):
        event = {"x": event}
    with pytest.raises(InputError, match="nested too deeply"):
        returning({}).bind(Settings(), store)(event, Context())


def test_a_reference_to_another_store_is_refused(store: legato.Store) -> None:
    elsewhere = legato.Store.open("memory://elsewhere").put(b"x", "up/a")
    step = legato.step(reads=["up"], name="own")(lambda event, task: task.get(event["r"]) or {})
    with pytest.raises(InputError, match=f"outside of the store {store.url}"):
        call(step, {"r": elsewhere.to_dict()}, store)


# What goes out


def test_bytes_and_arrays_become_references_at_any_depth(store: legato.Store) -> None:
    rows = np.arange(6, dtype=np.float32).reshape(2, 3)[:, ::2]  # not contiguous
    out = call(returning({"b": b"\0raw", "n": [{"v": rows}], "m": bytearray(b"m")}), {}, store)
    seen: dict[str, Any] = {}
    call(echo(["own"], seen), out, store)
    event, task = seen["event"], seen["task"]
    assert task.load(event["b"]) == b"\0raw"
    assert task.load(event["m"]) == b"m"
    assert event["n"][0]["v"].shape == (2, 2)
    assert event["n"][0]["v"].dtype == "float32"
    np.testing.assert_array_equal(task.load(event["n"][0]["v"]), rows)


@pytest.mark.parametrize("number", [np.float32(0.5), np.int64(7), np.bool_(True), np.array(3)])
def test_a_number_of_numpy_travels_as_a_number(number: Any, store: legato.Store) -> None:
    assert call(returning({"n": number}), {}, store) == {"n": number.item()}
    assert store.list() == []


def test_a_ref_travels_as_its_json(store: legato.Store) -> None:
    ref = store.put(b"x", "own/a")
    assert call(returning({"r": ref, "l": (ref,)}), {}, store) == {
        "r": ref.to_dict(),
        "l": [ref.to_dict()],
    }


def test_a_large_value_is_stored_and_put_back_and_small_ones_stay(store: legato.Store) -> None:
    large = [f"{SECRET} {i}" for i in range(5000)]
    ref = store.put(b"x", "own/a")
    middle = "m" * 20_000
    value = {"label": "yes", "n": 3, "deep": {"large": large, "r": ref}, "middle": middle}
    out = call(returning(value), {}, store)
    # Choice states look at these.
    assert out["label"] == "yes"
    assert out["n"] == 3
    # The largest went, and that was enough.
    assert out["middle"] == middle
    assert set(out["deep"]["large"]) >= {"legato_ref", "uri", "sha256"}
    assert out["deep"]["r"] == ref.to_dict()
    assert SECRET not in json.dumps(out)
    seen: dict[str, Any] = {}
    call(echo(["own"], seen), out, store)
    assert seen["event"] == {**value, "deep": {"large": large, "r": ref}}
    assert isinstance(seen["event"]["deep"]["r"], legato.Ref)


def test_an_output_of_exactly_the_limit_travels_and_one_more_byte_is_stored(
    store: legato.Store,
) -> None:
    room = MAX_OUTPUT_BYTES - len('{"x":""}')
    assert call(returning({"x": "é" * (room // 2)}), {}, store) == {"x": "é" * (room // 2)}
    assert store.list() == []
    assert "legato_ref" in call(returning({"x": "a" * (room + 1)}), {}, store)["x"]


def test_many_small_fields_are_too_large_and_nothing_is_stored_for_them(
    store: legato.Store,
) -> None:
    fields = {f"field-{i}": "v" * 50 for i in range(1000)}
    with pytest.raises(OutputTooLargeError, match=r"own has 6\d,\d{3} bytes, the limit is 32,768"):
        call(returning(fields), {}, store)
    assert store.list() == []


def test_too_many_references_are_too_large(store: legato.Store) -> None:
    ref = store.put(b"x", "own/a")
    many = {f"r{i}": ref for i in range(200)}
    with pytest.raises(OutputTooLargeError):
        call(returning(many), {}, store)


def test_a_list_of_too_many_references_is_stored_and_put_back(store: legato.Store) -> None:
    refs = [store.put(b"x", f"own/{i}") for i in range(200)]
    out = call(returning({"parts": refs}), {}, store)
    seen: dict[str, Any] = {}
    call(echo(["own"], seen), out, store)
    assert seen["event"]["parts"] == refs


@pytest.mark.parametrize("key", ["run", "shard", "counts"])
def test_the_context_is_never_stored_away(key: str, store: legato.Store) -> None:
    event = {key: {"mode": "prompt", "x": "a" * 40_000}}
    with pytest.raises(OutputTooLargeError, match="run, shard, counts"):
        call(returning({}), event, store)
    beside = {key: {"mode": "prompt", "x": "a" * 20_000}}
    out = call(returning({"large": "b" * 30_000}), beside, store)
    assert out[key] == beside[key]
    assert "legato_ref" in out["large"]


def test_the_same_bytes_as_value_and_as_bytes_stay_apart(store: legato.Store) -> None:
    large = list(range(20_000))
    data = json.dumps(large, separators=(",", ":")).encode()
    first = call(returning({"x": data}), {}, store)
    second = call(returning({"x": large}), {}, store)
    seen: dict[str, Any] = {}
    call(echo(["own"], seen), {"bytes": first["x"], "value": second["x"]}, store)
    assert seen["task"].load(seen["event"]["bytes"]) == data
    assert seen["event"]["value"] == large


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ({"x": {1, 2}}, "field 'x' .* type set is not JSON"),
        ({"x": [object()]}, "field 'x' .* type object"),
        ({"x": float("nan")}, "field 'x' .* NaN"),
        ({"x": [np.float32("inf")]}, "field 'x' .* infinity"),
        ({"x": "\ud800" + SECRET}, "field 'x' .* surrogate"),
        ({"x": np.array(["a"])}, "dtype"),
        ({"x": np.datetime64("2020-01-01")}, "type date"),
        ({1: "a"}, "a key of type int"),
        ({"x": {1: "a", "1": "b"}}, "a key of type int"),
        ([1], "own returned a list; return a dict"),
        (None, "own returned a NoneType; return a dict"),
        ("text", "own returned a str; return a dict"),
    ],
)
def test_what_has_no_json_form_is_refused_by_field(
    value: Any, reason: str, store: legato.Store
) -> None:
    with pytest.raises(InputError, match=reason) as caught:
        call(returning(value), {}, store)
    assert SECRET not in str(caught.value)
    str(caught.value).encode()


def test_a_value_that_contains_itself_is_refused(store: legato.Store) -> None:
    loop: list[Any] = []
    loop.append(loop)
    with pytest.raises(InputError, match=r"'x' .* contains itself"):
        call(returning({"x": loop}), {}, store)


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner, max_size=4)
    | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), inner, max_size=4),
    max_leaves=12,
)  # fmt: skip


@given(st.dictionaries(st.sampled_from("abcdef"), JSON_VALUES), st.sets(st.sampled_from("abcdef")))
def test_what_a_state_returns_is_what_the_next_one_gets(value: Any, grown: set[str]) -> None:
    if "legato_ref" in json.dumps(value):
        return
    store = legato.Store.open(f"memory://{uuid.uuid4().hex}")
    value = {k: ([v, "x" * 33_000] if k in grown else v) for k, v in value.items()}
    seen: dict[str, Any] = {}
    call(echo(["own"], seen), call(returning(value), {}, store), store)
    assert seen["event"] == value


# Nested values


def test_what_is_small_beside_a_large_value_stays_at_any_depth(store: legato.Store) -> None:
    text = "t" * 40_000
    value = {"answer": {"label": "yes", "score": 0.5, "texts": [{"of": "a", "text": text}, "b"]}}
    out = call(returning(value), {}, store)
    answer = out["answer"]
    # A Choice state looks at $.answer.label, an item reader at $.answer.texts.
    assert (answer["label"], answer["score"], answer["texts"][1]) == ("yes", 0.5, "b")
    assert answer["texts"][0]["of"] == "a"
    assert answer["texts"][0]["text"]["media_type"] == "application/vnd.legato.value+json"
    seen: dict[str, Any] = {}
    call(echo(["own"], seen), out, store)
    assert seen["event"] == value


def test_many_values_of_a_size_go_together(store: legato.Store) -> None:
    value = {"rows": [{"text": "t" * 1100, "n": n} for n in range(100)], "label": "yes"}
    out = call(returning(value), {}, store)
    assert out["label"] == "yes"
    assert "legato_ref" in out["rows"]
    assert len(store.list()) == 2  # one object, and its reference
    seen: dict[str, Any] = {}
    call(echo(["own"], seen), out, store)
    assert seen["event"] == value


def test_several_large_values_of_a_field_go_one_by_one(store: legato.Store) -> None:
    value = {"a": {"x": "x" * 60_000, "y": {"z": "y" * 34_000, "keep": 1}, "keep": 2}}
    out = call(returning(value), {}, store)
    assert out["a"]["keep"] == 2
    assert out["a"]["y"]["keep"] == 1
    assert {"legato_ref"} <= set(out["a"]["x"]) & set(out["a"]["y"]["z"])
    seen: dict[str, Any] = {}
    call(echo(["own"], seen), out, store)
    assert seen["event"] == value


def test_tokens_and_tensors_become_references(store: legato.Store, tiny_bert: Any) -> None:
    tokens = legato.Tokenizer.from_dir(tiny_bert).encode(["river"])
    out = call(returning({"t": tokens}), {}, store)
    seen: dict[str, Any] = {}
    call(echo(["own"], seen), out, store)
    assert seen["event"]["t"].load().to_bytes() == tokens.to_bytes()


def test_a_reference_obeys_the_declaration_of_the_state_that_got_it(store: legato.Store) -> None:
    ref = store.put(np.arange(4), "other/a")
    for name in ("load", "slice"):
        rows = () if name == "load" else (0, 1)
        step = legato.step(name="own")(lambda e, t, n=name, r=rows: getattr(e["r"], n)(*r))
        with pytest.raises(AccessDeniedError, match=r"own may not read other/"):
            call(step, {"r": ref.to_dict()}, store)


# What a state may touch


def test_an_area_that_is_not_declared_is_refused_with_the_remedy(store: legato.Store) -> None:
    ref = store.put(b"x", "other/a")

    def read(event: Mapping[str, Any], task: legato.Task) -> Mapping[str, Any]:
        return {"x": task.get(event["r"])}

    def write(event: Mapping[str, Any], task: legato.Task) -> Mapping[str, Any]:
        return {"x": task.scope.commit("other/b", b"x")}

    with pytest.raises(AccessDeniedError, match=r"own may not read other/ .*'other' to reads=\["):
        call(legato.step(name="own")(read), {"r": ref.to_dict()}, store)
    with pytest.raises(AccessDeniedError, match=r"own may not write other/ .*'other' to writes=\["):
        call(legato.step(name="own", reads=["other"])(write), {}, store)
    assert call(legato.step(name="own", writes=["other"])(write), {}, store)["x"]["bytes"] == 1


def test_a_stored_value_of_an_area_that_is_not_declared_is_refused(store: legato.Store) -> None:
    out = call(returning({"x": "a" * 40_000}), {}, store)
    with pytest.raises(AccessDeniedError, match="own/"):
        call(echo([], {}), out, store)


def test_a_prefix_of_an_areas_name_is_another_area(store: legato.Store) -> None:
    ref = store.put(b"x", "inputs-private/a")
    with pytest.raises(AccessDeniedError):
        call(
            legato.step(name="own", reads=["inputs"])(lambda e, t: {"x": t.get(e["r"])}),
            {"r": ref.to_dict()},
            store,
        )


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"name": "own", "reads": "inference"}, r"reads=\['inference'\]"),
        ({"name": "own", "writes": ["a/b"]}, "'a/b'"),
        ({"name": "a b"}, "'a b'"),
        ({"name": "own", "reads": [""]}, "''"),
        ({}, "'<lambda>'"),
    ],
)
def test_names_that_are_no_areas_are_refused_at_once(options: Any, reason: str) -> None:
    with pytest.raises(InputError, match=reason):
        legato.step(**options)(lambda event, task: {})


def test_a_bare_decorator_takes_the_functions_name(store: legato.Store) -> None:
    @legato.step
    def labels(event: Mapping[str, Any], task: legato.Task) -> Mapping[str, Any]:
        return {"x": b"abc"}

    assert labels.name == "labels"
    out = call(labels, {}, store)
    assert out["x"]["uri"].startswith(f"{store.url}/labels/values/")


# Loading


@pytest.mark.parametrize(
    ("media_type", "data", "value"),
    [
        ("application/json", b'{"a": 1}', {"a": 1}),
        ("application/jsonl", '{"a":"\u2028"}\r\n[2]\n'.encode(), [{"a": "\u2028"}, [2]]),
        ("application/octet-stream", b"\xff", b"\xff"),
        ("text/plain", b"a", b"a"),
    ],
)
def test_load_follows_the_media_type(
    media_type: str, data: bytes, value: Any, store: legato.Store
) -> None:
    seen: dict[str, Any] = {}
    ref = store.put(data, "up/a", media_type=media_type)
    call(echo(["up"], seen), {"r": ref.to_dict()}, store)
    assert seen["task"].load(seen["event"]["r"]) == value


def test_load_reads_arrays_columns_and_tokens(store: legato.Store, tiny_bert: Any) -> None:
    import legato._native as native

    rows = np.ones((2, 3), np.float32)
    tokens = legato.Tokenizer.from_dir(tiny_bert).encode(["river", "rain and sea"])
    objects = {
        "tensors": (native.write_safetensors({"v": rows}), "application/vnd.safetensors"),
        "columns": (native.write_parquet({"id": ["a"]}), "application/vnd.apache.parquet"),
        "tokens": (tokens.to_bytes(), "application/vnd.legato.tokens+safetensors"),
    }
    refs = {n: store.put(d, f"up/{n}", media_type=m).to_dict() for n, (d, m) in objects.items()}
    seen: dict[str, Any] = {}
    call(echo(["up"], seen), refs, store)
    event, task = seen["event"], seen["task"]
    np.testing.assert_array_equal(task.load(event["tensors"])["v"], rows)
    assert task.load(event["columns"]) == {"id": ["a"]}
    assert task.load(event["tokens"]).lengths.tolist() == tokens.lengths.tolist()


@pytest.mark.parametrize(
    "media_type",
    [
        "application/json",
        "application/jsonl",
        "application/vnd.safetensors",
        "application/vnd.apache.parquet",
        "application/vnd.legato.tokens+safetensors",
        "application/vnd.legato.value+json",
        "application/vnd.legato.array+safetensors",
    ],
)
@pytest.mark.parametrize("data", [SECRET.encode(), b"\xff\xfe", b"[" * 100_000])
def test_an_object_that_is_not_what_it_says_is_a_typed_error(
    media_type: str, data: bytes, store: legato.Store
) -> None:
    ref = store.put(data, "up/a", media_type=media_type)
    step = legato.step(name="own", reads=["up"])(lambda e, t: {"x": len(t.load(e["r"]))})
    with pytest.raises(InputError) as caught:
        call(step, {"r": ref.to_dict()}, store)
    assert "hunter2" not in str(caught.value)


def test_a_changed_or_missing_object_is_a_typed_error(store: legato.Store) -> None:
    ref = store.put(b"abc", "up/a")
    step = legato.step(name="own", reads=["up"])(lambda e, t: {"x": t.get(e["r"])})
    store.put(b"abd", "up/a")
    with pytest.raises(CorruptObjectError, match="up/a"):
        call(step, {"r": ref.to_dict()}, store)
    store.delete("up/a")
    with pytest.raises(ObjectNotFoundError, match="up/a"):
        call(step, {"r": ref.to_dict()}, store)


# Context, log and failures


def test_the_context_travels_and_a_result_replaces_it(store: legato.Store) -> None:
    event = {"run": {"id": "r"}, "shard": {"index": 1}, "counts": {"a": {"in": 1}}, "drop": 1}
    assert call(returning({"own": 2}), event, store) == {
        "run": {"id": "r"}, "shard": {"index": 1}, "counts": {"a": {"in": 1}}, "own": 2,
    }  # fmt: skip
    assert call(returning({"shard": {"index": 2}}), event, store)["shard"] == {"index": 2}


def test_counts_are_added_under_the_states_name(store: legato.Store) -> None:
    def count(event: Mapping[str, Any], task: legato.Task) -> Mapping[str, Any]:
        task.count(records_in=5, out=3, cached=False)
        return {}

    out = call(legato.step(name="own")(count), {"counts": {"a": {"in": 1}}}, store)
    seconds = out["counts"]["own"].pop("seconds")
    assert 0 <= seconds < 5
    assert out["counts"] == {"a": {"in": 1}, "own": {"in": 5, "out": 3, "rejected": 2, "cached": 0}}


def failing(error: BaseException) -> Function:
    def function(event: Mapping[str, Any], task: legato.Task) -> Mapping[str, Any]:
        raise error

    return function


EVENT = {"run": {"id": "run-1"}, "shard": {"index": 7}, "prompt": SECRET}


def test_a_task_logs_one_line_without_user_text(
    store: legato.Store, lines: Callable[[], list[dict[str, Any]]]
) -> None:
    def count(event: Mapping[str, Any], task: legato.Task) -> Mapping[str, Any]:
        task.count(records_in=2, out=2, cached=True)
        return {"answer": SECRET}

    call(legato.step(name="own")(count), EVENT, store)
    (line,) = lines()
    assert line.pop("timestamp").endswith("+00:00")
    assert line.pop("seconds") >= 0
    assert line == {
        "level": "INFO",
        "service": "legato",
        "state": "own",
        "function_name": "fn",
        "function_request_id": "req-1",
        "run_id": "run-1",
        "shard": 7,
        "in": 2,
        "out": 2,
        "rejected": 0,
        "cached": 1,
    }


@pytest.mark.parametrize(
    "error",
    [ValueError(SECRET), KeyError(SECRET), StoreUnavailableError("the store is asleep")],
)
def test_an_error_passes_unchanged_is_logged_once_and_recorded(
    error: Exception, store: legato.Store, lines: Callable[[], list[dict[str, Any]]]
) -> None:
    with pytest.raises(type(error)) as caught:
        call(legato.step(name="own")(failing(error)), EVENT, store)
    assert caught.value is error
    (line,) = lines()
    assert line["level"] == "ERROR"
    assert line["error"] == type(error).__name__
    assert line["run_id"] == "run-1"
    assert line["function_request_id"] == "req-1"
    assert line.get("reason") == (
        str(error) if isinstance(error, legato.errors.LegatoError) else None
    )
    assert store.list() == ["runs/run-1/failures/own-00007.json"]
    record = store.get("runs/run-1/failures/own-00007.json")
    assert json.loads(record) == line
    assert b"hunter2" not in record
    assert "hunter2" not in json.dumps(lines())


@pytest.mark.parametrize(
    "event",
    [
        {},
        {"run": {}},
        {"run": {"id": "../../x"}},
        {"run": {"id": 7}, "shard": {"index": float("inf")}},
        {"run": {"id": "r"}, "shard": SECRET},
        {"run": {"id": "r"}, "shard": {"index": SECRET}},
        {"run": {"id": "r"}, "shard": None},
        {"run": {"id": SECRET * 1000}},
    ],
)
def test_a_failure_without_a_place_for_its_record_still_says_what_it_was(
    event: Any, store: legato.Store, lines: Callable[[], list[dict[str, Any]]]
) -> None:
    with pytest.raises(ValueError, match="the real one"):
        call(legato.step(name="own")(failing(ValueError("the real one"))), event, store)
    (line,) = lines()
    assert line["error"] == "ValueError"
    assert len(json.dumps(line)) < 1000
    assert not [key for key in store.list() if not key.startswith("runs/")]


def test_an_interrupt_is_no_failure_of_the_state(
    store: legato.Store, lines: Callable[[], list[dict[str, Any]]]
) -> None:
    with pytest.raises(KeyboardInterrupt):
        call(legato.step(name="own")(failing(KeyboardInterrupt())), EVENT, store)
    assert lines() == []
    assert store.list() == []
