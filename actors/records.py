"""What is asked of an actor and what it answers: plain values, without torch or Ray.

The driver imports these and `actors.actor`, and so never loads what acting needs.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from configs.schema import ActingConfig, RenderingConfig, SharedMemoryConfig
from tasks.simulators import SimulatorKind
from tasks.task import Task

Shuffle: TypeAlias = Literal["none", "domain", "any"]
"""Whose procedure a decision uses: its own, another one of its domain, another one of any."""


@dataclass(frozen=True, slots=True)
class Assignment:
    """A task to act, under an episode number that nobody else has (-1: a probe).

    By `place`, the task's in the stream, names are drawn and episodes watched, so that a task that
    is acted again, under another number, reads the same; None: by the episode's number.
    """

    episode: int
    task: Task
    place: int | None = None

    @property
    def number(self) -> int:
        """What names are drawn by."""
        return self.episode if self.place is None else self.place


@dataclass(slots=True)
class StageTimes:
    """Seconds spent in the parts of acting, and what was done in them."""

    select: float = 0.0  # policy: reading, banks, decoding
    step: float = 0.0  # simulators: steps, observations, applicable actions
    reset: float = 0.0  # simulators: new tasks; prompts fed to the model
    decisions: int = 0
    episodes: int = 0

    def add(self, other: StageTimes) -> None:
        """Add another's figures to these."""
        self.select += other.select
        self.step += other.step
        self.reset += other.reset
        self.decisions += other.decisions
        self.episodes += other.episodes


@dataclass(frozen=True, slots=True)
class ActorSetting:
    """Everything that an actor needs to know, and no more."""

    run: str
    seed: int
    url: str = field(repr=False)  # it may hold a password
    domains: tuple[str, ...]
    simulator: SimulatorKind
    step_limit: int
    rendering: RenderingConfig
    acting: ActingConfig
    shared_memory: SharedMemoryConfig
    episodes_every: int = 0  # every so many episodes one can be looked at step by step; 0: none
    reproducible: bool = False
    max_staleness: int | None = None  # versions; what lags further is dropped; None: nothing is


@dataclass(frozen=True, slots=True)
class Pulse:
    """A sign of life: how often the actor has made progress, and its size."""

    process: int
    rounds: int
    resident_mb: float
    node: str = ""  # Ray's number of its host


@dataclass(frozen=True, slots=True)
class BrokenOff:
    """An actor could not go on: its inference actor died or did not answer in time."""

    inference: str  # who is to be replaced; "": nobody, only the session is gone
    sentence: str
    overdue: bool


@dataclass(frozen=True, slots=True)
class ActReport:
    """What an actor answers to a request to act: that it is done, and what it cost."""

    actor: str
    version: int  # the book version that all episodes were acted with; -1: none was begun
    episodes: tuple[int, ...]  # numbers of the episodes that shared memory has acknowledged
    doubled: int  # of them, known to shared memory already
    times: StageTimes
    seconds: float
    resident_mb: float  # resident memory of this process, MiB
    waited_s: float = 0.0  # of the seconds, for a server at its memory limit
    broken_off: BrokenOff | None = None  # what is not among `episodes` must be acted again


@dataclass(frozen=True, slots=True)
class ProbeOutcome:
    """How one held-out task went."""

    digest: str
    domain: str
    phase: int
    success: bool
    conditions_met: int
    conditions: int
    steps: int  # actions emitted
    accepted: int  # of them, accepted by the simulator
    hits_success: int
    hits_failure: int
    ending: str
    fault: str = ""  # what the simulator did wrong, where that ended it


@dataclass(frozen=True, slots=True)
class ProbeReport:
    """What an actor answers to a request to probe."""

    actor: str
    version: int
    outcomes: tuple[ProbeOutcome, ...]
    seconds: float
    broken_off: BrokenOff | None = None  # then there are no outcomes
