"""What is to be solved: a task, its atoms and actions, and the simulator that runs it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, TypeAlias

Atom: TypeAlias = tuple[str, ...]
"""A ground atom: predicate, then object names, e.g. `("on", "a", "b")`."""

Action: TypeAlias = tuple[str, ...]
"""A ground action as PDDLGym names it, e.g. `("stack", "a", "b")`."""


@dataclass(frozen=True, slots=True)
class Task:
    """A problem of a domain, with its place in the stream.

    `digest` (32 hex digits) identifies the content (domain, objects, initial state, goal), not
    the name; `visible` (likewise) what the small LM sees of it: the atoms that its prompt shows,
    the goal, and the objects they mention. `origin` says how to get the task again; `index` is its
    position in the stream and -1 for a probe task.
    """

    domain: str
    problem: str
    digest: str
    origin: str
    phase: int = 0
    index: int = -1
    visible: str = ""


class Simulator(Protocol):
    """Runs one task at a time. Deterministic; a refused action leaves the state as it was."""

    def reset(self, task: Task) -> None:
        """Put the simulator into the task's initial state."""

    @property
    def domain(self) -> str:
        """The name of the domain, as in `Task.domain`."""

    @property
    def objects(self) -> tuple[tuple[str, str], ...]:
        """(name, type) of each object of the task, in the problem's order."""

    @property
    def atoms(self) -> frozenset[Atom]:
        """The current state."""

    @property
    def goal(self) -> tuple[Atom, ...]:
        """The goal's conditions, in the problem's order; a negated one starts with "not"."""

    def applicable_actions(self) -> tuple[Action, ...]:
        """The actions that `step` would accept now, sorted."""

    def step(self, action: Action) -> bool:
        """Apply the action; False if it is not applicable (the state stays as it was)."""

    def goal_conditions(self) -> tuple[int, int]:
        """(conditions met, conditions) of the goal in the current state."""

    @property
    def solved(self) -> bool:
        """Whether the goal holds."""
