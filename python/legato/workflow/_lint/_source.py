"""The source of legato's modules: functions, what they call, and the keys that they make."""

from __future__ import annotations

import ast
import functools
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from legato.errors import WorkflowError

PACKAGE: Final = "legato."
_HOME: Final = Path(__file__).parents[2]
_KINDS: Final = {
    "Task": {"scope": "Scope"},
    "Folder": {"scope": "Scope"},
    "Scope": {"store": "Store"},
}
_MADE: Final = {"folder": "Folder"}
_CLASSES: Final = frozenset({"Client", "Folder", "Scope", "Store", "Task", "Versions"})


@dataclass(frozen=True)
class Function:
    """A function of a module, called with these texts.

    Attributes:
        module: The module's name.
        name: Of the function, or ``Class.method``.
        texts: Patterns of its arguments, by name.
    """

    module: str
    name: str
    texts: tuple[tuple[str, str], ...] = ()

    @property
    def label(self) -> str:
        """Module and function, as people write it."""
        return f"{self.module}.{self.name}"


@dataclass
class _Module:
    functions: dict[str, ast.FunctionDef] = field(default_factory=dict)
    # What a name stands for: a module, or something of a module.
    imported: dict[str, tuple[str, str | None]] = field(default_factory=dict)
    constants: dict[str, ast.expr] = field(default_factory=dict)


class Sources:
    """Modules of legato, parsed as they are needed."""

    def tree(self, function: Function) -> ast.FunctionDef:
        """Return a function's tree.

        Raises:
            WorkflowError: There is no such function.
        """
        found = self._module(function.module).functions.get(function.name)
        if found is None:
            raise WorkflowError(f"{function.label} is no function whose source can be read")
        return found

    def called(self, function: Function) -> list[Function]:
        """Return the functions of legato that a function calls, or names."""
        # What decorates it is called when the module is imported.
        body = [node for line in self.tree(function).body for node in ast.walk(line)]
        calls = {id(node.func): node for node in body if isinstance(node, ast.Call)}
        found = []
        for node in body:
            if isinstance(node, (ast.Name, ast.Attribute)):
                for module, name in self._named(function, node):
                    texts = self._bound(function, calls.get(id(node)), module, name)
                    found.append(Function(module, name, texts))
        return found

    def area(self, function: Function) -> str | None:
        """Return the area that a function's module says its objects are in, if it says one."""
        said = self._module(function.module).constants.get("AREA")
        return (
            said.value if isinstance(said, ast.Constant) and isinstance(said.value, str) else None
        )

    def kind(self, function: Function, node: ast.expr) -> str | None:
        """Return which of the classes with accessors an expression is of, None of any other."""
        if isinstance(node, ast.Attribute):
            return _KINDS.get(self.kind(function, node.value) or "", {}).get(node.attr)
        if not isinstance(node, ast.Name):
            return None
        tree = self.tree(function)
        for argument in (*tree.args.args, *tree.args.kwonlyargs):
            if argument.arg == node.id and argument.annotation is not None:
                said = ast.unparse(argument.annotation)
                return said if said in _CLASSES else None
        made = _assigned(tree).get(node.id)
        if isinstance(made, ast.Call) and isinstance(made.func, ast.Attribute):
            return _MADE.get(made.func.attr)
        said = ast.unparse(made.func).removesuffix(".of") if isinstance(made, ast.Call) else ""
        return said if said in _CLASSES else None

    def pattern(self, function: Function, node: ast.expr) -> str:
        """Return the pattern of the texts that an expression makes; what is not known is a star."""
        return _squeezed(self._pattern(function, node, 0))

    def _pattern(self, function: Function, node: ast.expr, depth: int) -> str:
        follow = functools.partial(self._pattern, function, depth=depth + 1)
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            return node.value
        if isinstance(node, ast.JoinedStr):
            return "".join(follow(part) for part in node.values)
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
            return follow(node.left) + follow(node.right)
        if isinstance(node, (ast.Name, ast.Attribute)) and depth < _DEEPEST:
            return self._text(function, node, depth)
        if isinstance(node, ast.Call) and depth < _DEEPEST:
            return self._returned(function, node, depth)
        inner = _inner(node) if depth < _DEEPEST else None
        return "*" if inner is None else follow(inner)

    def _text(self, function: Function, node: ast.Name | ast.Attribute, depth: int) -> str:
        name = ast.unparse(node)
        given = dict(function.texts).get(name)
        if given is not None:
            return given
        if isinstance(node, ast.Attribute):
            return "*"
        made = _assigned(self.tree(function)).get(name)
        module = self._module(function.module)
        if made is None and name not in _arguments(self.tree(function)):
            made = module.constants.get(name)
            if made is None and name in module.imported:
                home, inner = module.imported[name]
                made = self._module(home).constants.get(inner or "")
        return "*" if made is None else self._pattern(function, made, depth + 1)

    def _returned(self, function: Function, call: ast.Call, depth: int) -> str:
        for module, name in self._named(function, call.func):
            inner = Function(module, name, self._bound(function, call, module, name))
            returns = [n.value for n in ast.walk(self.tree(inner)) if isinstance(n, ast.Return)]
            if len(returns) == 1 and returns[0] is not None:
                return self._pattern(inner, returns[0], depth + 1)
        return "*"

    def _bound(
        self, function: Function, call: ast.Call | None, module: str, name: str
    ) -> tuple[tuple[str, str], ...]:
        if call is None:
            return ()
        names = _arguments(self.tree(Function(module, name)))
        if "." in name:
            names = names[1:]
        given = dict(zip(names, call.args, strict=False))
        given |= {word.arg: word.value for word in call.keywords if word.arg is not None}
        texts = {n: self.pattern(function, value) for n, value in given.items()}
        own = {n: text for n, text in texts.items() if text != "*"}
        if "." in name:
            own |= {n: t for n, t in function.texts if n.startswith("self.")}
        return tuple(sorted(own.items()))

    def _named(self, function: Function, node: ast.expr) -> Iterator[tuple[str, str]]:
        """Find the functions of legato that an expression names: of a class all its methods."""
        module = self._module(function.module)
        if isinstance(node, ast.Name):
            home, inner = module.imported.get(node.id, (function.module, node.id))
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            if node.value.id == "self":
                home, inner = function.module, f"{function.name.partition('.')[0]}.{node.attr}"
            else:
                home, inner = module.imported.get(node.value.id, ("", None))
                inner = node.attr if inner is None else None
        else:
            return
        if inner is None or not home.startswith(PACKAGE) or home == f"{PACKAGE}_native":
            return
        known = self._module(home).functions
        if inner in known:
            yield home, inner
        yield from ((home, name) for name in known if name.startswith(f"{inner}."))

    @functools.cache  # noqa: B019 - a reader lives as long as a call of the linter
    def _module(self, name: str) -> _Module:
        found, path = _Module(), _path(name)
        if path is not None:
            for node in ast.parse(path.read_text(encoding="utf-8")).body:
                _take(found, node)
        return found


_DEEPEST: Final = 20


def of_call(call: ast.Call, at: int) -> ast.expr | None:
    """Return an argument of a call by its place or as ``key``; None where it is not given."""
    if len(call.args) > at:
        return call.args[at]
    return next((word.value for word in call.keywords if word.arg == "key"), None)


def _inner(node: ast.expr) -> ast.expr | None:
    """Return the expression whose texts another one holds; None where it holds others, too."""
    if isinstance(node, (ast.ListComp, ast.GeneratorExp)):
        return node.elt
    if isinstance(node, (ast.DictComp, ast.Subscript)):
        return node.value
    # A number with a format is no text of the source.
    return node.value if isinstance(node, ast.FormattedValue) and not node.format_spec else None


def _take(module: _Module, node: ast.stmt) -> None:
    if isinstance(node, ast.FunctionDef):
        module.functions[node.name] = node
    elif isinstance(node, ast.ClassDef):
        for inner in node.body:
            if isinstance(inner, ast.FunctionDef):
                module.functions[f"{node.name}.{inner.name}"] = inner
    elif isinstance(node, ast.ImportFrom) and node.module is not None:
        module.imported.update(_imports(node.module, node.names))
    elif isinstance(node, ast.Import):
        module.imported |= {n.asname: (n.name, None) for n in node.names if n.asname is not None}
    elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.value:
        module.constants[node.target.id] = node.value
    elif isinstance(node, ast.Assign):
        module.constants.update(_of_assignment(node))


def _imports(home: str, names: Iterable[ast.alias]) -> Iterator[tuple[str, tuple[str, str | None]]]:
    for name in names:
        inner = f"{home}.{name.name}"
        yield name.asname or name.name, (inner, None) if _is_module(inner) else (home, name.name)


def _is_module(name: str) -> bool:
    return _path(name) is not None


@functools.cache
def _path(name: str) -> Path | None:
    """Return the file of a module of legato, without importing it."""
    if not name.startswith(PACKAGE):
        return None
    at = _HOME.joinpath(*name.split(".")[1:])
    return next((p for p in (at.with_suffix(".py"), at / "__init__.py") if p.is_file()), None)


def _of_assignment(node: ast.Assign) -> Iterator[tuple[str, ast.expr]]:
    for target in node.targets:
        if isinstance(target, ast.Name):
            yield target.id, node.value
        elif isinstance(target, ast.Tuple) and isinstance(node.value, ast.Tuple):
            for name, value in zip(target.elts, node.value.elts, strict=True):
                if isinstance(name, ast.Name):
                    yield name.id, value


@functools.cache
def _assigned(tree: ast.FunctionDef) -> Mapping[str, ast.expr]:
    """Return the values of names that are assigned once."""
    found: dict[str, list[ast.expr]] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign):
            for name, value in _of_assignment(node):
                found.setdefault(name, []).append(value)
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.value:
            found.setdefault(node.target.id, []).append(node.value)
    return {name: values[0] for name, values in found.items() if len(values) == 1}


def _arguments(tree: ast.FunctionDef) -> list[str]:
    return [argument.arg for argument in (*tree.args.args, *tree.args.kwonlyargs)]


def _squeezed(pattern: str) -> str:
    while "**" in pattern:
        pattern = pattern.replace("**", "*")
    return pattern
