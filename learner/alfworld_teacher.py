"""The teachers of ALFWorld: one that searches as the agent must, one that sees everything.

    planner = make_teacher(get_domain("alfworld"), config.teacher)
    outcome = planner.plan(task, PlanLimits())

The searching teacher plays the game and knows only what the texts have told it: its plan is what a
policy that sees the world in part can imitate. The seeing one has the shortest plan, for measures
of how long solutions must be.
"""

from __future__ import annotations

import json
import time

from configs.schema import TeacherConfig
from learner.alfworld_search import next_command
from learner.errors import LearnerError
from learner.planners import ObjectOrder, PlanLimits, Planner, PlanOutcome
from tasks.alfworld.commands import action_of
from tasks.alfworld.problem import parse_problem
from tasks.alfworld.simulator import AlfworldSimulator
from tasks.alfworld.walkthrough import walkthrough
from tasks.domains import Domain
from tasks.errors import TaskError
from tasks.task import Action, Task

NAME = "alfworld-teacher"

MOST_STEPS = 50
"""ALFWorld's step limit: a longer plan counts as none."""


class SearchingTeacher:
    """Plays a game by what its texts tell; nothing of the hidden state is used."""

    def __init__(self) -> None:
        self._simulator = AlfworldSimulator()

    @property
    def name(self) -> str:
        """The name that statistics and traces carry."""
        return NAME

    def plan(self, task: Task, limits: PlanLimits, order: ObjectOrder | None = None) -> PlanOutcome:
        """Play in at most about `limits.seconds`; never raises for what a task does to it.

        "unsolvable" says that the game was not won within ALFWorld's 50 steps, or that every
        receptacle was looked into in vain. `order` has no say: things go by their numbers.
        """
        began = time.perf_counter()
        plan: list[Action] = []
        simulator = self._simulator
        try:
            simulator.reset(task)
            while not simulator.solved:
                spent = time.perf_counter() - began
                if spent > limits.seconds:
                    return PlanOutcome("timeout", seconds=spent)
                command = next_command(simulator.knowledge)
                if command is None or len(plan) == MOST_STEPS:
                    return PlanOutcome("unsolvable", seconds=spent)
                plan.append(action_of(command))
                if not simulator.step(plan[-1]):
                    reason = f"ALFWorld refuses the teacher's command '{command}' ({task.origin})"
                    return PlanOutcome("error", seconds=spent, reason=reason)
        except TaskError as error:
            return PlanOutcome("error", seconds=time.perf_counter() - began, reason=str(error))
        return PlanOutcome("solved", tuple(plan), seconds=time.perf_counter() - began)


class SeeingPlanner:
    """Plans in the full state, which no agent sees."""

    @property
    def name(self) -> str:
        """The name that statistics and traces carry."""
        return "alfworld-seeing"

    def plan(self, task: Task, limits: PlanLimits, order: ObjectOrder | None = None) -> PlanOutcome:
        """A shortest plan, in about a millisecond; never raises for what a task does to it."""
        began = time.perf_counter()
        try:
            household, goal = parse_problem(json.loads(task.problem)["pddl_problem"])
            plan = tuple(map(action_of, walkthrough(household, goal)))
        except (TaskError, ValueError, KeyError, TypeError) as error:
            reason = f"this is no ALFWorld game that can be won ({task.origin}): {error}"
            return PlanOutcome("error", seconds=time.perf_counter() - began, reason=reason)
        return PlanOutcome("solved", plan, seconds=time.perf_counter() - began)


def make_teacher(domain: Domain, config: TeacherConfig) -> Planner:
    """The searching teacher; LearnerError for another domain than ALFWorld."""
    if domain.name != "alfworld":
        raise LearnerError(f"ALFWorld's teacher cannot teach domain '{domain.name}'")
    return SearchingTeacher()
