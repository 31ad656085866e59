"""What to do next in an ALFWorld game, from nothing but what the agent knows.

    command = next_command(simulator.knowledge)     # "go to fridge 1"

The wanted object is looked for where such objects usually are, likeliest first for each step that
looking takes (a closed receptacle takes two), equal ones by number; what is seen is taken, treated
and put where it belongs. The choice is a function of the knowledge alone, so that a policy that
sees no more can learn it **(ours)**.
"""

from __future__ import annotations

from tasks.alfworld.knowledge import Knowledge
from tasks.alfworld.searching import search_order
from tasks.alfworld.vocabulary import TOOLS
from tasks.alfworld.wheel import can_contain, openable_types

_VERBS = {"cleaned": "clean", "heated": "heat", "cooled": "cool"}


def next_command(knowledge: Knowledge) -> str | None:
    """The command that leads on; None where nothing is left to look into."""
    statement = knowledge.statement
    held = knowledge.held
    if held and held.split()[0] != statement.wanted:
        return _put(knowledge, _room_for(knowledge, held))
    if not held:
        thing = _first(knowledge, _wanted(knowledge))
        return _take(knowledge, thing) if thing else _search(knowledge, statement.wanted)
    if statement.lamp:
        lamps = [name for name in knowledge.inside if name.split()[0] == statement.lamp]
        lamp = _first(knowledge, lamps)
        if lamp is None:
            return _search(knowledge, statement.lamp)
        return _go(knowledge, knowledge.inside[lamp]) or f"use {lamp}"
    if statement.treatment and statement.treatment not in knowledge.treated.get(held, ()):
        verb = _VERBS[statement.treatment]
        tool = _numbered(knowledge, TOOLS[verb])
        if not tool:
            return None
        return _go(knowledge, tool[0]) or f"{verb} {held} with {tool[0]}"
    return _put(knowledge, _target(knowledge))


def _search(knowledge: Knowledge, kind: str) -> str | None:
    unknown = [name for name, look in knowledge.looks.items() if look in ("unseen", "closed")]
    order = search_order(unknown, kind)
    return _look_into(knowledge, order[0]) if order else None


def _wanted(knowledge: Knowledge) -> list[str]:
    """The wanted objects whose place is known, but for those that are where they belong."""
    done = _target(knowledge) if knowledge.statement.count > 1 else None
    return [
        name
        for name, place in knowledge.inside.items()
        if name.split()[0] == knowledge.statement.wanted and place != done
    ]


def _first(knowledge: Knowledge, things: list[str]) -> str | None:
    """The first of some things: at hand before elsewhere, then by number."""
    ranked = sorted(
        things, key=lambda name: (knowledge.inside[name] not in knowledge.here, _number(name))
    )
    return ranked[0] if ranked else None


def _target(knowledge: Knowledge) -> str | None:
    """The receptacle to fill: the one that holds the most wanted objects, then by number."""
    statement = knowledge.statement
    targets = _numbered(knowledge, statement.target)
    filled = [
        place for name, place in knowledge.inside.items() if name.split()[0] == statement.wanted
    ]
    return min(targets, key=lambda name: -filled.count(name)) if targets else None


def _room_for(knowledge: Knowledge, thing: str) -> str | None:
    """Where to put down a thing that is not wanted: at hand before elsewhere, then by name."""
    kind = thing.split()[0]
    fitting = {
        place.lower() for place, held in can_contain().items() if kind in map(str.lower, held)
    }
    found = [name for name in knowledge.looks if name.split()[0] in fitting]
    return min(found, key=lambda name: (name not in knowledge.here, name), default=None)


def _take(knowledge: Knowledge, thing: str) -> str:
    place = knowledge.inside[thing]
    return _reach(knowledge, place) or f"take {thing} from {place}"


def _put(knowledge: Knowledge, place: str | None) -> str | None:
    if place is None:
        return None
    return _reach(knowledge, place) or f"move {knowledge.held} to {place}"


def _reach(knowledge: Knowledge, place: str) -> str | None:
    """What is to be done first to reach into a receptacle; None if the hand is there."""
    look = knowledge.looks[place]
    opens = place.split()[0] in map(str.lower, openable_types())
    ready = look in ("opened", "seen") or (look == "unseen" and not opens)
    return None if place in knowledge.here and ready else _look_into(knowledge, place)


def _look_into(knowledge: Knowledge, place: str) -> str:
    """The next step to see what is in a receptacle; what stands beside it cannot be gone to."""
    if place not in knowledge.here:
        return f"go to {place}"
    return f"examine {place}" if knowledge.looks[place] == "unseen" else f"open {place}"


def _go(knowledge: Knowledge, place: str) -> str | None:
    return None if place in knowledge.here else f"go to {place}"


def _numbered(knowledge: Knowledge, kind: str) -> list[str]:
    """The receptacles of a type, by number."""
    return sorted((name for name in knowledge.looks if name.split()[0] == kind), key=_number)


def _number(name: str) -> int:
    return int(name.split()[1])
