"""What the learner does next: a state machine without I/O (events in, one instruction out).

A version is a round of `steps_per_version` distillation steps. A round begins once
`min_new_traces` new traces have come, or `max_wait_s` after the last one ended (or after the
start) if there is anything at all to learn from: versions go on rising while no new traces come,
because actors wait for versions. No round begins whose version the driver does not allow yet, so
that acting never lags further behind than its bound. A published version is followed by the
retirement of what the banks hold from versions too old, by encoding their entries again for so
long as that may take, and, now and then, by a checkpoint.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from configs.schema import DistillationConfig

CHECKPOINT_SHARE = 0.05
"""Share of the learner's time that writing checkpoints may take."""


@dataclass(frozen=True, slots=True)
class TracesArrived:
    """New traces are at hand."""

    count: int


@dataclass(frozen=True, slots=True)
class StepDone:
    """A distillation step was taken; `new` is how many new traces were in its batch."""

    new: int = 0


@dataclass(frozen=True, slots=True)
class Published:
    """The version was published."""

    version: int


@dataclass(frozen=True, slots=True)
class Retired:
    """Bank entries that are too old were retired."""


@dataclass(frozen=True, slots=True)
class Reencoded:
    """Bank entries were encoded again, for so many seconds; `through`: all of them are done."""

    seconds: float
    through: bool


@dataclass(frozen=True, slots=True)
class Checkpointed:
    """A checkpoint was written, in so many seconds."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Allowed:
    """The driver allows versions up to this one; None: as many as there will be.

    In a reproducible run `ceiling` is what may be learned, and `publish` what may be published.
    """

    ceiling: int | None
    publish: int | None = None


@dataclass(frozen=True, slots=True)
class Begun:
    """The traces that a round learns from were taken up (in a reproducible run)."""


@dataclass(frozen=True, slots=True)
class CheckpointAsked:
    """Somebody wants a checkpoint now."""


@dataclass(frozen=True, slots=True)
class StopAsked:
    """The learner is to end cleanly; a round under way goes on after a resume."""


Event: TypeAlias = (
    TracesArrived
    | StepDone
    | Published
    | Retired
    | Reencoded
    | Checkpointed
    | Allowed
    | Begun
    | CheckpointAsked
    | StopAsked
)


@dataclass(frozen=True, slots=True)
class Begin:
    """Take up the traces that this version learns from (in a reproducible run)."""

    version: int


@dataclass(frozen=True, slots=True)
class Distil:
    """Take one distillation step."""


@dataclass(frozen=True, slots=True)
class Publish:
    """Publish the weights under this version."""

    version: int


@dataclass(frozen=True, slots=True)
class Retire:
    """Retire bank entries last seen before this version."""

    min_version: int


@dataclass(frozen=True, slots=True)
class Reencode:
    """Encode bank entries again with the published version, for at most so many seconds."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """Write a checkpoint, then acknowledge the traces that are in it."""


@dataclass(frozen=True, slots=True)
class Wait:
    """Nothing to do for at most so many seconds; `why` says for whom the learner waits."""

    seconds: float
    why: str


@dataclass(frozen=True, slots=True)
class Stop:
    """Everything is done: end."""


Instruction: TypeAlias = Begin | Distil | Publish | Retire | Reencode | Checkpoint | Wait | Stop


class Schedule:
    """The learner's state machine. Times are seconds of any monotonic clock.

    `version` is the last published one, -1 before the first: then the first instruction is to
    publish version 0, the untrained model. `held` says how many traces are at hand for replay,
    `new` how many of them were in no batch yet, `round_steps` how far a resumed round had come.
    `reencode_s` is how long bank entries may be encoded again for each version; 0: not at all.
    """

    def __init__(
        self,
        config: DistillationConfig,
        max_version_lag: int,
        now: float,
        version: int = -1,
        held: int = 0,
        new: int = 0,
        round_steps: int = 0,
        ceiling: int | None = None,
        checkpoint_every_s: float = 5.0,
        longest_wait_s: float = 0.25,
        reencode_s: float = 0.0,
    ) -> None:
        self.version = version
        self.round_steps = round_steps
        self._config = config
        self._max_version_lag = max_version_lag
        self._held = held
        self._new = new
        self._in_round = round_steps > 0
        self._round_ended = now
        self._ceiling = ceiling
        self._retire_due = False
        self._reencode_s = reencode_s
        self._reencode_left = 0.0
        self._unsaved = True
        self._saved_at = now
        self._least_checkpoint_every_s = checkpoint_every_s
        self._checkpoint_every_s = checkpoint_every_s
        self._checkpoint_asked = False
        self._longest_wait_s = longest_wait_s
        self._stopping = False

    @property
    def new_traces(self) -> int:
        """Traces that arrived and were in no batch yet."""
        return self._new

    def handle(self, event: Event, now: float) -> None:
        """Take note of an event."""
        match event:
            case TracesArrived(count):
                self._new += count
                self._held += count
                self._unsaved = True
            case StepDone(new):
                self._new = max(0, self._new - new)
                self.round_steps += 1
                self._unsaved = True
            case Published(version):
                self.version = version
                self.round_steps = 0
                self._in_round = False
                self._round_ended = now
                self._retire_due = version > self._max_version_lag
                self._reencode_left = self._reencode_s
                self._unsaved = True
            case Retired():
                self._retire_due = False
            case Reencoded(seconds, through):
                self._reencode_left = 0.0 if through else self._reencode_left - seconds
            case Checkpointed(seconds):
                self._unsaved = False
                self._checkpoint_asked = False
                self._saved_at = now
                self._checkpoint_every_s = max(
                    self._least_checkpoint_every_s, seconds / CHECKPOINT_SHARE
                )
            case Allowed(ceiling):
                self._ceiling = ceiling
            case Begun():
                pass  # rounds begin as traces come
            case CheckpointAsked():
                self._checkpoint_asked = True
            case StopAsked():
                self._stopping = True

    def next(self, now: float) -> Instruction:
        """What to do now."""
        if self.version < 0:
            return Publish(0)
        if self._retire_due:
            return Retire(self.version - self._max_version_lag)
        late = now - self._saved_at >= self._checkpoint_every_s and not self._in_round
        if self._unsaved and (self._stopping or self._checkpoint_asked or late):
            return Checkpoint()
        if self._stopping:
            return Stop()
        if self._reencode_left > 0 and not self._in_round:
            return Reencode(min(self._longest_wait_s, self._reencode_left))
        if self._ceiling is not None and self.version >= self._ceiling:
            return Wait(
                self._longest_wait_s,
                f"the learner waits for the driver to allow a version past {self._ceiling}",
            )
        if self.round_steps >= self._config.steps_per_version:
            return Publish(self.version + 1)
        if self._in_round or self._round_can_begin(now):
            self._in_round = True
            return Distil()
        left = self._longest_wait_s
        if self._held:
            left = min(left, self._config.max_wait_s - (now - self._round_ended))
        return Wait(max(0.01, left), "the learner waits for traces of the teacher")

    def _round_can_begin(self, now: float) -> bool:
        if self._held == 0:
            return False
        if self._new >= self._config.min_new_traces:
            return True
        return now - self._round_ended >= self._config.max_wait_s
