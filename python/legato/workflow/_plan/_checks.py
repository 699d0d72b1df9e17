"""The limits of AWS that a run meets, and what to change where one would break."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from legato._events import MAX_OUTPUT_BYTES
from legato.stages.ingestion import MAX_SHARDS
from legato.workflow._diagram._captions import duration
from legato.workflow._plan._advice import TIME_RISK, advise, larger, smaller
from legato.workflow._plan._assumptions import ACCOUNT_CONCURRENCY
from legato.workflow._plan._figures import MAX_CHILDREN, Figures

if TYPE_CHECKING:
    from legato.workflow._workflow import Workflow

OK: Final = "ok"
AT_RISK: Final = "at risk"
BREAKS: Final = "breaks"

MAX_EVENTS: Final = 25_000
MAX_STATE_BYTES: Final = 262_144
MAX_MAP_RUNS: Final = 1000
EXPRESS_S: Final = 300
LAMBDA_S: Final = 900
UNZIPPED_BYTES: Final = 250 << 20

# Counts are exact.
_COUNT_RISK: Final = 0.8

_EMPTY_OUTPUT_BYTES: Final = 3
# legato, numpy and Python, without the weights.
_PROCESS_BYTES: Final = 250 << 20
_PACKAGE_BYTES: Final = 120 << 20
# Weights are read into the kernels' own layout while the file's bytes are still there.
_WEIGHTS_COPIES: Final = 2.0


@dataclass(frozen=True, slots=True)
class Check:
    """One limit: what the run takes of it, and what to change where it is too much."""

    name: str
    status: str
    value: str
    limit: str
    advice: str = ""


def checks(workflow: Workflow, document: Mapping[str, Any], made: Figures) -> list[Check]:
    """Hold a run against every limit that it meets.

    Args:
        workflow: The definition.
        document: Its document.
        made: What the run takes.
    """
    return [
        *_of_history(made),
        *_of_fleet(workflow, made),
        *_of_data(made),
        *_of_time(workflow, document, made),
        *_of_memory(workflow, made),
    ]


def _count(name: str, value: float, limit: float, unit: str, advice: str) -> Check:
    status = _status(value, limit, _COUNT_RISK)
    shown = f"{value:,.0f}{unit}", f"{limit:,.0f}{unit}"
    return Check(name, status, *shown, "" if status == OK else advice)


def _time(name: str, seconds: float, limit: float, advice: str) -> Check:
    status = _status(seconds, limit, TIME_RISK)
    shown = about(seconds), duration(limit)
    return Check(name, status, *shown, "" if status == OK else advice)


def _status(value: float, limit: float, risk: float) -> str:
    if value > limit:
        return BREAKS
    return AT_RISK if value > risk * limit else OK


def about(seconds: float) -> str:
    """Return a time as a person says it."""
    for size, unit in ((86_400, "days"), (3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:,.1f} {unit}"
    return f"{seconds:.1f} s"


def _of_history(made: Figures) -> Iterator[Check]:
    advice = "take states out of the way, or lower MaxAttempts of their Retry"
    parent, child = made.counts.parent, made.counts.child
    yield _count(
        "history of the run, all retries used", parent.worst_events, MAX_EVENTS, "", advice
    )
    if child is not None and not made.counts.express:
        yield _count("history of a child", child.worst_events, MAX_EVENTS, "", advice)


def _of_fleet(workflow: Workflow, made: Figures) -> Iterator[Check]:
    state = made.counts.map_state
    if state is None:
        return
    wanted = min(state.get("MaxConcurrency") or MAX_CHILDREN, made.shards)
    yield _count("children at once", wanted, MAX_CHILDREN, "", "lower fleet")
    yield Check("open Map Runs of the account", OK, "1 a run", f"{MAX_MAP_RUNS:,}")
    advice = larger(workflow, made, made.shards / (MAX_SHARDS * _COUNT_RISK))
    yield _count("shards", made.shards, MAX_SHARDS, "", advice)
    if workflow.compute == "lambda":
        advice = "lower fleet, or ask AWS for a higher quota: others need functions too"
        check = _count("functions at once", wanted, ACCOUNT_CONCURRENCY, "", advice)
        # Those above are throttled and come back: slow, not broken.
        yield replace(check, status=AT_RISK) if check.status == BREAKS else check


def _of_data(made: Figures) -> Iterator[Check]:
    yield _count("data in a state", MAX_OUTPUT_BYTES, MAX_STATE_BYTES, " bytes", "")
    state = made.counts.map_state
    if state is not None and "ResultWriter" not in state:
        size = made.shards * _EMPTY_OUTPUT_BYTES
        yield _count(
            "outputs of the Map", size, MAX_STATE_BYTES, " bytes", "give it a ResultWriter"
        )


def _of_time(workflow: Workflow, document: Mapping[str, Any], made: Figures) -> Iterator[Check]:
    for name, limit in _timeouts(document, made).items():
        seconds = made.uses[name].seconds + made.speed.start_s
        advice = advise(workflow, made, name, seconds, limit * TIME_RISK)
        shown = f"{name} of a shard" if name in made.fleet else name
        yield _time(shown, seconds, limit, advice)
    if made.counts.express:
        seconds = made.child_s + made.speed.start_s * len(made.fleet)
        advice = f"{smaller(workflow, made, EXPRESS_S * TIME_RISK)}, or children='STANDARD'"
        yield _time("a shard, as an EXPRESS child", seconds, EXPRESS_S, advice)
    if "TimeoutSeconds" in document:
        yield _time("the run", made.wall_s, document["TimeoutSeconds"], "raise fleet")


def _timeouts(document: Mapping[str, Any], made: Figures) -> dict[str, float]:
    """Return how long each task may take."""
    state = made.counts.map_state
    inner = state["ItemProcessor"]["States"] if state else {}
    tasks = {name: document["States"][name] for name in made.alone}
    tasks.update({name: inner[name] for name in made.fleet})
    return {name: task.get("TimeoutSeconds", LAMBDA_S) for name, task in tasks.items()}


def _of_memory(workflow: Workflow, made: Figures) -> Iterator[Check]:
    weights = made.load.weights_bytes
    if weights is None or workflow.compute != "lambda":
        return
    needed = (_PROCESS_BYTES + weights * _WEIGHTS_COPIES) / (1 << 20)
    advice = f"memory_mb={min(10_240, -(-int(needed * 1.3) // 256) * 256)}"
    if needed > 10_240:  # noqa: PLR2004 - Lambda's most
        advice = "compute='batch' or 'ecs': the model is too large for a function"
    yield _count("memory of Inference", needed, workflow.memory_mb, " MiB", advice)
    package = weights + _PACKAGE_BYTES
    advice = "mirror the model in the store instead of packing it"
    name, most = "function package, unzipped", UNZIPPED_BYTES >> 20
    check = _count(name, package / (1 << 20), most, " MiB", advice)
    # Too large for a package is not too large for a function.
    yield replace(check, status=AT_RISK) if check.status == BREAKS else check
