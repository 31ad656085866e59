"""Columns of numbers that grow, and the few rows of them that a plot needs.

A plot some hundred pixels wide shows of a million points no more than the least and the greatest
of each bucket; these are what is sent (min-max decimation). Both stand at the bucket's own ends,
so that all columns share one x axis.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Column = npt.NDArray[np.float64]

DIGITS = 6
"""Decimals of a value that is sent for a plot."""


class Table:
    """Rows of numbers; the first column is the axis, and rises."""

    def __init__(self, names: Sequence[str]) -> None:
        self.names = tuple(names)
        self._rows = np.empty((len(self.names), 1024))
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def add(self, values: Sequence[float | None]) -> None:
        """Append a row; None where there is no value."""
        if self._count == self._rows.shape[1]:
            grown = np.empty((len(self.names), 2 * self._count))
            grown[:, : self._count] = self._rows
            self._rows = grown
        for place, value in enumerate(values):
            self._rows[place, self._count] = np.nan if value is None else value
        self._count += 1

    def last(self) -> dict[str, float | None]:
        """The last row; nothing where there is none."""
        if not self._count:
            return {}
        return dict(zip(self.names, _plain(self._rows[:, self._count - 1]), strict=True))

    def rows(self, start: int, buckets: int) -> dict[str, list[float | None]]:
        """Rows from `start` on, by column: all, or the extremes of so many buckets."""
        part = self._rows[:, min(start, self._count) : self._count]
        count = part.shape[1]
        if count <= 2 * buckets:
            return {name: _plain(part[place]) for place, name in enumerate(self.names)}
        edges = np.linspace(0, count, buckets + 1).astype(np.int64)
        first, last = edges[:-1], edges[1:] - 1
        axis = np.stack([part[0][first], part[0][last]], axis=1).ravel()
        thinned = {self.names[0]: _plain(axis)}
        for name, column in zip(self.names[1:], part[1:], strict=True):
            thinned[name] = _plain(_extremes(column, first, last))
        return thinned


def _extremes(column: Column, first: npt.NDArray[np.int64], last: npt.NDArray[np.int64]) -> Column:
    """Least and greatest of each bucket, in the order in which the bucket goes; its first and last
    values at the two ends of the column. Shape (2 * buckets,)."""
    least = np.fmin.reduceat(column, first)
    most = np.fmax.reduceat(column, first)
    rising = ~(column[first] > column[last])
    pairs = np.stack([np.where(rising, least, most), np.where(rising, most, least)], axis=1)
    flat = pairs.ravel()
    flat[0], flat[-1] = column[0], column[-1]
    return flat


def _plain(column: Column) -> list[float | None]:
    values = np.round(column, DIGITS).tolist()
    return [None if value != value else value for value in values]
