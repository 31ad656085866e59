"""The teacher's own loop: plan requests in, outcomes and traces out, in a thread of its own.

Requests are completed some at a time, in one step of the server for each domain (outcomes for the
driver, traces for the learner, acknowledgements), so that a learner killed in between loses and
doubles nothing.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from configs.schema import TeacherConfig
from learner.teacher import TeacherAnswer, TeacherClosedError, TeacherPool, TeacherStatistics
from learner.teachers import planner_name
from shared_memory.queues import PlanQueue, Ticket
from shared_memory.records import PlanOutcomeRecord, PlanRequest, Trace

TAKEN_A_PROCESS = 8
"""Requests taken at once for each teacher process."""
WAIT_S = 0.5


def outcome_record(answer: TeacherAnswer, planner: str, traced: bool) -> PlanOutcomeRecord:
    """The answer as the event that the driver counts; what was known already took no time."""
    request, outcome = answer.request, answer.outcome
    return PlanOutcomeRecord(
        task_index=request.task_index,
        task_digest=request.task_digest,
        domain=request.domain,
        phase=request.phase,
        planner=planner,
        status=outcome.status,
        cost=outcome.cost if outcome.status == "solved" else -1,
        seconds=0.0 if answer.cached else outcome.seconds,
        failed=request.failed,
        traced=traced,
        cached=answer.cached,
    )


class Teaching:
    """Takes plan requests, has them answered, and completes them.

    `queue` is used by this thread alone. What earlier consumers of a dead learner held is taken
    first. An error ends the thread; `failure` holds it for the learner's loop to raise.
    """

    def __init__(
        self,
        pool: TeacherPool,
        queue: PlanQueue,
        config: TeacherConfig,
        consumer: str,
        inherited: PlanQueue | None = None,
        on_turn: Callable[[], None] | None = None,
    ) -> None:
        self._pool = pool
        self._queue = queue
        self._config = config
        self._consumer = consumer
        self._inherited = inherited
        self._on_turn = on_turn
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="teaching", daemon=True)
        self.failure: BaseException | None = None
        self.last_turn = time.monotonic()
        self.last_reason = ""

    @property
    def statistics(self) -> TeacherStatistics:
        """The teacher's account."""
        return self._pool.statistics

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self, deadline_s: float = 5.0) -> bool:
        """End the thread and the teacher's processes; whether it ended in time.

        Requests that were not completed stay in the queue for the next learner.
        """
        self._stop.set()
        self._pool.close()
        if self._thread.ident is not None:
            self._thread.join(deadline_s)
        return not self._thread.is_alive()

    def _run(self) -> None:
        try:
            if self._inherited is not None:
                self._serve(self._inherited.take(self._consumer, 1_000_000))
            count = TAKEN_A_PROCESS * self._config.processes
            while not self._stop.is_set():
                self.last_turn = time.monotonic()
                self._serve(self._queue.take(self._consumer, count, WAIT_S))
        except TeacherClosedError as error:
            if not self._stop.is_set():
                self.failure = error
        except BaseException as error:  # noqa: BLE001 - kept for the learner's loop, which raises it
            self.failure = error

    def _serve(self, work: list[tuple[Ticket, PlanRequest]]) -> None:
        count = TAKEN_A_PROCESS * self._config.processes
        for start in range(0, len(work), count):
            part = work[start : start + count]
            answers = self._pool.plan([request for _, request in part])
            done: list[tuple[Ticket, PlanOutcomeRecord, Trace | None]] = []
            for (ticket, request), answer in zip(part, answers):
                trace = self._trace_for(request, answer.trace)
                planner = planner_name(request.domain, self._config)
                done.append((ticket, outcome_record(answer, planner, trace is not None), trace))
                self.last_reason = answer.outcome.reason or self.last_reason
            self._queue.complete_all(done)
            self.last_turn = time.monotonic()

    def _trace_for(self, request: PlanRequest, trace: Trace | None) -> Trace | None:
        """The trace, if it is to be distilled."""
        return trace if request.failed or self._config.distil == "all" else None
