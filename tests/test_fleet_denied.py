"""Least privilege, proved: each grant that is taken away makes exactly its stage fail, and the report names it."""

from __future__ import annotations

import time

import pytest

from legato.workflow import STAGES
from tests import aws_stack
from tests.aws_grants import SIDECARS, Grant, all_grants
from tests.aws_stack import Stack, assert_names

# What this emulator does not check, by statement or by action, and why. Whatever is not named here is tested.
UNCHECKED = {
    "UseKey": "only with KmsKeyArn, and the emulator's S3 asks no key",
    "WriteLogs": "the emulator writes the functions' logs itself",
    "Trace": "the emulator has no X-Ray",
    "JoinVpc": "only in a VPC, which the emulator has not",
    "ReadModel": "only with a mirrored model: test_fleet_other has it",
    "ReadModelIndex": "only with a mirrored model: test_fleet_other has it",
    "ListModel": "the emulator answers 404 for what is missing, also to who may not list",
    "s3:AbortMultipartUpload": "no output of the tiny model is large enough to go in parts",
    "s3:ListBucket": "the emulator answers 404 for what is missing, also to who may not list",
}
# Of lists this one is tested: its stage lists.
LISTED = "runs/*/shards/*"


def is_checked(grant: Grant) -> bool:
    if grant.place.endswith(SIDECARS):
        return False
    return grant.place == LISTED or not UNCHECKED.keys() & {grant.sid, grant.action}


CHECKED = [grant for grant in all_grants() if is_checked(grant)]
RECORDS = [grant for grant in CHECKED if "/failures/" in grant.place]


def test_what_is_not_checked_is_there() -> None:
    for name in UNCHECKED:
        assert any(name in {grant.sid, grant.action} for grant in all_grants()), name
    assert {grant.stage for grant in CHECKED} == {grant.stage for grant in RECORDS} == set(STAGES)


@pytest.mark.parametrize("grant", [grant for grant in CHECKED if grant not in RECORDS], ids=str)
def test_a_stage_without_a_grant(fleet: Stack, grant: Grant) -> None:
    source = ("--text", f"a prompt for {grant}")
    if grant.action == "s3:DeleteObject":
        damage_what_it_makes(fleet, grant, source)
    elif grant.place == "inputs/*":
        source = ("--input", adopted(fleet))
    elif grant.sid == "FindOutputs":
        # Who may list and not read learns that an output is not there yet, and makes it: let it be there.
        assert fleet.run(*source).status == 0
    with fleet.without(grant):
        done = fleet.run(*source)
    assert done.status == 1, "it is not needed"
    assert_names(fleet, grant, done)
    name = aws_stack.run_id(done)
    assert fleet.failures(name) == ["AccessDeniedError"]
    assert fleet.failed_in(name).removeprefix("Prompt") == grant.stage


def adopted(stack: Stack) -> str:
    """An object in the store, which no client of the workflow has put there."""
    bucket = stack.outputs["BucketName"]
    key = f"legato/inputs/{time.time_ns()}.jsonl"
    stack.client("s3").put_object(Bucket=bucket, Key=key, Body=b'{"id": "1", "text": "any"}\n')
    return f"s3://{bucket}/{key}"


def damage_what_it_makes(stack: Stack, grant: Grant, source: tuple[str, str]) -> None:
    """Run once, and write something else over what the stage has made."""
    area = grant.place.partition("/")[0]
    before = set(stack.store.list(f"{area}/"))
    assert stack.run(*source).status == 0
    made = [key for key in stack.store.list(f"{area}/") if key not in before]
    place = stack.store.url.removeprefix("s3://").partition("/")
    for key in made:
        if f"{key}.ref" in made:
            stack.client("s3").put_object(Bucket=place[0], Key=f"{place[2]}/{key}", Body=b"x")


@pytest.mark.parametrize("grant", RECORDS, ids=str)
def test_a_stage_that_may_not_say_why_it_failed(fleet: Stack, grant: Grant) -> None:
    """Its record is missing then, and the error is the same."""
    (write,) = [
        other
        for other in CHECKED
        if other.stage == grant.stage
        and (other.sid, other.action) == ("WriteObjects", "s3:PutObject")
    ]
    for taken in ([], [grant]):
        with fleet.without(write, *taken):
            done = fleet.run("--text", f"a prompt for {grant}")
        assert_names(fleet, write, done)
        records = fleet.store.list(f"runs/{aws_stack.run_id(done)}/failures/")
        assert len(records) == 1 - len(taken)
