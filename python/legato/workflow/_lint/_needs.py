"""What somebody needs of IAM, or must be refused."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace


@dataclass(frozen=True)
class Need:
    """One action on one resource.

    Attributes:
        role: Logical id of the role.
        action: Of IAM.
        resource: Its ARN, a pattern.
        who: Who needs it: a state, a stage, a resource.
        context: What the request says, by condition key.
        bound: Keys of it that the grant must name: without them it would allow more.
        refused: Whether it is to be refused.
    """

    role: str
    action: str
    resource: str
    who: str
    context: Mapping[str, str] = field(default_factory=dict, hash=False)
    bound: tuple[str, ...] = ()
    refused: bool = False

    def within(self, context: Mapping[str, str]) -> Need:
        """Return the need with more that its request says."""
        return replace(self, context={**context, **self.context})
