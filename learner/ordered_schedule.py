"""What the learner of a reproducible run does next: a state machine without I/O **(ours)**.

Same events and instructions as `learner.schedule`, but nothing depends on a clock. A version's
round begins once the driver allows it, which it does when every task that the version learns from
was acted and its plan answered; it always takes `steps_per_version` steps. Then come a checkpoint,
the retirement of bank entries that will be too old, and, once the driver says that nobody acts
with the version before any more, the publication. Since a checkpoint stands before every
publication and nowhere else, a learner that ends anywhere learns the same version again.
"""

from __future__ import annotations

from typing import Literal

from configs.schema import DistillationConfig
from learner import schedule

Stage = Literal["waits", "learns", "learned", "saved"]


class OrderedSchedule:
    """The state machine. `version` is the last published one, -1 before the first.

    `saved`: the version after it is learned already, and in a checkpoint. `held` says how many
    traces are at hand for replay; a round without any takes no step.
    """

    def __init__(
        self,
        config: DistillationConfig,
        max_version_lag: int,
        version: int = -1,
        held: int = 0,
        saved: bool = False,
        ceiling: int | None = None,
        publish: int | None = None,
        longest_wait_s: float = 0.25,
    ) -> None:
        self.version = version
        self.round_steps = config.steps_per_version if saved else 0
        self._config = config
        self._max_version_lag = max_version_lag
        self._held = held
        self._stage: Stage = "saved" if saved else "waits"
        self._retired = False
        self._ceiling = ceiling
        self._may_publish = publish
        self._longest_wait_s = longest_wait_s
        self._stopping = False

    def handle(self, event: schedule.Event, now: float) -> None:
        """Take note of an event; `now` is not looked at."""
        del now
        match event:
            case schedule.TracesArrived(count):
                self._held += count
            case schedule.Begun():
                self._stage, self.round_steps = "learns", 0
            case schedule.StepDone():
                self.round_steps += 1
            case schedule.Checkpointed():
                self._stage = "saved"
            case schedule.Retired():
                self._retired = True
            case schedule.Published(version):
                self.version = version
                self._stage, self._retired, self.round_steps = "waits", False, 0
            case schedule.Allowed(ceiling, publish):
                self._ceiling, self._may_publish = ceiling, publish
            case schedule.StopAsked():
                self._stopping = True
            case schedule.CheckpointAsked() | schedule.Reencoded():
                pass  # the last checkpoint is the one to go on from

    def next(self, now: float) -> schedule.Instruction:
        """What to do now."""
        del now
        if self.version < 0:
            return schedule.Publish(0)
        if self._stage == "learns" and self._through:
            self._stage = "learned"
        if self._stage == "learned":
            return schedule.Checkpoint()
        if self._stopping:
            return schedule.Stop()
        if self._stage == "learns":
            return schedule.Distil()
        if self._stage == "saved":
            return self._on_the_way_out()
        if self._ceiling is not None and self.version >= self._ceiling:
            return self._wait(
                f"for all tasks up to version {self.version + 1} to be acted and planned"
            )
        return schedule.Begin(self.version + 1)

    @property
    def _through(self) -> bool:
        return self._held == 0 or self.round_steps >= self._config.steps_per_version

    def _on_the_way_out(self) -> schedule.Instruction:
        if self._may_publish is not None and self.version >= self._may_publish:
            return self._wait(f"for the tasks of version {self.version} to be acted to their end")
        oldest = self.version + 1 - self._max_version_lag
        if oldest > 0 and not self._retired:
            return schedule.Retire(oldest)
        return schedule.Publish(self.version + 1)

    def _wait(self, for_what: str) -> schedule.Wait:
        return schedule.Wait(self._longest_wait_s, f"the learner waits {for_what}")
