"""Visit-all problems: a robot visits places along the connections between them.

The connections are a random tree with some more; the goal names places not yet visited.
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
    """A problem with `size["places"]` places and `size["loops"]` connections beyond a tree."""
    places = [f"loc-{i}" for i in range(1, size["places"] + 1)]
    start = rng.choice(places)
    initial: set[Atom] = {("at-robot", start), ("visited", start)}
    initial |= {("connected", a, b) for a, b in random_map(rng, places, size["loops"])}
    wanted = [("visited", place) for place in places if place != start]
    return Problem(
        f"visit-all-{len(places)}",
        tuple((name, "place") for name in places),
        frozenset(initial),
        keep_goals(rng, wanted, size.get("goals", 0)),
    )


VISIT_ALL = Generator(
    (
        Parameter("places", 2, (6, 7), "places"),
        Parameter("loops", 0, (0, 2), "connections beyond those of a tree"),
        goals(4, 5),
    ),
    draw,
    NamingRules((Pool("place"),), by_type(), shown=frozenset({"connected"})),
)
