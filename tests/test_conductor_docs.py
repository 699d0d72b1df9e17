"""docs/conductor.md: its examples run, and it names what the conductor knows."""

from __future__ import annotations

import re
from pathlib import Path

from legato.conductor import MAX_PAYLOAD_BYTES
from legato.conductor._frame import MAX_EVENTS
from legato.conductor._functions import FUNCTIONS
from legato.conductor._job import MAX_OVERRIDES_CHARS
from legato.conductor._map import EXPRESS_MAX_S
from legato.conductor._task import LAMBDA_MAX_S

PAGE = (Path(__file__).parents[1] / "docs" / "conductor.md").read_text(encoding="utf-8")


def test_the_examples_run() -> None:
    blocks = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    assert len(blocks) == 2
    session: dict[str, object] = {"ARN": "arn:aws:lambda:eu-west-1:123456789012:function:f"}
    for block in blocks:
        exec(compile(block, "docs/conductor.md", "exec"), session)


def test_every_intrinsic_function_is_named() -> None:
    assert set(re.findall(r"States\.[A-Z]\w+", PAGE)) - set(FUNCTIONS) == {
        "States.TaskFailed",
        "States.ExceedToleratedFailureThreshold",
    }
    assert all(name in PAGE for name in FUNCTIONS)


def test_the_limits_are_those_of_the_code() -> None:
    for limit in (MAX_PAYLOAD_BYTES, MAX_EVENTS, EXPRESS_MAX_S, LAMBDA_MAX_S, MAX_OVERRIDES_CHARS):
        assert f"{limit:,.0f}" in PAGE
