"""Read from the source of a stage what it does with its store."""

from __future__ import annotations

import ast
import functools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from legato.workflow._lint._source import Function, Sources, of_call

READ, READ_KEY, FIND, COMMIT = "read", "read_key", "find", "commit"
WRITE_KEY, LIST, ADOPT = "write_key", "list", "adopt"

ACCESSORS: Final[Mapping[str, Mapping[str, str | None]]] = {
    "Task": {"get": READ, "load": READ, "count": None},
    "Scope": {
        "of": None,
        "bind": READ,
        "get": READ,
        "chunks": READ,
        "adopt": ADOPT,
        "get_json": READ_KEY,
        "get_many_json": READ_KEY,
        "list": LIST,
        "put_json": WRITE_KEY,
        "put": COMMIT,
        "commit": COMMIT,
        "find": FIND,
        "folder": None,
    },
    "Folder": {"find": FIND, "commit": COMMIT},
    "Store": {"put": WRITE_KEY},
    # Whose secret, and the action.
    "Versions": {
        "labels": "own:secretsmanager:DescribeSecret",
        "read": "own:secretsmanager:GetSecretValue",
        "put": "own:secretsmanager:PutSecretValue",
        "move": "own:secretsmanager:UpdateSecretVersionStage",
    },
    "Client": {"pair": "client:secretsmanager:GetSecretValue"},
}
"""What each method of what a step, or a rotation, is given does; None touches no object."""

_KEY_ARGUMENT: Final = {"Store": 1}
_OWN: Final = frozenset({"find", "commit"})
_MISSING: Final = "ObjectNotFoundError"


@dataclass(frozen=True)
class Use:
    """One thing that code does with a store.

    Attributes:
        kind: ``read`` by reference, ``read_key``, ``find``, ``commit``, ``write_key``, ``list``,
            ``adopt``.
        key: Pattern of the key, where the code makes it itself.
        missing: Whether the code goes on where there is no such object.
        area: Area of the objects, where the module says it.
        own: Whether what is read was found, or made, by the function itself.
        where: Module and function.
    """

    kind: str
    key: str | None
    missing: bool
    area: str | None
    own: bool
    where: str


@functools.cache
def uses(sources: Sources, start: Function) -> tuple[Use, ...]:
    """Return what a function does with stores, and all that it calls in legato; sorted."""
    found: set[Use] = set()
    seen: set[Function] = set()
    waiting = [start]
    while waiting:
        function = waiting.pop()
        if function in seen:
            continue
        seen.add(function)
        found.update(_own(sources, function))
        waiting += sources.called(function)
    return tuple(sorted(found, key=lambda use: (use.kind, use.key or "", use.where, use.missing)))


def _own(sources: Sources, function: Function) -> Iterator[Use]:
    tree = sources.tree(function)
    calls = {id(node.func): node for node in ast.walk(tree) if isinstance(node, ast.Call)}
    tolerated, found = _tolerated(tree), _found(tree)
    for node in ast.walk(tree):
        if not isinstance(node, ast.Attribute):
            continue
        owner = sources.kind(function, node.value)
        kind = ACCESSORS.get(owner or "", {}).get(node.attr)
        if owner is None or kind is None:
            continue
        call = calls.get(id(node))
        key = None
        if kind in {READ_KEY, WRITE_KEY, LIST}:
            at = _KEY_ARGUMENT.get(owner, 0)
            given = of_call(call, at) if call is not None else None
            key = "*" if given is None else sources.pattern(function, given)
        area = sources.area(function)
        if key is not None and key.startswith("*") and area is not None:
            key = f"{area}/{key}"
        own = kind == READ and call is not None and _of_own(call, found)
        yield Use(kind, key, id(node) in tolerated, area, own, function.label)


def _tolerated(tree: ast.AST) -> set[int]:
    """Return the nodes in a ``try`` whose ``except`` knows that an object may be missing."""
    found: set[int] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Try) and any(
            handler.type is not None and _MISSING in ast.unparse(handler.type)
            for handler in node.handlers
        ):
            found |= {id(inner) for line in node.body for inner in ast.walk(line)}
    return found


def _of_own(call: ast.Call, found: set[str]) -> bool:
    return len(call.args) == 1 and isinstance(call.args[0], ast.Name) and call.args[0].id in found


def _found(tree: ast.AST) -> set[str]:
    """Return the names that stand for references which ``find`` or ``commit`` gave."""
    return {
        name.id
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign)
        and any(isinstance(i, ast.Attribute) and i.attr in _OWN for i in ast.walk(node.value))
        for target in node.targets
        for name in ast.walk(target)
        if isinstance(name, ast.Name)
    }
