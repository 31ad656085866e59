"""Miconic problems: a lift takes passengers from floor to floor.

Every passenger waits on a random floor and wants to another one; the lift stands on a random
floor. PDDLGym's files hold several such houses; ours have one, with floor f1 at the bottom. The
lift reaches any floor in one step, so that only floors where someone gets in or out matter.
"""

from __future__ import annotations

import random
from collections.abc import Mapping

from tasks.generators.generator import Generator, Parameter, goals, keep_goals
from tasks.naming import NamingRules, Pool, by_type
from tasks.pddl import Problem
from tasks.task import Atom


def draw(rng: random.Random, size: Mapping[str, int]) -> Problem:
    """A problem with `size["passengers"]` passengers and `size["floors"]` floors."""
    passengers = [f"p{i}" for i in range(1, size["passengers"] + 1)]
    floors = [f"f{i}" for i in range(1, size["floors"] + 1)]
    initial: set[Atom] = {("lift-at", rng.choice(floors))}
    initial |= {("above", low, high) for i, low in enumerate(floors) for high in floors[i + 1 :]}
    for passenger in passengers:
        origin, destination = rng.sample(floors, 2)
        initial |= {("origin", passenger, origin), ("destin", passenger, destination)}
    wanted = [("served", passenger) for passenger in passengers]
    return Problem(
        f"miconic-{len(floors)}-{len(passengers)}",
        (*((name, "floor") for name in floors), *((name, "passenger") for name in passengers)),
        frozenset(initial),
        keep_goals(rng, wanted, size.get("goals", 0)),
    )


MANYMICONIC = Generator(
    (
        Parameter("passengers", 1, (2, 4), "passengers"),
        Parameter("floors", 2, (4, 6), "floors"),
        goals(2, 3),
    ),
    draw,
    # `above` is what the order of the floors' names says.
    NamingRules(
        (Pool("passenger"), Pool("floor", ordered=True)),
        by_type(),
        shown=frozenset({"origin", "destin"}),
    ),
)
