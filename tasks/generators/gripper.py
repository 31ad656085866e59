"""Gripper problems: a robot with two grippers carries balls between rooms.

Every ball and the robot start in a random room; the goal gives each ball a random room, and at
least one ball is elsewhere at the start. Both grippers are free.
"""

from __future__ import annotations

import random
from collections.abc import Mapping

from tasks.generators.generator import GOALS, Generator, Parameter, keep_goals
from tasks.naming import NamingRules, Pool, by_predicate
from tasks.pddl import ROOT_TYPE, Problem
from tasks.task import Atom

GRIPPERS = ("left", "right")


def draw(rng: random.Random, size: Mapping[str, int]) -> Problem:
    """A problem with `size["balls"]` balls and `size["rooms"]` rooms."""
    balls = [f"ball{i}" for i in range(1, size["balls"] + 1)]
    rooms = [f"room{i}" for i in range(1, size["rooms"] + 1)]
    while True:
        start = [rng.choice(rooms) for _ in balls]
        ends = [rng.choice(rooms) for _ in balls]
        wanted = [("at", ball, room) for ball, room in zip(balls, ends)]
        goal = keep_goals(rng, wanted, size.get("goals", 0))
        placed = {("at", ball, room) for ball, room in zip(balls, start)}
        if not placed.issuperset(goal):
            break
    initial: set[Atom] = {("at-robby", rng.choice(rooms))}
    initial |= {("room", room) for room in rooms}
    initial |= {("ball", ball) for ball in balls}
    initial |= placed
    for gripper in GRIPPERS:
        initial |= {("gripper", gripper), ("free", gripper)}
    return Problem(
        f"gripper-{len(balls)}-{len(rooms)}",
        tuple((name, ROOT_TYPE) for name in (*rooms, *balls, *GRIPPERS)),
        frozenset(initial),
        goal,
    )


# The grippers are ordered: permuted, the hand that canonical plans take first could not be learned.
GRIPPER = Generator(
    (Parameter("balls", 1, (1, 3), "balls"), Parameter("rooms", 2, (2, 3), "rooms"), GOALS),
    draw,
    NamingRules(
        (Pool("ball"), Pool("room"), Pool("gripper", ordered=True, words=GRIPPERS)),
        by_predicate(("ball", "room", "gripper")),
    ),
)
