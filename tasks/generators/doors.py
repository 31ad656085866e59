"""Doors problems: keys unlock rooms for good, and one moves to any location of an unlocked room.

Some locations are in the unlocked first room; the key of every other room lies in an earlier one,
mostly the one before, and the goal is a location of the room that takes the most keys (fewer if a
second key lies handy).
"""

from __future__ import annotations

import random
from collections.abc import Mapping

from tasks.generators.generator import GOALS, Generator, Parameter, keep_goals
from tasks.naming import NamingRules, Pool, by_type
from tasks.pddl import Problem
from tasks.task import Atom


def draw(rng: random.Random, size: Mapping[str, int]) -> Problem:
    """A problem with `size["rooms"]` rooms and `size["spare"]` more locations than rooms."""
    rooms = [f"room-{i}" for i in range(size["rooms"])]
    keys = [f"key-{i}" for i in range(1, len(rooms) + size["doubles"])]
    locations = [f"loc-{i}" for i in range(1, len(rooms) + size["spare"] + 1)]
    homes = [*rooms, *(rng.choice(rooms) for _ in range(size["spare"]))]
    rng.shuffle(homes)
    within: dict[str, list[str]] = {room: [] for room in rooms}
    for location, room in zip(locations, homes):
        within[room].append(location)
    needed = {rooms[0]: 0}  # keys to the room, its own included
    start = rng.choice(within[rooms[0]])
    initial: set[Atom] = {("at", start), ("unlocked", rooms[0])}
    initial |= {("locinroom", location, room) for location, room in zip(locations, homes)}
    order = rng.sample(keys, len(keys))  # or the text would list them as they are needed
    for number, (room, key) in enumerate(zip(rooms[1:], order)):
        earlier = rooms[number] if rng.random() < 0.7 else rng.choice(rooms[: number + 1])
        needed[room] = needed[earlier] + 1
        initial |= {("keyforroom", key, room), ("keyat", key, rng.choice(within[earlier]))}
    for key in order[len(rooms) - 1 :]:
        initial.add(("keyforroom", key, rng.choice(rooms[1:])))
        initial.add(("keyat", key, rng.choice(locations)))
    deepest = max(rooms, key=needed.__getitem__)
    wanted = [("at", rng.choice(within[deepest]))]
    objects = (
        *((name, "key") for name in keys),
        *((name, "location") for name in locations),
        *((name, "room") for name in rooms),
    )
    return Problem(
        f"doors-{len(rooms)}-{len(locations)}",
        objects,
        frozenset(initial),
        keep_goals(rng, wanted, size.get("goals", 0)),
    )


DOORS = Generator(
    (
        Parameter("rooms", 2, (5, 6), "rooms, of which the first is unlocked"),
        Parameter("spare", 0, (1, 2), "locations beyond one a room"),
        Parameter("doubles", 0, (0, 1), "second keys, anywhere"),
        GOALS,
    ),
    draw,
    NamingRules(
        (Pool("key"), Pool("location"), Pool("room")),
        by_type(),
        shown=frozenset({"locinroom", "keyforroom"}),
    ),
)
