"""Choice rules: every operator, with values of every type."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from legato.conductor import Conductor, Execution
from legato.errors import WorkflowError

NOON = "2016-08-18T12:00:00Z"
NOON_ELSEWHERE = "2016-08-18T14:00:00+02:00"
LATER = "2016-08-18T12:00:00.000000001Z"

VALUES: dict[str, list[Any]] = {
    "String": ["a", "b"],
    "Numeric": [1, 2.5],
    "Timestamp": [NOON, LATER],
}
EXPECTED = {
    "Equals": (True, False, False),
    "LessThan": (False, True, False),
    "LessThanEquals": (True, True, False),
    "GreaterThan": (False, False, True),
    "GreaterThanEquals": (True, False, True),
}
OTHERS: list[Any] = [None, True, 0, "", "text", [], {}, [1], {"a": 1}]


def choose(rule: dict[str, Any], data: object, *, default: bool = True) -> Execution:
    states: dict[str, Any] = {
        "C": {"Type": "Choice", "Choices": [{**rule, "Next": "Yes"}]},
        "Yes": {"Type": "Pass", "Result": True, "End": True},
    }
    if default:
        states["C"]["Default"] = "No"
        states["No"] = {"Type": "Pass", "Result": False, "End": True}
    document = {"StartAt": "C", "States": states}
    return Conductor(document, functions={}, buckets={}).run(data, name="r")


def holds(rule: dict[str, Any], data: object) -> bool:
    execution = choose(rule, data)
    assert execution.status == "SUCCEEDED", execution.cause
    result = execution.output
    assert isinstance(result, bool)
    return result


@pytest.mark.parametrize("kind", VALUES)
@pytest.mark.parametrize("order", EXPECTED)
def test_comparisons_with_a_constant_and_with_a_path(kind: str, order: str) -> None:
    low, high = VALUES[kind]
    for (left, right), expected in zip(
        [(low, low), (low, high), (high, low)], EXPECTED[order], strict=True
    ):
        constant = {"Variable": "$.v", f"{kind}{order}": right}
        path = {"Variable": "$.v", f"{kind}{order}Path": "$.other.w"}
        data = {"v": left, "other": {"w": right}}
        assert holds(constant, data) is expected
        assert holds(path, data) is expected


@pytest.mark.parametrize("kind", VALUES)
@pytest.mark.parametrize("other", OTHERS)
def test_another_type_never_compares(kind: str, other: object) -> None:
    low = VALUES[kind][0]
    same = {"String": str, "Numeric": (int, float), "Timestamp": ()}[kind]
    if isinstance(other, same) and not isinstance(other, bool):  # type: ignore[arg-type]
        return
    for order in EXPECTED:
        assert not holds({"Variable": "$.v", f"{kind}{order}": low}, {"v": other})
        path = {"Variable": "$.w", f"{kind}{order}Path": "$.v"}
        assert not holds(path, {"v": other, "w": low})


def test_boolean_equals() -> None:
    assert holds({"Variable": "$", "BooleanEquals": False}, data=False)
    assert not holds({"Variable": "$", "BooleanEquals": True}, data=False)
    assert not holds({"Variable": "$", "BooleanEquals": True}, 1)
    assert holds({"Variable": "$.a", "BooleanEqualsPath": "$.b"}, {"a": True, "b": True})


def test_an_offset_names_the_same_instant() -> None:
    assert holds({"Variable": "$", "TimestampEquals": NOON}, NOON_ELSEWHERE)


def test_strings_are_ordered_by_utf16_units_as_in_java() -> None:
    # U+FF5E comes after U+1F600, whose first surrogate is U+D83D.
    assert holds({"Variable": "$", "StringGreaterThan": "\U0001f600"}, "\uff5e")


@pytest.mark.parametrize(
    ("operator", "right"),
    [
        ("IsNull", [None]),
        ("IsBoolean", [True, False]),
        ("IsNumeric", [0, 1.5, -3]),
        ("IsString", ["", "text", NOON]),
        ("IsTimestamp", [NOON, NOON_ELSEWHERE, LATER]),
    ],
)
def test_type_tests(operator: str, right: list[Any]) -> None:
    for value in right:
        assert holds({"Variable": "$.v", operator: True}, {"v": value})
        assert not holds({"Variable": "$.v", operator: False}, {"v": value})
    for value in OTHERS:
        if not any(type(value) is type(one) for one in right):
            assert not holds({"Variable": "$.v", operator: True}, {"v": value})
            assert holds({"Variable": "$.v", operator: False}, {"v": value})


@pytest.mark.parametrize(
    "text",
    [
        "2016-08-18 12:00:00Z",
        "2016-08-18t12:00:00Z",
        "2016-08-18T12:00:00z",
        "2016-08-18T12:00:00",
        "2016-13-18T12:00:00Z",
        "2016-02-30T12:00:00Z",
        "2016-08-18T25:00:00Z",
        "2016-08-18T12:00:00+19:00",
        "2016-08-18T12:00:00+01:60",
        "2016-08-18T12:00Z",
        "2016-08-18",
        "٢016-08-18T12:00:00Z",
        f"{NOON}\n",
        f"{NOON} ",
    ],
)
def test_what_is_no_timestamp(text: str) -> None:
    assert holds({"Variable": "$", "IsTimestamp": False}, text)
    with pytest.raises(WorkflowError, match="TimestampEquals"):
        choose({"Variable": "$", "TimestampEquals": text}, NOON)


def test_is_present_is_the_only_test_of_what_is_missing() -> None:
    assert holds({"Variable": "$.v", "IsPresent": True}, {"v": None})
    assert not holds({"Variable": "$.v", "IsPresent": True}, {})
    assert holds({"Variable": "$.v.w[0]", "IsPresent": False}, {"v": {"w": []}})
    for operator, value in [("IsNull", True), ("StringEquals", "a"), ("NumericLessThan", 1)]:
        execution = choose({"Variable": "$.v", operator: value}, {})
        assert execution.error == "States.Runtime"


@pytest.mark.parametrize(
    ("pattern", "text", "expected"),
    [
        ("log-*.txt", "log-2026.txt", True),
        ("log-*.txt", "log-.txt", True),
        ("log-*.txt", "log-.txt2", False),
        ("*", "", True),
        ("*", "a\nb", True),
        ("a*a", "a", False),
        ("a*b*c", "a-b-b-c", True),
        ("a*b*c", "acb", False),
        ("*ab*ab", "ab", False),
        ("*ab*ab", "abab", True),
        (r"a\*b", "a*b", True),
        (r"a\*b", "axb", False),
        (r"\\*", r"\x", True),
        (r"\\", "\\", True),
        ("a.c", "abc", False),
        ("[a]", "[a]", True),
        ("", "", True),
        ("", "a", False),
    ],
)
def test_string_matches(pattern: str, text: str, expected: bool) -> None:
    assert holds({"Variable": "$", "StringMatches": pattern}, text) is expected


def test_string_matches_is_false_for_other_types_and_fast_for_long_texts() -> None:
    assert not holds({"Variable": "$", "StringMatches": "*"}, 1)
    assert not holds({"Variable": "$", "StringMatches": "*a" * 30 + "b"}, "a" * 200_000)


@given(st.text(alphabet="ab", max_size=12), st.text(alphabet="ab*", max_size=8))
def test_string_matches_agrees_with_a_plain_reference(text: str, pattern: str) -> None:
    def reference(text: str, pattern: str) -> bool:
        if not pattern:
            return not text
        if pattern[0] == "*":
            return any(reference(text[n:], pattern[1:]) for n in range(len(text) + 1))
        return text[:1] == pattern[0] and reference(text[1:], pattern[1:])

    rule = {"Variable": "$", "StringMatches": pattern}
    assert holds(rule, text) is reference(text, pattern)


def test_the_example_of_the_documentation() -> None:
    states: dict[str, Any] = {
        "C": {
            "Type": "Choice",
            "Default": "RecordEvent",
            "Choices": [
                {"Not": {"Variable": "$.type", "StringEquals": "Private"}, "Next": "Public"},
                {
                    "And": [
                        {"Variable": "$.value", "IsPresent": True},
                        {"Variable": "$.value", "IsNumeric": True},
                        {"Variable": "$.value", "NumericGreaterThanEquals": 20},
                        {"Variable": "$.value", "NumericLessThan": 30},
                    ],
                    "Next": "ValueInTwenties",
                },
            ],
        },
        **{
            name: {"Type": "Pass", "Result": name, "End": True}
            for name in ("Public", "ValueInTwenties", "RecordEvent")
        },
    }
    conductor = Conductor({"StartAt": "C", "States": states}, functions={}, buckets={})
    for data, expected in [
        ({"type": "Private", "value": 22}, "ValueInTwenties"),
        ({"type": "Private", "value": 30}, "RecordEvent"),
        ({"type": "Private"}, "RecordEvent"),
        ({"type": "Public"}, "Public"),
    ]:
        assert conductor.run(data, name="r").output == expected


def test_or_and_nested_rules_stop_at_the_first_answer() -> None:
    rule = {
        "Or": [
            {"Variable": "$.a", "IsPresent": True},
            {"And": [{"Variable": "$.b", "NumericEquals": 1}, {"Variable": "$.c", "IsNull": True}]},
        ]
    }
    assert holds(rule, {"a": 1})
    assert holds(rule, {"b": 1, "c": None})
    assert not holds(rule, {"b": 2})


def test_no_match_without_default() -> None:
    execution = choose({"Variable": "$", "NumericEquals": 1}, 2, default=False)
    assert (execution.status, execution.error) == ("FAILED", "States.NoChoiceMatched")


@pytest.mark.parametrize(
    ("rule", "named"),
    [
        ({"Variable": "$"}, "comparison operator"),
        ({"StringEquals": "a"}, "needs a Variable"),
        ({"Variable": "$", "StringEquals": 1}, "StringEquals cannot compare"),
        ({"Variable": "$", "NumericEquals": True}, "NumericEquals cannot compare"),
        ({"Variable": "$", "BooleanEquals": "true"}, "BooleanEquals cannot compare"),
        ({"Variable": "$", "IsNull": "yes"}, "IsNull"),
        ({"Variable": "$", "StringEquals": "a", "IsNull": True}, "exclude one another"),
        ({"Variable": "$", "StringStartsWith": "a"}, "StringStartsWith"),
        ({"Variable": "$", "BooleanLessThan": True}, "BooleanLessThan"),
        ({"Variable": "$", "StringMatchesPath": "$.a"}, "StringMatchesPath"),
        ({"Variable": "$", "StringMatches": "a\\"}, "stray backslash"),
        ({"Variable": "$", "StringMatches": 1}, "StringMatches"),
        ({"Variable": "$..a", "IsNull": True}, "recursive descent"),
        ({"Variable": "$", "StringEqualsPath": "$.a[*]"}, "wildcard"),
        ({"And": []}, "And"),
        ({"Or": {"Variable": "$", "IsNull": True}}, "Or"),
        ({"Not": [1]}, "Not"),
        ({"And": [{"Variable": "$", "IsNull": True, "Next": "Yes"}]}, "Next"),
        ({"Condition": "{% true %}"}, "Condition"),
    ],
)
def test_malformed_rules_are_refused(rule: dict[str, Any], named: str) -> None:
    with pytest.raises(WorkflowError, match=named) as caught:
        choose(rule, {})
    assert "state C, Choices[0]" in str(caught.value)
