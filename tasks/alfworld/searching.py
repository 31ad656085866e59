"""In which order to look for a thing, and how long looking takes at most."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache

from tasks.alfworld.household import Goal, Household
from tasks.alfworld.places import places, rooms_with
from tasks.alfworld.wheel import can_contain, openable_types


def search_order(receptacles: Iterable[str], kind: str) -> list[str]:
    """Receptacles ("cabinet 1") in the order in which to look for a type of object ("apple").

    First those that hold most of such objects for each step that looking takes (two where a
    receptacle must be opened), as counted in `tasks.alfworld.places`; equal ones by number
    **(ours)**.
    """
    ranks = _ranks(kind)

    def key(name: str) -> tuple[tuple[float, bool, str], int]:
        place, number = name.split()
        return ranks.get(place, (0.0, True, place)), int(number)

    return sorted(receptacles, key=key)


@lru_cache(maxsize=256)
def _ranks(kind: str) -> dict[str, tuple[float, bool, str]]:
    """Receptacle type → its rank in a search for a type of object; the least is the first."""
    table = places()
    known = next((held for _, held, _ in table.held if held.lower() == kind), kind)
    rooms = rooms_with(known)
    ranks: dict[str, tuple[float, bool, str]] = {}
    for place in {place for _, place in table.receptacles}:
        held = sum(table.held.get((room, known, place), 0) for room in rooms)
        count = sum(table.receptacles.get((room, place), 0) for room in rooms)
        steps = 2 if place in openable_types() else 1
        misfit = known not in can_contain().get(place, ())
        ranks[place.lower()] = (-held / count / steps if count else 0.0, misfit, place.lower())
    return ranks


def looking_steps(household: Household, goal: Goal) -> int:
    """The most steps that looking in that order takes, until all that the goal needs is seen."""
    names = household.names
    steps = {names[r.identifier]: 2 if r.openable else 1 for r in household.receptacles}
    seen = _looked_into(household, goal.wanted, 2 if "two" in goal.task_type else 1)
    if goal.task_type == "look_at_obj_in_light":
        seen |= _looked_into(household, goal.target, 1)
    return sum(steps[name] for name in seen)


def _looked_into(household: Household, kind: str, count: int) -> set[str]:
    """The receptacles that are looked into until so many objects of a type are seen."""
    names = household.names
    holders = [names[item.receptacle] for item in household.items if item.type == kind]
    order = search_order((names[r.identifier] for r in household.receptacles), kind.lower())
    looked: set[str] = set()
    for name in order:
        looked.add(name)
        if sum(holder in looked for holder in holders) >= count:
            break
    return looked
