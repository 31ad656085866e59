"""Depot problems: crates are stacked anew by hoists, and carried between places by trucks.

Every place, depot or distributor, has a pallet and a hoist; trucks start anywhere. Initial state
and goal are drawn alike: the crates are put, in random order, each on the stack of a random
pallet. The goal names what crates lie on.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from itertools import pairwise

from tasks.generators.generator import Generator, Parameter, goals, keep_goals
from tasks.naming import NamingRules, Pool, by_type
from tasks.pddl import Problem
from tasks.task import Atom


def draw(rng: random.Random, size: Mapping[str, int]) -> Problem:
    """A problem with `size["crates"]` crates at `size["distributors"]` places and a depot."""
    places = ["depot0", *(f"distributor{i}" for i in range(size["distributors"]))]
    trucks = [f"truck{i}" for i in range(size["trucks"])]
    crates = [f"crate{i}" for i in range(size["crates"])]
    pallets = [f"pallet{i}" for i in range(len(places))]
    hoists = [f"hoist{i}" for i in range(len(places))]
    while True:
        stacks = _stacks(rng, crates, pallets)
        wanted = sorted(_on(_stacks(rng, crates, pallets)))
        goal = keep_goals(rng, wanted, size.get("goals", 0))
        if not set(_on(stacks)).issuperset(goal):
            break
    initial: set[Atom] = {*_on(stacks), *(("clear", stack[-1]) for stack in stacks)}
    for place, hoist, stack in zip(places, hoists, stacks):
        initial |= {("at", name, place) for name in (hoist, *stack)}
    initial |= {("available", hoist) for hoist in hoists}
    initial |= {("at", truck, rng.choice(places)) for truck in trucks}
    objects = (
        *((name, name.rstrip("0123456789")) for name in places),
        *((name, "truck") for name in trucks),
        *((name, "pallet") for name in pallets),
        *((name, "crate") for name in crates),
        *((name, "hoist") for name in hoists),
    )
    return Problem(f"depot-{len(places)}-{len(crates)}", objects, frozenset(initial), goal)


def _stacks(rng: random.Random, crates: Sequence[str], pallets: Sequence[str]) -> list[list[str]]:
    """Stacks from the bottom up, one on each pallet."""
    stacks = [[pallet] for pallet in pallets]
    for crate in rng.sample(crates, len(crates)):
        rng.choice(stacks).append(crate)
    return stacks


def _on(stacks: list[list[str]]) -> list[Atom]:
    return [("on", upper, lower) for stack in stacks for lower, upper in pairwise(stack)]


DEPOT = Generator(
    (
        Parameter("distributors", 1, (1, 2), "distributors beside the one depot"),
        Parameter("trucks", 1, (1, 1), "trucks"),
        Parameter("crates", 1, (2, 3), "crates"),
        goals(1, 2),
    ),
    draw,
    # A hoist that lifts nothing is available; clear is what stands somewhere with nothing on it.
    NamingRules(
        tuple(Pool(t) for t in ("depot", "distributor", "truck", "pallet", "crate", "hoist")),
        by_type(),
        implied=frozenset({"available", "clear"}),
    ),
)
