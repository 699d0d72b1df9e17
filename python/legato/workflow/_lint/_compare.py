"""Compare what is needed with what is allowed, both ways."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from legato.workflow._lint._iam import Atom, acts_on, covers, met, overlap
from legato.workflow._lint._needs import Need
from legato.workflow._lint._wildcards import WILDCARDS

MISSING: Final = "missing"
UNUSED: Final = "unused"
WIDE: Final = "wide"


@dataclass(frozen=True)
class Gap:
    """Where a role and the work do not fit.

    Attributes:
        kind: ``missing`` (somebody needs it), ``unused`` (nobody does) or ``wide`` (more than
            anybody needs).
        role: Logical id of the role.
        action: Of IAM.
        resource: Its ARN.
        about: Who needs it, or what is wrong with it.
    """

    kind: str
    role: str
    action: str
    resource: str
    about: str

    def __str__(self) -> str:
        """Say it in a sentence."""
        what = f"{self.action} on {self.resource}"
        if self.kind == MISSING:
            return f"{self.role} does not allow {what}: {self.about}"
        word = "unused" if self.kind == UNUSED else "too wide"
        return f"{self.role} allows {what}, which is {word}: {self.about}"


def compare(needs: Sequence[Need], own: Sequence[Atom], shared: Sequence[Atom]) -> list[Gap]:
    """Return where needs and policies differ.

    Args:
        needs: What is needed, or is to be refused.
        own: What the roles' policies say.
        shared: What the bucket's policy says, to all roles.
    """
    return [*_missing(needs, own, shared), *_unused(needs, own)]


def _missing(needs: Sequence[Need], own: Sequence[Atom], shared: Sequence[Atom]) -> Iterator[Gap]:
    policies = {
        role: [atom for atom in own if atom.owner == role] for role in {n.role for n in needs}
    }
    for need in needs:
        mine = [atom for atom in policies[need.role] if acts_on(atom, need.action)]
        denials = [a for a in (*mine, *shared) if a.effect == "Deny" and _denies(a, need)]
        if need.refused:
            if not denials:
                about = f"{need.who} must be refused, and is not"
                yield Gap(MISSING, need.role, need.action, need.resource, about)
        elif denials:
            about = f"{denials[0].owner} denies it ({denials[0].sid}), and {need.who} needs it"
            yield Gap(MISSING, need.role, need.action, need.resource, about)
        elif not any(atom.effect == "Allow" and _allows(atom, need) for atom in mine):
            about = f"{need.who} needs it"
            if need.context:
                about += f", with {_said(need)}"
            yield Gap(MISSING, need.role, need.action, need.resource, about)


def _allows(atom: Atom, need: Need) -> bool:
    return covers(atom.resource, need.resource) and met(atom, need.context)


def _denies(atom: Atom, need: Need) -> bool:
    if not acts_on(atom, need.action) or not met(atom, need.context):
        return False
    if atom.excepted:
        return not any(covers(pattern, need.resource) for pattern in atom.excepted)
    return overlap(atom.resource, need.resource)


def _unused(needs: Sequence[Need], own: Iterable[Atom]) -> Iterator[Gap]:
    for atom in own:
        refused = atom.effect == "Deny"
        same = [n for n in needs if n.role == atom.owner and n.refused == refused]
        same = [n for n in same if n.action == atom.action]
        if refused:
            if not any(_denies(atom, need) for need in same):
                yield _gap(UNUSED, atom, "nobody would do it")
            continue
        if not same:
            wide = any(acts_on(atom, n.action) for n in needs if n.role == atom.owner)
            about = "name the actions" if wide else "no task and no accessor needs the action"
            yield _gap(WIDE if wide else UNUSED, atom, about)
            continue
        where = [need for need in same if covers(need.resource, atom.resource)]
        if atom.resource == "*" and atom.action not in WILDCARDS:
            yield _gap(WIDE, atom, "only actions of the list of wildcards may have *")
        elif not where:
            wide = any(covers(atom.resource, need.resource) for need in same)
            about = f"{same[0].who} needs it on {', '.join(sorted({n.resource for n in same}))}"
            yield _gap(WIDE if wide else UNUSED, atom, about)
        else:
            yield from _loose(atom, where)


def _loose(atom: Atom, needs: Sequence[Need]) -> Iterator[Gap]:
    """Find conditions that allow more than the requests that are made."""
    for key in sorted({key for need in needs for key in need.bound}):
        values = _values(atom, key)
        if not values:
            yield _gap(WIDE, atom, f"it has no condition on {key}; {_said(needs[0])}")
        for value in values:
            if not any(covers(need.context.get(key, ""), value) for need in needs):
                yield _gap(WIDE, atom, f"nobody needs it with {key} {value}")


def _values(atom: Atom, key: str) -> list[str]:
    found = [keys[key] for keys in atom.conditions.values() if key in keys]
    return [str(v) for value in found for v in (value if isinstance(value, list) else [value])]


def _gap(kind: str, atom: Atom, about: str) -> Gap:
    return Gap(kind, atom.owner, atom.action, atom.resource, f"{about} (statement {atom.sid})")


def _said(need: Need) -> str:
    return ", ".join(f"{key} {value}" for key, value in need.context.items())
