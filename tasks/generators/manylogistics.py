"""Logistics problems: trucks within cities and airplanes between them carry packages.

Every city has one airport, other locations and one truck. Packages, trucks (each in its city) and
airplanes (at airports) start at random; the goal gives packages other random locations.
"""

from __future__ import annotations

import random
from collections.abc import Mapping

from tasks.generators.generator import Generator, Parameter, goals, keep_goals
from tasks.naming import NamingRules, Pool, by_first_predicate
from tasks.pddl import ROOT_TYPE, Problem
from tasks.task import Atom


def draw(rng: random.Random, size: Mapping[str, int]) -> Problem:
    """A problem with `size["packages"]` packages in `size["cities"]` cities."""
    cities = [f"c{i}" for i in range(1, size["cities"] + 1)]
    trucks = [f"t{i}" for i in range(1, len(cities) + 1)]
    airplanes = [f"a{i}" for i in range(1, size["airplanes"] + 1)]
    packages = [f"p{i}" for i in range(1, size["packages"] + 1)]
    places = {
        city: [f"l{i}{j}" for j in range(size["locations"])] for i, city in enumerate(cities, 1)
    }
    everywhere = [place for within in places.values() for place in within]
    airports = [within[0] for within in places.values()]
    ways = [rng.sample(everywhere, 2) for _ in packages]
    initial: set[Atom] = {("at", package, start) for package, (start, _) in zip(packages, ways)}
    initial |= {("at", airplane, rng.choice(airports)) for airplane in airplanes}
    for city, truck in zip(cities, trucks):
        initial |= {("city", city), ("truck", truck), ("at", truck, rng.choice(places[city]))}
        initial |= {("in-city", place, city) for place in places[city]}
    initial |= {("obj", package) for package in packages}
    initial |= {("airplane", airplane) for airplane in airplanes}
    initial |= {("location", place) for place in everywhere}
    initial |= {("airport", airport) for airport in airports}
    wanted = [("at", package, end) for package, (_, end) in zip(packages, ways)]
    names = (*airplanes, *cities, *trucks, *everywhere, *packages)
    return Problem(
        f"logistics-{len(cities)}-{size['locations']}-{len(packages)}",
        tuple((name, ROOT_TYPE) for name in names),
        frozenset(initial),
        keep_goals(rng, wanted, size.get("goals", 0)),
    )


_POOLS = {
    "airport": "airport",
    "location": "location",
    "city": "city",
    "truck": "truck",
    "airplane": "airplane",
    "obj": "package",
}

MANYLOGISTICS = Generator(
    (
        Parameter("cities", 1, (2, 2), "cities, each with a truck"),
        Parameter("locations", 2, (2, 2), "locations in each city, one of them its airport"),
        Parameter("airplanes", 1, (1, 1), "airplanes"),
        Parameter("packages", 1, (1, 3), "packages"),
        goals(1, 2),
    ),
    draw,
    NamingRules(
        tuple(Pool(pool) for pool in _POOLS.values()),
        by_first_predicate(_POOLS),
        shown=frozenset({"in-city"}),
    ),
)
