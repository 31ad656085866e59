"""What the driver looks at while a run goes on: waits, stalls, the banks, memory."""

from __future__ import annotations

import time
from collections.abc import Callable

from cluster.checkpoint import DriverState
from cluster.happenings import banks_measured, health_measured, resources_measured
from cluster.observer import Alarm, Event
from cluster.pacing import Pace
from cluster.processes import LEARNER_CPUS, Processes
from cluster.script import Stage
from cluster.server_watch import ServerWatch
from cluster.supervisor import Supervisor
from cluster.waits import Wait, WaitBook, wait_opening, wait_sentence
from shared_memory.bank_reading import server_memory
from shared_memory.bank_statistics import read_statistics

LOOK_EVERY_S = 0.25
SERVER_ANSWERS_WITHIN_S = 5.0
LEARNER_PLACED_WITHIN_S = 60.0
"""The learner's process imports torch before it answers."""


class RunWatch:
    """Emits what it sees; keeps no more than since when it has been so.

    `patience_s`: how long acting may wait for the learner until that is told.
    """

    def __init__(
        self,
        state: DriverState,
        domains: tuple[str, ...],
        supervisor: Supervisor,
        pace: Pace,
        patience_s: float,
        emit: Callable[[Event], None],
    ) -> None:
        self._state = state
        self._domains = domains
        self._supervisor = supervisor
        self._pace = pace
        self._patience_s = patience_s
        self._emit = emit
        self._server = ServerWatch()
        self._book = WaitBook()
        self._looked = 0.0
        self._dropped = 0  # episodes that came too late, as told

    def look(self, processes: Processes, stage: Stage | None, now: float) -> str | None:
        """Tell of waits that have passed their deadline; the sentence of a stall where it is one.

        Tells the learner's end, too, whether somebody waits for a version.
        """
        if now - self._looked < LOOK_EVERY_S:
            return None
        self._looked = now
        for_learner = [] if stage is None else self._pace.waits(stage)
        processes.learner.expected = bool(for_learner)
        waits = processes.fleet.waits(now)
        waits += [
            Wait("acting", "the learner", sentence, self._patience_s) for sentence in for_learner
        ]
        if stage is not None:
            waits += [
                Wait("acting", "the teacher", sentence, self._patience_s)
                for sentence in self._pace.waits_for_teacher(stage)
            ]
        if not processes.learner.process:
            what = f"to start the learner's process, which needs {LEARNER_CPUS:g} CPU; "
            what += processes.fleet.free_words
            waits.append(Wait("the driver", "Ray", what, LEARNER_PLACED_WITHIN_S))
        for late in self._book.take(waits, now):
            self._emit(Alarm(kind="wait", message=wait_sentence(late)))
        standing = [wait_sentence(wait) for wait in self._book.overdue(now)]
        sentence = self._supervisor.stalled(now, [*for_learner, *standing])
        if sentence is not None:
            self._emit(Alarm(kind="stall", message=sentence))
        return sentence

    def server_answered(self, seconds: float) -> None:
        """Tell where the driver waited long for shared memory's server; it has answered now."""
        if seconds > SERVER_ANSWERS_WITHIN_S:
            opening = wait_opening("the driver", "shared memory's server")
            message = f"{opening} took {seconds:.0f} s: it was away, or had too much to do"
            self._emit(Alarm(kind="wait", message=message))

    def measure(self, processes: Processes, phase: int) -> None:
        """Tell of the banks, of memory, and of who is there and how it fares."""
        client, fleet, learner = processes.client, processes.fleet, processes.learner
        statistics = read_statistics(client, self._state.run, self._domains)
        self._emit(banks_measured(statistics, phase))
        dropped = sum(domain.dropped for domain in statistics.domains)
        if dropped > self._dropped:
            self._emit(Alarm(kind="late", message=dropped_sentence(dropped - self._dropped)))
            self._dropped = dropped
        self._emit(resources_measured(fleet.resident_mb, learner.process))
        asked = time.monotonic()
        server = server_memory(client)
        now = time.monotonic()
        self._emit(
            health_measured(
                fleet.health(now),
                learner.doing,
                learner.age_s,
                server,
                now - asked,
                self._book.overdue(now),
                self._book.passed,
            )
        )
        sentence = self._server.look(server)
        if sentence is not None:
            self._emit(Alarm(kind="memory", message=sentence))


def dropped_sentence(episodes: int) -> str:
    """What became of episodes that an actor finished too late."""
    return (
        f"{episodes} finished episodes were not written: they had been acted with versions further "
        "behind the learner than distillation.max_staleness allows, by an actor that was cut off "
        "and given up meanwhile; their tasks are acted by others"
    )
