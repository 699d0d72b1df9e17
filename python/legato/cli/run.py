"""Run a workflow in this process, or with --aws on AWS, and show what it did.

The state machine is the one that is deployed; the store is a folder unless told otherwise.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

import legato
from legato.cli import _aws
from legato.cli._load import load_workflow
from legato.cli._progress import Progress, display
from legato.cli._report import finish
from legato.errors import InputError
from legato.local import Run
from legato.workflow import Workflow

NEIGHBOURS = 3


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    parser.add_argument("workflow", type=Path, help="Python file that defines the workflow")
    parser.add_argument(
        "--store",
        metavar="URL",
        help="a folder, s3://bucket/prefix, file:///folder or memory://name; default: .legato",
    )
    source = parser.add_mutually_exclusive_group()
    source.add_argument(
        "--input",
        metavar="FILE",
        help="JSONL, CSV, TXT or Parquet instead of the dataset, or s3://bucket/key",
    )
    source.add_argument("--text", metavar="TEXT", help="one prompt instead of the dataset")
    parser.add_argument(
        "--query",
        metavar="TEXT",
        action="append",
        help="search the result; instead of the workflow's queries",
    )
    parser.add_argument(
        "--aws",
        action="store_true",
        help="run what legato deploy has deployed, and follow it; the options of AWS imply it",
    )
    parser.add_argument(
        "--detach", action="store_true", help="on AWS: start it, and do not follow it"
    )
    _aws.add_arguments(parser)


def main(arguments: argparse.Namespace) -> int:
    """Run the workflow; return the exit status."""
    workflow = load_workflow(arguments.workflow)
    queries = _queries(workflow, arguments)
    if _is_remote(arguments):
        from legato.cli._remote import run_remotely

        made = run_remotely(workflow, arguments)
        if made is None:
            return 0
        return _finish(workflow, made, arguments, queries)
    try:
        with display() as shown:
            run = legato.run(
                workflow,
                store=arguments.store,
                input=arguments.input,
                text=arguments.text,
                listener=Progress(shown),
            )
    except KeyboardInterrupt:
        raise KeyboardInterrupt(_STOPPED) from None
    return _finish(workflow, run, arguments, queries)


_STOPPED = "legato: stopped; finished shards are kept, the same command goes on from there"


def _finish(
    workflow: Workflow, run: Run, arguments: argparse.Namespace, queries: Sequence[str]
) -> int:
    status = finish(workflow.name, run)
    if arguments.text is not None:
        _show(run)
    if queries:
        _answer(workflow, run, queries)
    return status


def _is_remote(arguments: argparse.Namespace) -> bool:
    """Say whether a run is on AWS: --aws says so, and so does whatever else only such a run has."""
    implied = ("detach", "stack_name", "region", "profile", "endpoint_url")
    return arguments.aws or any(getattr(arguments, name) for name in implied)


def _show(run: Run) -> None:
    results = run.results()
    vectors = results.vectors
    for answer in results.answers:
        sys.stdout.write(f"answer    {json.dumps(answer, ensure_ascii=False)}\n")
    if len(vectors):
        numbers = ", ".join(f"{number:.4f}" for number in vectors[0][:6])
        sys.stdout.write(f"vector    [{numbers}, ...] ({vectors.shape[1]} numbers)\n")


def _queries(workflow: Workflow, arguments: argparse.Namespace) -> Sequence[str]:
    """Return what to search for; checked before the run, which may be long."""
    given: Sequence[str] = arguments.query or ()
    for query in given:
        try:
            query.encode()
        except UnicodeEncodeError:
            msg = "a query is not UTF-8; check the terminal's encoding"
            raise InputError(msg) from None
        if not query.strip():
            msg = "a query is empty; give --query a text"
            raise InputError(msg)
    if given and workflow.task != "feature-extraction":
        msg = f"{workflow.task} has no vectors to search; leave --query out"
        raise InputError(msg)
    return given or (() if arguments.text is not None else workflow.queries)


def _answer(workflow: Workflow, run: Run, queries: Sequence[str]) -> None:
    results = run.results()
    model = legato.pipeline(
        workflow.task,
        model=workflow.model,
        revision=results.manifest["model"]["revision"],
        device=workflow.device,
        dtype=workflow.dtype,
    )
    vectors = model(list(queries), max_length=workflow.max_length)
    for query, vector in zip(queries, vectors, strict=True):
        sys.stdout.write(f"\nnearest to {query!r}\n")
        for hit in results.nearest(vector, NEIGHBOURS):
            sys.stdout.write(f"  {hit.score:6.3f}  {hit.id}\n")
