"""The driver's reading of the outcome log: every event told, counted and passed on once.

An event is first told to the observers (who count one that is told again once), then passed on,
and only then counted and left behind; so an error anywhere in between, and a resume after it,
neither loses nor doubles anything in the books.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from cluster.checkpoint import DriverState
from cluster.code_counts import CodeCounts
from cluster.episode_log import EpisodeLog
from cluster.happenings import episode_finished, planned
from cluster.observer import Event
from cluster.pacing import note_answered
from cluster.rounds import RoundTally
from shared_memory.outcomes import Cursor, OutcomeLog, PlanEvent
from shared_memory.records import Episode


class OutcomeIntake:
    """Reads the log from the state's cursor on, and keeps the state's counts.

    `episodes` gets every episode and keeps some; the codes of all are counted. With `note_plans`
    the state knows which tasks' plans were answered, not only how many.
    """

    def __init__(
        self,
        state: DriverState,
        emit: Callable[[Event], None],
        episodes: EpisodeLog | None = None,
        note_plans: bool = False,
    ) -> None:
        self._state = state
        self._emit = emit
        self._episodes = episodes
        self._note_plans = note_plans
        self._codes = CodeCounts()
        self._saved: Cursor = dict(state.cursor)  # of the last checkpoint
        self.tally = RoundTally()

    def read(self, log: OutcomeLog) -> Iterator[Episode]:
        """All episodes that finished since last time; plans are counted on the way."""
        state = self._state
        while True:
            events, _ = log.read(state.cursor)
            for event in events:
                if isinstance(event, PlanEvent):
                    self._emit(planned(event.outcome))
                    state.plans_answered += 1
                    state.traces_queued += event.outcome.traced
                    if self._note_plans:
                        note_answered(state, event.outcome.task_index)
                else:
                    episode = event.episode
                    self._emit(episode_finished(episode, state.version))
                    self._keep(episode)
                    yield episode
                    state.procedures += episode.procedures
                    self.tally.tasks += 1
                    self.tally.solved += episode.success
                    self.tally.decisions += len(episode.decisions)
                state.cursor = {**state.cursor, event.domain: event.number}
            if not events:
                return

    def flush(self) -> None:
        """Tell of the codes that were counted so far."""
        counted = self._codes.take_out()
        if counted is not None:
            self._emit(counted)

    def _keep(self, episode: Episode) -> None:
        if self._episodes is not None:
            self._episodes.take(episode)
        self._codes.take(episode)
        if self._codes.full:
            self.flush()

    def checkpointed(self, log: OutcomeLog) -> None:
        """A checkpoint with the state's cursor was written: the log forgets what the one before
        it, which is kept, had read; nothing where copies elsewhere may go on from older ones."""
        if self._saved and not self._state.copied:
            log.trim(self._saved)
        self._saved = dict(self._state.cursor)
