"""Traces in the order of their tasks, whenever they come **(ours)**.

The teacher answers in any order. In a reproducible run what is learned must not depend on it:
traces wait here until the version that learns from them begins, and leave in the stream's order.
What waits is bounded by how far acting may run ahead of learning.
"""

from __future__ import annotations

from shared_memory.queues import Ticket
from shared_memory.records import Trace


class OrderedTraces:
    """Traces that wait, by the index of their task. A task's second trace takes the first's place:
    they say the same."""

    def __init__(self) -> None:
        self._waiting: dict[int, tuple[Ticket, Trace]] = {}

    def __len__(self) -> int:
        return len(self._waiting)

    def put(self, ticket: Ticket, trace: Trace) -> None:
        """Have a trace wait."""
        self._waiting[trace.task_index] = (ticket, trace)

    def take(self, before: int) -> list[tuple[Ticket, Trace]]:
        """What waits of tasks before this one, by their index; it waits no longer."""
        due = sorted(index for index in self._waiting if index < before)
        return [self._waiting.pop(index) for index in due]
