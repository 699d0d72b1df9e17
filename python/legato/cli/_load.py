"""Load the workflow that a Python file defines."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

from legato.errors import WorkflowError
from legato.workflow import Workflow


def load_workflow(path: Path) -> Workflow:
    """Return the one workflow that a file defines at its top level.

    Args:
        path: A Python file; modules beside it can be imported, as when it is run as a script.

    Raises:
        WorkflowError: There is no such file, or it defines no workflow, or several.
    """
    if not path.is_file():
        msg = f"there is no workflow file {path}; check the path"
        raise WorkflowError(msg)
    spec = importlib.util.spec_from_file_location("legato_workflow", path)
    if spec is None or spec.loader is None:
        msg = f"{path} is no Python file; give the file that defines the workflow"
        raise WorkflowError(msg)
    module = importlib.util.module_from_spec(spec)
    # Dataclasses, among others, look up the module that they are defined in.
    sys.modules[spec.name] = module
    sys.path.insert(0, str(path.resolve().parent))
    spec.loader.exec_module(module)
    found = {id(value): value for value in vars(module).values() if isinstance(value, Workflow)}
    if len(found) != 1:
        msg = (
            f"{path} defines {len(found)} workflows, it must define one: "
            "workflow = legato.Workflow(...)"
        )
        raise WorkflowError(msg)
    return next(iter(found.values()))
