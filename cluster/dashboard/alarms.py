"""Which alarms of a run still hold: events go in, standing and past alarms come out.

A run tells when something is wrong, and seldom when it is well again; that follows from what
happens next. An alarm is over once an event shows that its cause is gone:

| kind | over with |
|---|---|
| `actor_died`, `request_overdue` | all actors up that there are to be |
| `learner_died`, `checkpoint` | the next version |
| `stall` | the next episode, version or probe |
| `wait` | nobody waiting past the deadline for the same any more |
| `memory` | a server under nine tenths of its limit |
| `book_broken` | a version whose book is well |
| `server_died`, `simulator`, others | a minute of the run: they tell of something that is over |

All are over when the run ends, unless it failed.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

from cluster.book_watch import COLLAPSED_BELOW, ONE_CODE, USELESS_ABOVE
from cluster.waits import wait_opening

TOLD_S = 60.0
"""Seconds of run time for which an alarm that tells of a single moment stands."""
RELIEVED = 0.9
MOST_KEPT = 200

ACTORS = ("actor_died", "request_overdue")
LEARNER = ("learner_died", "checkpoint")
LASTING = (*ACTORS, *LEARNER, "stall", "wait", "memory", "book_broken")


@dataclass(slots=True)
class Standing:
    """An alarm, and until when it held (seconds of the run; None: it still does)."""

    kind: str
    message: str
    since: float
    time: float  # Unix time
    until: float | None = None

    def as_dict(self) -> dict[str, Any]:
        """Ready for JSON."""
        return {
            "kind": self.kind,
            "message": self.message,
            "since": self.since,
            "time": self.time,
            "until": self.until,
        }


class AlarmBook:
    """Takes the lines of `metrics.jsonl`. `alarms` are the last ones, newest first."""

    def __init__(self) -> None:
        self._alarms: list[Standing] = []
        self.raised = 0
        self.raised_by_kind: Counter[str] = Counter()
        self.changes = 0

    @property
    def alarms(self) -> list[Standing]:
        """The last alarms, newest first."""
        return self._alarms[::-1]

    @property
    def standing(self) -> list[Standing]:
        """Those that still hold, newest first."""
        return [alarm for alarm in self.alarms if alarm.until is None]

    def take(self, event: dict[str, Any]) -> None:
        """Take an event as logged."""
        kind, at = event["event"], float(event["at"])
        if kind == "alarm":
            self._raise(event, at)
        elif any(alarm.until is None for alarm in self._alarms):
            self._clear(kind, event, at)

    def _raise(self, event: dict[str, Any], at: float) -> None:
        self.raised += 1
        self.raised_by_kind[event["kind"]] += 1
        self.changes += 1
        self._alarms.append(Standing(event["kind"], event["message"], at, event["time"]))
        del self._alarms[:-MOST_KEPT]

    def _clear(self, kind: str, event: dict[str, Any], at: float) -> None:
        for alarm in self._alarms:
            if alarm.until is None and self._over(alarm, kind, event, at):
                alarm.until = at
                self.changes += 1

    def _over(self, alarm: Standing, kind: str, event: dict[str, Any], at: float) -> bool:
        if kind == "run_finished":
            return bool(event["outcome"] != "failed")
        if alarm.kind not in LASTING:
            return at - alarm.since > TOLD_S
        if alarm.kind == "stall":
            return kind in ("episode", "version", "probe")
        if alarm.kind in LEARNER or alarm.kind == "book_broken":
            well = alarm.kind != "book_broken" or _well(event) if kind == "version" else False
            return kind == "version" and well
        if kind != "health":
            return False
        if alarm.kind == "wait":
            waits = event.get("waits", ())
            return not any(
                alarm.message.startswith(f"{wait_opening(wait['who'], wait['whom'])} ")
                for wait in waits
            )
        if alarm.kind == "memory":
            limit = event["server_limit_bytes"]
            return bool(limit <= 0 or event["server_bytes"] < RELIEVED * limit)
        up = sum(actor["up"] for actor in event["actors"])
        return bool(up >= max(1, len(event["actors"])))


def _well(version: dict[str, Any]) -> bool:
    """Whether a version's book is whole, by the rules of `cluster.book_watch`."""
    if version["codes_used"] == 0:
        return True
    least = max(COLLAPSED_BELOW * version["codes"], ONE_CODE)
    return bool(version["perplexity"] >= least and version["quantisation_error"] <= USELESS_ABOVE)
