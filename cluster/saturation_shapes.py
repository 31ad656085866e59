"""The families of curves that `cluster.saturation` compares, each as a grid of shapes.

A curve is a + b·φ(x): its shape φ is 0 at the first measurement and 1 at the plateau, where there
is one. With φ from a grid, a and b follow by least squares in closed form.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

Numbers: TypeAlias = npt.NDArray[np.float64]

REACHED = 0.95
"""Share of the way to the plateau after which a curve counts as saturated."""

TINY = 1e-12


@dataclass(frozen=True, slots=True)
class Shapes:
    """Curves a + b·φ(x) with φ from 0 at the first measurement: a family's grid of φ."""

    family: str
    parameters: int  # fitted numbers, the noise's variance included
    values: Numbers  # (shapes, n) φ at the measurements
    reached: Numbers  # (shapes,) where REACHED of the way to the plateau (φ = 1) is made


class Families:
    """All families at given places of measurement."""

    def __init__(self, x: Numbers) -> None:
        self.x = x
        self._t = (x - x[0]) / (x[-1] - x[0])  # (n,) from 0 to 1
        self._least = float(np.diff(self._t).min())

    @cached_property
    def constant(self) -> Shapes:
        """No movement."""
        nothing = np.zeros((1, len(self._t)))
        return Shapes("constant", 2, nothing, np.zeros(1))

    @cached_property
    def endless(self) -> tuple[Shapes, ...]:
        """The line, and powers of the tasks below 1 (and above: faster and faster)."""
        powers = np.concatenate([np.linspace(0.05, 0.95, 19), np.linspace(1.1, 3.0, 20)])
        return (
            self._shapes("line", 3, self._t[None], np.full(1, np.inf)),
            self._shapes("power", 4, self._t ** powers[:, None], np.full(len(powers), np.inf)),
        )

    @cached_property
    def ending(self) -> tuple[Shapes, ...]:
        """Curves with a plateau; those that would reach it after three times the tasks are out."""
        scales = np.geomspace(self._least / 4, 1.0, 120)
        bends = np.linspace(self._least / 2, 1.0, 160)
        centres = np.geomspace(self._least / 2, 1.0, 60)
        slopes = np.array([1.5, 2.0, 3.0, 4.0, 6.0, 9.0, 14.0, 25.0])
        c, h = (grid.ravel() for grid in np.meshgrid(centres, slopes))
        steps = self._t[1:]
        odds = REACHED / (1 - REACHED)
        logarithm = np.log(np.maximum(self._t, TINY))
        exponent = h[:, None] * (np.log(c)[:, None] - logarithm)  # (c / t) ** h, without overflow
        found = (
            self._shapes(
                "exponential",
                4,
                1 - np.exp(-self._t / scales[:, None]),
                -scales * np.log(1 - REACHED),
            ),
            self._shapes(
                "broken stick", 4, np.minimum(self._t / bends[:, None], 1.0), REACHED * bends
            ),
            self._shapes(
                "step", 4, (self._t >= steps[:, None]).astype(np.float64), steps
            ),
            self._shapes(
                "Hill", 5, 1 / (1 + np.exp(np.minimum(exponent, 700.0))), c * odds ** (1 / h)
            ),
        )  # fmt: skip
        return found

    def _shapes(self, family: str, parameters: int, values: Numbers, reached: Numbers) -> Shapes:
        span = self.x[-1] - self.x[0]
        kept = (reached <= 3.0) | ~np.isfinite(reached)
        return Shapes(family, parameters, values[kept], self.x[0] + span * reached[kept])
