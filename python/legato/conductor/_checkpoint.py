"""Where executions stopped: what a redrive goes on from."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from legato.conductor._frame import Frame
    from legato.conductor._tally import Tally


@dataclass(slots=True)
class Checkpoint:
    """The state that an execution is at, with its input; an empty name stands for none.

    Attributes:
        state: The state's name.
        data: Its input.
        entered: Whether its history says so already.
        map_run: Of a Map state, what its iterations have brought.
    """

    state: str = ""
    data: Any = None
    entered: bool = False
    map_run: MapRun | None = None


@dataclass(slots=True)
class Export:
    """Children of one kind on their way into files.

    Attributes:
        entries: Those that no file has yet, as JSON.
        size: Their bytes.
        written: Key and size of each file.
    """

    entries: list[bytes] = field(default_factory=list)
    size: int = 0
    written: list[dict[str, Any]] = field(default_factory=list)


@dataclass(slots=True)
class MapRun:
    """The iterations of one visit to a Map state.

    Attributes:
        arn: Names it where it is of a distributed map.
        tally: Which iterations succeeded, and what with.
        left: Where iterations stopped that can go on from there, by index. Children of the type
            EXPRESS cannot: they are run anew.
        succeeded: What is exported of children that succeeded.
    """

    arn: str
    tally: Tally
    left: dict[int, Resumption] = field(default_factory=dict)
    succeeded: Export = field(default_factory=Export)

    def again(self, total: int) -> MapRun:
        """Return the same Map Run for another attempt; late iterations change only this one.

        Args:
            total: How many items there are.
        """
        old = self.succeeded
        succeeded = Export(list(old.entries), old.size, list(old.written))
        return MapRun(self.arn, self.tally.again(total), dict(self.left), succeeded)


@dataclass(frozen=True, slots=True, kw_only=True)
class Resumption:
    """An execution, or an iteration, that did not succeed."""

    context: dict[str, Any]
    checkpoint: Checkpoint
    events_left: int | None
    document: bytes = b""

    @classmethod
    def of(cls, frame: Frame, document: bytes = b"") -> Resumption:
        """Return what a frame can be resumed from.

        Args:
            frame: An execution or iteration that has ended.
            document: The definition that it ran.
        """
        left = None if frame.events_left is None else frame.events_left[0]
        return cls(context=frame.context, checkpoint=frame.at, events_left=left, document=document)

    @property
    def redriven(self) -> dict[str, Any]:
        """The context object of the next attempt."""
        execution = self.context["Execution"]
        count = execution["RedriveCount"] + 1
        return {**self.context, "Execution": {**execution, "RedriveCount": count}}
