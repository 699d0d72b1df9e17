"""Say in words who may do what, and why: ``grants.md``."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import groupby
from typing import TYPE_CHECKING, Final

from legato.workflow._arns import BUCKET, STORE
from legato.workflow._grant import (
    EXECUTION,
    HAS_KMS,
    HAS_MIRROR,
    HAS_REPOSITORY,
    HAS_VPC,
    MACHINE,
    ROTATION,
    RULE,
    SCHEDULE,
    TRIGGER,
    Grant,
)
from legato.workflow._lint import WILDCARDS

if TYPE_CHECKING:
    from legato.workflow._workflow import Workflow

WHO: Final[Mapping[str, str]] = {
    "ingestion": "The Ingestion function, which splits the input into shards.",
    "preprocessing": "The Preprocessing function, which tokenizes a shard.",
    "inference": "Inference, which runs the model over a shard.",
    "validation": "The Validation function, which checks the outputs of a shard.",
    "storage": "The Storage function, which commits the result.",
    MACHINE: "The state machine.",
    TRIGGER: "The small state machine that gives a run its name and starts it.",
    RULE: "The rule of EventBridge that hears of new inputs.",
    SCHEDULE: "The schedule.",
    EXECUTION: "What starts the container of Inference, before legato runs in it.",
    ROTATION: "The function that replaces the Hugging Face token; Secrets Manager calls it.",
}
_WHEN: Final[Mapping[str, str]] = {
    HAS_KMS: "only with a key (`KmsKeyArn`)",
    HAS_MIRROR: "only with a mirrored model (`ModelId`)",
    HAS_REPOSITORY: "only with an image in ECR (`ImageRepositoryArn`)",
    HAS_VPC: "only in a VPC (`SubnetIds`)",
}
_SHORT: Final = (
    (f"{STORE}/", "store/"),
    (BUCKET, "the bucket"),
    ("arn:${AWS::Partition}:", ""),
    ("${AWS::Region}:${AWS::AccountId}:", ""),
    ("${AWS::StackName}", "<stack>"),
)


def grants_page(workflow: Workflow, grants: Iterable[Grant]) -> str:
    """Return the page, as Markdown.

    Args:
        workflow: The definition.
        grants: All its grants.
    """
    lines = [
        f"# Who may do what in {workflow.name}",
        "",
        "Written by `legato synth` from what the stages declare, and compared with what they and",
        "the state machine do: a grant that is missing, unused or too wide ends `legato synth`.",
        "`store/` is the store's prefix in its bucket, `<stack>` the stack's name.",
    ]
    used: set[str] = set()
    for principal, granted in groupby(grants, lambda grant: grant.principal):
        lines += ["", f"## {principal}", "", WHO[principal], ""]
        for grant in granted:
            lines.append(_line(grant))
            used |= {action for action in grant.actions if "*" in grant.resources}
    lines += [
        "",
        "## Everybody else",
        "",
        "The bucket refuses requests without TLS or of other accounts, and writes that would",
        "replace an output: each is written once (`If-None-Match: *`).",
    ]
    return "\n".join([*lines, *_wildcards(used)]) + "\n"


def _line(grant: Grant) -> str:
    verb = "may" if grant.effect == "Allow" else "may not"
    actions = ", ".join(f"`{action}`" for action in grant.actions)
    resources = ", ".join(f"`{_shown(resource)}`" for resource in grant.resources)
    notes = [
        f"where `{key}` is {' or '.join(f'`{_shown(value)}`' for value in _values(values))}"
        for keys in grant.condition.values()
        for key, values in keys.items()
    ]
    if grant.when is not None:
        notes.append(_WHEN[grant.when])
    extra = f" ({'; '.join(notes)})" if notes else ""
    return f"- **{grant.sid}**: {verb} {actions} on {resources}{extra}. Why: {grant.reason}."


def _values(values: str | list[str]) -> list[str]:
    return [values] if isinstance(values, str) else values


def _shown(text: str) -> str:
    for long, short in _SHORT:
        text = text.replace(long, short)
    return text.replace("${StorePrefix}/", "store/").replace("${", "<").replace("}", ">")


def _wildcards(used: set[str]) -> Iterator[str]:
    yield from ("", "## Actions on everything", "", "IAM knows no smaller resource for these:", "")
    yield from (f"- `{action}`: {WILDCARDS[action]}." for action in sorted(used))
