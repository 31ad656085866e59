"""How far acting and learning may go: what the driver allows actors and learner.

Usually a phase's tasks may all be acted, as the dispatcher admits them, and versions may be
published as they come; but no episode that runs may become too stale, no phase may use up the
learning of later ones, and while more plans are wanting than `teacher.max_backlog` nothing new is
given out (what is being acted then comes on top): where the teacher is slower than acting, acting
waits, and nothing is passed over.

In a reproducible run **(ours)**, with T tasks a version and a lag of one version (none where no
staleness is allowed):

- version v + 1 is learned from the tasks before (v + 1)·T, all of them acted and planned for;
- tasks before (v + 1 + lag)·T may be acted with version v;
- version v + 1 is published once all of those are acted, and nobody acts meanwhile.

So the version and the banks that a task is acted with depend on its place in the stream only; and
while the tasks of one version are acted, the next version is learned.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from cluster.checkpoint import DriverState
from cluster.dispatcher import Dispatcher
from cluster.script import Stage
from configs.schema import DistillationConfig
from tasks.stream_phases import Phase


@dataclass(frozen=True, slots=True)
class Pace:
    """The pace of one run. Looks at the driver's books, and changes nothing."""

    distillation: DistillationConfig
    phases: Sequence[Phase]
    dispatcher: Dispatcher
    state: DriverState
    most_plans: int  # that may be wanting, for tasks that are acted
    in_order: bool  # a reproducible run

    def due(self, phase: int) -> int:
        """The version that the learner owes once the phase's tasks are acted."""
        return self._stop(phase) // self.distillation.tasks_per_version

    def limit(self, stage: Stage) -> int:
        """Tasks before this one may be acted now."""
        if self.in_order:
            ahead = max(0, self.state.version) + 1 + min(1, self.distillation.max_staleness)
            return min(self._stop(stage.phase), ahead * self.distillation.tasks_per_version)
        known = self.state.plans_answered + self.dispatcher.in_flight  # nobody waits for these
        requests = (known + self.most_plans) // self.dispatcher.request_tasks
        return min(self._stop(stage.phase), max(1, requests) * self.dispatcher.request_tasks)

    def acted(self, stage: Stage) -> bool:
        """Whether all of the phase's tasks are acted, and the version that they owe is out."""
        through = self.dispatcher.drained and self.dispatcher.position >= self._stop(stage.phase)
        return through and self.state.version >= self.due(stage.phase)

    def versions(self, stage: Stage) -> tuple[int, int | None]:
        """The highest version that may be learned, and the highest that may be published (None:
        the same)."""
        due, version = self.due(stage.phase), self.state.version
        if self.in_order:
            learnable = min(due, self.state.answered // self.distillation.tasks_per_version)
            quiet = self.dispatcher.drained and self.dispatcher.position >= self.limit(stage)
            return learnable, min(version + 1, due) if quiet else max(0, version)
        running = self.dispatcher.version_ceiling
        return (due if running is None else min(due, running)), None

    def waits(self, stage: Stage) -> list[str]:
        """Who waits for the learner to publish, in words; nobody, if it has nothing to learn from
        or need not."""
        dispatcher, version = self.dispatcher, self.state.version
        if stage.kind != "act" or self.waits_for_teacher(stage):
            return []
        if dispatcher.drained and version < self.due(stage.phase):
            return [
                f"the driver waits for the learner to publish version "
                f"{version + 1 if self.in_order else self.due(stage.phase)} (it has {version})"
            ]
        if not dispatcher.drained and dispatcher.idle_actors and dispatcher.capacity == 0:
            return [
                f"{', '.join(dispatcher.idle_actors)} wait for the learner to publish a version "
                f"after {version}: acting may not run further ahead"
            ]
        return []

    def waits_for_teacher(self, stage: Stage) -> list[str]:
        """Who waits for the teacher to answer, in words."""
        stop, version = self._stop(stage.phase), self.state.version
        if stage.kind != "act" or not self.dispatcher.drained:
            return []
        if self.in_order and self.versions(stage)[0] <= version < self.due(stage.phase):
            upto = (version + 1) * self.distillation.tasks_per_version
            return [
                f"the learner waits for the teacher to answer the plans of tasks before {upto} "
                f"(of those before {self.state.answered} it has)"
            ]
        if not self.in_order and self.limit(stage) <= self.dispatcher.position < stop:
            wanting = self.dispatcher.finished - self.state.plans_answered
            return [f"acting waits for the teacher, which has {wanting} plans to answer"]
        return []

    def _stop(self, phase: int) -> int:
        return self.phases[phase].stop if phase >= 0 else 0


def note_answered(state: DriverState, task: int) -> None:
    """The plan of the stream's task was answered; harmless where that is known.

    Counted are the first ones without a gap; those past it, no more than may be acted ahead of it,
    are kept one by one.
    """
    if task >= state.answered and task not in state.answered_ahead:
        state.answered_ahead.append(task)
    while state.answered in state.answered_ahead:
        state.answered_ahead.remove(state.answered)
        state.answered += 1
