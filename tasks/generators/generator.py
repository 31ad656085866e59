"""What every problem generator is: parameters with default ranges, and a draw."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

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


GOALS = Parameter("goals", 0, (0, 0), "goal conditions that are kept; 0: all")
"""A parameter of every generator: fewer conditions make shorter plans in states as large."""


def keep_goals(rng: random.Random, goal: Sequence[Atom], count: int) -> tuple[Atom, ...]:
    """`count` of the goal's conditions, drawn at random, in their order; all of them for 0."""
    if count == 0 or count >= len(goal):
        return tuple(goal)
    kept = sorted(rng.sample(range(len(goal)), count))
    return tuple(goal[place] for place in kept)
