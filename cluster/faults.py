"""Tasks whose simulator fails: what is written down of them, and what a person is told.

A simulator that raises, or that hangs where it can be interrupted, is dealt with in the actor
(`actors.guard`). Where it takes its actor with it, the dispatcher gives the task up after a few
actors, and its episode is written down here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from actors.records import ProbeOutcome
from cluster.dispatcher import GiveUp
from cluster.observer import Alarm, Event
from shared_memory.bank import Bank
from shared_memory.records import Episode, PlanRequest
from tasks.stream import TaskStream
from tasks.task import Task


def given_up(lost: GiveUp, task: Task) -> tuple[Episode, PlanRequest]:
    """The failed episode of a task that cost its actors, and the request that its end causes."""
    episode = Episode(
        episode=lost.episode,
        task_index=lost.task,
        task_digest=task.digest,
        domain=task.domain,
        phase=task.phase,
        book_version=lost.version,
        success=False,
        conditions_met=0,
        conditions=1,
        steps=0,
        decisions=(),
        actor="",
        seconds=0.0,
        hits_success=0,
        hits_failure=0,
        fault=lost_with(lost.actors),
    )
    request = PlanRequest(
        task_index=lost.task,
        task_digest=task.digest,
        domain=task.domain,
        phase=task.phase,
        problem=task.problem,
        origin=task.origin,
        failed=True,
    )
    return episode, request


def probe_given_up(task: Task, actors: int) -> ProbeOutcome:
    """The failed outcome of a held-out task that cost its actors."""
    return ProbeOutcome(
        digest=task.digest,
        domain=task.domain,
        phase=task.phase,
        success=False,
        conditions_met=0,
        conditions=1,
        steps=0,
        accepted=0,
        hits_success=0,
        hits_failure=0,
        ending="fault",
        fault=lost_with(actors),
    )


def lost_with(actors: int) -> str:
    """The fault of a task that is given up."""
    return f"{actors} actors were lost with it (it hangs or crashes its simulator)"


class Faults:
    """Tells of faults as alarms, each with the way to get its task again."""

    def __init__(self, stream: TaskStream, emit: Callable[[Event], None]) -> None:
        self._stream = stream
        self._emit = emit

    def write_down(self, lost: GiveUp, bank: Bank) -> None:
        """Report an episode as failed that nobody can act; it comes back as any outcome does."""
        episode, request = given_up(lost, self._stream[lost.task])
        bank.push([episode], [request])

    def tell(self, episode: Episode) -> None:
        """Raise an alarm if the episode was ended by its simulator."""
        if episode.fault:
            self._alarm(
                f"episode {episode.episode}", episode.fault, self._stream[episode.task_index]
            )

    def tell_of_probes(self, outcomes: Sequence[ProbeOutcome]) -> None:
        """Raise an alarm for each held-out task that was ended by its simulator."""
        for outcome in outcomes:
            if outcome.fault:
                probe = self._stream.probe(outcome.phase)
                task = next(task for task in probe if task.digest == outcome.digest)
                self._alarm("a probe", outcome.fault, task)

    def _alarm(self, what: str, fault: str, task: Task) -> None:
        message = (
            f"{what} of domain '{task.domain}' failed by its simulator: {fault}; to repeat it: "
            f"get_domain('{task.domain}').task_from_origin('{task.origin}')"
        )
        self._emit(Alarm(kind="simulator", message=message))
