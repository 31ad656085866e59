"""What every problem generator is: parameters with default ranges, a draw, and how to name."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from tasks.naming import NamingRules
from tasks.pddl import Problem
from tasks.task import Atom


@dataclass(frozen=True, slots=True)
class Parameter:
    """A size of the generated problems: what is allowed and what is drawn if nothing is said."""

    name: str
    least: int
    default: tuple[int, int]
    description: str


@dataclass(frozen=True, slots=True)
class Generator:
    """Draws problems of one domain. The initial state never satisfies the goal."""

    parameters: tuple[Parameter, ...]
    draw: Callable[[random.Random, Mapping[str, int]], Problem]
    """(source of randomness, a value for each parameter) → a problem; pure."""

    naming: NamingRules
    """How the domain's objects are named in text, and which of its atoms are shown."""


def goals(least: int, most: int) -> Parameter:
    """The parameter that every generator has, with a default range.

    Fewer conditions make shorter plans in states as large.
    """
    return Parameter("goals", 0, (least, most), "goal conditions that are kept; 0: all")


GOALS = goals(0, 0)
"""The same with all conditions kept unless a run says else."""


def keep_goals(rng: random.Random, goal: Sequence[Atom], count: int) -> tuple[Atom, ...]:
    """`count` of the goal's conditions, drawn at random, in their order; all of them for 0."""
    if count == 0 or count >= len(goal):
        return tuple(goal)
    kept = sorted(rng.sample(range(len(goal)), count))
    return tuple(goal[place] for place in kept)
