"""Blocks world problems: towers to be rearranged by one robot arm.

Initial state and goal are drawn alike: the blocks are put, in random order, each on the table or
on a tower with equal chances. The goal names what stands on what (as PDDLGym's files do), and at
least one block stands on another.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from itertools import pairwise

from tasks.generators.generator import GOALS, Generator, Parameter, keep_goals
from tasks.naming import NamingRules, Pool, by_type
from tasks.pddl import Problem
from tasks.task import Atom


def draw(rng: random.Random, size: Mapping[str, int]) -> Problem:
    """A problem with `size["blocks"]` blocks and at most `size["goals"]` goal conditions."""
    blocks = [f"b{i}" for i in range(1, size["blocks"] + 1)]
    while True:
        start = _towers(rng, blocks)
        goal = keep_goals(rng, sorted(_on(_towers(rng, blocks))), size.get("goals", 0))
        if goal and not set(goal) <= set(_on(start)):
            break
    initial: set[Atom] = {("handempty", "robot"), *_on(start)}
    for tower in start:
        initial |= {("ontable", tower[0]), ("clear", tower[-1])}
    objects = (*((block, "block") for block in blocks), ("robot", "robot"))
    return Problem(f"blocks-{len(blocks)}", objects, frozenset(initial), goal)


def _towers(rng: random.Random, blocks: Sequence[str]) -> list[list[str]]:
    """Towers from the bottom up."""
    towers: list[list[str]] = []
    for block in rng.sample(blocks, len(blocks)):
        place = rng.randrange(len(towers) + 1)
        if place == len(towers):
            towers.append([block])
        else:
            towers[place].append(block)
    return towers


def _on(towers: list[list[str]]) -> list[Atom]:
    return [("on", upper, lower) for tower in towers for lower, upper in pairwise(tower)]


BLOCKS = Generator(
    (Parameter("blocks", 2, (2, 4), "blocks"), GOALS),
    draw,
    NamingRules((Pool("block"),), by_type(), frozenset({"robot"})),
)
