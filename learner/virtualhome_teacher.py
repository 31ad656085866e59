"""The teacher of VirtualHome: what people wrote, shortened and put in order by the simulator.

A program's steps are tried in the simulator; those that it refuses and those without which the
goal is still reached are left out, one after another, until none can be spared. The rest is put
into a canonical order: at each moment the first action, by a fixed order of words and then by where
its objects stand in the text, after which the others still reach the goal. So every plan is
validated as it is made; it is short but not proven optimal **(ours)**.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from configs.schema import TeacherConfig
from learner.errors import LearnerError
from learner.planners import ObjectOrder, PlanLimits, Planner, PlanOutcome
from tasks.domains import Domain
from tasks.errors import TaskError
from tasks.task import Action, Atom, Task
from tasks.virtualhome.simulator import Snapshot, VirtualHomeSimulator

NAME = "virtualhome-teacher"

MOST_ORDERS = 600
"""Actions tried in search of the canonical order before the order of the program is kept."""

_LATE = ("turnto", "sit", "lie", "walk")
"""What is done only when nothing else can be: what walking would undo, and walking itself."""


class _OutOfTimeError(Exception):
    """The time limit has passed."""


@dataclass(slots=True)
class _Clock:
    began: float
    limit: float

    def check(self) -> None:
        if self.spent > self.limit:
            raise _OutOfTimeError

    @property
    def spent(self) -> float:
        return time.perf_counter() - self.began


class VirtualHomeTeacher:
    """Plans for VirtualHome's tasks, in a simulator of its own."""

    def __init__(self) -> None:
        self._simulator = VirtualHomeSimulator()
        self._shortened: dict[str, tuple[Action, ...]] = {}

    @property
    def name(self) -> str:
        """The name that statistics and traces carry."""
        return NAME

    def plan(self, task: Task, limits: PlanLimits, order: ObjectOrder | None = None) -> PlanOutcome:
        """Plan in at most about `limits.seconds`; never raises for what a task does to it."""
        clock = _Clock(time.perf_counter(), limits.seconds)
        try:
            self._simulator.reset(task)
            start = self._simulator.snapshot()
            actions = self._shortened.get(task.problem)
            if actions is None:
                actions = self._shorten(start, clock)
                if actions is None:
                    return PlanOutcome("unsolvable", seconds=clock.spent)
                self._shortened[task.problem] = actions
            plan = self._in_order(start, actions, order, clock)
        except _OutOfTimeError:
            return PlanOutcome("timeout", seconds=clock.spent)
        except TaskError as error:
            return PlanOutcome("error", seconds=clock.spent, reason=str(error))
        return PlanOutcome("solved", plan, seconds=clock.spent)

    def _shorten(self, start: Snapshot, clock: _Clock) -> tuple[Action, ...] | None:
        """The program without what can be spared; None if it does not reach the goal."""
        simulator = self._simulator
        actions: list[Action] = []
        for step in simulator.program.steps:
            action = simulator.action_of(step)
            if simulator.step(action):
                actions.append(action)
        if not simulator.solved:
            return None
        changed = True
        while changed:
            actions, changed = self._pass(start, actions, clock)
        return tuple(actions)

    def _pass(
        self, start: Snapshot, actions: list[Action], clock: _Clock
    ) -> tuple[list[Action], bool]:
        """Each action once: left out, or walking in place of finding, if that will do."""
        simulator = self._simulator
        kept: list[Action] = []
        here = start
        changed = False
        for place, action in enumerate(actions):
            clock.check()
            rest = actions[place + 1 :]
            instead = [("walk", action[1])] if action[0] == "find" else []
            if self._reaches(here, rest):
                changed = True
                continue
            if instead and self._reaches(here, [*instead, *rest]):
                action, changed = instead[0], True
            simulator.restore(here)
            simulator.step(action)
            here = simulator.snapshot()
            kept.append(action)
        return kept, changed

    def _reaches(self, here: Snapshot, actions: Sequence[Action]) -> bool:
        self._simulator.restore(here)
        return all(map(self._simulator.step, actions)) and self._simulator.solved

    def _in_order(
        self, start: Snapshot, actions: tuple[Action, ...], order: ObjectOrder | None, clock: _Clock
    ) -> tuple[Action, ...]:
        """The canonical order of the actions; theirs where the search for it takes too long."""
        self._simulator.restore(start)
        shown = list(order(())) if order else []
        names = [*shown, *(name for name, _ in self._simulator.objects)]
        rank = {name: place for place, name in reversed(list(enumerate(names)))}

        def key(action: Action) -> tuple[int, str, list[int]]:
            late = _LATE.index(action[0]) + 1 if action[0] in _LATE else 0
            return late, action[0], [rank[name] for name in action[1:]]

        failed: set[tuple[tuple[Action, ...], frozenset[Atom]]] = set()
        tried = 0

        def search(rest: tuple[Action, ...]) -> tuple[Action, ...] | None:
            nonlocal tried
            if not rest:
                return () if self._simulator.solved else None
            here = self._simulator.snapshot()
            if (rest, here.atoms) in failed:
                return None
            for action in dict.fromkeys(rest):
                tried += 1
                if tried > MOST_ORDERS:
                    return None
                clock.check()
                self._simulator.restore(here)
                if self._simulator.step(action):
                    place = rest.index(action)
                    found = search((*rest[:place], *rest[place + 1 :]))
                    if found is not None:
                        return (action, *found)
            failed.add((rest, here.atoms))
            return None

        return search(tuple(sorted(actions, key=key))) or actions


def make_teacher(domain: Domain, config: TeacherConfig) -> Planner:
    """The teacher of VirtualHome; LearnerError for another domain."""
    del config  # there is one way to plan here
    if domain.name != "virtualhome":
        raise LearnerError(f"the teacher of VirtualHome cannot teach domain '{domain.name}'")
    return VirtualHomeTeacher()
