"""What the roles of a stack are granted, with the names that the stack has."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from legato._scope import bucket_key
from legato.deploy._artifacts import partition
from legato.workflow import Workflow
from legato.workflow._grant import MACHINE, Grant
from legato.workflow._grants import compile_grants
from legato.workflow._policy import statement

_NAME: Final = re.compile(r"\$\{([A-Za-z:]+)\}")
_VERSIONS: Final = {
    "s3:GetObject": "s3:GetObjectVersion",
    "s3:DeleteObject": "s3:DeleteObjectVersion",
}
"""Actions that a request for a version of an object is checked as."""


@dataclass(frozen=True)
class Place:
    """Where a stack is: what stands for ``${Name}`` in its grants.

    Attributes:
        store_url: Its store, ``s3://bucket/prefix``.
        region: Its region.
        account: Its account's id.
        stack: Its name.
    """

    store_url: str
    region: str = ""
    account: str = ""
    stack: str = ""

    def grants(self, workflow: Workflow | None = None) -> Iterator[tuple[Grant, dict[str, Any]]]:
        """Iterate over the grants, each with its statement as this stack has it.

        Args:
            workflow: The definition; without it, what all workflows of Lambda functions have.
        """
        plain = workflow or Workflow(name="any", task="feature-extraction", model="model")
        for grant in compile_grants(plain):
            if grant.effect == "Allow":
                yield grant, self._named(statement(grant))

    def covering(self, principal: str | None, action: str, resource: str) -> dict[str, Any] | None:
        """Return the statement that should allow a request; None where there is none.

        Args:
            principal: The stage in lower case; the machine's grants are looked at besides.
            action: Of IAM.
            resource: An ARN.
        """
        found = list(self.grants())
        for asked in filter(None, (action, _VERSIONS.get(action))):
            for grant, made in found:
                ours = grant.principal in {principal, MACHINE} and asked in grant.actions
                if ours and any(_matches(pattern, resource) for pattern in made["Resource"]):
                    return made
        return None

    def _named(self, value: Any) -> Any:
        if isinstance(value, str):
            return _NAME.sub(lambda match: self._names.get(match[1], match[0]), value)
        if isinstance(value, Mapping):
            return {key: self._named(item) for key, item in value.items()}
        if isinstance(value, (list, tuple)):
            return [self._named(item) for item in value]
        return value

    @property
    def _names(self) -> Mapping[str, str]:
        return {
            "AWS::Partition": partition(self.region),
            "AWS::Region": self.region or "*",
            "AWS::AccountId": self.account or "*",
            "AWS::StackName": self.stack or "*",
            "Bucket": self.store_url.removeprefix("s3://").partition("/")[0],
            "StorePrefix": bucket_key(self.store_url, "").rstrip("/"),
        }


def _matches(pattern: str, resource: str) -> bool:
    """Say whether a resource is one of a pattern, in which ``*`` stands for anything."""
    return re.fullmatch(re.escape(pattern).replace(r"\*", ".*"), resource) is not None
