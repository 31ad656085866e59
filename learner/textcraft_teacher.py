"""The teacher of TextCraft: crafts what is missing, the deepest thing first.

It looks at the commands that the task gives and at what is held, and at nothing else. What is
missing for the goal is crafted or got, one crafting at a time: an ingredient that has commands is
made by the one that needs the fewest further actions, any other is got in the count that is
missing. The choice depends on the present state alone, so that a policy that sees this state can
learn it. Plans are short but not proven optimal **(ours)**.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import TypeAlias

from configs.schema import TeacherConfig
from learner.errors import LearnerError
from learner.planners import ObjectOrder, PlanLimits, Planner, PlanOutcome
from tasks.domains import Domain
from tasks.errors import TaskError
from tasks.task import Action, Task
from tasks.textcraft.recipes import Amount, Command, recipe_tree
from tasks.textcraft.simulator import MOST_GOT
from tasks.textcraft.statement import Statement, read_statement

NAME = "textcraft-teacher"
MOST_ACTIONS = 400
"""Actions after which a plan counts as none."""

_NEVER = 10**6
"""The cost of what no command makes without itself."""

Held: TypeAlias = Mapping[str, int]


class TextCraftTeacher:
    """Plans for TextCraft's tasks; `order` breaks ties between equally good items."""

    @property
    def name(self) -> str:
        """The name that statistics and traces carry."""
        return NAME

    def plan(self, task: Task, limits: PlanLimits, order: ObjectOrder | None = None) -> PlanOutcome:
        """Plan in at most about `limits.seconds`; never raises for what a task does to it."""
        began = time.perf_counter()
        try:
            statement = read_statement(task.problem)
        except TaskError as error:
            return PlanOutcome("error", reason=str(error))
        kinds = recipe_tree().kinds
        held: dict[str, int] = {}
        plan: list[Action] = []
        while not plan or plan[-1][1] != statement.goal:
            spent = time.perf_counter() - began
            if spent > limits.seconds:
                return PlanOutcome("timeout", seconds=spent)
            shown = order(plan) if order else ()
            action = _Step(statement, kinds, held, shown).action()
            if action is None or len(plan) == MOST_ACTIONS:
                return PlanOutcome("unsolvable", seconds=spent)
            _apply(action, statement, kinds, held)
            plan.append(action)
        return PlanOutcome("solved", tuple(plan), seconds=time.perf_counter() - began)


class _Step:
    """One choice: what is held, and what the text shows first."""

    def __init__(
        self, statement: Statement, kinds: Mapping[str, str], held: Held, shown: Sequence[str]
    ) -> None:
        self.held = held
        self.goal = statement.goal
        self.by_output: dict[str, list[Command]] = {}
        for command in statement.commands:
            self.by_output.setdefault(command.output.name, []).append(command)
        self.members: dict[str, list[str]] = {}
        names = statement.names
        for name in names:
            if name in kinds:
                self.members.setdefault(kinds[name], []).append(name)
        ranked = (*shown, *names)
        self.open: set[str] = set()  # what is being made: it cannot serve to make itself
        self.costs: dict[tuple[str, int], int] = {}
        self.rank = {name: place for place, name in reversed(list(enumerate(ranked)))}

    def action(self) -> Action | None:
        """The next action on the way to the goal; None where there is none."""
        return self._towards_crafting(self.goal)

    def _towards_crafting(self, item: str) -> Action | None:
        """The next action on the way to one crafting of the item."""
        self.open.add(item)
        commands = [c for c in self.by_output.get(item, ()) if self._cost_of(c) < _NEVER]
        if not commands:
            return None
        best = min(commands, key=self._preference)
        chosen: list[str] = []
        for amount in best.ingredients:
            name = self._choice(amount)
            missing = amount.count - self.held.get(name, 0)
            if missing > 0 and name in self.by_output:
                return self._towards_crafting(name)
            if missing > 0:
                return ("get", name, str(min(missing, MOST_GOT)))
            chosen.append(name)
        return (f"craft{len(chosen)}", item, *chosen)

    def _choice(self, amount: Amount) -> str:
        """The item that is to serve as an ingredient: the cheapest, then the one shown first."""
        names = self.members.get(amount.name, [amount.name])
        return min(names, key=lambda name: (self._cost(name, amount.count), self.rank[name]))

    def _preference(self, command: Command) -> tuple[int, list[int]]:
        return self._cost_of(command), [self.rank[name] for name in command.names()[1:]]

    def _cost_of(self, command: Command) -> int:
        """Actions for one use of the command, as if nothing were needed twice."""
        costs = (self._cost(self._choice(a), a.count) for a in command.ingredients)
        return min(_NEVER, 1 + sum(costs))

    def _cost(self, item: str, count: int) -> int:
        """Actions until so many of the item are held."""
        missing = count - self.held.get(item, 0)
        if missing <= 0:
            return 0
        if item in self.open:
            return _NEVER
        if item not in self.by_output:
            return -(-missing // MOST_GOT)
        if (item, missing) not in self.costs:
            self.open.add(item)
            each = [
                -(-missing // command.output.count) * self._cost_of(command)
                for command in self.by_output[item]
            ]
            self.open.remove(item)
            self.costs[item, missing] = min(_NEVER, *each)
        return self.costs[item, missing]


def _apply(
    action: Action, statement: Statement, kinds: Mapping[str, str], held: dict[str, int]
) -> None:
    """What the action does to what is held."""
    if action[0] == "get":
        held[action[1]] = held.get(action[1], 0) + int(action[2])
        return
    for command in statement.commands:
        taken = list(zip(action[2:], command.ingredients))
        if (
            command.output.name == action[1]
            and len(command.ingredients) == len(action) - 2
            and all(a.name in (n, kinds.get(n)) and held.get(n, 0) >= a.count for n, a in taken)
        ):
            for name, amount in taken:
                held[name] -= amount.count
                if not held[name]:
                    del held[name]
            held[action[1]] = held.get(action[1], 0) + command.output.count
            return


def make_teacher(domain: Domain, config: TeacherConfig) -> Planner:
    """The teacher of TextCraft; LearnerError for another domain."""
    del config  # there is one way to plan here
    if domain.name != "textcraft":
        raise LearnerError(f"the teacher of TextCraft cannot teach domain '{domain.name}'")
    return TextCraftTeacher()
