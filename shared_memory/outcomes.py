"""The outcome log: what happened, in order, for the driver's accounting.

Every counted episode and every completed plan is one event of its domain's log, written in the
same step as its effects. Events are numbered without gaps: a cursor (domain → number of the last
event read) belongs into the driver's checkpoint, and reading on from it misses and repeats
nothing.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import redis

from shared_memory.codec import decode
from shared_memory.connection import call_all
from shared_memory.errors import SharedMemoryError
from shared_memory.keys import RunKeys
from shared_memory.plain_values import whole
from shared_memory.records import Episode, PlanOutcomeRecord

Cursor: TypeAlias = Mapping[str, int]
"""Domain → number of the last event that was read; missing domains start at the beginning."""

_POLL_S = 0.05
_COUNTER = "the number of the outcome log's last event"


@dataclass(frozen=True, slots=True)
class EpisodeEvent:
    """An episode was counted. Its decisions come without their prompt tokens."""

    domain: str
    number: int
    episode: Episode
    admitted: int
    duplicates: int


@dataclass(frozen=True, slots=True)
class PlanEvent:
    """A plan request was completed, with or without a plan."""

    domain: str
    number: int
    outcome: PlanOutcomeRecord


OutcomeEvent: TypeAlias = EpisodeEvent | PlanEvent


class OutcomeLog:
    """Reads the events of some domains of a run."""

    def __init__(self, client: redis.Redis, run: str, domains: Sequence[str]) -> None:
        self._client = client
        keys = RunKeys(run)
        self._keys = {domain: keys.domain(domain) for domain in domains}

    def read(
        self, cursor: Cursor, count: int = 1000, wait_s: float = 0.0
    ) -> tuple[list[OutcomeEvent], dict[str, int]]:
        """(events, cursor after them): at most `count` of each domain, in order within it.

        Waits up to `wait_s` where there are none. Raises SharedMemoryError where events after
        the cursor have been trimmed or lost.
        """
        deadline = time.monotonic() + wait_s
        while True:
            events, after = self._read_now(cursor, count)
            remaining = deadline - time.monotonic()
            if events or remaining <= 0:
                return events, after
            time.sleep(min(_POLL_S, remaining))

    def last(self) -> dict[str, int]:
        """The cursor after all events that are there now."""
        numbers = call_all(
            self._client, [("HGET", keys.counters, "outcomes") for keys in self._keys.values()]
        )
        return {name: whole(number, _COUNTER) for name, number in zip(self._keys, numbers)}

    def trim(self, cursor: Cursor) -> None:
        """Forget events up to and including the cursor, e.g. once a checkpoint holds it."""
        call_all(
            self._client,
            [
                ("XTRIM", self._keys[domain].outcomes, "MINID", "~", f"{number + 1}-0")
                for domain, number in cursor.items()
                if domain in self._keys
            ],
        )

    def _read_now(self, cursor: Cursor, count: int) -> tuple[list[OutcomeEvent], dict[str, int]]:
        after = {domain: cursor.get(domain, 0) for domain in self._keys}
        replies = call_all(
            self._client,
            [
                command
                for domain, keys in self._keys.items()
                for command in (
                    ("HGET", keys.counters, "outcomes"),
                    ("XRANGE", keys.outcomes, f"{after[domain] + 1}-0", "+", "COUNT", count),
                )
            ],
        )
        events: list[OutcomeEvent] = []
        for domain, total, entries in zip(self._keys, replies[::2], replies[1::2]):
            last = whole(total, _COUNTER)
            if last < after[domain]:
                raise SharedMemoryError(
                    f"the outcome log of {domain!r} ends at event {last}, before the "
                    f"cursor {after[domain]}: the server lost data or holds another run"
                )
            for entry, fields in entries:
                number = int(entry.partition(b"-")[0])
                if number != after[domain] + 1:
                    raise _missing(domain, after[domain] + 1, number)
                events.append(_event(domain, number, fields))
                after[domain] = number
            if not entries and last > after[domain]:
                raise _missing(domain, after[domain] + 1, last + 1)
        return events, after


def _missing(domain: str, first: int, next_one: int) -> SharedMemoryError:
    return SharedMemoryError(
        f"events {first} to {next_one - 1} of {domain!r} are gone from the outcome log: they were "
        "trimmed before they were read; the account cannot be closed"
    )


def _event(domain: str, number: int, fields: dict[bytes, bytes]) -> OutcomeEvent:
    try:
        kind, payload = fields[b"k"], fields[b"p"]
        if kind == b"episode":
            admitted, duplicates = int(fields[b"a"]), int(fields[b"d"])
            return EpisodeEvent(domain, number, decode(Episode, payload), admitted, duplicates)
    except (KeyError, ValueError) as error:
        raise SharedMemoryError(
            f"event {number} of {domain!r} in the outcome log is malformed: the log is damaged"
        ) from error
    return PlanEvent(domain, number, decode(PlanOutcomeRecord, payload))
