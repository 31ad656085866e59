"""Gripper problems: a robot with two grippers carries balls between rooms.

Every ball and the robot start in a random room; the goal gives each ball a random room, and at
least one ball is elsewhere at the start. Both grippers are free.
"""

from __future__ import annotations

import random
from collections.abc import Mapping

from tasks.generators.generator import Generator, Parameter
from tasks.pddl import ROOT_TYPE, Problem
from tasks.task import Atom

GRIPPERS = ("left", "right")


def draw(rng: random.Random, size: Mapping[str, int]) -> Problem:
    """A problem with `size["balls"]` balls and `size["rooms"]` rooms."""
    balls = [f"ball{i}" for i in range(1, size["balls"] + 1)]
    rooms = [f"room{i}" for i in range(1, size["rooms"] + 1)]
    while True:
        start = [rng.choice(rooms) for _ in balls]
        goal = [rng.choice(rooms) for _ in balls]
        if start != goal:
            break
    initial: set[Atom] = {("at-robby", rng.choice(rooms))}
    initial |= {("room", room) for room in rooms}
    initial |= {("ball", ball) for ball in balls}
    initial |= {("at", ball, room) for ball, room in zip(balls, start)}
    for gripper in GRIPPERS:
        initial |= {("gripper", gripper), ("free", gripper)}
    return Problem(
        f"gripper-{len(balls)}-{len(rooms)}",
        tuple((name, ROOT_TYPE) for name in (*rooms, *balls, *GRIPPERS)),
        frozenset(initial),
        tuple(("at", ball, room) for ball, room in zip(balls, goal)),
    )


GRIPPER = Generator(
    (Parameter("balls", 1, (1, 3), "balls"), Parameter("rooms", 2, (2, 3), "rooms")), draw
)
