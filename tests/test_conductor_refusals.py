"""Documents that are refused, before anything runs, with the state and the feature named."""

from __future__ import annotations

from typing import Any

import pytest

from legato.conductor import Conductor
from legato.errors import WorkflowError

FUNCTION = "arn:aws:lambda:eu-west-1:123456789012:function:f"
INVOKE = "arn:aws:states:::lambda:invoke"
GET = "arn:aws:states:::s3:getObject"
PASS: dict[str, Any] = {"Type": "Pass", "End": True}
TASK: dict[str, Any] = {"Type": "Task", "Resource": FUNCTION, "End": True}
PROCESSOR: dict[str, Any] = {"StartAt": "P", "States": {"P": PASS}}
DISTRIBUTED: dict[str, Any] = {
    **PROCESSOR,
    "ProcessorConfig": {"Mode": "DISTRIBUTED", "ExecutionType": "STANDARD"},
}
MAP: dict[str, Any] = {"Type": "Map", "ItemProcessor": PROCESSOR, "End": True}
FLEET: dict[str, Any] = {"Type": "Map", "ItemProcessor": DISTRIBUTED, "End": True}


def reader(**changes: Any) -> dict[str, Any]:
    base = {
        "Resource": GET,
        "Parameters": {"Bucket": "b", "Key": "k"},
        "ReaderConfig": {"InputType": "JSONL"},
    }
    return {**FLEET, "ItemReader": {**base, **changes}}


def check(document: object) -> None:
    Conductor(document, functions={FUNCTION: lambda *_: None}, buckets={"b": None})  # type: ignore[arg-type,dict-item]


@pytest.mark.parametrize(
    "state",
    [PASS, TASK, MAP, FLEET, reader(), {**FLEET, "Label": "fleet"}, {**PASS, "Comment": "c"}],
)
def test_the_states_that_the_refusals_start_from_are_fine(state: dict[str, Any]) -> None:
    check({"StartAt": "S", "States": {"S": state}, "Version": "1.0", "QueryLanguage": "JSONPath"})


@pytest.mark.parametrize(
    ("state", "named"),
    [
        ({"Type": "Parallel", "Branches": [], "End": True}, "'Parallel' is not supported"),
        ({"Type": "pass", "End": True}, "'pass'"),
        ({"End": True}, "Type"),
        ([], "must be an object"),
        ({**PASS, "QueryLanguage": "JSONata"}, "QueryLanguage"),
        ({**PASS, "Assign": {"a": 1}}, "Assign"),
        ({**PASS, "Output": {}}, "Output"),
        ({**PASS, "Retry": []}, "Retry"),
        ({**PASS, "Catch": []}, "Catch"),
        ({**PASS, "ResultSelector": {}}, "ResultSelector"),
        ({**PASS, "TimeoutSeconds": 1}, "TimeoutSeconds"),
        ({**PASS, "Ned": "x"}, "Ned"),
        ({**PASS, "Comment": 1}, "Comment"),
        ({"Type": "Pass"}, "one of Next, End is missing"),
        ({**PASS, "Next": "S"}, "Next and End"),
        ({"Type": "Pass", "End": False}, "End must be true"),
        ({"Type": "Pass", "End": "true"}, "End"),
        ({"Type": "Pass", "Next": "Gone"}, "'Gone'"),
        ({"Type": "Pass", "Next": ""}, "Next"),
        ({**PASS, "ResultPath": "$$.a"}, "ResultPath"),
        ({**PASS, "ResultPath": "$.a[*]"}, "wildcard"),
        ({**TASK, "Resource": ""}, "Resource"),
        ({**TASK, "Resource": "arn:aws:states:::sqs:sendMessage"}, "sqs:sendMessage"),
        ({**TASK, "Resource": "arn:aws:states:::aws-sdk:s3:getObject"}, "aws-sdk"),
        ({**TASK, "Resource": f"{INVOKE}.waitForTaskToken"}, "task tokens"),
        ({**TASK, "Resource": "arn:aws:states:::ecs:runTask.sync"}, r"\.sync"),
        ({**TASK, "Resource": "arn:aws:states:eu-west-1:123456789012:activity:a"}, "activities"),
        ({**TASK, "HeartbeatSeconds": 5}, "HeartbeatSeconds"),
        ({**TASK, "HeartbeatSecondsPath": "$.h"}, "HeartbeatSecondsPath"),
        ({**TASK, "Credentials": {}}, "Credentials"),
        ({**TASK, "Arguments": {}}, "Arguments"),
        ({**TASK, "TimeoutSeconds": 0}, "TimeoutSeconds"),
        ({**TASK, "TimeoutSeconds": 1.5}, "TimeoutSeconds"),
        ({**TASK, "TimeoutSeconds": True}, "TimeoutSeconds"),
        ({**TASK, "TimeoutSeconds": 1, "TimeoutSecondsPath": "$.t"}, "exclude one another"),
        ({**TASK, "Resource": INVOKE}, "Parameters: must be an object"),
        ({**TASK, "Resource": INVOKE, "Parameters": {}}, "FunctionName"),
        ({**TASK, "Resource": INVOKE, "Parameters": {"FunctionName": 1}}, "FunctionName"),
        (
            {
                **TASK,
                "Resource": INVOKE,
                "Parameters": {"FunctionName": FUNCTION, "InvocationType": "Event"},
            },
            "InvocationType 'Event'",
        ),
        (
            {
                **TASK,
                "Resource": INVOKE,
                "Parameters": {"FunctionName": FUNCTION, "ClientContext": "x"},
            },
            "ClientContext",
        ),
        (
            {
                **TASK,
                "Resource": INVOKE,
                "Parameters": {"FunctionName": FUNCTION, "Payload.$": "States.UUID()"},
            },
            r"States\.UUID",
        ),
        ({"Type": "Wait", "End": True}, "one of Seconds"),
        ({"Type": "Wait", "Seconds": 1, "SecondsPath": "$.s", "End": True}, "exclude"),
        ({"Type": "Wait", "Seconds": -1, "End": True}, "Seconds"),
        ({"Type": "Wait", "Seconds": "1", "End": True}, "Seconds"),
        ({"Type": "Wait", "Timestamp": "tomorrow", "End": True}, "Timestamp 'tomorrow'"),
        ({"Type": "Wait", "Seconds": 1, "ResultPath": "$", "End": True}, "ResultPath"),
        ({"Type": "Succeed", "End": True}, "End"),
        ({"Type": "Succeed", "Parameters": {}}, "Parameters"),
        ({"Type": "Fail", "InputPath": "$"}, "InputPath"),
        ({"Type": "Fail", "Error": "E", "ErrorPath": "$.e"}, "exclude"),
        ({"Type": "Fail", "Error": 1}, "Error"),
        ({"Type": "Choice"}, "Choices"),
        ({"Type": "Choice", "Choices": []}, "Choices"),
        (
            {"Type": "Choice", "Choices": [{"Variable": "$.a", "IsNull": True}]},
            "Next",
        ),
        (
            {"Type": "Choice", "Choices": [{"Variable": "$.a", "IsNull": True, "Next": "Gone"}]},
            r"Choices\[0\]\.Next names 'Gone'",
        ),
        (
            {
                "Type": "Choice",
                "Default": "Gone",
                "Choices": [{"Variable": "$.a", "IsNull": True, "Next": "S"}],
            },
            "Default names 'Gone'",
        ),
        ({**MAP, "ItemBatcher": {}}, "ItemBatcher"),
        ({**MAP, "ResultWriter": {}}, "ResultWriter"),
        ({**MAP, "Items": []}, "Items"),
        ({**MAP, "MaxConcurrencyPath": "$.m"}, "MaxConcurrencyPath"),
        ({**MAP, "MaxConcurrency": -1}, "MaxConcurrency"),
        ({**MAP, "ToleratedFailureCount": 1}, "ToleratedFailureCount"),
        ({**MAP, "ItemReader": {}}, "ItemReader"),
        ({**MAP, "Label": "x"}, "Label"),
        ({**MAP, "Iterator": PROCESSOR}, "exclude"),
        ({**MAP, "ItemSelector": {}, "Parameters": {}}, "exclude"),
        ({"Type": "Map", "End": True}, "ItemProcessor, Iterator is missing"),
        ({**MAP, "ItemProcessor": {"StartAt": "P"}}, "States"),
        ({**MAP, "ItemProcessor": {**PROCESSOR, "StartAt": "Q"}}, "StartAt names 'Q'"),
        ({**MAP, "ItemProcessor": {**PROCESSOR, "TimeoutSeconds": 1}}, "TimeoutSeconds"),
        ({**MAP, "ItemProcessor": {**PROCESSOR, "ProcessorConfig": {"Mode": "X"}}}, "Mode 'X'"),
        (
            {**MAP, "ItemProcessor": {**PROCESSOR, "ProcessorConfig": {"Mode": "DISTRIBUTED"}}},
            "ExecutionType",
        ),
        (
            {**MAP, "ItemProcessor": {**PROCESSOR, "ProcessorConfig": {"ExecutionType": "X"}}},
            "ExecutionType",
        ),
        ({**MAP, "ItemProcessor": {"StartAt": "S", "States": {"S": PASS}}}, "'S' is used twice"),
        ({**FLEET, "Label": "x" * 41}, "Label"),
        ({**FLEET, "ToleratedFailurePercentage": 101}, "ToleratedFailurePercentage"),
        ({**FLEET, "ToleratedFailureCountPath": "$.t"}, "ToleratedFailureCountPath"),
        ({**reader(), "ItemsPath": "$.a"}, "ItemsPath and ItemReader"),
        (reader(Resource="arn:aws:states:::s3:headObject"), "headObject"),
        (reader(Parameters={"Bucket": "b"}), "Key"),
        (reader(Parameters={"Bucket": "b", "Key": "k", "VersionId": "v"}), "VersionId"),
        (reader(Parameters=1), "Parameters"),
        (reader(ReaderConfig={}), "InputType"),
        (reader(ReaderConfig={"InputType": "PARQUET"}), "'PARQUET'"),
        (reader(ReaderConfig={"InputType": "MANIFEST"}), "'MANIFEST'"),
        (reader(ReaderConfig={"InputType": "CSV"}), "CSVHeaderLocation"),
        (
            reader(ReaderConfig={"InputType": "CSV", "CSVHeaderLocation": "GIVEN"}),
            "CSVHeaders",
        ),
        (reader(ReaderConfig={"InputType": "JSONL", "MaxItemsPath": "$.m"}), "MaxItemsPath"),
        (reader(ReaderConfig={"InputType": "JSONL", "MaxItems": -1}), "MaxItems"),
        (reader(ReaderConfig={"InputType": "JSONL", "CSVHeaders": []}), "CSVHeaders"),
    ],
)
def test_a_state_is_refused_by_name(state: object, named: str) -> None:
    with pytest.raises(WorkflowError, match=named) as caught:
        check({"StartAt": "S", "States": {"S": state}})
    assert "S" in str(caught.value)


@pytest.mark.parametrize(
    ("retrier", "named"),
    [
        ({}, "ErrorEquals"),
        ({"ErrorEquals": []}, "ErrorEquals"),
        ({"ErrorEquals": "States.ALL"}, "ErrorEquals"),
        ({"ErrorEquals": [1]}, "ErrorEquals"),
        ({"ErrorEquals": [""]}, "ErrorEquals"),
        ({"ErrorEquals": ["States.Timout"]}, r"States\.Timout"),
        ({"ErrorEquals": ["States.ALL", "E"]}, "alone"),
        ({"ErrorEquals": ["E"], "IntervalSeconds": 0}, "IntervalSeconds"),
        ({"ErrorEquals": ["E"], "MaxAttempts": -1}, "MaxAttempts"),
        ({"ErrorEquals": ["E"], "BackoffRate": 0.5}, "BackoffRate"),
        ({"ErrorEquals": ["E"], "BackoffRate": "2"}, "BackoffRate"),
        ({"ErrorEquals": ["E"], "MaxDelaySeconds": 1}, "MaxDelaySeconds"),
        ({"ErrorEquals": ["E"], "JitterStrategy": "HALF"}, "JitterStrategy"),
        ({"ErrorEquals": ["E"], "Next": "S"}, "Next"),
        ({"ErrorEquals": ["E"], "BackOffRate": 2}, "BackOffRate"),
    ],
)
def test_a_retrier_is_refused_by_name(retrier: dict[str, Any], named: str) -> None:
    with pytest.raises(WorkflowError, match=named) as caught:
        check({"StartAt": "S", "States": {"S": {**TASK, "Retry": [retrier]}}})
    assert "state S, Retry[0]" in str(caught.value)


@pytest.mark.parametrize(
    ("catcher", "named"),
    [
        ({"ErrorEquals": ["E"]}, "Next"),
        ({"ErrorEquals": ["E"], "Next": "Gone"}, "'Gone'"),
        ({"ErrorEquals": ["E"], "Next": "S", "ResultPath": "$$.x"}, "ResultPath"),
        ({"ErrorEquals": ["E"], "Next": "S", "Assign": {}}, "Assign"),
        ({"ErrorEquals": ["E"], "Next": "S", "MaxAttempts": 1}, "MaxAttempts"),
    ],
)
def test_a_catcher_is_refused_by_name(catcher: dict[str, Any], named: str) -> None:
    with pytest.raises(WorkflowError, match=named):
        check({"StartAt": "S", "States": {"S": {**TASK, "Catch": [catcher]}}})


def test_states_all_must_be_last() -> None:
    retry = [{"ErrorEquals": ["States.ALL"]}, {"ErrorEquals": ["E"]}]
    with pytest.raises(WorkflowError, match="last"):
        check({"StartAt": "S", "States": {"S": {**TASK, "Retry": retry}}})


@pytest.mark.parametrize(
    ("document", "named"),
    [
        ([], "must be an object"),
        ({}, "StartAt"),
        ({"StartAt": "S"}, "States"),
        ({"StartAt": "S", "States": {}}, "States"),
        ({"StartAt": "S", "States": []}, "States"),
        ({"StartAt": "X", "States": {"S": PASS}}, "'X'"),
        ({"StartAt": "S", "States": {"S": PASS, "T": PASS}}, "state T: no state leads"),
        ({"StartAt": "S", "States": {"S": {"Type": "Pass", "Next": "S"}}}, "no state ends"),
        ({"StartAt": "S", "States": {"S": PASS}, "Foo": 1}, "Foo"),
        ({"StartAt": "S", "States": {"S": PASS}, "QueryLanguage": "JSONata"}, "QueryLanguage"),
        ({"StartAt": "S", "States": {"S": PASS}, "Version": "2.0"}, "2.0"),
        ({"StartAt": "S", "States": {"S": PASS}, "TimeoutSeconds": 0}, "TimeoutSeconds"),
        ({"StartAt": "S", "States": {"S": PASS}, "Comment": 5}, "Comment"),
        ({"StartAt": "S", "States": {"x" * 81: PASS, "S": PASS}}, "80 characters"),
        ({"StartAt": "S", "States": {"": PASS, "S": PASS}}, "80 characters"),
        ({"StartAt": "S", "States": {"S": {**PASS, "Result": float("nan")}}}, "not JSON"),
        ({"StartAt": "S", "States": {"S": {**PASS, "Result": b"x"}}}, "not JSON"),
        ({"StartAt": "S", "States": {"S": {**PASS, "Result": "\ud800"}}}, "not JSON"),
        ({"StartAt": "S", "States": {"S": {**PASS, "Result": "x" * 1_048_576}}}, "bytes"),
    ],
)
def test_a_document_is_refused_by_name(document: object, named: str) -> None:
    with pytest.raises(WorkflowError, match=named):
        check(document)


def test_a_name_inside_a_map_cannot_be_reached_from_outside() -> None:
    states = {"S": {**MAP, "Next": "P"}}
    del states["S"]["End"]
    with pytest.raises(WorkflowError, match="'P'"):
        check({"StartAt": "S", "States": states})


def test_a_name_is_unique_across_all_maps() -> None:
    states = {"A": {**MAP, "Next": "B"}, "B": MAP}
    del states["A"]["End"]
    with pytest.raises(WorkflowError, match="'P' is used twice"):
        check({"StartAt": "A", "States": states})


@pytest.mark.parametrize("levels", [150, 100_000])
def test_a_document_may_not_be_nested_too_deeply(levels: int) -> None:
    result: Any = 1
    for _ in range(levels):
        result = [result]
    with pytest.raises(WorkflowError, match=r"nested|not JSON"):
        check({"StartAt": "S", "States": {"S": {**PASS, "Result": result}}})


def test_rules_and_templates_may_be_nested_as_deeply_as_documents() -> None:
    rule: dict[str, Any] = {"Variable": "$.a", "IsPresent": False}
    for _ in range(90):
        rule = {"Not": rule}
    template: dict[str, Any] = {"a.$": "$"}
    for _ in range(90):
        template = {"t": template}
    states = {
        "C": {"Type": "Choice", "Choices": [{**rule, "Next": "P"}], "Default": "P"},
        "P": {**PASS, "Parameters": template},
    }
    conductor = Conductor({"StartAt": "C", "States": states}, functions={}, buckets={})
    assert conductor.run({}, name="r").status == "SUCCEEDED"


@pytest.mark.parametrize(
    "state",
    [
        {**PASS, "Next": "x" * 1000},
        {**PASS, "InputPath": "$." + "x" * 1000 + "[*]"},
        {**TASK, "Resource": "x" * 1000},
        {**TASK, "TimeoutSeconds": "x" * 1000},
        {**TASK, "TimeoutSeconds": 10**1000},
        {"Type": "x" * 1000},
        {"Type": "Wait", "Timestamp": "x" * 1000, "End": True},
    ],
)
def test_a_refusal_does_not_print_long_values(state: dict[str, Any]) -> None:
    with pytest.raises(WorkflowError) as caught:
        check({"StartAt": "S", "States": {"S": state}})
    assert len(str(caught.value)) < 400


def test_a_handler_must_be_callable() -> None:
    with pytest.raises(WorkflowError, match="callable"):
        Conductor(
            {"StartAt": "S", "States": {"S": TASK}},
            functions={FUNCTION: "legato.stages.ingestion.handler"},  # type: ignore[dict-item]
            buckets={},
        )
