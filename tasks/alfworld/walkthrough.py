"""A short solution of a game by one who sees everything: which commands win it.

For each task type the way to win is known (go, open, take, treat, put); what is chosen is which
objects and which receptacles. All choices are compared by their number of commands; the first of
the shortest is the solution **(ours)**. Where receptacles share a location, one is reached from the
other without a step.
"""

from __future__ import annotations

import itertools

from tasks.alfworld.household import Goal, Household, Receptacle
from tasks.errors import TaskError

TREATMENTS = {
    "pick_clean_then_place_in_recep": ("clean", "SinkBasin"),
    "pick_heat_then_place_in_recep": ("heat", "Microwave"),
    "pick_cool_then_place_in_recep": ("cool", "Fridge"),
}
"""Task type → (the command's verb, the type of receptacle that does it)."""


def walkthrough(household: Household, goal: Goal) -> tuple[str, ...]:
    """The commands of a short solution; `TaskError` if the household has none."""
    names = household.names
    places = {receptacle.identifier: receptacle for receptacle in household.receptacles}
    wanted = [item for item in household.items if item.type == goal.wanted]
    found = [(names[item.identifier], places[item.receptacle]) for item in wanted]
    lamps = [
        (names[item.identifier], places[item.receptacle])
        for item in household.items
        if item.type == goal.target
    ]
    targets = [receptacle for receptacle in household.receptacles if receptacle.type == goal.target]
    treatment = TREATMENTS.get(goal.task_type)
    tools = [r for r in household.receptacles if treatment and r.type == treatment[1]]
    ways: list[_Walk] = []
    if goal.task_type == "look_at_obj_in_light":
        for (name, place), (lamp, lamp_place) in itertools.product(found, lamps):
            ways.append(_Walk(names).take(name, place).reach(lamp_place).say(f"use {lamp}"))
    elif goal.task_type == "pick_two_obj_and_place":
        for (first, second), target in itertools.product(itertools.permutations(found, 2), targets):
            walk = _Walk(names)
            for name, place in (first, second):
                if place.identifier != target.identifier:
                    walk = walk.take(name, place).put(name, target)
            ways.append(walk)
    elif treatment:
        for (name, place), tool, target in itertools.product(found, tools, targets):
            walk = _Walk(names).take(name, place).reach(tool)
            walk.say(f"{treatment[0]} {name} with {names[tool.identifier]}").put(name, target)
            ways.append(walk)
    else:
        for (name, place), target in itertools.product(found, targets):
            ways.append(_Walk(names).take(name, place).put(name, target))
    if not ways:
        raise TaskError(f"no household object or place fits the goal {goal}: it cannot be won")
    return tuple(min(ways, key=lambda walk: len(walk.commands)).commands)


class _Walk:
    """The commands so far, where they led and what they opened."""

    def __init__(self, names: dict[str, str]) -> None:
        self._names = names
        self._at = ""
        self._opened: set[str] = set()
        self.commands: list[str] = []

    def say(self, command: str) -> _Walk:
        self.commands.append(command)
        return self

    def reach(self, place: Receptacle) -> _Walk:
        if self._at != place.location:
            self._at = place.location
            self.say(f"go to {self._names[place.identifier]}")
        return self

    def take(self, item: str, place: Receptacle) -> _Walk:
        return self._open(place).say(f"take {item} from {self._names[place.identifier]}")

    def put(self, item: str, place: Receptacle) -> _Walk:
        return self._open(place).say(f"move {item} to {self._names[place.identifier]}")

    def _open(self, place: Receptacle) -> _Walk:
        self.reach(place)
        if place.openable and place.identifier not in self._opened:
            self._opened.add(place.identifier)
            self.say(f"open {self._names[place.identifier]}")
        return self
