"""The heat maps of the procedure-book: how much each code is used, over tasks and by domain."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from cluster.code_counts import TASKS

MOST_COLUMNS = 120
MOST_ROWS = 128


@dataclass(frozen=True, slots=True)
class _Counted:
    until: int  # tasks counted by then
    codes: npt.NDArray[np.int64]
    counts: npt.NDArray[np.int64]


class CodeUse:
    """Takes `codes` events; `maps` makes pictures of bounded size."""

    def __init__(self) -> None:
        self._tasks = 0
        self._windows: dict[str, list[_Counted]] = {}

    def take(self, event: dict[str, Any]) -> None:
        """Take a `codes` event."""
        self._tasks += int(event["tasks"])
        for one in event["domains"]:
            counted = _Counted(
                self._tasks,
                np.array(one["codes"], dtype=np.int64),
                np.array(one["counts"], dtype=np.int64),
            )
            self._windows.setdefault(one["domain"], []).append(counted)

    @property
    def domains(self) -> tuple[str, ...]:
        """Domains of which something was counted."""
        return tuple(sorted(self._windows))

    def maps(self, codes: int, domain: str | None = None) -> dict[str, Any]:
        """Use over tasks (of one domain or all), and by domain; `codes` is K.

        Codes are in the order of their first use, neighbours together in one row where there are
        many. `over_tasks[row][column]` is the share of the column's uses; so is `by_domain`.
        """
        chosen = [domain] if domain is not None else list(self._windows)
        total = np.zeros((MOST_COLUMNS, codes), dtype=np.int64)
        first = np.full(codes, np.iinfo(np.int64).max)
        width = max(TASKS, -(-self._tasks // MOST_COLUMNS))
        for name, windows in self._windows.items():
            for one in windows:
                np.minimum.at(first, one.codes, one.until)
                if name in chosen:
                    column = min(MOST_COLUMNS - 1, (one.until - 1) // width)
                    total[column, one.codes] += one.counts
        columns = min(MOST_COLUMNS, -(-self._tasks // width))
        order = np.lexsort((np.arange(codes), first))
        domains = np.stack(
            [self._whole(name, codes) for name in self.domains] or [np.zeros(codes, dtype=np.int64)]
        )
        rows = min(MOST_ROWS, codes)
        edges = np.linspace(0, codes, rows + 1).astype(np.int64)[:-1]
        used = np.bincount(np.searchsorted(edges, np.arange(codes), side="right") - 1)
        return {
            "codes": codes,
            "tasks": self._tasks,
            "domains": list(self.domains),
            "domain": domain,
            "tasks_per_column": width,
            "codes_per_row": [int(number) for number in used],
            "first_codes": [int(order[edge]) for edge in edges],
            "over_tasks": _shares(total[:columns], order, edges),
            "by_domain": _shares(domains, order, edges) if self._windows else [],
            "used_by_domain": {
                name: int((domains[place] > 0).sum()) for place, name in enumerate(self.domains)
            },
            "shared_by_domains": [
                [int(((a > 0) & (b > 0)).sum()) for b in domains] for a in domains
            ]
            if self._windows
            else [],
        }

    def _whole(self, domain: str, codes: int) -> npt.NDArray[np.int64]:
        total = np.zeros(codes, dtype=np.int64)
        for one in self._windows[domain]:
            total[one.codes] += one.counts
        return total


def _shares(
    counts: npt.NDArray[np.int64], order: npt.NDArray[np.int64], edges: npt.NDArray[np.int64]
) -> list[list[float]]:
    """Counts (columns, K) as shares of each column's sum: (rows, columns), rounded."""
    binned = np.add.reduceat(counts[:, order], edges, axis=1)  # (columns, rows)
    sums = np.maximum(1, binned.sum(1, keepdims=True))
    shares: list[list[float]] = np.round((binned / sums).T, 5).tolist()
    return shares
