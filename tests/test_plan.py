"""Plans: counted as the conductor and a real S3 server count, and broken where a limit is."""

from __future__ import annotations

import json
import random
import re
import threading
from collections import Counter
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import legato
from legato import Store
from legato._inputs import Source
from legato.cli import main
from legato.conductor import Conductor, Execution
from legato.errors import InputError, StoreUnavailableError
from legato.local import _settings
from legato.stages import ingestion
from legato.workflow import STAGES, STORE_BUCKET, Workflow, function_placeholder
from legato.workflow._plan import (
    Load,
    Plan,
    Prices,
    Speed,
    count_document,
    largest_load,
    make_plan,
)
from legato.workflow._plan._requests import of_run
from tests.servers.proxy import FaultProxy

LOAD = Load(records=100_000, tokens_per_record=50, bytes_per_record=250)
SPEED = Speed(inference=4000)


def workflow(**changes: Any) -> Workflow:
    values: dict[str, Any] = {"name": "plan", "task": "feature-extraction", "model": "/models/m"}
    return Workflow(**{**values, **changes})


class Clock:
    """The time, but nobody waits."""

    def time(self) -> float:
        return 1_700_000_000.0

    def monotonic(self) -> float:
        return 0.0

    def sleep(self, seconds: float, stopped: threading.Event) -> None:
        """Return at once."""


class Failing:
    """Raises each error that a task's Retry names, as often as it allows, then succeeds."""

    def __init__(self, retry: list[dict[str, Any]]) -> None:
        names = [(r["ErrorEquals"][0], r["MaxAttempts"]) for r in retry]
        self.errors = [name for name, attempts in names for _ in range(attempts)]
        self.left: dict[tuple[str, int], list[str]] = {}
        self.lock = threading.Lock()

    def __call__(self, stage: str, event: dict[str, Any]) -> None:
        key = stage, event.get("shard", {}).get("index", -1)
        with self.lock:
            errors = self.left.setdefault(key, list(self.errors))
            name = errors.pop() if errors else None
        if name == "StoreUnavailableError":
            raise StoreUnavailableError("away")
        if name is not None:
            raise type(name, (Exception,), {})("away")


def execution(mode: str, shards: int, *, failing: bool = False, **changes: Any) -> Execution:
    document = workflow(**changes).document()
    store = Store.open(f"memory://plan-{random.random()}")
    lines = "".join(json.dumps({"index": n}) + "\n" for n in range(shards))
    store.put(lines.encode(), "manifest.jsonl")
    fail = Failing(document["States"]["Ingestion"]["Retry"] if failing else [])

    def stage(name: str) -> Any:
        def handler(event: dict[str, Any], _context: object) -> dict[str, Any]:
            fail(name, event)
            if name == "Ingestion":
                event["run"] |= {"manifest_key": "manifest.jsonl", "results_prefix": "runs/r/map"}
            return event

        return handler

    def job(environment: dict[str, str], _context: object) -> Any:
        return json.loads(environment["LEGATO_EVENT"])

    conductor = Conductor(
        document,
        functions={f"arn:{name}": stage(name) for name in STAGES},
        buckets={"bucket": store},
        jobs={"job": job},
        substitutions={
            STORE_BUCKET: "bucket",
            "InferenceJobDefinitionArn": "job",
            "InferenceJobQueueArn": "queue",
            "InferenceTaskDefinitionArn": "job",
            "InferenceClusterArn": "cluster",
            "InferenceSubnets": "subnet-1,subnet-2",
            "InferenceSecurityGroups": "sg-1",
            **{function_placeholder(name): f"arn:{name}" for name in STAGES},
        },
        clock=Clock(),
    )
    done = conductor.run({"run": {"mode": mode}}, name="r")
    assert done.status == "SUCCEEDED", done.cause
    return done


def events(done: Execution) -> Counter[str]:
    """Count events of each execution, without those that AWS has only in the children."""
    kept = [e for e in done.history if not e.type.startswith("MapIteration")]
    return Counter(e.execution for e in kept)


def entered(done: Execution) -> Counter[str]:
    return Counter(e.execution for e in done.history if e.type.endswith("StateEntered"))


class TestCounts:
    @pytest.mark.parametrize("shards", [1, 4])
    @pytest.mark.parametrize(
        ("compute", "children"),
        [("lambda", "EXPRESS"), ("lambda", "STANDARD"), ("batch", "STANDARD"), ("ecs", "STANDARD")],
    )
    def test_of_a_fleet_as_the_conductor_counts(
        self, shards: int, compute: str, children: str
    ) -> None:
        done = execution("dataset", shards, compute=compute, children=children)
        one = workflow(compute=compute, children=children)
        counts = count_document(one.document(), shards)
        assert counts.child is not None
        assert counts.express == (children == "EXPRESS")
        seen, states = events(done), entered(done)
        assert len(seen) == 1 + shards
        assert seen.pop("r") == counts.parent.events
        # AWS counts the start of a child too.
        assert states.pop("r") + shards == counts.parent.transitions
        assert set(seen.values()) == {counts.child.events}
        assert set(states.values()) == {counts.child.transitions}

    def test_of_a_prompt_as_the_conductor_counts(self) -> None:
        done = execution("prompt", 0)
        counts = count_document(workflow().document(), 1, fleet=False)
        assert counts.child is None
        assert events(done)["r"] == counts.parent.events
        assert entered(done)["r"] == counts.parent.transitions

    def test_with_all_retries_as_the_conductor_counts(self) -> None:
        done = execution("dataset", 2, failing=True)
        counts = count_document(workflow().document(), 2)
        assert counts.child is not None
        seen = events(done)
        assert seen.pop("r") == counts.parent.worst_events
        assert set(seen.values()) == {counts.child.worst_events}
        attempts = Counter(e.execution for e in done.history if e.type == "TaskFailed")
        retries = counts.parent.worst_transitions - counts.parent.transitions
        assert attempts.pop("r") == retries
        assert set(attempts.values()) == {counts.child.worst_transitions - counts.child.transitions}

    def test_of_an_inline_map_grow_with_its_items(self) -> None:
        inner = {"StartAt": "Each", "States": {"Each": {"Type": "Pass", "End": True}}}
        document = {
            "StartAt": "All",
            "States": {"All": {"Type": "Map", "ItemProcessor": inner, "End": True}},
        }
        done = Conductor(document, functions={}, buckets={}).run([1, 2, 3], name="r")
        counts = count_document(document, 3)
        assert counts.parent.events == len(done.history)
        assert counts.parent.transitions == entered(done)["r"]


@pytest.mark.parametrize("compute", ["lambda", "batch", "ecs"])
@pytest.mark.parametrize("shards", [1, 3, 5])
def test_requests_are_those_that_a_server_is_asked(
    shards: int, compute: str, proxy: FaultProxy, tiny_bert: Path, tmp_path: Path, s3_url: str
) -> None:
    path = tmp_path / "texts.jsonl"
    lines = [json.dumps({"id": str(n), "text": f"text {n} of {shards}"}) for n in range(4 * shards)]
    path.write_text("\n".join(lines))
    one = workflow(model=tiny_bert, dataset=path, shard_records=4, compute=compute)
    store = legato.run(one, store=s3_url, text="opens the store").store
    proxy.forget()
    legato.run(one, store=store.url)
    asked = Counter("gets" if s.method in {"GET", "HEAD"} else "puts" for s in proxy.seen)
    lists = [s for s in proxy.seen if s.method == "GET" and "list-type" in s.query]
    # `legato run` itself stores the input and the history.
    own = len(proxy.asked("PUT", "/inputs/")) + len(proxy.asked("PUT", "history.jsonl"))
    assert own == 2
    expected = of_run(shards, path.stat().st_size, left=compute == "batch")
    assert asked["puts"] - own + len(lists) == expected.puts
    assert asked["gets"] - len(lists) == expected.gets


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 60), st.integers(1, 12), st.integers(3, 40))
def test_shards_are_those_that_ingestion_makes(
    tiny_bert: Path, records: int, shard_records: int, shard_tokens: int
) -> None:
    one = workflow(model=tiny_bert, shard_records=shard_records, shard_tokens=shard_tokens)
    store = Store.open(f"memory://plan-{random.random()}")
    lines = "".join(json.dumps({"id": str(n), "text": "a b c"}) + "\n" for n in range(records))
    source = store.put(lines.encode(), "inputs/x/data.jsonl", media_type="application/jsonl")
    files = legato.ModelFiles.from_dir(tiny_bert)
    bound = ingestion.handler.bind(_settings(one, store, files, Source(source, "x")), store)
    made = bound({"run": {"id": "r", "mode": "dataset"}, "input": source.to_dict()})
    manifest = store.get(store.key_of(legato.Ref.from_dict(made["run"]["manifest"])))
    shards = [json.loads(line) for line in manifest.splitlines()]
    tokens = sum(shard["tokens"] for shard in shards) / records
    load = Load(records=records, tokens_per_record=tokens, bytes_per_record=5)
    assert make_plan(one, load, SPEED).figures.shards == len(shards)


class TestLimits:
    def status(self, plan: Plan, name: str) -> str:
        return next(check.status for check in plan.checks if check.name == name)

    def test_a_small_run_is_well(self) -> None:
        plan = make_plan(workflow(), LOAD, SPEED)
        assert not plan.breaks
        assert {check.status for check in plan.checks} == {"ok"}

    @pytest.mark.parametrize(
        ("changes", "load", "speed", "name"),
        [
            (
                {"shard_tokens": 1_000_000, "shard_records": 1_000_000},
                {},
                {"inference": 2000},
                "a shard, as an EXPRESS child",
            ),
            ({}, {}, {"inference": 50}, "Inference of a shard"),
            ({"shard_records": 1}, {}, {}, "shards"),
            ({"shard_records": 4}, {}, {"request_s": 0.3}, "Ingestion"),
            ({"memory_mb": 512}, {"weights_bytes": 1 << 30}, {}, "memory of Inference"),
            ({"fleet": 1}, {"records": 1_000_000}, {"inference": 60}, "the run"),
        ],
    )
    def test_each_breaks_where_it_is_passed(
        self, changes: dict[str, Any], load: dict[str, Any], speed: dict[str, Any], name: str
    ) -> None:
        plan = make_plan(workflow(**changes), replace(LOAD, **load), replace(SPEED, **speed))
        assert plan.breaks
        check = next(check for check in plan.checks if check.name == name)
        assert check.status == "breaks"
        assert check.advice

    @pytest.mark.parametrize(
        ("changes", "speed", "name"),
        [
            (
                {"shard_tokens": 1_000_000, "shard_records": 1_000_000},
                {"inference": 2000},
                "a shard, as an EXPRESS child",
            ),
            ({}, {"inference": 60}, "Inference of a shard"),
            ({"shard_records": 4}, {"request_s": 0.3}, "Ingestion"),
            ({"shard_records": 1}, {}, "shards"),
        ],
    )
    def test_its_advice_helps(
        self, changes: dict[str, Any], speed: dict[str, Any], name: str
    ) -> None:
        there = replace(SPEED, **speed)
        plan = make_plan(workflow(**changes), LOAD, there)
        advice = next(check.advice for check in plan.checks if check.name == name)
        told = advice.partition(":")[0].partition(", or")[0]
        settings = dict(part.split("=") for part in told.split(", "))
        assert settings
        better = {**changes, **{field: int(value) for field, value in settings.items()}}
        assert self.status(make_plan(workflow(**better), LOAD, there), name) == "ok"

    def test_more_memory_makes_ingestion_faster(self) -> None:
        load = replace(LOAD, records=1_000_000)
        slow = replace(SPEED, tokenizing=50_000)
        one = workflow(shard_records=4000, shard_tokens=200_000)
        plan = make_plan(one, load, slow)
        assert self.status(plan, "Ingestion") == "breaks"
        advice = next(check.advice for check in plan.checks if check.name == "Ingestion")
        found = re.fullmatch(r"--parameter IngestionMemory=(\d+)", advice)
        assert found
        more = replace(slow, memory_mb={**slow.memory_mb, "Ingestion": int(found[1])})
        assert self.status(make_plan(one, load, more), "Ingestion") == "ok"

    def test_a_fleet_above_the_account_is_at_risk_not_broken(self) -> None:
        plan = make_plan(workflow(fleet=5000), replace(LOAD, records=1_000_000), SPEED)
        assert self.status(plan, "functions at once") == "at risk"
        assert plan.figures.concurrency == 1000
        assert not plan.breaks

    @given(
        st.floats(1, 2000), st.floats(100, 1e6), st.integers(1, 4096), st.integers(256, 1_000_000)
    )
    @settings(max_examples=50, deadline=None)
    def test_the_largest_load_is_the_largest(
        self, tokens: float, rate: float, shard_records: int, shard_tokens: int
    ) -> None:
        one = workflow(shard_records=shard_records, shard_tokens=shard_tokens)
        load, speed = replace(LOAD, tokens_per_record=tokens), replace(SPEED, inference=rate)
        most = largest_load(one, load, speed)
        if most:
            assert not make_plan(one, replace(load, records=most), speed).breaks
        assert make_plan(one, replace(load, records=most + 1), speed).breaks

    def test_standard_children_have_no_five_minutes(self) -> None:
        slow = replace(SPEED, inference=80)
        express = make_plan(workflow(), LOAD, slow)
        standard = make_plan(workflow(children="STANDARD"), LOAD, slow)
        assert self.status(express, "a shard, as an EXPRESS child") == "breaks"
        assert "a shard, as an EXPRESS child" not in {check.name for check in standard.checks}
        assert self.status(standard, "history of a child") == "ok"


class TestCost:
    def test_is_quantity_times_price(self) -> None:
        plan = make_plan(workflow(), LOAD, SPEED)
        doubled = Prices(**{n: 2 * v for n, v in asdict(Prices()).items() if v is not None})
        assert make_plan(workflow(), LOAD, SPEED, doubled).dollars == pytest.approx(
            2 * plan.dollars
        )
        free = make_plan(workflow(), LOAD, SPEED, Prices(**dict.fromkeys(asdict(doubled), 0)))
        assert free.dollars == 0

    def test_of_standard_children_is_their_transitions(self) -> None:
        plan = make_plan(workflow(children="STANDARD"), LOAD, SPEED)
        lines = {cost.name: cost for cost in plan.costs}
        assert not [name for name in lines if "EXPRESS" in name]
        made = plan.figures
        assert made.counts.child is not None
        each = made.counts.child.transitions
        total = made.counts.parent.transitions + made.shards * each
        assert lines["state transitions"].quantity == total

    def test_grows_with_the_load(self) -> None:
        small = make_plan(workflow(), LOAD, SPEED)
        large = make_plan(workflow(), replace(LOAD, records=LOAD.records * 10), SPEED)
        assert 9 * small.dollars < large.dollars < 11 * small.dollars

    @pytest.mark.parametrize("value", [-1, "1", True, None, float("nan"), float("inf")])
    def test_wrong_prices_are_refused(self, value: object) -> None:
        with pytest.raises(InputError, match="lambda_gb_s"):
            Prices.of({"lambda_gb_s": value})
        with pytest.raises(InputError, match="unknown"):
            Prices.of({"lambda": 1})


def test_the_page_on_plans_says_all_prices() -> None:
    page = (Path(__file__).parents[1] / "docs" / "plan.md").read_text(encoding="utf-8")
    shown = json.loads(page.partition("```json")[2].partition("```")[0])
    assert list(shown) == list(asdict(Prices()))
    assert Prices.of({**shown, "container_hour": None}) == Prices()


@pytest.mark.parametrize(
    ("load", "speed"),
    [
        ({"records": 0}, {}),
        ({"records": -5}, {}),
        ({"records": 10**13}, {}),
        ({"tokens_per_record": 0}, {}),
        ({"tokens_per_record": float("nan")}, {}),
        ({}, {"inference": 0}),
        ({}, {"inference": float("inf")}),
    ],
)
def test_what_makes_no_sense_is_refused(load: dict[str, Any], speed: dict[str, Any]) -> None:
    with pytest.raises(InputError):
        make_plan(workflow(), replace(LOAD, **load), replace(SPEED, **speed))


class TestCommand:
    @pytest.fixture
    def definition(self, tiny_bert: Path, tmp_path: Path) -> Path:
        data = tmp_path / "texts.jsonl"
        lines = (json.dumps({"id": str(n), "text": f"text {n}"}) + "\n" for n in range(2500))
        data.write_text("".join(lines))
        path = tmp_path / "workflow.py"
        path.write_text(
            "from legato import Workflow\n"
            f"workflow = Workflow(name='plan', task='feature-extraction', model={str(tiny_bert)!r},"
            f" dataset={str(data)!r}, shard_records=100)\n"
        )
        return path

    def plan(self, capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
        assert main(["plan", *arguments, "--json"]) == 0
        whole: dict[str, Any] = json.loads(capsys.readouterr().out)
        return whole

    def test_looks_at_the_dataset(
        self, definition: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        whole = self.plan(capsys, str(definition))
        assert whole["load"]["records"] == 2500
        assert whole["shards"] == 25
        assert whole["speed"]["inference"] > 0
        assert whole["largest_records"] > 2500

    def test_a_sample_says_nothing_of_the_number(
        self, definition: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        sample = tmp_path / "few.txt"
        sample.write_text("one\ntwo\n")
        arguments = [str(definition), "--sample", str(sample), "--tokens-per-second", "1000"]
        assert main(["plan", *arguments]) == 1
        assert "--records" in capsys.readouterr().err
        whole = self.plan(capsys, *arguments, "--records", "1000")
        assert whole["load"]["records"] == 1000
        assert whole["speed"]["inference"] == 1000

    def test_needs_neither_dataset_nor_model(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        path = tmp_path / "workflow.py"
        path.write_text(
            "from legato import Workflow\n"
            "workflow = Workflow(name='p', task='feature-extraction', model='s3://b/models/x')\n"
        )
        told = ["--records", "100000", "--tokens-per-record", "100"]
        whole = self.plan(capsys, str(path), *told)
        assert any("assumed, not measured" in note for note in whole["assumed"])
        assert main(["plan", str(path)]) == 1
        assert "--tokens-per-record" in capsys.readouterr().err

    def test_shows_a_page_and_fails_where_a_limit_breaks(
        self, definition: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        told = [str(definition), "--tokens-per-record", "100"]
        assert main(["plan", *told, "--records", "10000"]) == 0
        page = capsys.readouterr().out
        assert page.startswith("plan: 10,000 records of 100 tokens in about ")
        assert "breaks" not in page.replace("break no limit", "")
        assert main(["plan", *told, "--records", "1000000000"]) == 1
        page = capsys.readouterr().out
        assert "\nbreaks    shards" in page
        assert max(map(len, page.splitlines())) <= 120

    def test_takes_the_memory_of_functions_as_deploy_does(
        self, definition: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        told = [str(definition), "--tokens-per-record", "100", "--records", "10000"]
        whole = self.plan(
            capsys, *told, "--parameter", "IngestionMemory=4096", "--parameter", "BucketName=b"
        )
        assert whole["stages"]["Ingestion"]["memory_mb"] == 4096
        whole = self.plan(capsys, *told, "--parameter", "InferenceMemory=4096")
        assert whole["stages"]["Inference"]["memory_mb"] == 4096
        for wrong in ("IngestionMemory", "IngestionMemory=1", "IngestionMemory=x", "Foo=1"):
            assert main(["plan", *told, "--parameter", wrong]) == 1
            assert "parameter" in capsys.readouterr().err

    def test_takes_prices(
        self, definition: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        told = [str(definition), "--tokens-per-record", "100", "--records", "10000"]
        before = self.plan(capsys, *told)
        prices = tmp_path / "prices.json"
        prices.write_text(json.dumps({"transition": 1}))
        after = self.plan(capsys, *told, "--prices", str(prices))
        assert after["dollars"] > before["dollars"]
        for wrong in ("[]", "{", '{"transition": "x"}'):
            prices.write_text(wrong)
            assert main(["plan", *told, "--prices", str(prices)]) == 1
        assert main(["plan", *told, "--prices", str(tmp_path / "none.json")]) == 1
        assert "cannot be read" in capsys.readouterr().err
