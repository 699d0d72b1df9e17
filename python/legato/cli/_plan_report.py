"""A plan as a page in a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from legato.workflow import Workflow
from legato.workflow._plan import DATED, NOT_INCLUDED, OK, REGION, SOURCES, Plan, about


def plan_report(  # noqa: PLR0913 - what the page shows
    workflow: Workflow,
    plan: Plan,
    *,
    largest: int,
    notes: Sequence[str],
    region: str,
    own_prices: bool,
) -> str:
    """Return the page: what the run takes, what it costs, each limit, and what was assumed.

    Args:
        workflow: The definition.
        plan: What was computed.
        largest: Most records that break no limit.
        notes: Where the numbers come from.
        region: Where it runs.
        own_prices: Whether prices were given.
    """
    sections = (
        _headline(workflow, plan, largest),
        _stages(plan),
        _steps(plan),
        _costs(plan),
        _limits(plan),
        _assumed(plan, notes, region, own_prices=own_prices),
    )
    return "\n\n".join("\n".join(lines) for lines in sections) + "\n"


def _headline(workflow: Workflow, plan: Plan, largest: int) -> Iterator[str]:
    made = plan.figures
    load = made.load
    yield (
        f"{workflow.name}: {load.records:,} records of {load.tokens_per_record:,.0f} tokens "
        f"in about {about(made.wall_s)} for {_dollars(plan.dollars)}"
    )
    yield (
        f"shards    {made.shards:,} of {made.records_per_shard:,} records "
        f"({made.tokens_per_shard:,.0f} tokens), {made.concurrency:,} at once, "
        f"{about(made.child_s)} each"
    )
    broken = [check.name for check in plan.checks if check.status not in {OK, "at risk"}]
    if broken:
        yield f"breaks    {', '.join(broken)}: see below"
    if largest:
        yield f"most      {_rounded(largest)} records break no limit"
    else:
        yield "most      no number of records works: see below"


def _stages(plan: Plan) -> Iterator[str]:
    made = plan.figures
    yield f"{'stage':<22}{'calls':>10}{'s each':>10}{'MiB':>8}{'GB-s':>14}"
    for name, use in made.uses.items():
        memory = "-" if use.memory_mb is None else f"{use.memory_mb:,}"
        gb_s = use.gb_s(made.speed.start_s)
        yield f"{name:<22}{use.calls:>10,}{use.seconds:>10,.1f}{memory:>8}{gb_s:>14,.0f}"


def _steps(plan: Plan) -> Iterator[str]:
    counts = plan.figures.counts
    yield f"{'execution':<22}{'number':>10}{'transitions':>14}{'events':>10}{'all retries':>14}"
    parent = counts.parent
    yield (
        f"{'the run, STANDARD':<22}{1:>10}{parent.transitions:>14,}{parent.events:>10,}"
        f"{parent.worst_events:>14,}"
    )
    child = counts.child
    if child is not None:
        kind = "EXPRESS" if counts.express else "STANDARD"
        yield (
            f"{f'a shard, {kind}':<22}{plan.figures.shards:>10,}{child.transitions:>14,}"
            f"{child.events:>10,}{child.worst_events:>14,}"
        )
    requests = plan.figures.requests
    yield f"S3: {requests.puts:,} writes and lists, {requests.gets:,} reads"


def _costs(plan: Plan) -> Iterator[str]:
    yield f"{'cost':<22}{'quantity':>18} {'':<12}{'US$':>12}"
    for cost in plan.costs:
        yield f"{cost.name:<22}{cost.quantity:>18,.0f} {cost.unit:<12}{cost.dollars:>12,.4f}"
    yield f"{'together':<22}{'':>18} {'':<12}{plan.dollars:>12,.4f}"


def _limits(plan: Plan) -> Iterator[str]:
    width = max(len(check.name) for check in plan.checks) + 2
    yield f"{'limit':<10}{'':<{width}}{'takes':>14}{'of':>16}"
    for check in plan.checks:
        yield f"{check.status:<10}{check.name:<{width}}{check.value:>14}{check.limit:>16}"
        if check.advice:
            yield f"{'':<10}  -> {check.advice}"


def _assumed(plan: Plan, notes: Sequence[str], region: str, *, own_prices: bool) -> Iterator[str]:
    yield "assumed   " + notes[0]
    for note in notes[1:]:
        yield f"          {note}"
    if own_prices:
        yield f"prices    as given; where not, of {REGION} in {DATED}"
    else:
        yield f"prices    {REGION}, {DATED}; check them at {SOURCES}"
        if region != REGION:
            yield f"          those of {region} differ: give --prices FILE"
    yield f"without   {NOT_INCLUDED}"
    containers = any(use.memory_mb is None for use in plan.figures.uses.values())
    if containers and not any(cost.name == "containers" for cost in plan.costs):
        yield "          and without Inference's containers: give container_hour in --prices FILE"


def _dollars(amount: float) -> str:
    return f"US${amount:,.2f}" if amount >= 1 else f"US${amount:,.4f}"


def _rounded(records: int) -> str:
    """Return a number with three figures: it rests on estimates."""
    unit = 10 ** max(len(str(records)) - 3, 0)
    return f"{records // unit * unit:,}"
