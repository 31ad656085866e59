"""Trap newspapers problems: as Newspapers, but some locations can be entered and never left.

A paper can be delivered anywhere. At most one of the locations that want a paper is a trap, so
that it can be served last; the start and the home bases are safe.
"""

from __future__ import annotations

import random
from collections.abc import Mapping

from tasks.generators.generator import Generator, Parameter, goals, keep_goals
from tasks.naming import NamingRules, Pool, by_type
from tasks.pddl import Problem
from tasks.task import Atom


def draw(rng: random.Random, size: Mapping[str, int]) -> Problem:
    """A problem with `size["wanting"]` locations that want a paper and `size["traps"]` traps."""
    wanting = size["wanting"]
    count = max(size["locations"], max(wanting, size["bases"]) + size["traps"])
    locations = [f"loc-{i}" for i in range(1, count + 1)]
    papers = [f"paper-{i}" for i in range(1, max(size["papers"], wanting) + 1)]
    traps = rng.sample(locations, size["traps"])
    safe = [location for location in locations if location not in traps]
    if traps and rng.random() < 0.5:
        wants = sorted([traps[0], *rng.sample(safe, wanting - 1)])
    else:
        wants = sorted(rng.sample(safe, wanting))
    initial: set[Atom] = {("at", rng.choice(safe))}
    initial |= {("ishomebase", location) for location in rng.sample(safe, size["bases"])}
    initial |= {("safe", location) for location in safe}
    initial |= {("wantspaper", location) for location in wants}
    initial |= {("unpacked", paper) for paper in papers[size["carried"] :]}
    initial |= {("carrying", paper) for paper in papers[: size["carried"]]}
    wanted = [("satisfied", location) for location in wants]
    return Problem(
        f"trapnewspapers-{wanting}-{len(papers)}",
        (*((name, "loc") for name in locations), *((name, "paper") for name in papers)),
        frozenset(initial),
        keep_goals(rng, wanted, size.get("goals", 0)),
    )


TRAPNEWSPAPERS = Generator(
    (
        Parameter("locations", 2, (5, 6), "locations, at least as many as are needed"),
        Parameter("traps", 0, (1, 2), "locations that cannot be left"),
        Parameter("wanting", 1, (3, 4), "locations that want a paper"),
        Parameter("papers", 1, (3, 4), "papers, at least as many as are wanted"),
        Parameter("bases", 1, (1, 2), "home bases"),
        Parameter("carried", 0, (0, 2), "papers that are carried at the start (if there are any)"),
        goals(2, 4),
    ),
    draw,
    # Nothing depends on `wantspaper`, and it holds where it held until a location is satisfied.
    NamingRules(
        (Pool("loc"), Pool("paper")),
        by_type(),
        shown=frozenset({"ishomebase", "safe"}),
        implied=frozenset({"wantspaper"}),
    ),
)
