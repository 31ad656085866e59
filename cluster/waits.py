"""Who waits for whom, since when, and which of these waits passed their deadline. No I/O.

A request that passes its deadline is the supervisor's: whoever owes the answer is replaced. Here
are the waits that nobody can be killed for, such as for room on a host, for Ray's head, or for the
learner's next version. Each is told once when its deadline passes, and stands until it is over.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from cluster.observer import OverdueWait


@dataclass(frozen=True, slots=True)
class Wait:
    """Somebody waits now. `since`: monotonic seconds; None: since it was first seen here."""

    who: str
    whom: str
    what: str
    deadline_s: float
    since: float | None = None


class WaitBook:
    """Takes the present waits, again and again, and knows which of them last too long."""

    def __init__(self) -> None:
        self._since: dict[tuple[str, str], float] = {}
        self._told: set[tuple[str, str]] = set()
        self._waits: tuple[Wait, ...] = ()
        self.passed = 0
        """Waits that passed their deadline so far."""

    def take(self, waits: Iterable[Wait], now: float) -> list[OverdueWait]:
        """Take all waits there are now; those that have just passed their deadline."""
        self._waits = tuple(waits)
        present = {(wait.who, wait.whom) for wait in self._waits}
        self._since = {key: since for key, since in self._since.items() if key in present}
        self._told &= present
        fresh = []
        for wait in self._waits:
            key = (wait.who, wait.whom)
            self._since.setdefault(key, now if wait.since is None else wait.since)
            if key not in self._told and now - self._since[key] > wait.deadline_s:
                self._told.add(key)
                self.passed += 1
                fresh.append(self._overdue(wait, now))
        return fresh

    def overdue(self, now: float) -> tuple[OverdueWait, ...]:
        """The waits past their deadline that still stand."""
        return tuple(
            self._overdue(wait, now) for wait in self._waits if (wait.who, wait.whom) in self._told
        )

    def _overdue(self, wait: Wait, now: float) -> OverdueWait:
        return OverdueWait(
            who=wait.who,
            whom=wait.whom,
            what=wait.what,
            seconds=now - self._since[wait.who, wait.whom],
            deadline_s=wait.deadline_s,
        )


def wait_sentence(wait: OverdueWait) -> str:
    """The words for a log, an alarm and a status."""
    return (
        f"{wait_opening(wait.who, wait.whom)} since {wait.seconds:.0f} s (deadline "
        f"{wait.deadline_s:.0f} s): {wait.what}"
    )


def wait_opening(who: str, whom: str) -> str:
    """What the sentence of such a wait begins with, however long it lasts."""
    return f"{who} waiting for {whom}"
