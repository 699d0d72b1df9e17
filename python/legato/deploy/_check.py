"""One line of legato doctor."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final, Literal

from legato.errors import LegatoError

OK: Final = "ok"
WARN: Final = "warn"
FAIL: Final = "fail"
Level = Literal["ok", "warn", "fail"]


@dataclass(frozen=True)
class Check:
    """What was looked at, and what came of it.

    Attributes:
        name: What was looked at.
        level: ``ok``, ``warn`` (it runs, and something is amiss) or ``fail`` (it will not run).
        found: What was found; never a secret.
        fix: What to do; empty where all is well.
    """

    name: str
    level: Level
    found: str
    fix: str = ""

    def __str__(self) -> str:
        """Return it as a line."""
        fix = f"; {self.fix}" if self.fix else ""
        return f"{self.level:<6}{self.name:<14}{self.found}{fix}"


Look = Callable[[], Iterator[Check]]


def looked(name: str, look: Look) -> Iterator[Check]:
    """Iterate over the checks of one look; its error is the last of them."""
    try:
        yield from look()
    except LegatoError as error:
        # Messages of legato say what to do themselves.
        yield Check(name, "fail", f"{type(error).__name__}: {error}")
