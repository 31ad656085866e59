"""Learning a stream block by block: new decisions beside replayed ones, at a constant rate.

What a run's learner does, without Ray and without actors, so that the same setting gives the same
model: of each batch a share is drawn from the block that has just come, the rest from a reservoir
over all blocks before, decision by decision. The rate never falls, because a curve over tasks that
flattens with the rate would look saturated.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from cluster.stream_rows import StreamSetting
from learner.curriculum import draw, single_decisions
from learner.distillation import DECAY_FROM
from learner.distilled_lm import DistilledLM
from learner.replay import Reservoir, named_generator
from learner.student import RoundStatistics
from shared_memory.records import Trace
from tasks.rendering import Rendering

RESERVOIR = "reservoir"
"""The replay reservoir's part of a state; all others are the student's files."""


class StreamLearner:
    """The model, what it replays, and the batches of each block."""

    def __init__(self, setting: StreamSetting, rendering: Rendering, tasks: int) -> None:
        config = setting.config
        self._steps_a_task = setting.measuring.steps_a_task
        total = math.ceil(tasks * self._steps_a_task / DECAY_FROM) + 1  # so that it never falls
        self._config = config.distillation.model_copy(update={"total_steps": total})
        self._seed = config.seed
        self.student = DistilledLM(config.model, rendering, self._config, config.seed)
        self._reservoir = Reservoir(self._config.reservoir, config.seed)

    def learn(
        self, block: int, traces: Sequence[Trace], tasks: int, on_step: Callable[[], None]
    ) -> RoundStatistics:
        """Take the steps of a block of so many tasks, whose traces are `traces`."""
        new = [part for trace in traces for part in single_decisions(trace)]
        generator = named_generator(self._seed, f"block {block}")
        wrong = np.ones(len(new))
        self.student.model.book.start_window()
        size = self._config.batch_traces * self._config.decisions
        for _ in range(round(tasks * self._steps_a_task)):
            replayed = size - math.ceil(size * (1 - self._config.replay)) if new else size
            places = self._reservoir.draw(min(replayed, len(self._reservoir)))
            fresh = draw(wrong, size - len(places), generator) if new else []
            batch = [new[place] for place in fresh]
            batch += [self._reservoir.traces[place] for place in places]
            if not batch:
                break  # a first block without a plan has nothing to teach
            exact = self.student.step(batch)
            for place, share in zip(fresh, exact, strict=False):
                wrong[place] = 1 - share
            self._reservoir.learn(places, exact[len(fresh) :])
            on_step()
        for part in new:
            self._reservoir.add(part)
        return self.student.round_statistics()

    def state(self) -> dict[str, bytes]:
        """Everything that is needed to go on after a block."""
        return {**self.student.files(), RESERVOIR: self._reservoir.state()}

    def restore(self, state: dict[str, bytes]) -> None:
        """Go on from a state. LearnerError where it is damaged."""
        self.student.restore(state)
        self._reservoir.load_state(state[RESERVOIR])
