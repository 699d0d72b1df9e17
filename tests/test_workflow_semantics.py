"""The document against what AWS documents, where emulators look away.

`shared/facts/aws.md` has the list: ItemBatcher, ResultWriter, HeartbeatSeconds, the machine's
TimeoutSeconds, the 256 KiB limit, Assign, JSONata, MaxDelaySeconds and JitterStrategy are silently
ignored there, and so are broken definitions.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest

from legato.conductor import MAX_PAYLOAD_BYTES, Conductor
from legato.workflow import STAGES, STORE_BUCKET, Workflow, function_placeholder
from legato.workflow._states import JOB_PLACEHOLDERS

MAX_SECONDS = 99_999_999
MAX_DELAY_S = 31_622_400
EXPRESS_S = 300
LAMBDA_S = 900

# What Step Functions documents for each type of state in JSONPath, of what could be used here.
FIELDS = {
    "": {"Type", "Comment", "InputPath", "OutputPath"},
    "Pass": {"ResultPath", "Result", "Parameters", "Next", "End"},
    "Choice": {"Choices", "Default"},
    "Succeed": set(),
    "Task": {
        "Resource", "Parameters", "ResultSelector", "ResultPath", "Retry", "Catch",
        "TimeoutSeconds", "HeartbeatSeconds", "Next", "End",
    },
    "Map": {
        "ItemReader", "ItemSelector", "ItemProcessor", "MaxConcurrency", "Label", "ResultWriter",
        "ToleratedFailurePercentage", "ResultSelector", "ResultPath", "Retry", "Catch", "Next",
        "End",
    },
}  # fmt: skip


@pytest.fixture(params=["lambda", "lambda-standard", "batch", "ecs"])
def document(request: pytest.FixtureRequest) -> dict[str, Any]:
    compute, _, children = request.param.partition("-")
    return Workflow(
        name="w",
        task="feature-extraction",
        model="/models/m",
        compute=compute,
        children=children.upper() or None,
        fleet=500,
        tolerated_failure_percentage=5,
    ).document()


def every_state(document: dict[str, Any]) -> dict[str, dict[str, Any]]:
    found = dict(document["States"])
    found.update(document["States"]["Shards"]["ItemProcessor"]["States"])
    return found


def texts(node: Any) -> Iterator[str]:
    if isinstance(node, str):
        yield node
    elif isinstance(node, dict):
        for value in node.values():
            yield from texts(value)
    elif isinstance(node, list):
        for value in node:
            yield from texts(value)


def test_no_field_that_aws_does_not_document_for_its_state(document: dict[str, Any]) -> None:
    assert set(document) == {"Comment", "StartAt", "TimeoutSeconds", "States"}
    for name, state in every_state(document).items():
        assert set(state) <= FIELDS[""] | FIELDS[state["Type"]], name


def test_neither_jsonata_nor_variables(document: dict[str, Any]) -> None:
    text = json.dumps(document)
    for word in ("QueryLanguage", "Assign", "Arguments", "Output", "$states", "{%", "ItemBatcher"):
        assert f'"{word}"' not in text, word
    assert "$states" not in text
    assert "{%" not in text


def test_times_are_ordered_and_within_limits(document: dict[str, Any]) -> None:
    run_s = document["TimeoutSeconds"]
    config = document["States"]["Shards"]["ItemProcessor"]["ProcessorConfig"]
    inside = document["States"]["Shards"]["ItemProcessor"]["States"]
    for name, state in every_state(document).items():
        if state["Type"] != "Task":
            continue
        timeout_s = state["TimeoutSeconds"]
        assert 0 < timeout_s < run_s <= MAX_SECONDS, name
        if "HeartbeatSeconds" in state:
            assert 0 < state["HeartbeatSeconds"] < timeout_s, name
            assert state["Resource"].endswith(".waitForTaskToken"), name
        if state["Resource"].endswith("lambda:invoke"):
            assert timeout_s <= LAMBDA_S, name
        if name in inside and config["ExecutionType"] == "EXPRESS":
            assert timeout_s < EXPRESS_S, name
            # Inside of an EXPRESS execution nothing can be waited for.
            assert state["Resource"] == "arn:aws:states:::lambda:invoke"


def test_retriers_are_what_aws_takes(document: dict[str, Any]) -> None:
    for name, state in every_state(document).items():
        for retrier in state.get("Retry", []):
            assert set(retrier) == {
                "ErrorEquals", "IntervalSeconds", "MaxAttempts", "BackoffRate",
                "MaxDelaySeconds", "JitterStrategy",
            }, name  # fmt: skip
            assert retrier["ErrorEquals"], name
            assert 0 < retrier["IntervalSeconds"] < retrier["MaxDelaySeconds"] < MAX_DELAY_S
            assert 0 < retrier["MaxAttempts"] <= MAX_SECONDS
            assert retrier["BackoffRate"] >= 1
            assert retrier["JitterStrategy"] == "FULL"
        assert "Catch" not in state, name


def test_waits_of_a_shard_fit_into_its_execution() -> None:
    plain = Workflow(name="w", task="feature-extraction", model="/models/m").document()
    shards = plain["States"]["Shards"]["ItemProcessor"]
    assert shards["ProcessorConfig"]["ExecutionType"] == "EXPRESS"
    for state in shards["States"].values():
        for retrier in state.get("Retry", []):
            waits = [
                min(retrier["MaxDelaySeconds"], retrier["IntervalSeconds"] * 2.0**n)
                for n in range(retrier["MaxAttempts"])
            ]
            # Full jitter halves them on average; even so no single fault may use up the child.
            assert sum(waits) / 2 < EXPRESS_S / 2


def test_the_map_reads_and_writes_as_documented(document: dict[str, Any]) -> None:
    shards = document["States"]["Shards"]
    assert shards["ItemReader"] == {
        "Resource": "arn:aws:states:::s3:getObject",
        "ReaderConfig": {"InputType": "JSONL"},
        "Parameters": {"Bucket": "${StoreBucket}", "Key.$": "$.run.manifest_key"},
    }
    assert shards["ResultWriter"] == {
        "Resource": "arn:aws:states:::s3:putObject",
        "Parameters": {"Bucket": "${StoreBucket}", "Prefix.$": "$.run.results_prefix"},
    }
    assert (shards["MaxConcurrency"], shards["ToleratedFailurePercentage"]) == (500, 5)
    assert re.fullmatch(r"[A-Za-z0-9]{1,40}", shards["Label"])
    # With a writer the state's result is where the files lie; nobody here reads it.
    assert shards["ResultPath"] is None


def test_nothing_in_the_map_knows_the_execution_that_holds_it(document: dict[str, Any]) -> None:
    assert not [text for text in texts(document["States"]["Shards"]) if "$$.Execution" in text]


def test_every_path_is_one_that_a_stage_or_the_engine_fills(document: dict[str, Any]) -> None:
    paths = set()
    for text in texts(document["States"]):
        paths |= set(re.findall(r"\$\$?(?:\.[A-Za-z_.]+)?", re.sub(r"\$\{\w+\}", "", text)))
    assert paths - {"$.shard.index", "$.left", "$$.Task.Token"} == {
        "$",
        "$$.Execution.Name",
        "$$.Map.Item.Value",
        "$.Payload",
        "$.run",
        "$.run.id",
        "$.run.manifest_key",
        "$.run.mode",
        "$.run.results_prefix",
    }


def test_states_lead_to_states_of_their_own_level(document: dict[str, Any]) -> None:
    levels = [document, document["States"]["Shards"]["ItemProcessor"]]
    names = [name for level in levels for name in level["States"]]
    assert len(names) == len(set(names))
    for level in levels:
        states = level["States"]
        assert level["StartAt"] in states
        for state in states.values():
            targets = [state.get("Next"), state.get("Default")]
            targets += [choice["Next"] for choice in state.get("Choices", [])]
            assert {target for target in targets if target is not None} <= set(states)


def bound(document: dict[str, Any], handler: Any) -> Conductor:
    return Conductor(
        document,
        functions={f"arn:{stage}": handler for stage in STAGES},
        jobs=dict.fromkeys(JOB_PLACEHOLDERS, handler),
        buckets={"bucket": None},  # type: ignore[dict-item]
        substitutions={
            STORE_BUCKET: "bucket",
            **{function_placeholder(stage): f"arn:{stage}" for stage in STAGES},
            **{name: name for name in JOB_PLACEHOLDERS},
        },
    )


def test_a_state_that_returns_too_much_fails_by_name_at_once(document: dict[str, Any]) -> None:
    calls: list[int] = []

    def handler(event: Any, _context: object) -> Any:
        calls.append(1)
        return {**event, "large": "x" * MAX_PAYLOAD_BYTES}

    execution = bound(document, handler).run({"run": {"mode": "dataset"}}, name="r")
    assert execution.error == "States.DataLimitExceeded"
    assert len(calls) == 1
