"""Spanner problems: a man walks one way from the shed to the gate and tightens nuts there.

Spanners lie along the way, one of them right before the gate; each is good for one nut, and some
are of no use from the start. The man can reach at least as many useable spanners as there are
nuts, but cannot walk back for one.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from itertools import pairwise

from tasks.generators.generator import Generator, Parameter, goals, keep_goals
from tasks.naming import NamingRules, Pool, by_type
from tasks.pddl import Problem
from tasks.task import Atom


def draw(rng: random.Random, size: Mapping[str, int]) -> Problem:
    """A problem with `size["nuts"]` nuts and `size["locations"]` locations before the gate."""
    path = [f"location{i}" for i in range(1, size["locations"] + 1)]
    way = ["shed", *path, "gate"]
    nuts = [f"nut{i}" for i in range(1, size["nuts"] + 1)]
    spanners = [f"spanner{i}" for i in range(1, len(nuts) + size["spare"] + 1)]
    start = rng.randrange(min(2, len(way) - 1))
    needed = set(rng.sample(spanners, len(nuts)))
    last = rng.choice(spanners)  # shows how long the way is
    initial: set[Atom] = {("at", "bob", way[start])}
    for spanner in spanners:
        within = way[start:-1] if spanner in needed else way[:-1]
        initial.add(("at", spanner, way[-2] if spanner == last else rng.choice(within)))
        if spanner in needed or rng.random() < 0.5:
            initial.add(("useable", spanner))
    for nut in nuts:
        initial |= {("at", nut, "gate"), ("loose", nut)}
    initial |= {("link", here, there) for here, there in pairwise(way)}
    objects = (
        ("bob", "man"),
        *((name, "spanner") for name in spanners),
        *((name, "nut") for name in nuts),
        *((name, "location") for name in way),
    )
    wanted = [("tightened", nut) for nut in nuts]
    return Problem(
        f"spanner-{len(path)}-{len(spanners)}-{len(nuts)}",
        objects,
        frozenset(initial),
        keep_goals(rng, wanted, size.get("goals", 0)),
    )


SPANNERLEARNING = Generator(
    (
        Parameter("locations", 0, (1, 3), "locations between shed and gate"),
        Parameter("nuts", 1, (2, 3), "nuts"),
        Parameter("spare", 0, (1, 2), "spanners beyond those that are needed"),
        goals(2, 3),
    ),
    draw,
    # `link` is what the order of the path's names says; a nut that is not loose is tightened.
    NamingRules(
        (Pool("path", ordered=True), Pool("spanner"), Pool("nut")),
        by_type({"location": "path"}),
        frozenset({"bob", "shed", "gate"}),
        implied=frozenset({"tightened"}),
    ),
)
