"""Diagrams: what they show, that nothing overlaps, and that they are safe wherever they are put."""

from __future__ import annotations

import itertools
import json
import re
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from legato.cli._load import load_workflow
from legato.errors import WorkflowError
from legato.workflow import Workflow
from legato.workflow._diagram import diagram_mermaid, diagram_svg
from legato.workflow._diagram._graph import END, START, Graph, parse_graph
from legato.workflow._diagram._measure import Drawing, measure
from legato.workflow._diagram._place import Box
from legato.workflow._diagram._text import fit, width

SVG = "{http://www.w3.org/2000/svg}"


def workflow(**changes: Any) -> Workflow:
    values: dict[str, Any] = {"name": "stdlib", "task": "feature-extraction", "model": "/models/m"}
    return Workflow(**{**values, **changes})


WORKFLOWS = [workflow(), workflow(compute="batch"), workflow(compute="ecs")]

EVERYTHING: dict[str, Any] = {
    "Comment": 'all types & "quotes" <b>',
    "StartAt": "Begin",
    "States": {
        "Begin": {"Type": "Pass", "ResultPath": "$.run.id", "Next": "Look"},
        "Look": {
            "Type": "Task",
            "Resource": "arn:aws:states:::batch:submitJob.sync",
            "TimeoutSeconds": 3600,
            "Retry": [{"ErrorEquals": ["A"], "MaxAttempts": 3}, {"ErrorEquals": ["B"]}],
            "Catch": [{"ErrorEquals": ["States.ALL"], "Next": "Broken"}],
            "Next": "Ready?",
        },
        "Ready?": {
            "Type": "Choice",
            "Choices": [
                {"Variable": "$.a", "NumericGreaterThan": 5, "Next": "Outer"},
                {
                    "And": [
                        {"Variable": "$.x", "IsPresent": True},
                        {"Not": {"Variable": "$.y", "StringMatches": "<*>"}},
                    ],
                    "Next": "Other",
                },
                {"Variable": "$.again", "BooleanEquals": True, "Next": "Ready?"},
            ],
            "Default": "Sleep",
        },
        "Sleep": {"Type": "Wait", "Seconds": 60, "Next": "Look"},
        "Other": {
            "Type": "Task",
            "Resource": "arn:aws:states:::ecs:runTask.waitForTaskToken",
            "TimeoutSeconds": 86_400,
            "Next": "Finish",
        },
        "Outer": {
            "Type": "Map",
            "MaxConcurrency": 3,
            "ItemProcessor": {
                "StartAt": "Each",
                "States": {
                    "Each": {
                        "Type": "Choice",
                        "Choices": [{"Variable": "$.z", "StringEquals": "q", "Next": "Nested"}],
                        "Default": "Skip",
                    },
                    "Skip": {"Type": "Pass", "End": True},
                    "Nested": {
                        "Type": "Map",
                        "ItemProcessor": {
                            "ProcessorConfig": {
                                "Mode": "DISTRIBUTED",
                                "ExecutionType": "STANDARD",
                            },
                            "StartAt": "Deep",
                            "States": {"Deep": {"Type": "Succeed"}},
                        },
                        "End": True,
                    },
                },
            },
            "Next": "Finish",
            "Catch": [{"ErrorEquals": ["InputError", "ModelError"], "Next": "Broken"}],
        },
        "Finish": {
            "Type": "Task",
            "Resource": "arn:aws:lambda:eu-west-1:123456789012:function:thing",
            "End": True,
        },
        "Broken": {"Type": "Fail", "Error": "Broken"},
    },
}

DOCUMENTS = [EVERYTHING, *(one.document() for one in WORKFLOWS)]
IDS = ["everything", "lambda", "batch", "ecs"]


def drawings(drawing: Drawing) -> Iterator[Drawing]:
    yield drawing
    for inner in drawing.inner.values():
        yield from drawings(inner)


def overlap(one: Box, other: Box) -> bool:
    return (
        one.x < other.x + other.width
        and other.x < one.x + one.width
        and one.y < other.bottom
        and other.y < one.bottom
    )


def on_side(x: float, y: float, box: Box) -> bool:
    return box.x <= x <= box.x + box.width and min(abs(y - box.y), abs(y - box.bottom)) < 1e-6


def check_geometry(graph: Graph) -> None:
    for drawing in drawings(measure(graph)):
        placed = drawing.placed
        assert set(placed.boxes) == set(drawing.graph.nodes)
        assert len(placed.lines) == len(drawing.graph.edges)
        labels = [line.label for line in placed.lines if line.label is not None]
        everything = [*placed.boxes.values(), *labels]
        for one, other in itertools.combinations(everything, 2):
            assert not overlap(one, other)
        for box in everything:
            assert box.x >= -0.1
            assert box.y >= -0.1
            assert box.x + box.width <= placed.width + 0.1
            assert box.bottom <= placed.height + 0.1
        for line in placed.lines:
            source, target = placed.boxes[line.edge.source], placed.boxes[line.edge.target]
            if line.edge.source == line.edge.target:
                assert line.points[0][0] == source.x + source.width
                continue
            assert on_side(*line.points[0], source)
            assert on_side(*line.points[-1], target)
            check_clear(line.points, list(placed.boxes.values()))
        for name, inner in drawing.inner.items():
            assert inner.placed.width < placed.boxes[name].width
            assert inner.placed.height < placed.boxes[name].height


def check_clear(points: tuple[tuple[float, float], ...], boxes: list[Box]) -> None:
    """No straight piece runs through a state, and no bent one through the room beside it."""
    for (x1, y1), (x2, y2) in itertools.pairwise(points):
        left, upper = min(x1, x2), min(y1, y2)
        piece = Box(left, upper, abs(x2 - x1), abs(y2 - y1))
        inside = Box(piece.x + 0.01, piece.y + 0.01, piece.width - 0.02, piece.height - 0.02)
        if inside.height > 0:
            assert not any(overlap(inside, box) for box in boxes)


@pytest.mark.parametrize("document", DOCUMENTS, ids=IDS)
def test_nothing_overlaps_and_lines_end_at_their_states(document: dict[str, Any]) -> None:
    check_geometry(parse_graph(document))


@st.composite
def machines(draw: st.DrawFn, depth: int = 2) -> dict[str, Any]:
    count = draw(st.integers(1, 9))
    names = [f"S{depth}{n}" for n in range(count)]
    states: dict[str, Any] = {}
    for name in names:
        kind = draw(st.sampled_from(["Task", "Choice", "Map", "Pass", "Succeed"]))
        target = st.sampled_from(names)
        if kind == "Choice":
            rules = draw(st.lists(target, min_size=1, max_size=3))
            states[name] = {
                "Type": kind,
                "Choices": [
                    {"Variable": "$.n", "NumericEquals": n, "Next": to}
                    for n, to in enumerate(rules)
                ],
                "Default": draw(target),
            }
        elif kind == "Succeed":
            states[name] = {"Type": kind}
        else:
            end = draw(st.booleans())
            state: dict[str, Any] = {
                "Type": kind,
                **({"End": True} if end else {"Next": draw(target)}),
            }
            if kind == "Map":
                inner = draw(machines(depth=depth - 1)) if depth else None
                state["ItemProcessor"] = inner or {
                    "StartAt": f"{name}In",
                    "States": {f"{name}In": {"Type": "Succeed"}},
                }
            if kind == "Task":
                state["Resource"] = "arn:aws:states:::lambda:invoke"
            if draw(st.booleans()):
                state["Catch"] = [{"ErrorEquals": ["States.ALL"], "Next": draw(target)}]
            states[name] = state
    return {"StartAt": names[0], "States": states}


@settings(max_examples=150, deadline=None)
@given(machines())
def test_nothing_overlaps_whatever_the_machine(document: dict[str, Any]) -> None:
    check_geometry(parse_graph(document))
    ET.fromstring(diagram_svg(document))


def texts(svg: str) -> list[str]:
    return [element.text or "" for element in ET.fromstring(svg).iter(f"{SVG}text")]


@pytest.mark.parametrize("document", DOCUMENTS, ids=IDS)
def test_every_state_is_named_in_both_diagrams(document: dict[str, Any]) -> None:
    def names(machine: dict[str, Any]) -> Iterator[str]:
        for name, state in machine["States"].items():
            yield name
            if state["Type"] == "Map":
                yield from names(state["ItemProcessor"])

    expected = set(names(document))
    shown = set(texts(diagram_svg(document)))
    assert expected <= shown
    for name in expected:
        assert name.replace("?", "#63;") in diagram_mermaid(document)


@pytest.mark.parametrize("document", DOCUMENTS, ids=IDS)
def test_diagrams_are_deterministic_and_follow_the_document(document: dict[str, Any]) -> None:
    same = json.loads(json.dumps(document))
    assert diagram_svg(document) == diagram_svg(same)
    assert diagram_mermaid(document) == diagram_mermaid(same)
    first = same["StartAt"]
    same["States"]["Renamed"] = same["States"].pop(first)
    same["StartAt"] = "Renamed"
    for state in same["States"].values():
        if state.get("Next") == first:
            state["Next"] = "Renamed"
    assert "Renamed" in texts(diagram_svg(same))
    assert first not in texts(diagram_svg(same))


def test_the_svg_needs_nothing_and_reaches_nothing() -> None:
    for document in DOCUMENTS:
        svg = diagram_svg(document)
        root = ET.fromstring(svg)
        assert root.get("role") == "img"
        assert root[0].tag == f"{SVG}title"
        assert root[1].tag == f"{SVG}desc"
        assert root[1].text
        tags = {element.tag.removeprefix(SVG) for element in root.iter()}
        assert tags <= {"svg", "title", "desc", "style", "rect", "path", "text", "g"}
        attributes = {name for element in root.iter() for name in element.attrib}
        assert not {name for name in attributes if "href" in name or name.startswith("on")}
        assert svg.count("://") == 1  # the namespace
        assert "/models/m" not in svg
        # Two diagrams may stand in one page, so nothing has an id, and no rule reaches further.
        assert "id" not in attributes
        style = next(root.iter(f"{SVG}style")).text or ""
        rules = re.findall(r"([^{}]+)\{[^{}]+\}", style.split("{", 1)[1])
        assert rules
        assert all(rule.startswith(".legato-diagram .") for rule in rules)


HOSTILE = "</text><script>alert('x')</script>\x00\x1b\u202e\ud800]]>&amp;\"'"


def test_texts_of_a_document_are_only_ever_text() -> None:
    document = {
        "Comment": HOSTILE,
        "StartAt": HOSTILE,
        "States": {
            HOSTILE: {
                "Type": "Choice",
                "Comment": HOSTILE,
                "Choices": [{"Variable": "$.x", "StringEquals": HOSTILE, "Next": "end"}],
                "Default": "end",
            },
            "end": {"Type": "Fail", "Error": HOSTILE},
        },
    }
    svg = diagram_svg(document)
    root = ET.fromstring(svg.encode())
    assert not list(root.iter(f"{SVG}script"))
    assert not re.search("[\x00-\x08\x0b-\x1f\u202e\ud800-\udfff]", svg)
    mermaid = diagram_mermaid(document)
    mermaid.encode()
    for line in mermaid.splitlines()[1:]:
        assert re.fullmatch(
            r"  \w+(\{\{|\(\[|\()\"[^\"<>;&]*(#\d+;[^\"<>;&]*|<br/>[^\"<>;&]*)*\"(\}\}|\]\)|\))"
            r"|  \w+ -->(\|\"[^\"<>;&]*(#\d+;[^\"<>;&]*)*\"\|)? \w+",
            line,
        ), line


def test_captions_say_what_runs_a_state_and_how_often_it_is_tried_again() -> None:
    shown = texts(diagram_svg(EVERYTHING))
    assert "AWS Batch · waits for the job · 1 h · ≤ 6 retries" in shown
    assert "Amazon ECS · task token · 1 day" in shown
    assert "Wait · 1 min" in shown
    assert "Pass · sets run.id" in shown
    assert "Fail · Broken" in shown
    assert "a > 5" in shown
    assert 'x is present and not y matches "<*>"' in shown
    assert "otherwise" in shown
    assert "InputError or ModelError" in shown
    mine = texts(diagram_svg(workflow(fleet=7, tolerated_failure_percentage=2.5).document()))
    assert "Distributed Map · EXPRESS children" in mine
    assert "7 at once · 2.5% may fail" in mine


def test_a_reader_who_hears_the_diagram_gets_every_way() -> None:
    root = ET.fromstring(diagram_svg(EVERYTHING))
    told = root[1].text or ""
    graph = parse_graph(EVERYTHING)
    for edge in graph.edges:
        assert edge.target == END or edge.target in told
    assert "The run starts with Begin." in told
    assert "Look leads to Ready?, or to Broken on States.ALL." in told
    assert "Broken ends it." in told


def test_mermaid_has_the_ways_of_the_graph() -> None:
    document = workflow().document()
    lines = diagram_mermaid(document).splitlines()
    ways = [line for line in lines if "-->" in line]
    inner = next(node.inner for node in parse_graph(document).nodes.values() if node.inner)
    assert len(ways) == len(parse_graph(document).edges) + len(inner.edges)
    assert '  Route -->|"run.mode = #34;prompt#34;"| PromptPreprocessing' in lines
    assert START not in "".join(lines)


@pytest.mark.parametrize(
    "document",
    [
        {},
        {"StartAt": "A", "States": {}},
        {"StartAt": "A", "States": {"B": {"Type": "Succeed"}}},
        {"StartAt": "A", "States": {"A": {"Type": "Pass", "Next": "B"}}},
    ],
)
def test_what_is_no_machine_is_refused(document: dict[str, Any]) -> None:
    with pytest.raises(WorkflowError):
        diagram_svg(document)
    with pytest.raises(WorkflowError):
        diagram_mermaid(document)


def test_a_notebook_shows_the_diagram_and_a_terminal_one_line() -> None:
    one = workflow(queries=["a question of a user"])
    assert one._repr_svg_() == diagram_svg(one.document())
    shown = repr(one)
    assert "stdlib" in shown
    assert "a question of a user" not in shown
    assert len(shown) < 150


def test_the_diagram_in_the_documentation_is_that_of_the_example() -> None:
    root = Path(__file__).parents[1]
    drawn = diagram_svg(load_workflow(root / "examples" / "stdlib" / "workflow.py").document())
    kept = (root / "docs" / "fleet.svg").read_text(encoding="utf-8")
    how = "legato synth examples/stdlib/workflow.py -o build && cp build/diagram.svg docs/fleet.svg"
    assert kept == drawn, how


@given(st.text(max_size=200), st.floats(30, 400))
def test_fitted_text_fits(text: str, most: float) -> None:
    shown = fit(text, 12, most)
    assert width(shown, 12) <= most
    assert shown == text or shown.endswith("…")


def test_a_machine_of_many_states_is_drawn() -> None:
    count = 1200
    states: dict[str, Any] = {f"S{n}": {"Type": "Pass", "Next": f"S{n + 1}"} for n in range(count)}
    states[f"S{count}"] = {"Type": "Succeed"}
    document = {"StartAt": "S0", "States": states}
    assert f"S{count}" in texts(diagram_svg(document))
