"""Deadlines and stalls: who was asked what, since when, and who has gone silent. No I/O.

Every request has a deadline that counts from the last sign of progress, and a limit that no
progress extends. A run in which nothing at all happens for long is stalled: the supervisor then
says who waits for whom.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

LIMIT_FACTOR = 20.0
"""A request that goes on making progress may take so many deadlines, and no longer."""


@dataclass(frozen=True, slots=True)
class Overdue:
    """A worker that did not answer in time."""

    worker: str
    what: str  # e.g. "act 32 tasks"
    seconds: float  # since the last sign of progress
    sentence: str


@dataclass(slots=True)
class _Request:
    what: str
    asked: float
    progressed: float
    deadline_s: float
    rounds: int = -1


class Supervisor:
    """Books of open requests. Times are seconds of one monotonic clock, given by the caller."""

    def __init__(self, stall_after_s: float, now: float) -> None:
        self.stall_after_s = stall_after_s
        self._requests: dict[str, _Request] = {}
        self._last_event = now
        self._last_alarm = now
        self.stalls = 0
        """How often `stalled` has said so since the run last got further."""

    def asked(self, worker: str, what: str, deadline_s: float, now: float) -> None:
        """A request went to the worker; a worker has one open request at a time."""
        self._requests[worker] = _Request(what, now, now, deadline_s)

    def answered(self, worker: str, now: float) -> None:
        """The worker answered, and the run got further."""
        if self._requests.pop(worker, None) is not None:
            self.happened(now)

    def closed(self, worker: str) -> None:
        """The request is over, and that is no sign that the run got further: a mere look, a
        start, a worker that is gone."""
        self._requests.pop(worker, None)

    def pulsed(self, worker: str, rounds: int, now: float) -> None:
        """The worker gave a sign of life; it counts if it got further since the last one."""
        request = self._requests.get(worker)
        if request is not None and rounds != request.rounds:
            request.rounds = rounds
            request.progressed = now

    def happened(self, now: float) -> None:
        """The run got further: an episode finished, a version was published."""
        self._last_event = now
        self.stalls = 0

    def overdue(self, now: float) -> list[Overdue]:
        """Workers to be killed and replaced."""
        late = []
        for worker, request in self._requests.items():
            silent = now - request.progressed
            total = now - request.asked
            if silent > request.deadline_s:
                reason = f"gave no sign of progress for {silent:.0f} s"
            elif total > LIMIT_FACTOR * request.deadline_s:
                reason = f"has been at it for {total:.0f} s"
            else:
                continue
            sentence = (
                f"the driver waits for {worker} ({request.what}), which {reason}; its deadline is "
                f"{request.deadline_s:.0f} s: it is killed and replaced"
            )
            late.append(Overdue(worker, request.what, silent, sentence))
        return late

    def quiet(self, now: float) -> float:
        """Seconds since the run last got further."""
        return now - self._last_event

    def stalled(self, now: float, waits: Iterable[str]) -> str | None:
        """A sentence that names who waits for whom, if nothing happened for too long.

        `waits`: the waits that the caller knows of, in words. Said again after each further
        `stall_after_s` of silence.
        """
        quiet = now - self._last_event
        if quiet < self.stall_after_s or now - self._last_alarm < self.stall_after_s:
            return None
        self._last_alarm = now
        self.stalls += 1
        open_requests = [
            f"the driver waits for {worker} ({request.what}, asked {now - request.asked:.0f} s ago)"
            for worker, request in sorted(self._requests.items())
        ]
        return f"nothing happened for {quiet:.0f} s: " + (
            "; ".join([*waits, *open_requests]) or "nobody waits for anybody"
        )
