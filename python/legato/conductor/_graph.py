"""Check where states lead: no target is missing, no state is out of reach, an end exists."""

from __future__ import annotations

from legato.conductor._model import Choice, Machine
from legato.conductor._shown import shown
from legato.errors import WorkflowError


def check_graph(machine: Machine, where: str) -> None:
    """Refuse a machine whose states do not connect.

    Args:
        machine: The states of one level, without those inside its maps.
        where: What holds them, for the message.

    Raises:
        WorkflowError: A target does not exist at this level, a state cannot be reached, or no
            state ends the machine.
    """
    if machine.start_at not in machine.states:
        raise WorkflowError(
            f"{where}: StartAt names {shown(machine.start_at)}, which does not exist"
        )
    for state in machine.states.values():
        for field, target in state.targets():
            if target not in machine.states:
                msg = (
                    f"state {state.name}: {field} names {shown(target)}, which does not exist here"
                )
                raise WorkflowError(msg)
    reached = _reach(machine)
    for name in machine.states:
        if name not in reached:
            raise WorkflowError(f"state {name}: no state leads to it; remove it or link it")
    if all(state.next or isinstance(state, Choice) for state in machine.states.values()):
        raise WorkflowError(f"{where}: no state ends the machine; give one End")


def _reach(machine: Machine) -> set[str]:
    reached: set[str] = set()
    waiting = [machine.start_at]
    while waiting:
        name = waiting.pop()
        if name not in reached:
            reached.add(name)
            waiting.extend(target for _, target in machine.states[name].targets())
    return reached
