"""A household in full: receptacles, the objects in them, the agent; and the names in the text."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

from tasks.alfworld.engine_names import name_entities

_MANGLED = {"|": "_bar_", "-": "_minus_", "+": "_plus_", ".": "_dot_", ",": "_comma_"}
_MANGLING = str.maketrans(_MANGLED)


@dataclass(frozen=True, slots=True)
class Receptacle:
    """A place for objects; its identifier begins with its type, e.g. "Cabinet|+01.22|…"."""

    identifier: str
    type: str
    location: str
    openable: bool


@dataclass(frozen=True, slots=True)
class Item:
    """An object in a receptacle (given by its identifier)."""

    identifier: str
    type: str
    receptacle: str


@dataclass(frozen=True, slots=True)
class Household:
    """A room before anything is done: every receptacle that opens is closed, the hands empty."""

    receptacles: tuple[Receptacle, ...]
    items: tuple[Item, ...]
    agent: str
    """Where the agent stands: at no receptacle."""

    loose: tuple[str, ...] = ()
    """Identifiers of what lies in no receptacle: it cannot be reached, but counts in names."""

    @property
    def names(self) -> dict[str, str]:
        """Identifier → the name in the game's text, of everything."""
        return text_names([*self.placed, *self.loose])

    @property
    def placed(self) -> tuple[str, ...]:
        """The identifiers of the receptacles and of what lies in them."""
        return (*(r.identifier for r in self.receptacles), *(i.identifier for i in self.items))


@dataclass(frozen=True, slots=True)
class Goal:
    """What is to be done: a task type of ALFWorld, the wanted type, and the target's.

    The target is a receptacle type, but a lamp's type for "look_at_obj_in_light".
    """

    task_type: str
    wanted: str
    target: str


@lru_cache(maxsize=16_384)
def mangled(identifier: str) -> str:
    """An identifier as PDDL writes it: "Apple|-00.10" is "Apple_bar__minus_00_dot_10"."""
    return identifier.translate(_MANGLING)


def plain(mangled_identifier: str) -> str:
    """The other way round."""
    for letter, written in _MANGLED.items():
        mangled_identifier = mangled_identifier.replace(written, letter)
    return mangled_identifier


def text_names(identifiers: Iterable[str]) -> dict[str, str]:
    """Identifier → its name in the game's text, e.g. "apple 2"."""
    written = {identifier: mangled(identifier).lower() for identifier in identifiers}
    named = name_entities([("there", *written.values())], dict.fromkeys(written.values(), ""))
    return {identifier: named[text].name for identifier, text in written.items()}
