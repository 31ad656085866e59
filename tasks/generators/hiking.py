"""Hiking problems: a way to a far place; hills are climbed, and water is never left.

Places are connected as a random tree with some more connections. Of a few starts (and waters) the
one with the longest way is taken, and the goal is one of the farthest places, dry or wet.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence

from tasks.generators.generator import GOALS, Generator, Parameter, keep_goals
from tasks.generators.maps import random_map
from tasks.naming import NamingRules, Pool, by_type
from tasks.pddl import Problem
from tasks.task import Atom


def draw(rng: random.Random, size: Mapping[str, int]) -> Problem:
    """A problem with `size["places"]` places, at most `size["water"]` of them water."""
    places = [f"r{i}" for i in range(1, size["places"] + 1)]
    paths = random_map(rng, places, size["loops"], reach=rng.choice((1, 2)))
    tries = [_start(rng, places, paths, size["water"]) for _ in range(6)]
    start, water, distance = max(tries, key=lambda found: max(found[2].values()))
    hills = {place for place in places if place not in water and rng.random() < 0.4}
    most = max(distance.values())
    goal = rng.choice(sorted(place for place, steps in distance.items() if steps == most))
    initial: set[Atom] = {("at", start), ("isgoal", goal)}
    initial |= {("adjacent", a, b) for a, b in paths}
    initial |= {("iswater", place) for place in water} | {("ishill", place) for place in hills}
    return Problem(
        f"hiking-{len(places)}",
        tuple((name, "loc") for name in places),
        frozenset(initial),
        keep_goals(rng, [("at", goal)], size.get("goals", 0)),
    )


def _start(
    rng: random.Random, places: Sequence[str], paths: set[tuple[str, str]], water: int
) -> tuple[str, set[str], dict[str, int]]:
    """A start on dry land, the places that are water, and the steps to all that can be reached."""
    start, *others = rng.sample(places, len(places))
    wet = set(others[:water])
    return start, wet, _distances(paths, start, wet)


def _distances(paths: set[tuple[str, str]], start: str, water: set[str]) -> dict[str, int]:
    """The number of steps to every place that can be reached."""
    distance = {start: 0}
    reached = [start]
    for here in reached:
        for there in sorted(b for a, b in paths if a == here and here not in water):
            if there not in distance:
                distance[there] = distance[here] + 1
                reached.append(there)
    return distance


HIKING = Generator(
    (
        Parameter("places", 3, (8, 8), "places"),
        Parameter("loops", 0, (0, 0), "connections beyond those of a tree"),
        Parameter("water", 0, (0, 1), "places that cannot be left"),
        GOALS,
    ),
    draw,
    # `isgoal` repeats the goal, and nothing depends on `ontrail`.
    NamingRules((Pool("loc"),), by_type(), shown=frozenset({"adjacent", "iswater", "ishill"})),
)
