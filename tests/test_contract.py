"""What others rely on: exported names, the names of errors, and that an import is only an import."""

from __future__ import annotations

import inspect
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

import legato
from legato import _native, errors

# What Step Functions compares with the `ErrorEquals` of deployed state machines: a change breaks them.
PERMANENT = [
    "AccessDeniedError",
    "CorruptObjectError",
    "DeviceError",
    "InputError",
    "InternalError",
    "ModelError",
    "ObjectNotFoundError",
    "OutputTooLargeError",
    "SettingsError",
    "StoreFullError",
    "WorkflowError",
]
RETRYABLE = ["EndpointUnavailableError", "StoreUnavailableError", "WorkerStoppedError"]


def classes() -> dict[str, type[errors.LegatoError]]:
    members = inspect.getmembers(errors, inspect.isclass)
    return {name: cls for name, cls in members if issubclass(cls, errors.LegatoError)}


class TestExports:
    def test_all_is_sorted_and_complete(self) -> None:
        assert legato.__all__ == sorted(legato.__all__)
        assert len(set(legato.__all__)) == len(legato.__all__)
        exported = dict[str, object]()
        exec("from legato import *", exported)
        del exported["__builtins__"]
        assert set(exported) == set(legato.__all__)
        # `pipeline` and `step` are functions and submodules of one name: the function must have won.
        assert not any(inspect.ismodule(value) for value in exported.values())
        others = {
            name
            for name, value in vars(legato).items()
            if not (name.startswith("_") or name in exported or inspect.ismodule(value))
        }
        assert others == {"TYPE_CHECKING"}
        with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
            legato.nothing  # noqa: B018 - the access is what is tested

    @pytest.mark.parametrize("first", ["legato.step", "legato.pipeline", "legato.stages.inference"])
    def test_functions_win_over_modules_of_their_names(self, first: str) -> None:
        code = (
            f"import {first}, legato, sys\n"
            "assert 'legato.step' in sys.modules or 'legato.pipeline' in sys.modules\n"
            "assert callable(legato.step) and callable(legato.pipeline)\n"
            "from legato import pipeline, step\n"
            "assert callable(step) and callable(pipeline)\n"
            "from legato.step import step as again\n"
            "assert again is step is legato.step"
        )
        subprocess.run([sys.executable, "-c", code], check=True)

    def test_every_export_is_documented_and_says_where_it_lives(self) -> None:
        for name in legato.__all__:
            value = getattr(legato, name)
            if not isinstance(value, str):
                assert value.__doc__, name
                assert value.__module__.split(".")[0] == "legato"

    def test_the_native_module_is_documented(self) -> None:
        public = {name: value for name, value in vars(_native).items() if not name.startswith("_")}
        assert {"Engine", "ModelFiles", "Ref", "Store", "Tokenizer", "Tokens"} <= set(public)
        for name, value in public.items():
            assert value.__doc__, name
            for member, inner in vars(value).items() if inspect.isclass(value) else ():
                assert member.startswith("_") or inner.__doc__, f"{name}.{member}"

    def test_version(self) -> None:
        assert re.fullmatch(r"\d+\.\d+\.\d+", legato.__version__)


class TestErrors:
    def test_leaf_names_are_the_wire_protocol(self) -> None:
        leaves = [name for name, cls in classes().items() if not cls.__subclasses__()]
        assert sorted(leaves) == sorted(PERMANENT + RETRYABLE)
        assert errors.permanent_names() == PERMANENT
        assert errors.retryable_names() == RETRYABLE

    def test_retryable_is_where_the_tree_says(self) -> None:
        for name, cls in classes().items():
            assert cls.retryable == (name == "TransientError" or name in RETRYABLE)
            # Step Functions tells them apart by name alone, and an OSError would be caught by bystanders.
            assert cls.__mro__[1:] in (
                (Exception, BaseException, object),
                (errors.LegatoError, Exception, BaseException, object),
                (errors.TransientError, errors.LegatoError, Exception, BaseException, object),
            )

    def test_every_class_is_in_the_drawn_tree(self) -> None:
        assert errors.__doc__ is not None
        drawn = dict[str, int]()
        for line in errors.__doc__.splitlines():
            if match := re.match(r"^    ([│ ]*(?:[├└]── )?)([A-Z]\w+Error)\b", line):
                drawn[match[2]] = len(match[1]) // 4
        depth = {name: len(cls.__mro__) - 4 for name, cls in classes().items()}
        assert drawn == depth

    def test_every_class_is_documented(self) -> None:
        for name, cls in classes().items():
            assert cls.__doc__, name
            assert cls.__doc__ != Exception.__doc__


IMPORTING = """
import json, os, sys, threading
seen = []
def audit(event, args):
    if event in ("open", "socket.__new__", "socket.connect", "subprocess.Popen", "os.fork", "os.mkdir"):
        seen.append([event, str(args[0])])
def status(field):
    with open("/proc/self/status") as file:
        return next(line.split()[1] for line in file if line.startswith(field + ":"))
def descriptors():
    links = (f"/proc/self/fd/{fd}" for fd in os.listdir("/proc/self/fd"))
    return sorted(os.readlink(link) for link in links if os.path.exists(link))
before = descriptors()
sys.addaudithook(audit)
import legato
opened = list(seen)
print(json.dumps({
    "opened": opened,
    "threads": [threading.active_count(), int(status("Threads"))],
    "descriptors": [d for d in descriptors() if d not in before],
    "modules": sorted(sys.modules),
}))
"""


def test_an_import_is_only_an_import() -> None:
    done = subprocess.run(
        [sys.executable, "-c", IMPORTING], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stderr == ""
    found = json.loads(done.stdout)
    assert found["threads"] == [1, 1]
    assert found["descriptors"] == []
    # Python itself opens modules, and nothing else is opened.
    for event, name in found["opened"]:
        assert event == "open", (event, name)
        assert name.endswith((".py", ".pyc", ".so")) or ".pyc." in name, name
    heavy = {
        "numpy",
        "rich",
        "pyarrow",
        "boto3",
        "torch",
        "transformers",
        "asyncio",
        "multiprocessing",
    }
    assert heavy.isdisjoint(found["modules"])
    # What only a person's machine needs is left for its first use.
    assert not [
        name for name in found["modules"] if name.startswith(("legato.conductor", "legato.cli"))
    ]


def test_only_the_call_that_needs_numpy_imports_it() -> None:
    code = """
import sys, legato
store = legato.Store.open("memory://x")
ref = store.commit("k", b"x")
assert store.get(legato.Ref.from_json(ref.to_json())) == b"x"
assert "numpy" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_native_code_raises_these_classes() -> None:
    """The native module looks the classes up by name; each name that it knows must exist."""
    source = (Path(__file__).parents[1] / "src" / "python" / "errors.rs").read_text(
        encoding="utf-8"
    )
    known = set(re.findall(r'=> "(\w+Error)"', source))
    assert len(known) >= 9
    assert known <= {*PERMANENT, *RETRYABLE}
    with pytest.raises(errors.ObjectNotFoundError):
        _native.Store.open("memory://contract").get("none")
