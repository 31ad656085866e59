"""Symbolic planners behind one small interface; Mimir's A* and GBFS in this process.

Where the reachable states are few, all of them are generated, their distances to the goal are
computed backward, and the plan takes at every state the first of the optimal actions in the order
of (action's name, order in which its objects appear in the text): a canonical optimal plan, so
that the LM is not asked to learn how a planner breaks ties **(ours)**. Else A* with the
FF heuristic, which is not admissible: such plans are short but not proven optimal, and
`PlanOutcome.optimal` says so. Every action costs one (SPL counts steps).

A planner says nothing about whether the simulator agrees: `learner.traces` validates each plan.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import pymimir
from pymimir.advanced.datasets import StateSpace, StateSpaceOptions, StateSpaceSampler

from learner.errors import LearnerError
from learner.planning_domain import planning_text
from tasks.errors import TaskError
from tasks.pddl_domain import PddlDomain
from tasks.silence import silent_stdout
from tasks.task import Action, Task

PlanStatus = Literal["solved", "unsolvable", "timeout", "out_of_memory", "error"]
ObjectOrder = Callable[[Sequence[Action]], Sequence[str]]
"""(actions so far) → the objects' names in the order that breaks ties for the next one."""

PlannerName = Literal["mimir-astar", "mimir-gbfs"]

_STATUS: dict[str, PlanStatus] = {
    "solved": "solved",
    "unsolvable": "unsolvable",
    "exhausted": "unsolvable",
    "out_of_time": "timeout",
    "out_of_states": "timeout",
    "out_of_memory": "out_of_memory",
}


@dataclass(frozen=True, slots=True)
class PlanLimits:
    """How long a planner may search, and how many states the exhaustive search may hold."""

    seconds: float = 10.0
    states: int = 10_000


@dataclass(frozen=True, slots=True)
class PlanOutcome:
    """What became of one call of a planner.

    `plan` is empty unless `status` is "solved" (and where the initial state meets the goal);
    `reason` is a sentence for "error".
    """

    status: PlanStatus
    plan: tuple[Action, ...] = ()
    optimal: bool = False
    seconds: float = 0.0
    reason: str = ""

    @property
    def cost(self) -> int:
        """The plan's number of actions."""
        return len(self.plan)


class Planner(Protocol):
    """Finds a plan for a task of one domain."""

    @property
    def name(self) -> str:
        """The name that statistics and traces carry, e.g. "mimir-astar"."""

    def plan(self, task: Task, limits: PlanLimits, order: ObjectOrder | None = None) -> PlanOutcome:
        """Plan; `order` breaks ties."""


class MimirPlanner:
    """Mimir in this process: canonical optimal plans, A* with h_FF, or greedy best-first.

    Keep one for each domain: parsing it takes a millisecond. Not for concurrent threads.
    """

    def __init__(
        self, domain: PddlDomain, planner: PlannerName = "mimir-astar", canonical: bool = True
    ) -> None:
        self._of = domain
        self._planner = planner
        self._canonical = canonical and planner == "mimir-astar"
        with silent_stdout():
            try:
                self._domain = pymimir.Domain(planning_text(domain.definition))
            except RuntimeError as error:
                raise LearnerError(
                    f"Mimir cannot read domain '{domain.name}': {_first_line(error)}"
                ) from error

    @property
    def name(self) -> str:
        """The planner's name as configured."""
        return self._planner

    def plan(self, task: Task, limits: PlanLimits, order: ObjectOrder | None = None) -> PlanOutcome:
        """Plan in at most about `limits.seconds`; never raises for what a task does to it."""
        began = time.perf_counter()
        try:
            with silent_stdout():
                status, plan, optimal, reason = self._search(task, limits, order)
        except MemoryError:
            status, plan, optimal, reason = "out_of_memory", (), False, ""
        except (RuntimeError, TaskError) as error:
            status, plan, optimal = "error", (), False
            reason = f"Mimir cannot plan for task {task.digest}: {_first_line(error)}"
        return PlanOutcome(status, plan, optimal, time.perf_counter() - began, reason)

    def _search(
        self, task: Task, limits: PlanLimits, order: ObjectOrder | None
    ) -> tuple[PlanStatus, tuple[Action, ...], bool, str]:
        began = time.perf_counter()
        problem = pymimir.Problem(self._domain, task.problem, "grounded")
        if self._canonical:
            found = self._canonical_plan(problem, limits, order)
            if found is not None:
                return *found, found[0] == "solved", ""
        left = max(limits.seconds - (time.perf_counter() - began), 0.001)
        search = pymimir.gbfs_eager if self._planner == "mimir-gbfs" else pymimir.astar_eager
        result = search(
            problem,
            problem.get_initial_state(),
            pymimir.FFHeuristic(problem),
            max_time_seconds=left,
        )
        status = _STATUS.get(result.status)
        if status is None:
            return "error", (), False, f"Mimir's search ended with status '{result.status}'"
        steps = result.solution if status == "solved" and result.solution else []
        return status, tuple(self._action(step) for step in steps), False, ""

    def _canonical_plan(
        self, problem: pymimir.Problem, limits: PlanLimits, order: ObjectOrder | None
    ) -> tuple[PlanStatus, tuple[Action, ...]] | None:
        """The canonical plan, or None where there are too many states."""
        options = StateSpaceOptions()
        options.max_num_states = limits.states
        options.timeout_ms = max(int(limits.seconds * 500), 1)
        options.remove_if_unsolvable = False
        created = StateSpace.create(problem._search_context, options)
        if created is None:
            return None
        sampler = StateSpaceSampler(created[0])
        state = problem.get_initial_state()._advanced_state
        if sampler.is_dead_end_state(state):
            return "unsolvable", ()
        plan: list[Action] = []
        names = [item.get_name() for item in problem.get_objects()]
        for distance in range(sampler.get_steps_to_goal(state), 0, -1):
            candidates = [
                (self._action(pymimir.GroundAction(action, problem)), successor)
                for action, successor in sampler.get_forward_transitions(state)
                if not sampler.is_dead_end_state(successor)
                and sampler.get_steps_to_goal(successor) == distance - 1
            ]
            shown = [*(order(plan) if order else ()), *names]
            rank = {name: number for number, name in reversed(list(enumerate(shown)))}
            places = [(a[0], [rank[name] for name in a[1:]]) for a, _ in candidates]
            action, state = candidates[places.index(min(places))]
            plan.append(action)
        return "solved", tuple(plan)

    def _action(self, ground: pymimir.GroundAction) -> Action:
        """A ground operator as the action that an agent names."""
        objects = [item.get_name() for item in ground.get_objects()]
        return self._of.action_of(ground.get_action().get_name(), objects)


def _first_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__
