"""A plan: what a run takes, costs and risks."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from legato.errors import InputError
from legato.workflow._plan._assumptions import Load, Speed
from legato.workflow._plan._checks import BREAKS, Check, checks
from legato.workflow._plan._figures import Figures, figures
from legato.workflow._plan._prices import NOT_INCLUDED, Prices

if TYPE_CHECKING:
    from legato.workflow._workflow import Workflow

MAX_RECORDS: Final = 1_000_000_000_000
"""Where the search for the largest load ends."""

# Step Functions bills 64 MB at a time; a child holds a definition and a few references.
_EXPRESS_GB: Final = 64 / 1024
_EXPRESS_STEP_S: Final = 0.1


@dataclass(frozen=True, slots=True)
class Cost:
    """One line of the bill, in US dollars."""

    name: str
    quantity: float
    unit: str
    dollars: float


@dataclass(frozen=True, slots=True)
class Plan:
    """What a run takes (``figures``), what it costs, and how it stands to each limit."""

    figures: Figures
    costs: tuple[Cost, ...]
    checks: tuple[Check, ...]

    @property
    def dollars(self) -> float:
        """All lines of the bill together."""
        return sum(cost.dollars for cost in self.costs)

    @property
    def breaks(self) -> bool:
        """Whether a limit would be passed."""
        return any(check.status == BREAKS for check in self.checks)

    def to_dict(self) -> dict[str, Any]:
        """Return the plan as JSON."""
        made = self.figures
        counts = made.counts
        return {
            "load": asdict(made.load),
            "speed": asdict(made.speed),
            "shards": made.shards,
            "records_per_shard": made.records_per_shard,
            "tokens_per_shard": round(made.tokens_per_shard, 1),
            "concurrency": made.concurrency,
            "parent": asdict(counts.parent),
            "child": None if counts.child is None else asdict(counts.child),
            "children": "EXPRESS" if counts.express else "STANDARD",
            "stages": {
                name: {
                    "calls": use.calls,
                    "seconds": round(use.seconds, 3),
                    "memory_mb": use.memory_mb,
                    "gb_s": round(use.gb_s(made.speed.start_s), 3),
                }
                for name, use in made.uses.items()
            },
            "s3": asdict(made.requests),
            "shard_s": round(made.child_s, 3),
            "wall_s": round(made.wall_s, 1),
            "costs": [asdict(cost) for cost in self.costs],
            "dollars": round(self.dollars, 6),
            "not_included": NOT_INCLUDED,
            "checks": [asdict(check) for check in self.checks],
            "breaks": self.breaks,
        }


def make_plan(
    workflow: Workflow,
    load: Load,
    speed: Speed,
    prices: Prices | None = None,
    document: Mapping[str, Any] | None = None,
) -> Plan:
    """Plan a run of a workflow on AWS.

    Args:
        workflow: The definition.
        load: What is to be done.
        speed: How fast it goes.
        prices: What it costs; those of us-east-1 by default.
        document: The workflow's document, where it is at hand.

    Raises:
        InputError: There is nothing to do, or a speed is not above 0.
    """
    _check_load(load, speed)
    compiled = workflow.document() if document is None else document
    made = figures(workflow, compiled, load, speed)
    costs = tuple(_costs(made, prices or Prices()))
    return Plan(made, costs, tuple(checks(workflow, compiled, made)))


def largest_load(workflow: Workflow, load: Load, speed: Speed) -> int:
    """Return the most records that break no limit; 0 where even one does.

    Args:
        workflow: The definition.
        load: How long a record is; its number does not matter.
        speed: How fast it goes.
    """
    document = workflow.document()

    def works(records: int) -> bool:
        tried = replace(load, records=records)
        return not make_plan(workflow, tried, speed, None, document).breaks

    low, high = 0, 1
    while high < MAX_RECORDS and works(high):
        low, high = high, high * 2
    while high - low > 1:
        middle = (low + high) // 2
        if works(middle):
            low = middle
        else:
            high = middle
    return low


def _check_load(load: Load, speed: Speed) -> None:
    positive = {
        "records": load.records,
        "tokens per record": load.tokens_per_record,
        "tokens per second": speed.inference,
        "tokens per second of tokenization": speed.tokenizing,
    }
    for name, value in positive.items():
        if not 0 < value < math.inf:
            msg = f"{name} is {value:g}; give a number above 0"
            raise InputError(msg)
    if load.records > MAX_RECORDS:
        msg = f"records is {load.records:,}; give at most {MAX_RECORDS:,}"
        raise InputError(msg)


def _costs(made: Figures, prices: Prices) -> Iterator[Cost]:
    counts, start_s = made.counts, made.speed.start_s
    transitions = counts.parent.transitions
    if counts.child is not None and not counts.express:
        transitions += made.shards * counts.child.transitions
    yield _cost("state transitions", transitions, "transitions", prices.transition)
    if counts.child is not None and counts.express:
        billed = math.ceil(round(made.child_s / _EXPRESS_STEP_S, 6)) * _EXPRESS_STEP_S
        gb_s = made.shards * billed * _EXPRESS_GB
        yield _cost("EXPRESS children", made.shards, "requests", prices.express_request)
        yield _cost("their duration", gb_s, "GB-s", prices.express_gb_s)
    functions = [use for use in made.uses.values() if use.memory_mb is not None]
    calls = sum(use.calls for use in functions)
    yield _cost("Lambda calls", calls, "requests", prices.lambda_request)
    gb_s = sum(use.gb_s(start_s) for use in functions)
    yield _cost("Lambda duration", gb_s, "GB-s", prices.lambda_gb_s)
    containers = [use for use in made.uses.values() if use.memory_mb is None]
    if containers and prices.container_hour is not None:
        hours = sum(use.calls * use.seconds for use in containers) / 3600
        yield _cost("containers", hours, "hours", prices.container_hour)
    yield _cost("S3 writes and lists", made.requests.puts, "requests", prices.s3_put)
    yield _cost("S3 reads", made.requests.gets, "requests", prices.s3_get)


def _cost(name: str, quantity: float, unit: str, price: float) -> Cost:
    return Cost(name, quantity, unit, quantity * price)
