"""Say on paper what a run on AWS takes, costs, and where a limit would break."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from legato.cli._load import load_workflow
from legato.cli._plan_report import plan_report
from legato.cli._sample import Sample, take_sample
from legato.errors import InputError
from legato.workflow import Workflow
from legato.workflow._check import MEMORY_MB as LIMITS_MB
from legato.workflow._plan import (
    INFERENCE_RATE,
    MB_PER_PROCESSOR,
    REGION,
    TOKENIZING_RATE,
    Load,
    Prices,
    Speed,
    largest_load,
    make_plan,
)
from legato.workflow._states import INFERENCE
from legato.workflow._template._parameters import MEMORY_MB, memory_parameter, parameters

BROKEN = 1
BYTES_A_TOKEN = 5.0
"""Of a text, where no sample says it."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    parser.add_argument("workflow", type=Path, help="Python file that defines the workflow")
    parser.add_argument(
        "--records", metavar="N", type=int, help="records; default: those of the dataset"
    )
    source = parser.add_mutually_exclusive_group()
    source.add_argument(
        "--tokens-per-record", metavar="T", type=float, help="mean; no sample is looked at"
    )
    source.add_argument(
        "--sample", metavar="FILE", type=Path, help="records to look at; default: the dataset"
    )
    parser.add_argument(
        "--tokens-per-second",
        metavar="R",
        type=float,
        help="of one Inference function; default: measured here on the sample",
    )
    parser.add_argument(
        "--parameter",
        metavar="KEY=VALUE",
        action="append",
        default=[],
        help="of legato deploy: memory of a function, such as IngestionMemory=4096",
    )
    parser.add_argument(
        "--prices", metavar="FILE", type=Path, help="JSON object of prices that differ, in US$"
    )
    parser.add_argument("--region", default=REGION, help=f"where it runs; default: {REGION}")
    parser.add_argument("--json", action="store_true", help="write the plan as JSON")


def main(arguments: argparse.Namespace) -> int:
    """Write the plan; return 1 where a limit would break."""
    workflow = load_workflow(arguments.workflow)
    if workflow.backend is not None:
        # What a server takes, and what it costs, is not known here.
        raise InputError("legato plan knows the local engine alone; leave backend out")
    memory = _memory(workflow, arguments.parameter)
    workflow = replace(workflow, memory_mb=memory.pop(INFERENCE))
    prices = _prices(arguments.prices)
    basis = _basis(workflow, arguments, memory)
    plan = make_plan(workflow, basis.load, basis.speed, prices)
    largest = largest_load(workflow, basis.load, basis.speed)
    if arguments.json:
        whole = {
            "workflow": workflow.name,
            **plan.to_dict(),
            "largest_records": largest,
            "assumed": basis.notes,
            "region": arguments.region,
        }
        sys.stdout.write(json.dumps(whole, indent=2) + "\n")
    else:
        given = arguments.prices is not None
        sys.stdout.write(
            plan_report(
                workflow,
                plan,
                largest=largest,
                notes=basis.notes,
                region=arguments.region,
                own_prices=given,
            )
        )
    return BROKEN if plan.breaks else 0


@dataclass(frozen=True, slots=True)
class _Basis:
    load: Load
    speed: Speed
    notes: list[str]


def _basis(workflow: Workflow, arguments: argparse.Namespace, memory: dict[str, int]) -> _Basis:
    """Return load and speed, and where each number comes from."""
    sample = _sample(workflow, arguments)
    load, of_load = _load(sample, arguments)
    inference, of_inference = _inference(workflow, sample, arguments.tokens_per_second)
    speed = Speed(
        inference=inference,
        tokenizing=TOKENIZING_RATE if sample is None else sample.tokenizing,
        memory_mb=memory,
    )
    how = "measured here" if sample is not None else "assumed; give --sample FILE to measure"
    starts = f"{speed.start_s:g} s for a function's start"
    if workflow.compute != "lambda":
        starts += f", {speed.container_start_s:g} s for a container's"
    notes = [
        of_load,
        f"tokenization: {speed.tokenizing:,.0f} tokens/s a processor, {how}",
        of_inference,
        f"{speed.request_s * 1000:g} ms for a request to S3, {starts}",
        f"{speed.record_s * 1e6:g} µs of a processor to read and write a record",
    ]
    return _Basis(load, speed, notes)


def _load(sample: Sample | None, arguments: argparse.Namespace) -> tuple[Load, str]:
    records = arguments.records
    if records is None:
        records = sample.records if sample is not None else None
    if records is None:
        msg = "how many records there are is not known; give --records N"
        raise InputError(msg)
    if sample is None:
        tokens = arguments.tokens_per_record
        size = tokens * BYTES_A_TOKEN
        note = f"{tokens:g} tokens a record, as given, of {BYTES_A_TOKEN:g} bytes of text"
        return Load(records=records, tokens_per_record=tokens, bytes_per_record=size), note
    load = Load(
        records=records,
        tokens_per_record=sample.tokens_per_record,
        bytes_per_record=sample.bytes_per_record,
        weights_bytes=sample.weights_bytes or None,
    )
    return load, (
        f"{sample.tokens_per_record:,.1f} tokens and {sample.bytes_per_record:,.0f} bytes a "
        f"record: mean of {sample.seen:,}"
    )


def _inference(workflow: Workflow, sample: Sample | None, given: float | None) -> tuple[float, str]:
    if given is not None:
        return given, f"Inference: {given:,.0f} tokens/s, as given"
    measured = None if sample is None else sample.inference
    each = INFERENCE_RATE if measured is None else measured
    how = "assumed, not measured" if measured is None else "measured here"
    note = f"Inference: {each:,.0f} tokens/s a processor, {how}"
    if workflow.compute != "lambda":
        # Nothing says what machine it is.
        return each, f"{note}, on one: give --tokens-per-second of the container"
    processors = workflow.memory_mb / MB_PER_PROCESSOR
    memory = f"{processors:.2f} processors in {workflow.memory_mb:,} MiB"
    return each * processors, f"{note}, and {memory}"


def _memory(workflow: Workflow, given: Sequence[str]) -> dict[str, int]:
    """Return the memory of each function; other parameters change nothing.

    Raises:
        InputError: The template has no such parameter, or the value is none.
    """
    memory = {**MEMORY_MB, INFERENCE: workflow.memory_mb}
    declared = parameters(workflow)
    stages = {memory_parameter(stage): stage for stage in memory}
    for pair in given:
        name, equals, value = pair.partition("=")
        if not equals:
            msg = "a --parameter has no '='; write --parameter KEY=VALUE"
            raise InputError(msg)
        if name not in declared:
            msg = f"the template has no parameter {name}; use one of {', '.join(sorted(declared))}"
            raise InputError(msg)
        if name in stages:
            if not value.isdecimal() or not LIMITS_MB[0] <= int(value) <= LIMITS_MB[1]:
                msg = f"parameter {name} is {value!a}; give {LIMITS_MB[0]} to {LIMITS_MB[1]:,} MiB"
                raise InputError(msg)
            memory[stages[name]] = int(value)
    return memory


def _sample(workflow: Workflow, arguments: argparse.Namespace) -> Sample | None:
    if arguments.tokens_per_record is not None:
        return None
    path = arguments.sample or _dataset(workflow)
    # Of another file the number of records says nothing of the dataset's.
    count = arguments.records is None and arguments.sample is None
    measure = arguments.tokens_per_second is None
    return take_sample(workflow, path, count=count, measure=measure)


def _dataset(workflow: Workflow) -> Path:
    source = workflow.dataset
    found = source() if callable(source) else source
    if found is None or "://" in os.fspath(found):
        msg = (
            f"workflow {workflow.name} has no dataset here; "
            "give --sample FILE or --tokens-per-record T"
        )
        raise InputError(msg)
    return Path(found)


def _prices(path: Path | None) -> Prices:
    if path is None:
        return Prices()
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        msg = f"prices {path} cannot be read ({error.strerror}); check the path"
        raise InputError(msg) from None
    except ValueError:
        msg = f'prices {path} is no JSON; give an object such as {{"lambda_gb_s": 0.0000133334}}'
        raise InputError(msg) from None
    if not isinstance(values, dict):
        msg = f"prices {path} is no JSON object; give names and US dollars"
        raise InputError(msg)
    return Prices.of(values)
