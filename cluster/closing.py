"""The end of a run: what still runs is waited for, everything is stopped, the books are read.

A finished run ends only once the teacher has answered everything that it was asked; how long that
may take follows from how much there is. The caller has given out its last task by then.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

import ray

from cluster import accounting
from cluster.bank_account import verify_with_book
from cluster.checkpoint import DriverState
from cluster.dispatcher import Dispatcher
from cluster.happenings import banks_measured
from cluster.observer import Accounting, Alarm, Event
from cluster.processes import Processes
from configs.schema import TeacherConfig
from shared_memory.bank_statistics import read_statistics

LOOK_EVERY_S = 0.25
STOP_GRACE_S = 2.0
"""How long a stopped run waits for episodes that run."""
ANSWERS_DEADLINE_S = 60.0
"""How long the teacher's last answers may take beside the planning itself."""
PLANNER_GRACE_S = 1.0
"""Seconds past its time limit that a planner may take to answer."""

Outcome = Literal["finished", "stopped", "failed"]


def answers_deadline_s(backlog: int, teacher: TeacherConfig) -> float:
    """Seconds within which the teacher has answered so many requests, whatever they are."""
    one = teacher.time_limit_s + PLANNER_GRACE_S
    return ANSWERS_DEADLINE_S + one * backlog / teacher.processes


def blind_account(dispatcher: Dispatcher, state: DriverState, problem: str) -> Accounting:
    """The account of a run whose shared memory cannot be read any more."""
    account = accounting.close(_driver_books(dispatcher, state), None)
    return replace(account, closes=False, problems=(*account.problems, problem))


@dataclass(frozen=True, slots=True)
class Closing:
    """Quiesces a run's processes, then accounts for it.

    `take_outcomes` reads what shared memory tells; `watch_learner` has the learner replaced where
    it died; `stopping` says whether somebody asked the run to stop.
    """

    processes: Processes
    dispatcher: Dispatcher
    state: DriverState
    domains: tuple[str, ...]
    teacher: TeacherConfig
    take_outcomes: Callable[[], None]
    watch_learner: Callable[[], None]
    stopping: Callable[[], bool]
    emit: Callable[[Event], None]

    def quiesce(self, outcome: Outcome) -> Outcome:
        """Wait for what runs, then stop actors and learner.

        Returns how the run ended: one that is stopped while the teacher still plans is "stopped",
        and can be resumed.
        """
        if outcome == "stopped":
            self._drain(STOP_GRACE_S)
        if outcome == "finished" and not self._await_answers():
            outcome = "stopped"
        self.processes.fleet.stop()
        self.processes.learner.stop(deadline_s=4.0 if outcome == "stopped" else 30.0)
        self.take_outcomes()
        return outcome

    def account(self, outcome: Outcome, phase: int) -> Accounting:
        """Compare the driver's books with shared memory's; a finished run's banks are read back."""
        finished = outcome == "finished"
        client, run = self.processes.client, self.state.run
        problems: tuple[str, ...] = ()
        if finished:
            verification = verify_with_book(client, run, self.domains)
            statistics, problems = verification.statistics, verification.problems
        else:
            statistics = read_statistics(client, run, self.domains)
        self.emit(banks_measured(statistics, phase))
        shared = accounting.SharedBooks.of(statistics, finished, problems)
        return accounting.close(_driver_books(self.dispatcher, self.state), shared, finished)

    def _drain(self, seconds: float) -> None:
        """Take in what finishes meanwhile, without giving out anything new."""
        deadline = time.monotonic() + seconds
        pending = self.processes.fleet.open_requests
        while self.dispatcher.in_flight and time.monotonic() < deadline:
            if pending:  # one that was answered would be ready again at once: it is left out
                _, pending = ray.wait(pending, num_returns=1, timeout=LOOK_EVERY_S)
            else:
                time.sleep(LOOK_EVERY_S)
            self.take_outcomes()

    def _await_answers(self) -> bool:
        """Wait for the teacher's backlog; False where somebody asked to stop meanwhile.

        Past the deadline it gives up: the account then names the open plans.
        """
        deadline: float | None = None
        while True:
            self.take_outcomes()
            backlog = self._requested() - self.state.plans_answered
            if backlog <= 0:
                return True
            if self.stopping():
                return False
            now = time.monotonic()
            if deadline is None:
                deadline = now + answers_deadline_s(backlog, self.teacher)
            if now > deadline:
                message = f"the driver gave up waiting for the teacher's last {backlog} plans"
                self.emit(Alarm(kind="stall", message=message))
                return True
            self.watch_learner()
            time.sleep(LOOK_EVERY_S)

    def _requested(self) -> int:
        statistics = read_statistics(self.processes.client, self.state.run, self.domains)
        return sum(domain.requested for domain in statistics.domains)


def _driver_books(dispatcher: Dispatcher, state: DriverState) -> accounting.DriverBooks:
    return accounting.DriverBooks.of(
        dispatcher, state.procedures, state.plans_answered, state.traces_queued
    )
