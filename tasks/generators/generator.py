"""What every problem generator is: parameters with default ranges, and a draw."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from tasks.pddl import Problem


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
