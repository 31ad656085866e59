"""Rearrangement problems: a robot takes toys, one at a time, to other sites.

Toys (bears, monkeys and pawns, which makes no difference) and the robot start at random sites, any
site is one move away, and the goal gives toys random sites, with one of them in hand at times. What
the robot holds moves with it.
"""

from __future__ import annotations

import random
from collections.abc import Mapping

from tasks.generators.generator import Generator, Parameter, goals, keep_goals
from tasks.naming import NamingRules, Pool, by_type
from tasks.pddl import Problem
from tasks.task import Atom

ROBOT = "robot"


def draw(rng: random.Random, size: Mapping[str, int]) -> Problem:
    """A problem with `size["toys"]` toys and `size["sites"]` sites."""
    toys = [f"{rng.choice(('bear', 'monkey', 'pawn'))}-{i}" for i in range(size["toys"])]
    sites = [f"loc-{i}" for i in range(size["sites"])]
    while True:
        placed = {("at", toy, rng.choice(sites)) for toy in toys}
        wanted: list[Atom] = [("at", toy, rng.choice(sites)) for toy in toys]
        if rng.random() < 0.3:
            place = rng.randrange(len(toys))
            wanted[place] = ("holding", toys[place])
        goal = keep_goals(rng, wanted, size.get("goals", 0))
        if not placed.issuperset(goal):
            break
    initial: set[Atom] = {*placed, ("at", ROBOT, rng.choice(sites))}
    initial |= {("isrobot", ROBOT), ("handsfree", ROBOT)}
    initial |= {(f"is{toy.partition('-')[0]}", toy) for toy in toys}
    objects = (
        *((name, "moveable") for name in toys),
        (ROBOT, "moveable"),
        *((name, "static") for name in sites),
    )
    return Problem(f"rearrangement-{len(toys)}-{len(sites)}", objects, frozenset(initial), goal)


GLIBREARRANGEMENT = Generator(
    (Parameter("toys", 1, (3, 4), "toys"), Parameter("sites", 2, (4, 5), "sites"), goals(2, 3)),
    draw,
    # The robot's hands are free where it holds nothing.
    NamingRules(
        (Pool("toy"), Pool("site")),
        by_type({"moveable": "toy", "static": "site"}),
        frozenset({ROBOT}),
        implied=frozenset({"handsfree"}),
    ),
)
