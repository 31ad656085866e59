"""TextCraft as a simulator: what the task's text says and what the hands hold, as atoms.

`get ITEM COUNT` and `craftN OUTPUT ITEM…` (N ingredients, in the command's order) stand for the
world's own commands; the counts of a crafting command are those that the task gives. Where it names
a kind, the action names an item of that kind. The world (`textcraft`) decides what comes of it; the
atoms follow from its answers alone **(ours)**.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator, Mapping
from itertools import product
from typing import Any

from tasks.task import Action, Atom, Task
from tasks.textcraft.recipes import Amount, Command, RecipeTree, make_environment, recipe_tree
from tasks.textcraft.statement import (
    COUNTS,
    MANY,
    MOST_INGREDIENTS,
    Statement,
    command_atoms,
    count_word,
    kind_atoms,
    read_statement,
)

MOST_GOT = 16
"""The largest count that one `get` may name."""

ACTIONS: Mapping[str, int] = {"get": 2} | {
    f"craft{size}": size + 1 for size in range(1, MOST_INGREDIENTS + 1)
}


class TextCraftSimulator:
    """One episode at a time in `textcraft`'s environment, on recipes that all simulators share."""

    def __init__(self) -> None:
        self._environment = make_environment()
        self._tree: RecipeTree = recipe_tree()
        self._statement = Statement((), "")
        self._names: tuple[str, ...] = ()
        self._lasting: frozenset[Atom] = frozenset()
        self._held: dict[str, int] = {}
        self._solved = False
        self._text = ""

    def reset(self, task: Task) -> None:
        """Begin the task with empty hands; `TaskError` if its text cannot be read."""
        statement = read_statement(task.problem)
        self._statement = statement
        self._names = statement.names
        self._lasting = frozenset(
            (
                *(atom for command in statement.commands for atom in command_atoms(command)),
                *kind_atoms(self._names, self._tree.kinds),
            )
        )
        self._environment.inventory = {}
        self._environment.goal = f"minecraft:{statement.goal}"
        self._held = {}
        self._solved = False
        self._text = str(statement)

    @property
    def domain(self) -> str:
        """The domain's name."""
        return "textcraft"

    @property
    def objects(self) -> tuple[tuple[str, str], ...]:
        """The items and kinds that the task names, then the words of counts."""
        return (
            *((name, "kind" if self._tree.is_kind(name) else "item") for name in self._names),
            *((word, "count") for word in (*COUNTS, MANY)),
        )

    @property
    def atoms(self) -> frozenset[Atom]:
        """The commands, the kinds, and what the hands hold."""
        held = (("have", name, count_word(count)) for name, count in self._held.items())
        return self._lasting.union(held)

    @property
    def goal(self) -> tuple[Atom, ...]:
        """The wanted item."""
        return (("wanted", self._statement.goal),)

    @property
    def text(self) -> str:
        """What the world said last; at first the task's text."""
        return self._text

    @property
    def statement(self) -> Statement:
        """What the task says."""
        return self._statement

    @property
    def held(self) -> Mapping[str, int]:
        """What the hands hold."""
        return self._held

    def applicable_actions(self) -> tuple[Action, ...]:
        """What can be got, in each count, and what can be crafted from what is held, sorted."""
        found: set[Action] = set()
        for name in self._names:
            if self._tree.can_be_got(name):
                found |= {("get", name, count) for count in COUNTS[:MOST_GOT]}
        for command in self._statement.commands:
            for items in self._fillings(command):
                found.add((f"craft{len(items)}", command.output.name, *items))
        return tuple(sorted(found))

    def step(self, action: Action) -> bool:
        """Give the world the command that the action stands for; False if it is refused."""
        command = self._command(action)
        if command is None:
            return False
        with contextlib.redirect_stdout(io.StringIO()):  # it prints what it compares
            said, _, ended, _, _ = self._environment.step(command)
        if not str(said).startswith(("Got ", "Crafted ")):
            return False
        self._text = str(said)
        self._solved = self._solved or bool(ended)
        inventory: dict[str, Any] = self._environment.inventory
        self._held = {
            item.removeprefix("minecraft:"): int(count) for item, count in inventory.items()
        }
        return True

    def goal_conditions(self) -> tuple[int, int]:
        """One condition: that the wanted item has been crafted."""
        return int(self._solved), 1

    @property
    def solved(self) -> bool:
        """Whether the world has said that the task is done."""
        return self._solved

    def _command(self, action: Action) -> str | None:
        """The world's command for an action; None where the task gives none."""
        if len(action) < 3 or any(name not in self._names for name in action[1:-1]):
            return None
        if action[0] == "get":
            known = len(action) == 3 and action[2] in COUNTS[:MOST_GOT]
            return f"get {action[2]} {action[1].replace('_', ' ')}" if known else None
        for command in self._statement.commands:
            if command.output.name != action[1] or action[0] != f"craft{len(action) - 2}":
                continue
            if action[2:] in self._fillings(command):
                ingredients = zip(action[2:], command.ingredients)
                filled = (Amount(item, amount.count) for item, amount in ingredients)
                return str(Command(command.output, tuple(filled)))
        return None

    def _fillings(self, command: Command) -> Iterator[tuple[str, ...]]:
        """What is held in the counts that the command takes, an item for each ingredient."""
        choices: list[list[str]] = []
        for amount in command.ingredients:
            enough = (name for name, count in self._held.items() if count >= amount.count)
            choices.append(
                [
                    name
                    for name in enough
                    if amount.name in (name, self._tree.kinds.get(name)) and name in self._names
                ]
            )
        return product(*choices)
