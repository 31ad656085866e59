"""What a TextCraft task says, in TextCraft's own words, and the same as atoms **(ours)**.

    Crafting commands:
    craft 4 stick using 2 planks
    ...

    Goal: craft ladder.

An atom has at most eight words, and its counts are words of a closed list, so that a small LM can
read a command at one position. Commands become (with the counts c of output o and ingredients i)

    makes1 o c i c        makes2 o c i c i c        makes3 o i c i c i c, yields o c
    makes4 o i i i i, takes o i c, yields o c       (5 likewise)

and `kind i k` says that an item belongs to a kind that some command takes, which English says by
the item's name alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

from tasks.errors import TaskError
from tasks.task import Atom
from tasks.textcraft.recipes import Command, read_command

COUNTS = tuple(str(count) for count in range(1, 33))
MANY = "many"
"""The word for every count past the last of `COUNTS`."""

MOST_INGREDIENTS = 5

PREDICATES: Mapping[str, int] = {
    "wanted": 1,
    "have": 2,
    "kind": 2,
    "makes1": 4,
    "makes2": 6,
    "makes3": 7,
    "makes4": 5,
    "makes5": 6,
    "takes": 3,
    "yields": 2,
}

_HEAD = "Crafting commands:"
_GOAL = "Goal: craft "


@dataclass(frozen=True, slots=True)
class Statement:
    """The commands that a task gives, in its order, and the item that is wanted."""

    commands: tuple[Command, ...]
    goal: str

    @property
    def names(self) -> tuple[str, ...]:
        """The items and kinds that are mentioned, each once, in the order of the text."""
        found = (name for command in self.commands for name in command.names())
        return tuple(dict.fromkeys((*found, self.goal)))

    def __str__(self) -> str:
        lines = "\n".join(map(str, self.commands))
        return f"{_HEAD}\n{lines}\n\n{_GOAL}{self.goal.replace('_', ' ')}."


@lru_cache(maxsize=4096)
def read_statement(text: str) -> Statement:
    """The statement of a task's text; `TaskError` if it is none."""
    head, _, rest = text.partition("\n")
    commands, blank, goal = rest.partition("\n\n")
    if head != _HEAD or not blank or not goal.startswith(_GOAL) or not goal.endswith("."):
        raise TaskError(
            f"a task of TextCraft reads '{_HEAD}', a command a line, a blank line and "
            f"'{_GOAL}ITEM.', but this one begins '{text[:60]}'"
        )
    return Statement(
        tuple(read_command(line) for line in commands.splitlines()),
        goal.removeprefix(_GOAL)[:-1].replace(" ", "_"),
    )


def count_word(count: int) -> str:
    """The word for a count of one or more."""
    return COUNTS[count - 1] if count <= len(COUNTS) else MANY


def command_atoms(command: Command) -> tuple[Atom, ...]:
    """The atoms of one command; `TaskError` if it takes more ingredients than any atom says."""
    output = command.output.name
    made = count_word(command.output.count)
    ingredients = [(amount.name, count_word(amount.count)) for amount in command.ingredients]
    flat = [word for ingredient in ingredients for word in ingredient]
    size = len(ingredients)
    if size <= 2:
        return ((f"makes{size}", output, made, *flat),)
    if size == 3:
        return (("makes3", output, *flat), ("yields", output, made))
    if size > MOST_INGREDIENTS:
        raise TaskError(f"'{command}' takes more than {MOST_INGREDIENTS} different ingredients")
    return (
        (f"makes{size}", output, *(name for name, _ in ingredients)),
        *(("takes", output, name, count) for name, count in ingredients),
        ("yields", output, made),
    )


def kind_atoms(names: tuple[str, ...], kinds: Mapping[str, str]) -> tuple[Atom, ...]:
    """Which of the named items belong to a kind that is named too."""
    return tuple(("kind", name, kinds[name]) for name in names if kinds.get(name) in names)
