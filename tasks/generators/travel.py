"""Travel problems: states are visited on foot, by car over two borders, or by plane.

Borders are a random tree with some more, so that walking reaches every state. Some states are
red and some blue; a plane flies once, between states of its colour, and a car drives once.
"""

from __future__ import annotations

import random
from collections.abc import Mapping

from tasks.generators.generator import Generator, Parameter, goals, keep_goals
from tasks.generators.maps import random_map
from tasks.naming import NamingRules, Pool, by_type
from tasks.pddl import Problem
from tasks.task import Atom


def draw(rng: random.Random, size: Mapping[str, int]) -> Problem:
    """A problem with `size["states"]` states, `size["cars"]` cars and `size["planes"]` planes."""
    states = [f"s{i}" for i in range(1, size["states"] + 1)]
    cars = [f"car-{i}" for i in range(size["cars"])]
    planes = [f"plane-{i}" for i in range(size["planes"])]
    start = rng.choice(states)
    initial: set[Atom] = {("at", start)}
    initial |= {("adjacent", a, b) for a, b in random_map(rng, states, size["loops"])}
    for state in states:
        colour = rng.choice(("red", "blue", ""))
        if colour:
            initial.add((f"is{colour}state", state))
    for plane in planes:
        initial |= {("planeavailable", plane), (rng.choice(("isredplane", "isblueplane")), plane)}
    initial |= {("caravailable", car) for car in cars}
    wanted = [("visited", state) for state in states if state != start]
    objects = (
        *((name, "car") for name in cars),
        *((name, "plane") for name in planes),
        *((name, "state") for name in states),
    )
    return Problem(
        f"travel-{len(states)}",
        objects,
        frozenset(initial),
        keep_goals(rng, wanted, size.get("goals", 0)),
    )


TRAVEL = Generator(
    (
        Parameter("states", 3, (7, 8), "states"),
        Parameter("loops", 0, (0, 1), "borders beyond those of a tree"),
        Parameter("cars", 0, (0, 1), "cars"),
        Parameter("planes", 0, (1, 2), "planes"),
        goals(4, 5),
    ),
    draw,
    NamingRules(
        (Pool("car"), Pool("plane"), Pool("state")),
        by_type(),
        shown=frozenset({"adjacent", "isredstate", "isbluestate", "isredplane", "isblueplane"}),
    ),
)
