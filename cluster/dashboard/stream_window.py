"""The curves of the stream: what the last hundred episodes were like, kept up with each episode."""

from __future__ import annotations

from collections import deque
from typing import Any

from cluster.curves import WINDOW

NAMES = (
    "tasks",
    "csr",
    "exe",
    "hit_rate_success",
    "hit_rate_failure",
    "staleness_mean",
    "staleness_max",
)


class StreamWindow:
    """Sums over the last `WINDOW` episodes, in constant time an episode."""

    def __init__(self) -> None:
        self._tasks = 0
        self._kept: deque[tuple[int, ...]] = deque()
        self._sums = [0] * 7

    def add(self, event: dict[str, Any]) -> tuple[float | None, ...]:
        """Take an `episode` event; the row of `NAMES` after it."""
        self._tasks += 1
        new = (
            event["success"],
            event["steps"],
            event["accepted"],
            event["decisions"],
            event["hits_success"],
            event["hits_failure"],
            event["staleness"],
        )
        sums = [total + value for total, value in zip(self._sums, new, strict=True)]
        self._kept.append(new)
        if len(self._kept) > WINDOW:
            old = self._kept.popleft()
            sums = [total - value for total, value in zip(sums, old, strict=True)]
        self._sums = sums
        solved, steps, accepted, decisions, success, failure, stale = sums
        count = len(self._kept)
        return (
            self._tasks,
            solved / count,
            accepted / steps if steps else None,
            success / max(1, decisions),
            failure / max(1, decisions),
            stale / count,
            max(one[6] for one in self._kept) if stale else 0,
        )
