"""A household and a goal as the PDDL problem of a game, and back.

A problem is written as ALFWorld's own generator writes it, except that types without an object in
the house are left out.
"""

from __future__ import annotations

import re
from dataclasses import replace

from tasks.alfworld.household import Goal, Household, Item, Receptacle, mangled, plain
from tasks.alfworld.wheel import abilities, can_contain, goals
from tasks.errors import TaskError

IMMOVABLE = frozenset({"DeskLamp", "FloorLamp", "Television", "HousePlant"})
"""Object types that cannot be picked up."""

_ABLE = ("isReceptacleObject", "cleanable", "heatable", "coolable", "sliceable", "toggleable")
_ATOM = re.compile(r"\(([\w]+) ([\w]+)(?: ([\w]+))?\)")
_KINDS = {
    "isToggled": "look_at_obj_in_light",
    "isClean": "pick_clean_then_place_in_recep",
    "isHot": "pick_heat_then_place_in_recep",
    "isCool": "pick_cool_then_place_in_recep",
    "?o2": "pick_two_obj_and_place",
}


def problem_text(name: str, household: Household, goal: Goal) -> str:
    """The problem in PDDL. The same household and goal give the same text."""
    return (
        f"\n(define (problem {name})\n(:domain alfred)\n(:objects\nagent1 - agent\n"
        f"{_lines(_objects(household))})\n\n(:init\n{_lines(_initial(household))})\n"
        f"{_goal_text(goal)}\n"
    )


def _objects(household: Household) -> list[str]:
    places = {receptacle.location for receptacle in household.receptacles}
    object_types = sorted({item.type for item in household.items})
    receptacle_types = sorted({receptacle.type for receptacle in household.receptacles})
    # The domain names these types, so that every problem must know them.
    known = {"FridgeType", "MicrowaveType", "SinkBasinType"} - {
        f"{t}Type" for t in receptacle_types
    }
    knives = {"KnifeType", "ButterKnifeType"} - {f"{kind}Type" for kind in object_types}
    return [
        *(f"{kind}Type - otype" for kind in object_types),
        *(f"{kind} - otype" for kind in sorted(knives)),
        *(f"{kind}Type - rtype" for kind in receptacle_types),
        *(f"{kind} - rtype" for kind in sorted(known)),
        *(f"{mangled(item.identifier)} - object" for item in household.items),
        *(f"{mangled(place.identifier)} - receptacle" for place in household.receptacles),
        *(f"{mangled(place)} - location" for place in sorted({*places, household.agent})),
    ]


def _initial(household: Household) -> list[str]:
    items, receptacles = household.items, household.receptacles
    place = {receptacle.identifier: receptacle.location for receptacle in receptacles}
    able = abilities()
    types = sorted({item.type for item in items})
    held = can_contain()
    return [
        *(f"(receptacleType {mangled(r.identifier)} {r.type}Type)" for r in receptacles),
        *(f"(objectType {mangled(item.identifier)} {item.type}Type)" for item in items),
        *(
            f"(canContain {receptacle}Type {kind}Type)"
            for receptacle in sorted({r.type for r in receptacles})
            for kind in types
            if kind in held.get(receptacle, ())
        ),
        *(f"(pickupable {mangled(i.identifier)})" for i in items if i.type not in IMMOVABLE),
        *(f"(openable {mangled(r.identifier)})" for r in receptacles if r.openable),
        f"(atLocation agent1 {mangled(household.agent)})",
        *(
            f"({word} {mangled(item.identifier)})"
            for word in _ABLE
            for item in items
            if item.type in able[word]
        ),
        *(f"(inReceptacle {mangled(i.identifier)} {mangled(i.receptacle)})" for i in items),
        *(
            f"(receptacleAtLocation {mangled(r.identifier)} {mangled(r.location)})"
            for r in receptacles
        ),
        *(
            f"(objectAtLocation {mangled(i.identifier)} {mangled(place[i.receptacle])})"
            for i in items
        ),
    ]


def _goal_text(goal: Goal) -> str:
    text = str(goals()[goal.task_type]["pddl"]).replace("#", "-")
    return text.format(obj=goal.wanted, recep=goal.target, toggle=goal.target)


def _lines(texts: list[str]) -> str:
    return "".join(f"        {text}\n" for text in texts)


def parse_problem(text: str) -> tuple[Household, Goal]:
    """The household and the goal of a game's problem, of a real game as well.

    `TaskError` if the text is no such problem.
    """
    begin, end = text.find("(:init"), text.find("(:goal")
    atoms = [match.groups() for match in _ATOM.finditer(text, begin, end)]
    types = {a: str(b).removesuffix("Type") for word, a, b in atoms if word.endswith("eType")}
    types |= {a: str(b).removesuffix("Type") for word, a, b in atoms if word == "objectType"}
    opens = {a for word, a, _ in atoms if word == "openable"}
    agent = [b for word, _, b in atoms if word == "atLocation"]
    if begin < 0 or end < 0 or len(agent) != 1:
        raise TaskError(
            "an ALFWorld game's problem has no (:init, no (:goal or not one atLocation: "
            "it is no game.tw-pddl"
        )
    receptacles = tuple(
        Receptacle(plain(a), types[a], plain(str(b)), a in opens)
        for word, a, b in atoms
        if word == "receptacleAtLocation"
    )
    items = tuple(
        Item(plain(a), types.get(a, a.split("_bar_")[0]), plain(str(b)))
        for word, a, b in atoms
        if word == "inReceptacle"
    )
    household = Household(receptacles, items, plain(str(agent[0])))
    known = {plain(a) for word, a, _ in atoms if word.startswith("object")}
    loose = tuple(sorted(known - set(household.placed)))
    return replace(household, loose=loose), _goal_of(text[end:])


def _goal_of(text: str) -> Goal:
    kind = next((kind for sign, kind in _KINDS.items() if sign in text), "pick_and_place_simple")
    types = dict(re.findall(r"\((?:objectType|receptacleType) \?(\w+) (\w+)Type\)", text))
    wanted, target = types.get("o", types.get("o1")), types.get("ot", types.get("r"))
    if wanted is None or target is None:
        raise TaskError("an ALFWorld game's goal names no object type or no place: it is unknown")
    return Goal(kind, wanted, target)
