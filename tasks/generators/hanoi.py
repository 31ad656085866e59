"""Towers of Hanoi problems: discs on pegs, never a larger disc on a smaller one.

Initial state and goal are different random configurations (each disc on a random peg, which
fixes the towers). Disc d1 is the smallest, as in PDDLGym's files. The goal names what every disc
lies on. With n discs and 3 pegs there are 3^n configurations.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence

from tasks.generators.generator import GOALS, Generator, Parameter, keep_goals
from tasks.naming import NamingRules, Pool
from tasks.pddl import ROOT_TYPE, Problem, TypedNames
from tasks.task import Atom


def draw(rng: random.Random, size: Mapping[str, int]) -> Problem:
    """A problem with `size["discs"]` discs and `size["pegs"]` pegs."""
    discs = [f"d{i}" for i in range(1, size["discs"] + 1)]
    pegs = [f"peg{i}" for i in range(1, size["pegs"] + 1)]
    while True:
        start = [rng.choice(pegs) for _ in discs]
        ends = [rng.choice(pegs) for _ in discs]
        supports = _on(discs, start)
        goal = keep_goals(rng, _on(discs, ends), size.get("goals", 0))
        if not set(supports).issuperset(goal):
            break
    initial: set[Atom] = set(supports)
    covered = {below for _, _, below in supports}
    initial |= {("clear", name) for name in (*discs, *pegs) if name not in covered}
    initial |= {("smaller", peg, disc) for peg in pegs for disc in discs}
    initial |= {
        ("smaller", larger, smaller) for i, smaller in enumerate(discs) for larger in discs[i + 1 :]
    }
    return Problem(
        f"hanoi-{len(discs)}-{len(pegs)}",
        tuple((name, ROOT_TYPE) for name in (*pegs, *discs)),
        frozenset(initial),
        goal,
    )


def _on(discs: Sequence[str], pegs: Sequence[str]) -> list[tuple[str, str, str]]:
    """What each disc lies on, from the largest disc down."""
    tops: dict[str, str] = {}
    supports = []
    for disc, peg in reversed(list(zip(discs, pegs))):
        supports.append(("on", disc, tops.get(peg, peg)))
        tops[peg] = disc
    return supports


def discs_and_pegs(objects: TypedNames, atoms: frozenset[Atom]) -> dict[str, str]:
    """The pool of each object: what is smaller than something is a disc."""
    discs = {atom[2] for atom in atoms if atom[0] == "smaller"}
    return {name: "disc" if name in discs else "peg" for name, _ in objects}


HANOI = Generator(
    (Parameter("discs", 1, (2, 3), "discs"), Parameter("pegs", 3, (3, 3), "pegs"), GOALS),
    draw,
    NamingRules((Pool("disc", ordered=True), Pool("peg")), discs_and_pegs),
)
