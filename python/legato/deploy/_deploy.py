"""Deploy a workflow: its template, its code and its model."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from legato._aws import Aws
from legato._native import ModelFiles
from legato.deploy._artifacts import Artifacts, has_bucket, open_artifacts
from legato.deploy._changes import ChangeSet, prepare
from legato.deploy._package import (
    MAX_UNZIPPED_BYTES,
    MIB,
    MODEL,
    Package,
    build,
    check_size,
    model_bytes,
)
from legato.deploy._platform import misfits, runtime_for
from legato.deploy._stack import TAG, Stack, stack_name
from legato.errors import InputError, OutputTooLargeError
from legato.pipeline import check_revision
from legato.workflow import Workflow, synth

TEMPLATE: Final = "template.yaml"
RELEASE_CHARS: Final = 16

LEAST_TMP_MIB: Final = 512
MOST_TMP_MIB: Final = 10_240
SPARE_TMP_MIB: Final = 128
"""Of /tmp: what Lambda gives at least and at most, and what is left beside a model."""

Say = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class Options:
    """How to deploy.

    Attributes:
        stack_name: By default the workflow's name, with ``-`` for ``_``.
        parameters: Of the template, by name.
        wheels: Built wheels instead of the installed packages, of legato and numpy.
        bootstrap: A program for the runtime ``provided.al2023``.
        runtime: Runtime of the functions; by default the one that the modules fit.
        artifacts: ``s3://bucket/prefix`` for code and templates.
        mirror_model: Leave the model in the store, also where it would fit into the zip.
        template: A template instead of the workflow's own.
        dry_run: Show the changes, and apply none.
    """

    stack_name: str | None = None
    parameters: Mapping[str, str] = field(default_factory=dict)
    wheels: Sequence[Path] = ()
    bootstrap: Path | None = None
    runtime: str | None = None
    artifacts: str | None = None
    mirror_model: bool = False
    template: Path | None = None
    dry_run: bool = False


def deploy(
    workflow: Workflow, aws: Aws, options: Options | None = None, *, say: Say | None = None
) -> dict[str, str]:
    """Create or update the stack of a workflow.

    Args:
        workflow: The definition.
        aws: Where to.
        options: How; the defaults without it.
        say: Called with lines of progress.

    Returns:
        The stack's outputs by name.

    Raises:
        WorkflowError: The workflow has a gap in its grants, or a resource failed.
        OutputTooLargeError: The functions are over Lambda's limit.
        InputError: Native modules do not fit the functions, a parameter is not known, or the
            stack is of something else.
    """
    return _Deployment(workflow, aws, options or Options(), say or _silent).run()


def _silent(_line: str) -> None:
    pass


@dataclass(frozen=True)
class _Deployment:
    workflow: Workflow
    aws: Aws
    options: Options
    say: Say

    def run(self) -> dict[str, str]:
        stack = self._stack()
        template = self._template()
        files = ModelFiles.from_dir(self.workflow.model)
        revision = self.workflow.model_revision
        check_revision(files, self.workflow.model, revision, f"workflow {self.workflow.name}")
        package, mirrored = self._package()
        artifacts = open_artifacts(self.aws, self.options.artifacts)
        key, fresh = artifacts.put_package(package)
        self.say(f"{'uploaded' if fresh else 'already there:'} s3://{artifacts.bucket}/{key}")
        parameters = {
            "CodeBucket": artifacts.bucket,
            "CodeKey": key,
            "Runtime": self._runtime(package),
            "Architecture": self._architecture(package),
            "ModelId": MODEL,
            "ModelRevision": files.digest,
            **self._dataset(),
        }
        if mirrored:
            parameters["TemporaryStorage"] = str(_room(Path(self.workflow.model)))
        found = stack.describe()
        if mirrored and found is not None and stack.outputs().get("StoreUrl"):
            parameters["ModelId"] = self._mirror(files, stack.outputs()["StoreUrl"])
            mirrored = False
        outputs = self._apply(stack, template, parameters, artifacts)
        if mirrored and not self.options.dry_run:
            # The bucket that the model goes to is of this stack, and was not there before.
            parameters["ModelId"] = self._mirror(files, outputs["StoreUrl"])
            outputs = self._apply(stack, template, parameters, artifacts)
        return outputs

    def _stack(self) -> Stack:
        stack = Stack(self.aws, stack_name(self.workflow, self.options.stack_name))
        found = stack.workflow()
        if found not in {None, self.workflow.name}:
            # An update would remove what the other one has.
            msg = (
                f"stack {stack.name} is of workflow {found}, not of {self.workflow.name}; give "
                "another --stack-name, or legato destroy it first"
            )
            raise InputError(msg)
        return stack

    def _template(self) -> str:
        if self.options.template is not None:
            try:
                return self.options.template.read_text(encoding="utf-8")
            except (OSError, UnicodeDecodeError):
                msg = f"the template {self.options.template} cannot be read; check the path"
                raise InputError(msg) from None
        return synth(self.workflow)[TEMPLATE]

    def _package(self) -> tuple[Package, bool]:
        """Return what functions are made of, and whether the model stays in the store."""
        model = Path(self.workflow.model)
        mirrored = self.options.mirror_model or model_bytes(model) > MAX_UNZIPPED_BYTES
        package = self._build(None if mirrored else model)
        if not mirrored and package.unzipped > MAX_UNZIPPED_BYTES:
            package, mirrored = self._build(None), True
        listed = ", ".join(f"{part} {size / MIB:,.1f}" for part, size in package.sizes.items())
        self.say(f"functions: {package.unzipped / MIB:,.1f} MiB unzipped ({listed})")
        check_size(package)
        reasons = misfits(package.needs, self._runtime(package), self._architecture(package))
        if reasons:
            raise InputError("; ".join(reasons))
        return package, mirrored

    def _build(self, model: Path | None) -> Package:
        return build(model, wheels=self.options.wheels, bootstrap=self.options.bootstrap)

    def _runtime(self, package: Package) -> str:
        given = self.options.runtime or self.options.parameters.get("Runtime")
        if given:
            return given
        return "provided.al2023" if self.options.bootstrap else runtime_for(package.needs)

    def _architecture(self, package: Package) -> str:
        return self.options.parameters.get("Architecture") or package.needs.architecture

    def _dataset(self) -> dict[str, str]:
        workflow, known = self.workflow, {}
        if workflow.dataset is not None:
            name = getattr(workflow.dataset, "__name__", "dataset")
            called = callable(workflow.dataset)
            known["DatasetId"] = name if called else os.fspath(workflow.dataset)  # type: ignore[arg-type]
        if workflow.dataset_version is not None:
            known["DatasetVersion"] = workflow.dataset_version
        return known

    def _mirror(self, files: ModelFiles, store_url: str) -> str:
        from legato._home import open_store
        from legato._mirror import mirror_model
        from legato.settings import Settings

        store = open_store(store_url, Settings.from_env())
        uri = mirror_model(self.workflow.model, store)
        self.say(f"model {files.digest[:19]} is at {uri}")
        return uri

    def _apply(
        self, stack: Stack, template: str, parameters: dict[str, str], artifacts: Artifacts
    ) -> dict[str, str]:
        body = stack.body(template, artifacts)
        declared = stack.declared(body)
        unknown = sorted(set(self.options.parameters) - set(declared))
        if unknown:
            msg = (
                f"the template has no parameter {unknown[0]}; "
                f"use one of {', '.join(sorted(declared))}"
            )
            raise InputError(msg)
        known = {name: value for name, value in parameters.items() if name in declared}
        given = {**known, **self.options.parameters}
        self._check_bucket(stack, given.get("BucketName"))
        if "Release" in declared:
            # A version of a function is published when this changes: with any other parameter.
            had = {name: v for name, v in stack.parameters().items() if name in declared}
            given.setdefault("Release", _release({**declared, **had, **given}))
        changes = prepare(stack, body, given, tags={TAG: self.workflow.name})
        self._show(changes)
        if self.options.dry_run:
            changes.delete()
            return {}
        if changes.changes:
            changes.execute(self.say)
        return stack.outputs()

    def _check_bucket(self, stack: Stack, name: str | None) -> None:
        """Refuse a bucket that is there already: CloudFormation would say so after a rollback."""
        if not name or stack.parameters().get("BucketName") == name:
            return
        if has_bucket(self.aws, name):
            msg = (
                f"BucketName={name}: this bucket is there already, and a stack can only make a new "
                "one; leave BucketName out, or give another name. What is in the old one stays"
            )
            raise InputError(msg)

    def _show(self, changes: ChangeSet) -> None:
        stack = changes.stack
        if not changes.changes:
            self.say(f"stack {stack.name} in {self.aws.region}: no changes")
            return
        verb = "create" if changes.kind == "CREATE" else "update"
        self.say(f"{verb} stack {stack.name} in {self.aws.region}:")
        for change in changes.changes:
            self.say(f"  {change}")


def _room(model: Path) -> int:
    """Return the MiB of /tmp that a function needs which copies its model there.

    Raises:
        OutputTooLargeError: Lambda has no such room.
    """
    needed = max(LEAST_TMP_MIB, -(-model_bytes(model) // MIB) + SPARE_TMP_MIB)
    if needed > MOST_TMP_MIB:
        msg = (
            f"the model needs {needed:,} MiB of a function's disk, Lambda has {MOST_TMP_MIB:,}; "
            "run Inference elsewhere: compute='batch' or 'ecs'"
        )
        raise OutputTooLargeError(msg)
    return needed


def _release(parameters: Mapping[str, str]) -> str:
    others = {name: value for name, value in parameters.items() if name != "Release"}
    text = json.dumps(others, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:RELEASE_CHARS]
