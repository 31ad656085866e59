"""A noisy teacher: a share of its actions is replaced by random applicable ones **(ours)**.

At each step of a plan, with the given probability, another action that can be taken now is taken
instead, and the wrapped planner plans anew from where that leads. A world that is not PDDL cannot
be planned for from its middle: there the rest of the first plan must still lead to the goal. Where
that fails, the replacement is taken back. So the plan that comes out solves the task, is as a rule
longer, and every action of it is distilled, the random ones too: that is what makes this teacher
noisy. At most as many actions are replaced as the first plan has, so that it ends. Which ones is
drawn from the task's digest: the same task, the same noise. `PlanOutcome.optimal` holds only where
nothing was replaced.
"""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from dataclasses import replace

from learner.planners import ObjectOrder, PlanLimits, Planner, PlanOutcome
from tasks.domains import Domain
from tasks.pddl_domain import PddlDomain
from tasks.task import Action, Simulator, Task


class NoisyPlanner:
    """Wraps a domain's planner. `noise` is the probability, below 1.

    `simulator` is this planner's own: nobody else may step it.
    """

    def __init__(
        self, planner: Planner, domain: Domain, simulator: Simulator, noise: float
    ) -> None:
        self._planner = planner
        self._domain = domain
        self._simulator = simulator
        self._noise = noise

    @property
    def name(self) -> str:
        """The wrapped planner's name with the noise, e.g. "mimir-astar+noise0.2"."""
        return noisy_name(self._planner.name, self._noise)

    def plan(self, task: Task, limits: PlanLimits, order: ObjectOrder | None = None) -> PlanOutcome:
        """Plan, with noise, in at most about `limits.seconds`."""
        began = time.monotonic()
        first = self._planner.plan(task, limits, order)
        if first.status != "solved":
            return first
        rng = random.Random(f"noise:{task.digest}")
        self._go(task, [])
        taken: list[Action] = []
        left = list(first.plan)
        replaced = 0
        while left:
            seconds = limits.seconds - (time.monotonic() - began)
            if replaced < first.cost and seconds > 0 and rng.random() < self._noise:
                others = [a for a in self._simulator.applicable_actions() if a != left[0]]
                wrong = rng.choice(others) if others else left[0]
                onward = self._onward(
                    task, [*taken, wrong], left, replace(limits, seconds=seconds), order
                )
                if others and onward is not None:
                    taken.append(wrong)
                    left = onward
                    replaced += 1
                    continue
                self._go(task, taken)
            self._simulator.step(left[0])
            taken.append(left.pop(0))
        return replace(
            first,
            plan=tuple(taken),
            optimal=first.optimal and replaced == 0,
            seconds=time.monotonic() - began,
        )

    def _go(self, task: Task, actions: Sequence[Action]) -> None:
        self._simulator.reset(task)
        for action in actions:
            self._simulator.step(action)

    def _onward(
        self,
        task: Task,
        taken: Sequence[Action],
        left: Sequence[Action],
        limits: PlanLimits,
        order: ObjectOrder | None,
    ) -> list[Action] | None:
        """A plan from after the actions taken, of which the last is yet to be; None: there is none.

        The simulator is left after them where there is one.
        """
        self._simulator.step(taken[-1])
        if isinstance(self._domain, PddlDomain):
            here = task_from_here(task, self._domain, self._simulator)
            outcome = self._planner.plan(here, limits, _after(taken, order))
            return list(outcome.plan) if outcome.status == "solved" else None
        if not all(self._simulator.step(action) for action in left) or not self._simulator.solved:
            return None
        self._go(task, taken)
        return list(left)


def noisy_name(planner: str, noise: float) -> str:
    """What statistics and traces call a planner with noise."""
    return f"{planner}+noise{noise:g}"


def task_from_here(task: Task, domain: PddlDomain, simulator: Simulator) -> Task:
    """The task that starts in the simulator's present state."""
    problem = domain.read_problem(task.problem, task.origin)
    derived = {head.head for head, _ in domain.definition.derived}
    atoms = frozenset(atom for atom in simulator.atoms if atom[0] not in derived)
    return replace(task, problem=domain.problem_text(replace(problem, initial=atoms)))


def _after(taken: Sequence[Action], order: ObjectOrder | None) -> ObjectOrder | None:
    """The order for a plan that begins after the actions taken."""
    return None if order is None else lambda actions: order([*taken, *actions])
