"""Where a curve over tasks stops moving: a fitted saturation point with its interval, or a refusal.

    found = fit_saturation(tasks, codes_used, seed=0)
    found.point, found.low, found.high      # tasks; or None, and found.refusal says why

**(ours)** Curves that end (an exponential approach, Hill's curve, a broken stick, a step) are
fitted beside curves that do not move (a constant) and curves that go on for ever (a line, a power
of the tasks as in Heaps's law), all by least squares over a grid of shapes, and compared by AICc
with as many points as are independent (residuals of neighbours are alike where training wanders).
The saturation point is where the best curve that ends has made `REACHED` of its way from the first
measurement to its plateau. Its interval is that of a bootstrap of blocks of residuals, each time
with the family chosen anew, and reaches at least one measurement to either side.

The fit refuses to answer where
- there are fewer than `LEAST_POINTS` measurements;
- the curve does not move beyond its noise (no family beats the constant by `CLEAR`);
- it goes on (no curve that ends beats those that do not by `CLEAR`), or ends too late: less than
  `PLATEAU` of the tasks, or fewer than three measurements, lie behind the point;
- the interval reaches the last measurement.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from cluster.saturation_shapes import TINY, Families, Numbers, Shapes

Ending = Literal["exponential", "Hill", "broken stick", "step"]

LEAST_POINTS = 10

CLEAR = 6.0
"""Difference in AICc from which one family is clearly better than another: odds of 20 to 1."""

PLATEAU = 0.2
"""Share of the measured tasks that must lie behind the point."""

BEHIND = 3
"""Measurements that must lie behind the point."""

REPLICATES = 500

CHANCE = 1.0
"""Correlations of neighbours below this over the root of their number are taken for chance."""

LEAST_INDEPENDENT = 7.0
"""So that the criterion has room for the most parameters, and a price for them."""


@dataclass(frozen=True, slots=True)
class Saturation:
    """What a curve's fit found. `point` is None where it refuses, and then `refusal` says why."""

    point: float | None  # tasks
    low: float | None
    high: float | None
    plateau: float | None  # the curve's value there
    family: Ending | None
    refusal: str  # "" where there is an answer
    measurements: int
    independent: float  # how many of them, for AICc
    against_constant: float  # AICc of the constant minus that of the best curve that moves
    against_endless: float  # AICc of the best endless curve minus that of the best that ends


@dataclass(frozen=True, slots=True)
class _Fit:
    shapes: Shapes
    place: int
    score: float  # AICc

    @property
    def point(self) -> float:
        return float(self.shapes.reached[self.place])


def fit_saturation(x: Sequence[float], y: Sequence[float], seed: int) -> Saturation:
    """The saturation point of one curve: y measured at x tasks (rising, at least two of them).

    `seed` is that of the bootstrap. ValueError where x does not rise or a number is not finite.
    """
    tasks, values = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    if tasks.shape != values.shape or tasks.ndim != 1 or len(tasks) < 2:
        raise ValueError("a curve needs as many values as places, at least two")
    if not (np.isfinite(tasks).all() and np.isfinite(values).all() and (np.diff(tasks) > 0).all()):
        raise ValueError("a curve's places must rise, and all its numbers be finite")
    count = len(tasks)
    if count < LEAST_POINTS:
        return _refused(f"{count} measurements are too few: {LEAST_POINTS} are needed", count)
    families = Families(tasks)
    spread = float(np.ptp(values))
    if spread <= TINY * max(1.0, float(np.abs(values).max())):
        return _refused("it never moved", count)
    values = values / spread
    floor = (1e-3) ** 2 * count  # a perfect fit is no better than one within 0.1 % of the range
    first = _best(families.ending, values, float(count), floor)
    independent = _independent(values - _curve(first, values))
    best = _best(families.ending, values, independent, floor)
    endless = _best(families.endless, values, independent, floor)
    constant = _best((families.constant,), values, independent, floor)
    moves = constant.score - min(best.score, endless.score)
    ends = endless.score - best.score
    if not moves >= CLEAR:
        return _refused(
            "it does not move beyond its noise", count, independent, moves, ends
        )  # fmt: skip
    if not ends >= CLEAR:
        return _refused(
            f"no plateau is seen: a {endless.shapes.family} without end fits as well",
            *(count, independent, moves, ends),
        )
    latest = min(tasks[-1] - PLATEAU * (tasks[-1] - tasks[0]), tasks[-BEHIND])
    if best.point > latest:
        return _refused(
            f"it is still moving: the plateau would begin at {best.point:,.0f} tasks, and there "
            f"are too few measurements behind that to see it",
            *(count, independent, moves, ends),
        )
    low, high = _interval(families, best, values, independent, floor, seed)
    place = int(np.searchsorted(tasks, best.point))
    gap = float(tasks[place] - tasks[max(place - 1, 0)])
    low, high = min(low, best.point - gap), max(high, best.point + gap)
    if high >= tasks[-1]:
        return _refused(
            f"its interval reaches the last measurement (a plateau from {best.point:,.0f} tasks, "
            f"but perhaps only from the end)",
            *(count, independent, moves, ends),
        )
    offset, slope = _line(best, values)
    family: Ending = best.shapes.family  # type: ignore[assignment]
    return Saturation(
        point=best.point,
        low=max(low, float(tasks[0])),
        high=high,
        plateau=spread * (offset + slope),
        family=family,
        refusal="",
        measurements=count,
        independent=independent,
        against_constant=moves,
        against_endless=ends,
    )


def _refused(
    why: str, count: int, independent: float = 0.0, moves: float = 0.0, ends: float = 0.0
) -> Saturation:
    return Saturation(None, None, None, None, None, why, count, independent, moves, ends)


def _best(families: Sequence[Shapes], y: Numbers, independent: float, floor: float) -> _Fit:
    """The shape with the lowest AICc."""
    found = []
    for shapes in families:
        squares = _squares(shapes, y[None])[0]
        place = int(np.argmin(squares))
        score = _aicc(squares[place : place + 1], len(y), independent, shapes.parameters, floor)
        found.append(_Fit(shapes, place, float(score[0])))
    return min(found, key=lambda fit: fit.score)


def _squares(shapes: Shapes, y: Numbers) -> Numbers:
    """(curves, n) → (curves, shapes): residual sums of squares of y = a + b·φ."""
    centred = y - y.mean(1, keepdims=True)
    basis = shapes.values - shapes.values.mean(1, keepdims=True)
    energy = (basis**2).sum(1)
    explained = (centred @ basis.T) ** 2 / np.where(energy > TINY, energy, np.inf)
    squares: Numbers = np.maximum((centred**2).sum(1)[:, None] - explained, 0.0)
    return squares


def _aicc(
    squares: Numbers, count: int, independent: float, parameters: int, floor: float
) -> Numbers:
    """Akaike's criterion, corrected for few points (Hurvich and Tsai 1989)."""
    fit = independent * np.log((squares + floor) / count)
    room = independent - parameters - 1
    score: Numbers = fit + 2 * parameters + 2 * parameters * (parameters + 1) / room
    return score


def _independent(residuals: Numbers) -> float:
    """How many of the residuals are independent, if each hangs on the last with one correlation.

    A correlation that chance alone would give is none. Never fewer than `LEAST_INDEPENDENT`.
    """
    count = len(residuals)
    centred = residuals - residuals.mean()
    energy = float((centred**2).sum())
    if energy <= TINY:
        return float(count)
    correlation = float((centred[1:] * centred[:-1]).sum()) / energy
    if correlation < CHANCE / count**0.5:
        return float(count)
    correlation = min(correlation + 1 / count, 0.9)  # it comes out too low on average
    return max(LEAST_INDEPENDENT, count * (1 - correlation) / (1 + correlation))


def _line(fit: _Fit, y: Numbers) -> tuple[float, float]:
    """a and b of a fit."""
    phi = fit.shapes.values[fit.place]
    centred = phi - phi.mean()
    slope = float(centred @ y) / max(float(centred @ centred), TINY)
    return float(y.mean()) - slope * float(phi.mean()), slope


def _curve(fit: _Fit, y: Numbers) -> Numbers:
    offset, slope = _line(fit, y)
    curve: Numbers = offset + slope * fit.shapes.values[fit.place]
    return curve


def _interval(
    families: Families, fit: _Fit, y: Numbers, independent: float, floor: float, seed: int
) -> tuple[float, float]:
    """2.5 and 97.5 % of the points of curves made anew from blocks of the residuals."""
    count = len(y)
    curve = _curve(fit, y)
    residuals = (y - curve) * np.sqrt(count / max(count - fit.shapes.parameters, 1))
    residuals -= residuals.mean()
    generator = np.random.Generator(np.random.PCG64(seed))
    block = max(1, round(count / independent))
    starts = generator.integers(count, size=(REPLICATES, -(-count // block)))
    places = (starts[:, :, None] + np.arange(block)) % count  # blocks go round
    anew = curve + residuals[places.reshape(REPLICATES, -1)[:, :count]]
    scores, points = [], []
    for shapes in families.ending:
        squares = _squares(shapes, anew)
        chosen = squares.argmin(1)
        best = squares[np.arange(REPLICATES), chosen]
        scores.append(_aicc(best, count, independent, shapes.parameters, floor))
        points.append(shapes.reached[chosen])
    winners = np.argmin(scores, axis=0)
    drawn = np.array(points)[winners, np.arange(REPLICATES)]
    low, high = np.quantile(drawn, [0.025, 0.975])
    return float(low), float(high)
