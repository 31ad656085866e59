"""TextCraft as a domain: tasks drawn by the depth of their goals.

A task gives the commands that can be of use for its goal and some that cannot, chosen as TextCraft
chooses them: commands that take what the goal's commands take. Draws use random numbers of their
own, so that a task is the same on every machine **(ours)**.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path

from tasks.errors import TaskError
from tasks.generators import Parameter
from tasks.naming import NamingRules, Pool, by_type
from tasks.pddl import TypedNames
from tasks.task import Task
from tasks.textcraft.recipes import Command, RecipeTree, recipe_tree
from tasks.textcraft.simulator import ACTIONS, TextCraftSimulator
from tasks.textcraft.statement import (
    COUNTS,
    MANY,
    PREDICATES,
    Statement,
    read_statement,
)

NAME = "textcraft"
MOST_DISTRACTORS = 10
_USES_DRAWN = 10
"""Commands that are drawn for each ingredient, of which the distractors are drawn in turn."""

PARAMETERS = (
    Parameter("depth", 1, (2, 4), "depth of the goal's tree of commands; TextCraft asks for 2"),
    Parameter("commands", 1, (62, 62), "the most commands that may be of use for the goal"),
    Parameter("distractors", 0, (10, 10), "the most commands of no use"),
)


@dataclass(frozen=True, slots=True)
class TextCraftSizes:
    """The sizes of drawn tasks."""

    parameters: tuple[Parameter, ...] = PARAMETERS


class TextCraftDomain:
    """All of TextCraft's goals; `ImportError` where `textcraft` is not installed."""

    name = NAME
    word = NAME
    actions: Mapping[str, int] = ACTIONS
    predicates: Mapping[str, int] = PREDICATES
    static_predicates = frozenset(PREDICATES) - {"have"}
    shown_predicates = frozenset(PREDICATES)
    constants: TypedNames = tuple((word, "count") for word in (*COUNTS, MANY))
    naming_rules = NamingRules(
        (Pool("item"), Pool("kind")), by_type({"item": "item", "kind": "kind"})
    )
    generator = TextCraftSizes()
    train_files: tuple[Path, ...] = ()
    test_files: tuple[Path, ...] = ()
    simulator_name = NAME

    def __init__(self) -> None:
        self._tree: RecipeTree = recipe_tree()
        self._shapes: dict[str, str] = {}

    @cached_property
    def goals(self) -> Mapping[str, int]:
        """Each goal with its depth, sorted by depth and name."""
        return dict(sorted(self._tree.depths.items(), key=lambda pair: (pair[1], pair[0])))

    def make_simulator(self) -> TextCraftSimulator:
        """A simulator; all of a process share one tree of recipes."""
        return TextCraftSimulator()

    def draw(self, size: Mapping[str, tuple[int, int]], seed: int) -> Task:
        """Draw a goal of the depth drawn, then distractors.

        The same size and seed give the same task on every machine.
        """
        self.check_size(size)
        sizes = random.Random(seed)
        values = {p.name: sizes.randint(*size.get(p.name, p.default)) for p in PARAMETERS}
        drawn = ",".join(f"{name}={value}" for name, value in values.items())
        rng = random.Random(f"{NAME}:{drawn}:{seed}")
        goal = rng.choice(self._goals(values["depth"], values["commands"]))
        return self.task(
            self.statement(goal, values["distractors"], rng), f"generator:{NAME}:{drawn}:{seed}"
        )

    def statement(self, goal: str, distractors: int, rng: random.Random) -> Statement:
        """What a task with this goal says, in an order that is drawn."""
        needed = self._tree.needed(goal)
        others: dict[Command, None] = {}
        for command in needed:
            for amount in command.ingredients:
                uses = self._tree.uses.get(amount.name, ())
                others |= dict.fromkeys(rng.sample(uses, min(len(uses), _USES_DRAWN)))
        useless = [command for command in others if command not in needed]
        chosen = [*needed, *rng.sample(useless, min(len(useless), distractors))]
        rng.shuffle(chosen)
        return Statement(tuple(chosen), goal)

    def task(self, statement: Statement, origin: str) -> Task:
        """The statement as a task.

        `digest` is of goal and commands in any order. `visible` is of the goal's own commands
        alone, up to the names of items: goals that look alike count as the same, whatever the
        distractors, so that those of a probe have trees of commands that no stream has.
        """
        text = str(statement)
        content = "\n".join([statement.goal, *sorted(map(str, statement.commands))])
        return Task(NAME, text, _digest(content), origin, visible=self._shape(statement.goal))

    def task_from_file(self, file: Path) -> Task:
        """The task of a text file that reads as TextCraft's tasks do; `TaskError` if it does not.

        No such file comes with the domain.
        """
        try:
            statement = read_statement(file.read_text(encoding="utf-8").strip())
        except (OSError, UnicodeDecodeError) as error:
            raise TaskError(f"cannot read the task file {file}: {error}") from error
        if statement.goal not in self.goals:
            raise TaskError(f"{file}: no command of TextCraft makes '{statement.goal}'")
        return self.task(statement, f"file:{NAME}:{file}")

    def task_from_origin(self, origin: str) -> Task:
        """The task again, from its `origin`; `TaskError` if that is none of this domain."""
        kind, _, detail = origin.partition(f":{NAME}:")
        if kind == "file":
            return self.task_from_file(Path(detail))
        drawn, _, seed = detail.rpartition(":")
        try:
            values = {name: int(value) for name, value in (p.split("=") for p in drawn.split(","))}
            if kind != "generator":
                raise ValueError(kind)
            return self.draw({name: (value, value) for name, value in values.items()}, int(seed))
        except ValueError as error:
            raise TaskError(f"'{origin}' is not the origin of a task of TextCraft") from error

    def check_size(self, size: Mapping[str, tuple[int, int]]) -> TextCraftSizes:
        """The sizes of the generator; `TaskError` if it does not take these."""
        known = {parameter.name: parameter for parameter in PARAMETERS}
        for name, (least, most) in size.items():
            if name not in known:
                raise TaskError(
                    f"the generator of '{NAME}' has no size '{name}': it takes {', '.join(known)}"
                )
            if least > most or least < known[name].least:
                raise TaskError(
                    f"size '{name}' of domain '{NAME}' cannot be [{least}, {most}]: "
                    f"it must be [least, most] with {known[name].least} ≤ least ≤ most"
                )
        ranges = {p.name: size.get(p.name, p.default) for p in PARAMETERS}
        fewest = ranges["commands"][0]
        for depth in range(ranges["depth"][0], ranges["depth"][1] + 1):
            if not self._goals(depth, fewest):
                raise TaskError(
                    f"TextCraft has no goal of depth {depth} that at most {fewest} commands make: "
                    "raise size 'commands' or lower 'depth'"
                )
        return self.generator

    @lru_cache(maxsize=256)  # noqa: B019 - there is one domain a process
    def _goals(self, depth: int, commands: int) -> tuple[str, ...]:
        return tuple(
            goal
            for goal, its_depth in self.goals.items()
            if its_depth == depth and len(self._tree.needed(goal)) <= commands
        )

    def _shape(self, name: str) -> str:
        """The digest of how an item or kind is made, whatever the items are called."""
        if name not in self._shapes:
            made: list[str] = []
            for command in self._tree.commands(name):
                taken = sorted((a.count, self._shape(a.name)) for a in command.ingredients)
                made.append(f"{command.output.count} {taken}")
            self._shapes[name] = _digest(f"{self._tree.is_kind(name)} {sorted(made)}")
        return self._shapes[name]


def _digest(content: str) -> str:
    """32 hex digits."""
    return hashlib.blake2b(f"{NAME}\n{content}".encode(), digest_size=16).hexdigest()


def make_domain() -> TextCraftDomain:
    """The domain, for `tasks.worlds`; `ImportError` where `textcraft` is not installed."""
    return TextCraftDomain()
