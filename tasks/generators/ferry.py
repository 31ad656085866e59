"""Ferry problems: a ferry carries one car at a time between locations.

Every car and the ferry start at a random location; the goal gives each car a random location,
and at least one car is elsewhere at the start. The ferry is empty.
"""

from __future__ import annotations

import random
from collections.abc import Mapping

from tasks.generators.generator import GOALS, Generator, Parameter, keep_goals
from tasks.naming import NamingRules, Pool, by_predicate
from tasks.pddl import Problem
from tasks.task import Atom


def draw(rng: random.Random, size: Mapping[str, int]) -> Problem:
    """A problem with `size["cars"]` cars and `size["locations"]` locations."""
    cars = [f"c{i}" for i in range(1, size["cars"] + 1)]
    locations = [f"l{i}" for i in range(1, size["locations"] + 1)]
    while True:
        start = [rng.choice(locations) for _ in cars]
        ends = [rng.choice(locations) for _ in cars]
        wanted = [("at", car, location) for car, location in zip(cars, ends)]
        goal = keep_goals(rng, wanted, size.get("goals", 0))
        placed = {("at", car, location) for car, location in zip(cars, start)}
        if not placed.issuperset(goal):
            break
    initial: set[Atom] = {("empty-ferry", "ferry"), ("at-ferry", rng.choice(locations))}
    initial |= {("car", car) for car in cars}
    initial |= {("location", location) for location in locations}
    initial |= placed
    initial |= {("not-eq", a, b) for a in locations for b in locations if a != b}
    objects = (*((name, "obj") for name in (*cars, *locations)), ("ferry", "ferry"))
    return Problem(
        f"ferry-{len(locations)}-{len(cars)}",
        objects,
        frozenset(initial),
        goal,
    )


FERRY = Generator(
    (Parameter("cars", 1, (1, 3), "cars"), Parameter("locations", 2, (2, 4), "locations"), GOALS),
    draw,
    NamingRules(
        (Pool("car"), Pool("location")),
        by_predicate(("car", "location")),
        frozenset({"ferry"}),
    ),
)
