"""Reference paths, payload templates and the flow of data through a state."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from legato.conductor import Conductor, Execution
from legato.errors import WorkflowError

FUNCTION = "arn:aws:lambda:eu-west-1:123456789012:function:f"


def run(state: dict[str, Any], data: object, result: object = None) -> Execution:
    """Run one Pass state, or a Task whose function returns the result."""
    document = {"StartAt": "S", "States": {"S": {"Type": "Pass", "End": True, **state}}}
    return Conductor(document, functions={FUNCTION: lambda *_: result}, buckets={}).run(
        data, name="r"
    )


def task(state: dict[str, Any], data: object, result: object) -> Execution:
    return run({"Type": "Task", "Resource": FUNCTION, **state}, data, result)


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("$", {"a": {"b": [10, {"c d": "x"}], "k-e_y9": 1, "é": 2, "it's": 3}}),
        ("$.a.b", [10, {"c d": "x"}]),
        ("$.a.b[0]", 10),
        ("$.a['b'][1]['c d']", "x"),
        ('$["a"]["b"][0]', 10),
        ("$.a.k-e_y9", 1),
        ("$.a.é", 2),
        (r"$.a['it\'s']", 3),
        ("$$.Execution.Name", "r"),
        ("$$.Execution.Input.a.b[0]", 10),
        ("$$['State']['Name']", "S"),
    ],
)
def test_reference_paths_name_one_node(path: str, expected: object) -> None:
    data = {"a": {"b": [10, {"c d": "x"}], "k-e_y9": 1, "é": 2, "it's": 3}}
    execution = run({"InputPath": path}, data)
    assert (execution.status, execution.output) == ("SUCCEEDED", expected)


@pytest.mark.parametrize(
    ("path", "named"),
    [
        ("$..a", "recursive descent"),
        ("$.*", "wildcard"),
        ("$.a[*]", "wildcard"),
        ("$.a[?(@.b==1)]", "filter"),
        ("$.a[0:2]", "slice"),
        ("$.a[:2]", "slice"),
        ("$.a[-1]", "negative index"),
        ("$.a[-1:]", "slice"),
        ("$.a[0,1]", "union"),
        ("$['a','b']", "union"),
        ("$.a[(@.length-1)]", "script"),
        ("$variable", "Assign"),
        ("$variable.x", "Assign"),
        ("States.UUID()", "intrinsic function States.UUID"),
        ("a.b", "begins with"),
        ("", "not empty"),
        ("$.", "cannot be read"),
        ("$.a b", "begins with"),
        ("$.a.", "cannot be read"),
        ("$.a[", "cannot be read"),
        ("$.a['b]", "cannot be read"),
        ("$.a[01]", "cannot be read"),
        ("$.a[0", "cannot be read"),
        ("$.1a", "cannot be read"),
        (7, "not empty"),
    ],
)
def test_other_paths_are_refused_by_name(path: object, named: str) -> None:
    with pytest.raises(WorkflowError, match=named) as caught:
        run({"InputPath": path}, {})
    assert str(caught.value).startswith("state S")


@given(st.text(max_size=40))
def test_a_path_is_parsed_or_refused_never_anything_else(text: str) -> None:
    try:
        run({"OutputPath": f"${text}"}, {})
    except WorkflowError:
        return


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]), min_size=1), min_size=1))
def test_quoted_steps_carry_any_key(keys: list[str]) -> None:
    data: Any = "found"
    for key in reversed(keys):
        data = {key: data}
    quoted = [key.replace("\\", "\\\\").replace("'", "\\'") for key in keys]
    path = "$" + "".join(f"['{key}']" for key in quoted)
    if any("\n" in key for key in keys):
        return
    # A placeholder in a key would be replaced; the conductor does that before it parses.
    if "${" in path:
        return
    assert run({"InputPath": path}, data).output == "found"


@pytest.mark.parametrize("field", ["InputPath", "OutputPath"])
def test_a_path_without_a_node_fails_the_execution_as_on_aws(field: str) -> None:
    execution = run({field: "$.secret.b"}, {"secret": "text"})
    assert (execution.status, execution.error) == ("FAILED", "States.Runtime")
    assert execution.cause is not None
    assert "state S" in execution.cause
    assert "'text'" not in execution.cause


@pytest.mark.parametrize("index", ["$.a[2]", "$.a.b", "$.a[0].x"])
def test_no_node_beyond_an_array(index: str) -> None:
    assert run({"Parameters": {"x.$": index}}, {"a": [1, 2]}).error == "States.Runtime"


def test_input_path_null_is_an_empty_object_and_result_goes_into_the_raw_input() -> None:
    execution = task({"InputPath": None, "ResultPath": "$.r"}, {"a": 1}, 5)
    assert execution.output == {"a": 1, "r": 5}


def test_output_path_null_is_an_empty_object() -> None:
    assert run({"OutputPath": None}, {"a": 1}).output == {}


def test_result_path_null_discards_the_result() -> None:
    assert task({"ResultPath": None}, {"a": 1}, 5).output == {"a": 1}


def test_the_example_of_the_specification_for_parameters() -> None:
    state = {
        "Parameters": {
            "flagged": True,
            "parts": {"first.$": "$.vals[0]", "list": [{"name.$": "$$.State.Name"}, "$.vals"]},
        }
    }
    assert run(state, {"flagged": 7, "vals": [0, 10]}).output == {
        "flagged": True,
        "parts": {"first": 0, "list": [{"name": "S"}, "$.vals"]},
    }


def test_the_example_of_the_documentation_for_input_parameters_and_result() -> None:
    seen: list[Any] = []
    state = {
        "Type": "Task",
        "Resource": FUNCTION,
        "InputPath": "$.lambda",
        "Parameters": {"who.$": "$.who", "fixed": 1},
        "ResultSelector": {"greeting.$": "$.text", "at.$": "$$.Execution.Name"},
        "ResultPath": "$.data.lambdaresult",
        "OutputPath": "$.data",
        "End": True,
    }

    def handler(event: object, _context: object) -> object:
        seen.append(event)
        return {"text": "Hello", "noise": 1}

    document = {"StartAt": "S", "States": {"S": state}}
    data = {"comment": "c", "data": {"val1": 23}, "lambda": {"who": "AWS"}}
    execution = Conductor(document, functions={FUNCTION: handler}, buckets={}).run(data, name="r")
    assert seen == [{"who": "AWS", "fixed": 1}]
    assert execution.output == {"val1": 23, "lambdaresult": {"greeting": "Hello", "at": "r"}}


def test_context_paths_reach_the_context_object_only() -> None:
    context = run({"InputPath": "$$"}, {"a": 1}).output
    assert context["Execution"]["Input"] == {"a": 1}
    assert context["Execution"]["RedriveCount"] == 0
    assert {"Id", "Name", "RoleArn", "StartTime"} <= set(context["Execution"])
    assert set(context["State"]) == {"EnteredTime", "Name"}
    assert set(context["StateMachine"]) == {"Id", "Name"}


@pytest.mark.parametrize(
    ("path", "data", "expected"),
    [
        ("$", {"a": 1}, "R"),
        ("$.b", {"a": 1}, {"a": 1, "b": "R"}),
        ("$.a", {"a": 1}, {"a": "R"}),
        ("$.x.y.z", {}, {"x": {"y": {"z": "R"}}}),
        ("$.a[1]", {"a": [1, 2]}, {"a": [1, "R"]}),
        ("$.a[0].b", {"a": [{"c": 1}]}, {"a": [{"c": 1, "b": "R"}]}),
        ("$['x y']", {}, {"x y": "R"}),
    ],
)
def test_result_path_places_the_result(path: str, data: object, expected: object) -> None:
    assert run({"Result": "R", "ResultPath": path}, data).output == expected


@pytest.mark.parametrize(
    ("path", "data"),
    [
        ("$.a", "text"),
        ("$.a", [1]),
        ("$.a", None),
        ("$.a.b", {"a": 1}),
        ("$.a[1]", {"a": [1]}),
        ("$.a[0]", {}),
        ("$[0]", {"a": 1}),
    ],
)
def test_result_path_that_does_not_fit_has_its_error(path: str, data: object) -> None:
    execution = run({"Result": 1, "ResultPath": path}, data)
    assert execution.error == "States.ResultPathMatchFailure"


def test_result_path_failure_can_be_caught() -> None:
    states = {
        "S": {
            "Type": "Task",
            "Resource": FUNCTION,
            "ResultPath": "$.a.b",
            "Catch": [{"ErrorEquals": ["States.ALL"], "Next": "Caught"}],
            "End": True,
        },
        "Caught": {"Type": "Pass", "End": True},
    }
    conductor = Conductor(
        {"StartAt": "S", "States": states}, functions={FUNCTION: lambda *_: 1}, buckets={}
    )
    execution = conductor.run({"a": 1}, name="r")
    assert execution.output["Error"] == "States.ResultPathMatchFailure"


def test_result_wins_over_parameters_in_a_pass() -> None:
    assert run({"Result": 1, "Parameters": {"a": 2}}, {}).output == 1


def test_a_pass_may_hand_on_null_and_false() -> None:
    assert run({"Result": None}, {"a": 1}).output is None
    assert run({"Result": False}, {"a": 1}).output is False


@pytest.mark.parametrize(
    ("parameters", "named"),
    [
        ({"a.$": 1}, r"Parameters\.a\.\$ must be a path"),
        ({"a.$": "text"}, "begins with"),
        ({"a": 1, "a.$": "$"}, "has both"),
        ({"l": [{"a.$": "$..x"}]}, "recursive descent"),
        ({"a.$": "States.MathAdd(1, 2)"}, "States.MathAdd"),
    ],
)
def test_malformed_templates_are_refused(parameters: object, named: str) -> None:
    with pytest.raises(WorkflowError, match=named):
        run({"Parameters": parameters}, {})
