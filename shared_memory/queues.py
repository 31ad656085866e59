"""Work queues over consumer groups: plan requests for the teacher, traces for the learner.

One stream a domain, so that a bank can put a plan request in the same step as its episode. What
is taken stays pending until it is acknowledged; what a dead consumer held is handed to another
after `reclaim_s`. Acknowledged work is deleted, so that a queue's length is its backlog. Effect
and acknowledgement happen in one script: done once however many consumers tried.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Sequence
from typing import Generic, NamedTuple, TypeVar

import redis

from shared_memory.codec import decode, encode
from shared_memory.connection import (
    AtomicScript,
    blocking_slice,
    call,
    call_all,
    push_back,
)
from shared_memory.errors import SharedMemoryError
from shared_memory.keys import DomainKeys, RunKeys
from shared_memory.records import PlanOutcomeRecord, PlanRequest, Trace
from shared_memory.server_clients import ClusterClient

_Record = TypeVar("_Record")
_POLL_S = 0.05

_ACKNOWLEDGE = AtomicScript(
    """
local done = 0
for i = 2, #ARGV do
  if redis.call('XACK', KEYS[1], ARGV[1], ARGV[i]) == 1 then
    redis.call('XDEL', KEYS[1], ARGV[i])
    done = done + 1
  end
end
return done
"""
)
_COMPLETE = AtomicScript(
    """
local plans, traces, outcomes, counters = unpack(KEYS)
local group, done = ARGV[1], 0
for at = 2, #ARGV, 3 do
  local id, event, trace = ARGV[at], ARGV[at + 1], ARGV[at + 2]
  local pending = redis.pcall('XPENDING', plans, group, id, id, 1)
  if not pending.err and #pending > 0 then
    local number = redis.call('HINCRBY', counters, 'outcomes', 1)
    redis.call('XADD', outcomes, string.format('%d-0', number), 'k', 'plan', 'p', event)
    redis.call('HINCRBY', counters, 'plans_completed', 1)
    if trace ~= '' then
      redis.call('XADD', traces, '*', 'p', trace)
      redis.call('HINCRBY', counters, 'traces', 1)
    end
    redis.call('XACK', plans, group, id)
    redis.call('XDEL', plans, id)
    done = done + 1
  end
end
return done
"""
)
_FORGET = AtomicScript(
    """
local gone = 0
for _, consumer in ipairs(redis.call('XINFO', 'CONSUMERS', KEYS[1], ARGV[1])) do
  local seen = {}
  for i = 1, #consumer, 2 do seen[consumer[i]] = consumer[i + 1] end
  if seen.pending == 0 and seen.idle >= tonumber(ARGV[2]) then
    redis.call('XGROUP', 'DELCONSUMER', KEYS[1], ARGV[1], seen.name)
    gone = gone + 1
  end
end
return gone
"""
)


class Ticket(NamedTuple):
    """What to acknowledge a piece of work with."""

    domain: str
    entry: str


class WorkQueue(Generic[_Record]):
    """Work of one kind, one stream a domain, each piece done once by one of a group.

    `streams` maps each domain to its stream's key; producers add to it in scripts of their own.
    """

    def __init__(
        self,
        client: redis.Redis,
        streams: dict[str, str],
        kind: type[_Record],
        group: str,
        *,
        reclaim_s: float = 60.0,
    ) -> None:
        if not streams:
            raise SharedMemoryError("a work queue needs at least one domain")
        self._client = client
        self._streams = streams
        self._kind = kind
        self._group = group
        self._reclaim_s = reclaim_s
        self._ready: dict[str, deque[tuple[Ticket, _Record]]] = {}
        self._turn = 0
        self.refused = 0
        """Entries that were no valid record and were dropped."""
        self._make_groups()

    def take(
        self, consumer: str, count: int = 1, block_s: float = 0.0
    ) -> list[tuple[Ticket, _Record]]:
        """At most `count` pieces of work for this consumer, oldest first within a domain.

        First what dead consumers left, then new work, domains in turn. Waits up to `block_s` for
        the first piece; an empty list means that there was none.
        """
        deadline = time.monotonic() + block_s
        ready = self._ready.setdefault(consumer, deque())
        while True:
            taken: list[tuple[Ticket, _Record]] = []
            while ready and len(taken) < count:
                taken.append(ready.popleft())
            for domain in self._domains_in_turn():
                if len(taken) < count:
                    taken.extend(self._reclaim(domain, consumer, count - len(taken)))
                if len(taken) < count:
                    taken.extend(self._read_new([domain], consumer, count - len(taken), None))
            remaining = deadline - time.monotonic()
            if taken or remaining <= 0:
                return taken
            if len(self._streams) > 1 and isinstance(self._client, ClusterClient):
                time.sleep(min(_POLL_S, remaining))  # nobody can wait for several nodes at once
                continue
            # One of each stream may come at once: what is too many waits in `ready`.
            block_ms = max(1, int(1000 * blocking_slice(self._client, remaining)))
            ready.extend(self._read_new(list(self._streams), consumer, 1, block_ms))

    def ack(self, tickets: Sequence[Ticket]) -> int:
        """Say that work is done; how many of the tickets were still open."""
        done = 0
        for domain in dict.fromkeys(ticket.domain for ticket in tickets):
            entries = [ticket.entry for ticket in tickets if ticket.domain == domain]
            done += int(
                _ACKNOWLEDGE.run(self._client, (self._stream(domain),), (self._group, *entries))
            )
        return done

    def backlog(self) -> int:
        """Pieces of work that are not acknowledged, taken or not."""
        return sum(self.backlog_by_domain().values())

    def backlog_by_domain(self) -> dict[str, int]:
        """`backlog` of each domain."""
        lengths = call_all(self._client, [("XLEN", stream) for stream in self._streams.values()])
        return dict(zip(self._streams, map(int, lengths)))

    def forget_idle_consumers(self, idle_s: float) -> int:
        """Delete consumers that hold nothing and were not heard of for so long; how many."""
        return sum(
            int(_FORGET.run(self._client, (stream,), (self._group, int(1000 * idle_s))))
            for stream in self._streams.values()
        )

    def _stream(self, domain: str) -> str:
        try:
            return self._streams[domain]
        except KeyError:
            raise SharedMemoryError(
                f"this queue serves the domains {sorted(self._streams)}, not {domain!r}"
            ) from None

    def _make_groups(self) -> None:
        for stream in self._streams.values():
            try:
                call(self._client, "XGROUP", "CREATE", stream, self._group, "0", "MKSTREAM")
            except SharedMemoryError as error:
                if "BUSYGROUP" not in str(error):
                    raise

    def _domains_in_turn(self) -> list[str]:
        domains = list(self._streams)
        self._turn = (self._turn + 1) % len(domains)
        return domains[self._turn :] + domains[: self._turn]

    def _reclaim(self, domain: str, consumer: str, count: int) -> list[tuple[Ticket, _Record]]:
        pieces: list[tuple[Ticket, _Record]] = []
        start: str | bytes = "0-0"
        while len(pieces) < count:
            reply = call(
                self._client,
                *("XAUTOCLAIM", self._streams[domain], self._group, consumer),
                *(int(1000 * self._reclaim_s), start, "COUNT", count - len(pieces)),
            )
            start = reply[0]
            pieces.extend(self._decoded(domain, reply[1]))
            if start == b"0-0":  # all that is pending has been looked at
                break
        return pieces

    def _read_new(
        self, domains: Sequence[str], consumer: str, count: int, block_ms: int | None
    ) -> list[tuple[Ticket, _Record]]:
        streams = [self._streams[domain] for domain in domains]
        waiting = () if block_ms is None else ("BLOCK", block_ms)
        reply = call(
            self._client,
            *("XREADGROUP", "GROUP", self._group, consumer, "COUNT", count, *waiting),
            *("STREAMS", *streams, *(">" for _ in streams)),
        )
        names = {self._streams[domain].encode(): domain for domain in domains}
        return [
            piece
            for stream, entries in reply or ()
            for piece in self._decoded(names[stream], entries)
        ]

    def _decoded(
        self, domain: str, entries: Sequence[tuple[bytes | None, dict[bytes, bytes] | None]]
    ) -> list[tuple[Ticket, _Record]]:
        """The records of entries; what is none is dropped and counted, or it would come forever."""
        pieces: list[tuple[Ticket, _Record]] = []
        for entry, fields in entries:
            if entry is None:
                continue
            ticket = Ticket(domain, entry.decode())
            try:
                pieces.append((ticket, decode(self._kind, (fields or {}).get(b"p", b""))))
            except SharedMemoryError:
                self.refused += 1
                self.ack([ticket])
        return pieces


class PlanQueue(WorkQueue[PlanRequest]):
    """Plan requests, put by `Bank.push`, taken by teachers."""

    def __init__(
        self,
        client: redis.Redis,
        run: str,
        domains: Sequence[str],
        *,
        reclaim_s: float = 60.0,
        deadline_s: float = 60.0,
    ) -> None:
        self._run_keys = RunKeys(run)
        self._deadline_s = deadline_s
        super().__init__(
            client,
            {domain: self._run_keys.domain(domain).plans for domain in domains},
            PlanRequest,
            "teachers",
            reclaim_s=reclaim_s,
        )

    def complete(self, ticket: Ticket, outcome: PlanOutcomeRecord, trace: Trace | None) -> bool:
        """`complete_all` of one; whether it was not completed before."""
        return self.complete_all([(ticket, outcome, trace)]) == 1

    def complete_all(
        self, answers: Sequence[tuple[Ticket, PlanOutcomeRecord, Trace | None]]
    ) -> int:
        """In one step for each domain: tell the driver the outcomes, give the learner the traces,
        acknowledge.

        Returns how many were completed now. Those that had been before (by another teacher that
        took them over, or by this call whose reply was lost) stay without effect.
        """
        done = 0
        for domain in dict.fromkeys(ticket.domain for ticket, _, _ in answers):
            words: list[str | bytes] = [self._group]
            for ticket, outcome, trace in answers:
                if ticket.domain == domain:
                    payload = encode(trace) if trace is not None else b""
                    words += [ticket.entry, encode(outcome), payload]
            done += self._complete(self._run_keys.domain(domain), words)
        return done

    def _complete(self, keys: DomainKeys, words: Sequence[str | bytes]) -> int:
        names = (keys.plans, keys.traces, keys.outcomes, keys.counters)
        return int(
            push_back(lambda: _COMPLETE.run(self._client, names, words), self._deadline_s) or 0
        )


class TraceQueue(WorkQueue[Trace]):
    """Traces, put with `PlanQueue.complete`, taken by the learner."""

    def __init__(
        self,
        client: redis.Redis,
        run: str,
        domains: Sequence[str],
        *,
        reclaim_s: float = 60.0,
    ) -> None:
        keys = RunKeys(run)
        super().__init__(
            client,
            {domain: keys.domain(domain).traces for domain in domains},
            Trace,
            "learners",
            reclaim_s=reclaim_s,
        )
