"""One-armed gripper problems: a robot with one gripper carries balls between rooms.

Every ball and the robot start in a random room; the goal gives each ball a random room, and at
least one ball is elsewhere at the start. The gripper is free.
"""

from __future__ import annotations

import random
from collections.abc import Mapping

from tasks.generators.generator import Generator, Parameter, goals, keep_goals
from tasks.naming import NamingRules, Pool, by_type
from tasks.pddl import Problem
from tasks.task import Atom

GRIPPER = "left"
"""The gripper's name in PDDLGym's files."""


def draw(rng: random.Random, size: Mapping[str, int]) -> Problem:
    """A problem with `size["balls"]` balls and `size["rooms"]` rooms."""
    balls = [f"ball{i}" for i in range(1, size["balls"] + 1)]
    rooms = [f"room{i}" for i in range(1, size["rooms"] + 1)]
    while True:
        placed = {("at", ball, rng.choice(rooms)) for ball in balls}
        wanted = [("at", ball, rng.choice(rooms)) for ball in balls]
        goal = keep_goals(rng, wanted, size.get("goals", 0))
        if not placed.issuperset(goal):
            break
    initial: set[Atom] = {*placed, ("at-robby", rng.choice(rooms))}
    initial |= {("room", room) for room in rooms}
    initial |= {("ball", ball) for ball in balls}
    initial |= {("gripper", GRIPPER), ("free", GRIPPER)}
    objects = (
        *((name, "room") for name in rooms),
        *((name, "ball") for name in balls),
        (GRIPPER, "gripper"),
    )
    return Problem(f"onearmedgripper-{len(balls)}-{len(rooms)}", objects, frozenset(initial), goal)


ONEARMEDGRIPPER = Generator(
    (Parameter("balls", 1, (2, 4), "balls"), Parameter("rooms", 2, (3, 4), "rooms"), goals(2, 3)),
    draw,
    # The gripper is free where it carries nothing.
    NamingRules(
        (Pool("ball"), Pool("room")),
        by_type(),
        frozenset({GRIPPER}),
        implied=frozenset({"free"}),
    ),
)
