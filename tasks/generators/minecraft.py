"""Minecraft problems: logs and grass are picked up, and planks crafted from logs in hand.

Things lie at random sites or are carried already, and any site is one move away. The goal asks
for planks (each takes a log), for other things carried, and at times for one of these in hand.
"""

from __future__ import annotations

import random
from collections.abc import Mapping

from tasks.generators.generator import Generator, Parameter, goals, keep_goals
from tasks.naming import NamingRules, Pool, by_first_predicate
from tasks.pddl import Problem
from tasks.task import Atom

AGENT = "agent"


def draw(rng: random.Random, size: Mapping[str, int]) -> Problem:
    """A problem with `size["logs"]` logs, `size["grass"]` grass and `size["planks"]` planks."""
    logs = [f"log-{i}" for i in range(size["logs"])]
    grass = [f"grass-{i}" for i in range(size["grass"])]
    planks = [f"new-{i}" for i in range(size["planks"])]
    sites = [f"loc-{i}" for i in range(size["sites"])]
    needed = rng.sample(logs, min(len(logs), len(planks)))
    others = [name for name in (*logs, *grass) if name not in needed]
    while True:
        initial: set[Atom] = {("agentat", rng.choice(sites)), ("handsfree", AGENT)}
        for name in (*logs, *grass):
            carried = rng.random() < 0.15
            initial.add(("inventory", name) if carried else ("at", name, rng.choice(sites)))
        wanted: list[Atom] = [("inventory", name) for name in (*planks[: len(needed)], *others)]
        if rng.random() < 0.5:
            place = rng.randrange(len(wanted))
            wanted[place] = ("equipped", wanted[place][1], AGENT)
        goal = keep_goals(rng, wanted, size.get("goals", 0))
        if not initial.issuperset(goal):
            break
    initial |= {("islog", name) for name in logs} | {("isgrass", name) for name in grass}
    initial |= {("hypothetical", name) for name in planks}
    objects = (
        *((name, "moveable") for name in (*grass, *logs, *planks)),
        (AGENT, "agent"),
        *((name, "static") for name in sites),
    )
    return Problem(
        f"minecraft-{len(logs)}-{len(grass)}-{len(planks)}", objects, frozenset(initial), goal
    )


_POOLS = {"islog": "log", "isgrass": "grass", "hypothetical": "plank"}

MINECRAFT = Generator(
    (
        Parameter("logs", 1, (2, 3), "logs"),
        Parameter("grass", 0, (0, 1), "grass"),
        Parameter("planks", 0, (1, 2), "planks that can be crafted"),
        Parameter("sites", 2, (3, 4), "sites"),
        goals(2, 3),
    ),
    draw,
    # The hands are free where nothing is in them; grass is called so.
    NamingRules(
        (*(Pool(pool) for pool in _POOLS.values()), Pool("site"), Pool("moveable")),
        by_first_predicate(_POOLS, {"static": "site"}),
        frozenset({AGENT}),
        implied=frozenset({"handsfree"}),
    ),
)
