"""Fridge problems: compressors are exchanged, which takes stopping, unscrewing and screwing.

Every fridge has compressors and screws of its own; each screw fits some of the compressors. One
compressor is attached at the start, and the goal is that another one is, with the fridge on.
Screws that do not fit the attached compressor lie loose: else nothing could loosen them. A fridge
that is on has all its compressor's screws fastened, as in PDDLGym's files.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence

from tasks.generators.generator import Generator, Parameter, goals, keep_goals
from tasks.naming import NamingRules, Pool, by_type
from tasks.pddl import Problem
from tasks.task import Atom


def draw(rng: random.Random, size: Mapping[str, int]) -> Problem:
    """A problem with `size["fridges"]` fridges, each with its own compressors and screws."""
    fridges = [f"f{i}" for i in range(1, size["fridges"] + 1)]
    screws = {f: [f"s{f[1:]}-{i}" for i in range(1, size["screws"] + 1)] for f in fridges}
    compressors = {f: [f"c{f[1:]}-{i}" for i in range(1, size["compressors"] + 1)] for f in fridges}
    while True:
        initial: set[Atom] = set()
        wanted: list[Atom] = []
        for fridge in fridges:
            before, after = rng.sample(compressors[fridge], 2)
            initial |= _fridge(rng, fridge, before, compressors[fridge], screws[fridge])
            wanted += [("attached", after, fridge), ("fridge-on", fridge)]
        goal = keep_goals(rng, wanted, size.get("goals", 0))
        if not initial.issuperset(goal):
            break
    objects = (
        *((name, "screw") for fridge in fridges for name in screws[fridge]),
        *((name, "compressor") for fridge in fridges for name in compressors[fridge]),
        *((name, "fridge") for name in fridges),
    )
    name = f"fridge-{len(fridges)}-{size['compressors']}-{size['screws']}"
    return Problem(name, objects, frozenset(initial), goal)


def _fridge(
    rng: random.Random,
    fridge: str,
    attached: str,
    compressors: Sequence[str],
    screws: Sequence[str],
) -> set[Atom]:
    """The initial atoms of one fridge."""
    fits = {("fits", screw, rng.choice(compressors)) for screw in screws}
    fits |= {("fits", rng.choice(screws), compressor) for compressor in compressors}
    fits |= {("fits", s, c) for s in screws for c in compressors if rng.random() < 0.5}
    holding = sorted(screw for _, screw, compressor in fits if compressor == attached)
    initial: set[Atom] = {*fits, ("attached", attached, fridge)}
    if rng.random() < 0.5:
        initial |= {("screwed", screw) for screw in holding} | {("fridge-on", fridge)}
    else:
        initial |= {("screwed", screw) for screw in holding if rng.random() < 0.5}
    return initial


FRIDGE = Generator(
    (
        Parameter("fridges", 1, (1, 2), "fridges"),
        Parameter("compressors", 2, (2, 2), "compressors of each fridge"),
        Parameter("screws", 1, (2, 3), "screws of each fridge"),
        goals(2, 3),
    ),
    draw,
    NamingRules(
        (Pool("screw"), Pool("compressor"), Pool("fridge")),
        by_type(),
        shown=frozenset({"fits"}),
    ),
)
