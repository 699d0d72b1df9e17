"""The files of ``legato synth``."""

from __future__ import annotations

import json
from itertools import groupby
from typing import TYPE_CHECKING, Final

from legato.workflow._diagram import diagram_mermaid, diagram_svg
from legato.workflow._grants import compile_grants
from legato.workflow._policy import VERSION, statement
from legato.workflow._template import compile_template, to_yaml

if TYPE_CHECKING:
    from legato.workflow._workflow import Workflow

DOCUMENT: Final = "statemachine.asl.json"
TEMPLATE: Final = "template.yaml"
DIAGRAM_SVG: Final = "diagram.svg"
DIAGRAM_MERMAID: Final = "diagram.mmd"
POLICIES: Final = "policies"


def synth(workflow: Workflow) -> dict[str, str]:
    """Return what a workflow is deployed with, as files: the text of each, by its name.

    The same workflow gives the same text, whatever the machine.

    Args:
        workflow: The definition.

    Raises:
        WorkflowError: A task needs what no role grants, or a role grants what nothing needs.
    """
    document = workflow.document()
    files = {
        DOCUMENT: json.dumps(document, indent=2) + "\n",
        TEMPLATE: to_yaml(compile_template(workflow, document)),
    }
    for principal, granted in groupby(compile_grants(workflow), lambda grant: grant.principal):
        policy = {"Version": VERSION, "Statement": [statement(grant) for grant in granted]}
        files[f"{POLICIES}/{principal}.json"] = json.dumps(policy, indent=2) + "\n"
    files[DIAGRAM_SVG] = diagram_svg(document)
    files[DIAGRAM_MERMAID] = diagram_mermaid(document)
    return files
