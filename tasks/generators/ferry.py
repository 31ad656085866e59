"""Ferry problems: a ferry carries one car at a time between locations.

Every car and the ferry start at a random location; the goal gives each car a random location,
and at least one car is elsewhere at the start. The ferry is empty.
"""

from __future__ import annotations

import random
from collections.abc import Mapping

from tasks.generators.generator import Generator, Parameter
from tasks.pddl import Problem
from tasks.task import Atom


def draw(rng: random.Random, size: Mapping[str, int]) -> Problem:
    """A problem with `size["cars"]` cars and `size["locations"]` locations."""
    cars = [f"c{i}" for i in range(1, size["cars"] + 1)]
    locations = [f"l{i}" for i in range(1, size["locations"] + 1)]
    while True:
        start = [rng.choice(locations) for _ in cars]
        goal = [rng.choice(locations) for _ in cars]
        if start != goal:
            break
    initial: set[Atom] = {("empty-ferry", "ferry"), ("at-ferry", rng.choice(locations))}
    initial |= {("car", car) for car in cars}
    initial |= {("location", location) for location in locations}
    initial |= {("at", car, location) for car, location in zip(cars, start)}
    initial |= {("not-eq", a, b) for a in locations for b in locations if a != b}
    objects = (*((name, "obj") for name in (*cars, *locations)), ("ferry", "ferry"))
    return Problem(
        f"ferry-{len(locations)}-{len(cars)}",
        objects,
        frozenset(initial),
        tuple(("at", car, location) for car, location in zip(cars, goal)),
    )


FERRY = Generator(
    (Parameter("cars", 1, (1, 3), "cars"), Parameter("locations", 2, (2, 4), "locations")), draw
)
