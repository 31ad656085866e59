"""Continual learning in one matrix: a[i, j] = CSR on phase j's probe after phase i.

    matrix = AccuracyMatrix({(-1, 0): Cell(0, 36), (0, 0): Cell(30, 36), ...})
    matrix.backward_transfer()

Row -1 is the untrained model. ACC, BWT and FWT are Lopez-Paz and Ranzato's (2017,
arXiv:1706.08840), with their FWT against the untrained model in place of a random one; average
incremental accuracy is iCaRL's (Rebuffi et al. 2017, arXiv:1611.07725); forgetting is Chaudhry et
al.'s (2018, arXiv:1801.10112): the best that was reached before the end minus what is left. A
figure for which a cell was never measured is None. `Anytime` has the same for a stream without
borders, where the policy is tried on fixed groups of tasks (its domains, say) at points of the
stream: averages are over the stream, not over phases (the area under the curve of the average
accuracy, Koh et al. 2022, arXiv:2110.10031).

Every figure is a weighted sum of cells; its 95 % interval takes them as independent shares, each
with Agresti and Coull's variance, so that a probe which is solved throughout is not taken for
certain. The same tasks stand in all cells of a column, which makes differences more certain than
their intervals say **(ours)**.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from tasks.metrics import Z_95, Estimate

UNTRAINED = -1
"""The row of the model before any training."""


@dataclass(frozen=True, slots=True)
class Cell:
    """A probe: how many of its tasks were solved."""

    solved: int
    tasks: int

    def __post_init__(self) -> None:
        if not 0 <= self.solved <= self.tasks or self.tasks == 0:
            raise ValueError(f"{self.solved} of {self.tasks} tasks cannot be solved")

    @property
    def share(self) -> float:
        """CSR."""
        return self.solved / self.tasks

    @property
    def variance(self) -> float:
        """Of the share, by Agresti and Coull (1998)."""
        count = self.tasks + Z_95**2
        share = (self.solved + Z_95**2 / 2) / count
        return share * (1 - share) / count


class AccuracyMatrix:
    """The matrix, with as many phases as its last row. Cells may be missing.

    `cells`: (after phase, probe's phase) → what was measured. Raises ValueError where there is no
    row but the untrained one.
    """

    def __init__(self, cells: Mapping[tuple[int, int], Cell]) -> None:
        self._cells = dict(cells)
        self.phases = max((row for row, _ in cells), default=UNTRAINED) + 1
        if self.phases < 1:
            raise ValueError("an accuracy matrix needs at least one row after a phase")

    def cell(self, after: int, phase: int) -> Cell | None:
        """a[after, phase]; None if it was not measured."""
        return self._cells.get((after, phase))

    def accuracy(self, after: int | None = None) -> Estimate | None:
        """ACC: the mean over all phases so far, after the last one or the one named."""
        row = self.phases - 1 if after is None else after
        return self._mean([[(1.0, (row, phase))] for phase in range(row + 1)])

    def average_incremental_accuracy(self) -> Estimate | None:
        """The mean over all rows of ACC after that row."""
        rows = range(self.phases)
        return self._mean(
            [[(1.0 / (row + 1), (row, phase)) for phase in range(row + 1)] for row in rows]
        )

    def backward_transfer(self) -> Estimate | None:
        """BWT: what later phases changed of what a phase's own end had reached; below 0: lost."""
        last = self.phases - 1
        return self._mean(
            [[(1.0, (last, phase)), (-1.0, (phase, phase))] for phase in range(last)], least=-1.0
        )

    def forward_transfer(self) -> Estimate | None:
        """FWT: what earlier phases gave a phase before it began, against the untrained model."""
        return self._mean(
            [
                [(1.0, (phase - 1, phase)), (-1.0, (UNTRAINED, phase))]
                for phase in range(1, self.phases)
            ],
            least=-1.0,
        )

    def forgetting(self) -> Estimate | None:
        """The best of earlier rows minus the last, over phases but the last; below 0: gained."""
        last = self.phases - 1
        parts: list[list[tuple[float, tuple[int, int]]]] = []
        for phase in range(last):
            measured = [row for row in range(last) if (row, phase) in self._cells]
            if not measured:
                return None
            best = max(measured, key=lambda row: self._cells[row, phase].share)
            parts.append([(1.0, (best, phase)), (-1.0, (last, phase))])
        return self._mean(parts, least=-1.0)

    def _mean(
        self, parts: Sequence[Sequence[tuple[float, tuple[int, int]]]], least: float = 0.0
    ) -> Estimate | None:
        """The mean of weighted sums of cells; None where one is missing or there is none."""
        weights: dict[tuple[int, int], float] = {}
        for part in parts:
            for weight, key in part:
                weights[key] = weights.get(key, 0.0) + weight / len(parts)
        if not weights or not weights.keys() <= self._cells.keys():
            return None
        return _sum([(weight, self._cells[key]) for key, weight in weights.items()], least)


@dataclass(frozen=True, slots=True)
class Anytime:
    """A stream without borders, from its evaluations in order: (tasks done, group → cell).

    Each evaluation holds all groups. What lies between two of them is taken to be a straight line.
    Raises ValueError where there are fewer than two, or they are not in order or not alike.
    """

    evaluations: tuple[tuple[int, Mapping[str, Cell]], ...]

    def __post_init__(self) -> None:
        if len(self.evaluations) < 2:
            raise ValueError("a curve needs at least two evaluations")
        if any(first >= second for (first, _), (second, _) in pairwise(self.evaluations)):
            raise ValueError("evaluations must be in the order of the stream, each later than one")
        groups = self.evaluations[0][1].keys()
        if not groups or any(cells.keys() != groups for _, cells in self.evaluations):
            raise ValueError("every evaluation must hold the same groups, at least one")

    def accuracy(self) -> Estimate:
        """The mean over groups and stream: the area under the curve over its length."""
        weights = self._weights()
        return _sum(
            [
                (weight / len(cells), cell)
                for weight, (_, cells) in zip(weights, self.evaluations)
                for cell in cells.values()
            ],
            least=0.0,
        )

    def final_accuracy(self) -> Estimate:
        """The mean over groups at the last evaluation."""
        _, cells = self.evaluations[-1]
        return _sum([(1.0 / len(cells), cell) for cell in cells.values()], least=0.0)

    def forgetting(self) -> Estimate:
        """Best so far minus now (0 where now is the best), over groups and stream."""
        terms: list[tuple[float, Cell]] = []
        for group in self.evaluations[0][1]:
            best: Cell | None = None
            for weight, (_, cells) in zip(self._weights(), self.evaluations):
                now = cells[group]
                if best is None or now.share >= best.share:
                    best = now
                part = weight / len(cells)
                terms += [(part, best), (-part, now)]
        return _sum(terms, least=-1.0)

    def _weights(self) -> list[float]:
        """Each evaluation's part of the stream (trapezoids); they add up to 1."""
        at = [position for position, _ in self.evaluations]
        ends = [at[0], *at, at[-1]]
        return [(after - before) / (2 * (at[-1] - at[0])) for before, after in zip(ends, ends[2:])]


def _sum(terms: Sequence[tuple[float, Cell]], least: float) -> Estimate:
    """A weighted sum of cells in [least, 1], from so many tasks as all its cells hold."""
    weights: dict[int, float] = defaultdict(float)  # one and the same cell may stand in twice
    cells = {id(cell): cell for _, cell in terms}
    for weight, cell in terms:
        weights[id(cell)] += weight
    value = math.fsum(weight * cells[key].share for key, weight in weights.items())
    error = math.sqrt(math.fsum(w**2 * cells[key].variance for key, w in weights.items()))
    half = Z_95 * error
    count = sum(cell.tasks for cell in cells.values())
    return Estimate(value, max(least, value - half), min(1.0, value + half), count)
