"""Intrinsic functions in payload templates, by the specification and AWS's documented examples."""

from __future__ import annotations

import contextlib
import hashlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from legato.conductor import Conductor, Execution
from legato.errors import WorkflowError

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(st.characters(codec="utf-8")),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(st.characters(codec="utf-8")), inner),
    max_leaves=10,
)


def run(call: str, data: Any = None) -> Execution:
    states = {"P": {"Type": "Pass", "Parameters": {"value.$": call}, "End": True}}
    return Conductor({"StartAt": "P", "States": states}, functions={}, buckets={}).run(
        data, name="r"
    )


def value(call: str, data: Any = None) -> Any:
    execution = run(call, data)
    assert execution.status == "SUCCEEDED", execution.cause
    return execution.output["value"]


@pytest.mark.parametrize(
    ("call", "data", "expected"),
    [
        ("States.Format('Your name is {}, {}', $.n, 3)", {"n": "Foo"}, "Your name is Foo, 3"),
        ("States.Format('{}{}{}{}', 1.5, true, null, -2)", {}, "1.5truenull-2"),
        (r"States.Format('\{\} {} \'q\' \\', 'x')", {}, "{} x 'q' \\"),
        ("States.Format($.form, $.n)", {"form": "a {} b", "n": 1}, "a 1 b"),
        ("States.Format('{}', '{}')", {}, "{}"),
        ("States.Format('plain')", {}, "plain"),
        ("States.Format('{}', States.Format('<{}>', $$.Execution.Name))", {}, "<r>"),
        ("States.Format('{}',$['a b'][1])", {"a b": [1, 2]}, "2"),
        (
            "States.Hash('input data', 'SHA-1')",
            {},
            "aaff4a450a104cd177d28d18d74485e8cae074b7",
        ),
        ("States.StringSplit($.s, $.d)", {"s": "1,2,3,4", "d": ","}, ["1", "2", "3", "4"]),
        (
            "States.StringSplit('This.is+a,test=string', '.+,=')",
            {},
            ["This", "is", "a", "test", "string"],
        ),
        ("States.StringSplit('a^]b--c', '^]-')", {}, ["a", "b", "c"]),
        ("States.StringSplit('', ',')", {}, []),
        ("States.Array($.id, 'x', 1)", {"id": 7}, [7, "x", 1]),
        ("States.Array()", {}, []),
        ("States.StringToJson($.s)", {"s": '{"number": [1]}'}, {"number": [1]}),
        ("States.JsonToString($)", {"a": [1, None, "ü"]}, '{"a":[1,null,"ü"]}'),
        (" States.Array( 1 , 'a,)b' ) ".strip(), {}, [1, "a,)b"]),
    ],
)
def test_what_they_give(call: str, data: Any, expected: Any) -> None:
    assert value(call, data) == expected


@given(JSON)
def test_json_there_and_back(data: Any) -> None:
    assert json.loads(value("States.JsonToString($)", data)) == data
    assert value("States.StringToJson(States.JsonToString($))", data) == data


@pytest.mark.parametrize(
    ("name", "python"),
    [
        ("MD5", "md5"),
        ("SHA-1", "sha1"),
        ("SHA-256", "sha256"),
        ("SHA-384", "sha384"),
        ("SHA-512", "sha512"),
    ],
)
def test_every_algorithm_hashes_the_bytes_of_utf8(name: str, python: str) -> None:
    expected = hashlib.new(python, "naïve".encode()).hexdigest()
    assert value(f"States.Hash($, '{name}')", "naïve") == expected


@pytest.mark.parametrize(
    ("call", "data"),
    [
        ("States.StringToJson($)", "secret {"),
        ("States.StringToJson($)", 5),
        ("States.Format('{}', $)", {"secret": 1}),
        ("States.Format($, 1)", "no holes, secret"),
        ("States.Hash($, 'SHA-256')", {"secret": 1}),
        ("States.Hash($, 'CRC')", "secret"),
        ("States.Hash($, 'MD5')", "secret" * 2_000),
        ("States.StringSplit($, ',')", ["secret"]),
    ],
)
def test_what_they_cannot_work_on_fails_by_name_and_quotes_nothing(call: str, data: Any) -> None:
    execution = run(call, data)
    assert execution.error == "States.IntrinsicFailure"
    assert "States." in str(execution.cause)
    assert "secret" not in str(execution.cause)


def test_a_path_that_names_nothing_fails_as_anywhere() -> None:
    assert run("States.Array($.missing)", {}).error == "States.Runtime"


def test_ten_functions_may_be_nested_and_no_more() -> None:
    def nested(depth: int) -> str:
        return "States.Array(" * depth + ")" * depth

    assert json.dumps(value(nested(10))) == "[" * 10 + "]" * 10
    with pytest.raises(WorkflowError, match="more than 10"):
        run(nested(11))


@pytest.mark.parametrize(
    ("call", "named"),
    [
        ("States.UUID()", r"States\.UUID is not supported"),
        ("States.MathAdd(1, 2)", r"States\.MathAdd is not supported"),
        ("States.Array($", "expected"),
        ("States.Array('a' 2)", "expected"),
        ("States.Array(1,)", "is no path"),
        ("States.Array(1) x", "follows"),
        ("States.Array('a)", "is no path"),
        ("States.Array(x)", "is no path"),
        ("States.Array($..a)", "recursive descent"),
        ("States.Hash('a')", "takes 2 arguments, not 1"),
        ("States.JsonToString($, $)", "takes 1 arguments, not 2"),
        ("States.Format()", "takes 1 or more"),
        ("States.Format('{} {}', 1)", r"has 2 \{\} and 1 values"),
        ("States.", "no intrinsic function"),
    ],
)
def test_a_malformed_call_is_refused_before_anything_runs(call: str, named: str) -> None:
    with pytest.raises(WorkflowError, match=named):
        run(call)


@given(st.text(alphabet="States.Format(){}'\\,$ab01[]\" ", max_size=40))
def test_a_call_is_parsed_or_refused_never_anything_else(text: str) -> None:
    with contextlib.suppress(WorkflowError):
        run(f"States.{text}", {})


@pytest.mark.parametrize("field", ["InputPath", "OutputPath", "ResultPath"])
def test_a_path_is_no_place_for_them(field: str) -> None:
    states = {"P": {"Type": "Pass", field: "States.Array(1)", "End": True}}
    with pytest.raises(WorkflowError, match="payload template"):
        Conductor({"StartAt": "P", "States": states}, functions={}, buckets={})


@pytest.mark.parametrize(
    "call",
    [
        "States.Hash(States.StringToJson($.text), 'SHA-256')",
        "States.JsonToString(States.StringToJson($.text))",
        "States.Format('{}', States.StringToJson($.number))",
    ],
)
def test_what_a_text_of_json_may_hold_and_utf_8_may_not(call: str) -> None:
    execution = run(call, {"text": '"\\ud800"', "number": "1e400"})
    assert (execution.status, execution.error) == ("FAILED", "States.IntrinsicFailure")


def test_a_number_of_too_many_digits_is_refused() -> None:
    with pytest.raises(WorkflowError, match="too many digits"):
        run(f"States.Array({'1' * 5000})")
