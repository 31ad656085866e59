"""Newspapers problems: papers are picked up at a home base and delivered where they are wanted.

Locations are drawn for the home bases, for those that want a paper (a home base may want one too)
and for the start; some papers are carried already. There are at least as many papers as locations
that want one, and every location is one move from every other.
"""

from __future__ import annotations

import random
from collections.abc import Mapping

from tasks.generators.generator import Generator, Parameter, goals, keep_goals
from tasks.naming import NamingRules, Pool, by_type
from tasks.pddl import Problem
from tasks.task import Atom


def draw(rng: random.Random, size: Mapping[str, int]) -> Problem:
    """A problem in which `size["wanting"]` of at least so many locations want a paper."""
    wanting, bases = size["wanting"], size["bases"]
    carried = size["carried"]
    count = max(size["locations"], wanting, bases)
    locations = [f"loc-{i}" for i in range(1, count + 1)]
    papers = [f"paper-{i}" for i in range(1, max(size["papers"], wanting) + 1)]
    wants = sorted(rng.sample(locations, wanting))
    initial: set[Atom] = {("at", rng.choice(locations))}
    initial |= {("ishomebase", location) for location in rng.sample(locations, bases)}
    initial |= {("wantspaper", location) for location in wants}
    initial |= {("unpacked", paper) for paper in papers[carried:]}
    initial |= {("carrying", paper) for paper in papers[:carried]}
    wanted = [("satisfied", location) for location in wants]
    return Problem(
        f"newspapers-{wanting}-{len(papers)}",
        (*((name, "loc") for name in locations), *((name, "paper") for name in papers)),
        frozenset(initial),
        keep_goals(rng, wanted, size.get("goals", 0)),
    )


NEWSPAPERS = Generator(
    (
        Parameter("locations", 2, (5, 6), "locations, at least as many as are needed"),
        Parameter("wanting", 1, (3, 4), "locations that want a paper"),
        Parameter("bases", 1, (1, 3), "home bases"),
        Parameter("papers", 1, (3, 5), "papers, at least as many as are wanted"),
        Parameter("carried", 0, (0, 2), "papers that are carried at the start (if there are any)"),
        goals(2, 4),
    ),
    draw,
    # Satisfied is who wanted a paper and does no more.
    NamingRules(
        (Pool("loc"), Pool("paper")),
        by_type(),
        shown=frozenset({"ishomebase"}),
        implied=frozenset({"satisfied"}),
    ),
)
