"""A learner's traces: from the queue to its batches, its replay, and what a checkpoint must hold.

A trace is acknowledged only once a checkpoint holds it. One that comes while so many wait to be
learned as new ones that they are `MOST_NEW_TRACES` is replayed only, as all are, so that neither
this nor the queue grows where less is learned than comes.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import redis

from configs.schema import DistillationConfig
from learner.curriculum import single_decisions
from learner.ordered_traces import OrderedTraces
from learner.replay import Reservoir
from shared_memory.queues import Ticket, TraceQueue
from shared_memory.records import Trace

MOST_NEW_TRACES = 4096
TAKEN_AT_ONCE = 256
ALL = 1_000_000
RECLAIM_S = 120.0


@dataclass(frozen=True, slots=True)
class Batch:
    """What one step learns from."""

    traces: list[Trace]  # the new ones first
    new: int
    places: list[int]  # of the replayed ones in the reservoir


class TraceIntake:
    """Takes traces of one run for `consumer`.

    `single`: replay keeps single decisions. `ordered`: traces are kept in the order of the stream,
    for `take_up`; else they are at hand as they come. Not for several threads.
    """

    def __init__(
        self,
        connection: redis.Redis,
        run: str,
        domains: Sequence[str],
        consumer: str,
        config: DistillationConfig,
        seed: int,
        *,
        single: bool,
        ordered: bool,
    ) -> None:
        self._connection, self._run, self._domains = connection, run, tuple(domains)
        self._queue = TraceQueue(connection, run, self._domains, reclaim_s=RECLAIM_S)
        self._consumer = consumer
        self._config = config
        self._single = single
        self._early = OrderedTraces() if ordered else None
        self._new: deque[Trace] = deque()
        self._unacknowledged: dict[Ticket, None] = {}
        self.reservoir = Reservoir(config.reservoir, seed)
        self.taken = 0

    @property
    def new(self) -> tuple[Trace, ...]:
        """What waits to be learned for the first time, oldest first."""
        return tuple(self._new)

    @property
    def tickets(self) -> tuple[Ticket, ...]:
        """Of what was taken since the last checkpoint."""
        return tuple(self._unacknowledged)

    def take(self) -> int:
        """Take what is in the queue; how many traces are at hand now that were not before."""
        return self._receive(self._queue.take(self._consumer, TAKEN_AT_ONCE))

    def take_up(self, version: int) -> int:
        """Take up the traces of a version's tasks in the stream's order; all are in the queue."""
        assert self._early is not None
        while work := self._queue.take(self._consumer, TAKEN_AT_ONCE):
            self._receive(work)
        return self._keep(self._early.take(version * self._config.tasks_per_version))

    def inherit(self) -> int:
        """Take at once what a learner before this one took and did not put into a checkpoint."""
        queue = TraceQueue(self._connection, self._run, self._domains, reclaim_s=0.0)
        count = MOST_NEW_TRACES if self._early is None else ALL
        return self._receive(queue.take(self._consumer, count))

    def draw(self) -> Batch:
        """New traces and replayed ones, in the configured shares."""
        config = self._config
        fresh = min(len(self._new), math.ceil(config.batch_traces * (1.0 - config.replay)))
        batch = [self._new.popleft() for _ in range(fresh)]
        wanted = (config.batch_traces - fresh) * (config.decisions if self._single else 1)
        places = self.reservoir.draw(min(wanted, len(self.reservoir)))
        return Batch(batch + [self.reservoir.traces[place] for place in places], fresh, places)

    def learned(self, batch: Batch, exact: Sequence[float]) -> None:
        """A step was taken; what share of each trace's decisions was right before it."""
        self.reservoir.learn(batch.places, exact[batch.new :])

    def acknowledge(self, tickets: Sequence[Ticket]) -> None:
        """A checkpoint holds them: nobody gets them again."""
        self._queue.ack(tickets)
        for ticket in tickets:
            self._unacknowledged.pop(ticket, None)

    def restore(self, reservoir: bytes, new: Sequence[Trace], taken: int) -> None:
        """Go on from a checkpoint."""
        self.reservoir.load_state(reservoir)
        self._new.extend(new)
        self.taken = taken

    def _receive(self, work: list[tuple[Ticket, Trace]]) -> int:
        if self._early is None:
            return self._keep(work)
        for ticket, trace in work:
            if ticket not in self._unacknowledged:
                self._early.put(ticket, trace)
        return 0

    def _keep(self, work: Sequence[tuple[Ticket, Trace]]) -> int:
        """Have traces for the next batches, and for replay."""
        count = 0
        for ticket, trace in work:
            if ticket in self._unacknowledged:
                continue  # handed out again because no checkpoint was written for long
            self._unacknowledged[ticket] = None
            if len(self._new) < MOST_NEW_TRACES:
                self._new.append(trace)
            for part in single_decisions(trace) if self._single else (trace,):
                self.reservoir.add(part)
            count += 1
        self.taken += count
        return count
