"""Replace ``${Name}`` placeholders, as CloudFormation's DefinitionSubstitutions do."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from legato.errors import WorkflowError

MAX_DEPTH: Final = 100
"""How deeply a definition may be nested: parsing and running it takes some calls a level."""

_PLACEHOLDER: Final = re.compile(r"\$\{([A-Za-z0-9_]+)\}")


def substitute(document: Any, values: Mapping[str, str]) -> Any:
    """Return a definition with its placeholders replaced, once, in keys and texts alike.

    Args:
        document: The definition.
        values: Name to text; names that the definition does not use are allowed.

    Raises:
        WorkflowError: A placeholder has no value, the message lists all such names; or the
            definition is nested too deeply.
    """
    missing: set[str] = set()

    def replaced(match: re.Match[str]) -> str:
        value = values.get(match.group(1))
        if value is None:
            missing.add(match.group(1))
            return ""
        return value

    def walk(node: Any, depth: int) -> Any:
        if isinstance(node, str):
            return _PLACEHOLDER.sub(replaced, node)
        if depth > MAX_DEPTH:
            raise WorkflowError(f"the document is nested more than {MAX_DEPTH} levels; flatten it")
        if isinstance(node, dict):
            inner = depth + 1
            return {walk(key, inner): walk(value, inner) for key, value in node.items()}
        return [walk(item, depth + 1) for item in node] if isinstance(node, list) else node

    result = walk(document, 0)
    if missing:
        names = ", ".join(f"${{{name}}}" for name in sorted(missing))
        msg = f"the document has placeholders without a value: {names}; give them in substitutions"
        raise WorkflowError(msg)
    return result
