"""The files of ``legato synth``."""

from __future__ import annotations

import json
from collections.abc import Iterable
from itertools import groupby
from typing import TYPE_CHECKING, Final

from legato.errors import WorkflowError
from legato.workflow._diagram import diagram_mermaid, diagram_svg
from legato.workflow._grant import Grant
from legato.workflow._grants import compile_grants, stage_steps
from legato.workflow._grants_page import grants_page
from legato.workflow._lint import Gap, lint
from legato.workflow._policy import VERSION, statement
from legato.workflow._states import INFERENCE
from legato.workflow._template import compile_template, to_yaml
from legato.workflow._template._functions import handler_of

if TYPE_CHECKING:
    from legato.step import Step
    from legato.workflow._workflow import Workflow

DOCUMENT: Final = "statemachine.asl.json"
TEMPLATE: Final = "template.yaml"
DIAGRAM_SVG: Final = "diagram.svg"
DIAGRAM_MERMAID: Final = "diagram.mmd"
POLICIES: Final = "policies"
GRANTS: Final = "grants.md"


def synth(workflow: Workflow) -> dict[str, str]:
    """Return what a workflow is deployed with, as files: the text of each, by its name.

    The same workflow gives the same text, whatever the machine.

    Args:
        workflow: The definition.

    Raises:
        WorkflowError: A task needs what no role grants, or a role grants what nothing needs.
    """
    document = workflow.document()
    template, granted = compile_template(workflow, document), compile_grants(workflow)
    _check(workflow, lint(document, template, handlers()))
    files = {
        DOCUMENT: json.dumps(document, indent=2) + "\n",
        TEMPLATE: to_yaml(template),
        **{
            f"{POLICIES}/{principal}.json": _policy(grants)
            for principal, grants in groupby(granted, lambda grant: grant.principal)
        },
        DIAGRAM_SVG: diagram_svg(document),
        DIAGRAM_MERMAID: diagram_mermaid(document),
        GRANTS: grants_page(workflow, granted),
    }
    return {name: text if text.endswith("\n") else f"{text}\n" for name, text in files.items()}


def handlers() -> dict[str, Step]:
    """Return the step of each stage, by the handler's module and name."""
    from legato.stages import endpoint

    found = {handler_of(stage): step for stage, step in stage_steps().items()}
    return {**found, handler_of(INFERENCE, backend=True): endpoint.handler}


def _check(workflow: Workflow, gaps: list[Gap]) -> None:
    if gaps:
        told = "".join(f"\n  {gap}" for gap in gaps)
        count = f"{len(gaps)} gap{'s' if len(gaps) > 1 else ''}"
        raise WorkflowError(f"roles and work of {workflow.name} do not fit, {count}:{told}")


def _policy(grants: Iterable[Grant]) -> str:
    policy = {"Version": VERSION, "Statement": [statement(grant) for grant in grants]}
    return json.dumps(policy, indent=2) + "\n"
