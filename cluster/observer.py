"""What a run tells: one small immutable event for each thing that happened.

The driver calls `Observers.emit(event)`; the metrics log, TensorBoard, the progress display and
the summary are observers that each get every event with the run's seconds at which it happened.
An event is also one line of `metrics.jsonl` (documented in `docs/metrics.md`).

`driver.run(config, folder, observers, resume)` emits `RunStarted` first and `RunFinished` last; the
summary is made from the events alone.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal, Protocol, TypeAlias

ProbeMode = Literal["free", "restricted", "exchanged", "silent"]
"""free: the LM decodes freely; restricted: only admissible actions; exchanged: free, but with the
procedures of another task (CSR free - CSR exchanged is the memory reliance); silent: free, but
without the banks (CSR free - CSR silent is what they are worth)."""

Sign = Literal["success", "failure"]
"""Which bank: success is M+, failure is M-."""

PlanStatus = Literal["solved", "unsolvable", "timeout", "out_of_memory", "error"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """A measured mean with its 95 % interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True, kw_only=True)
class RunStarted:
    """The first event of a run, and again after each resume."""

    event: Literal["run_started"] = "run_started"
    name: str
    seed: int
    resumed: bool
    tasks: int  # in the whole stream
    parameters: int  # of the small LM, codes included
    codes: int  # K
    episodes_done: int = 0  # of the stream, before this start
    version: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class PhaseStarted:
    """The stream enters a phase."""

    event: Literal["phase_started"] = "phase_started"
    phase: int
    name: str
    tasks: int


@dataclass(frozen=True, slots=True, kw_only=True)
class EpisodeFinished:
    """One task of the stream was acted to its end (never a probe task)."""

    event: Literal["episode"] = "episode"
    episode: int  # the run's running number; unique
    task_index: int
    domain: str
    phase: int
    success: bool
    conditions_met: int
    conditions: int
    steps: int  # actions emitted
    accepted: int  # actions that the simulator accepted
    version: int  # book version acted with
    staleness: int  # learner's version at the end - version acted with
    seconds: float
    actor: str
    hits_success: int  # decisions for which something in M+ passed the threshold
    hits_failure: int
    decisions: int
    fault: str = ""  # what the simulator did wrong, where that ended the episode


@dataclass(frozen=True, slots=True, kw_only=True)
class Planned:
    """The teacher answered a request for a plan."""

    event: Literal["planned"] = "planned"
    task_index: int
    domain: str
    phase: int
    status: PlanStatus
    plan_length: int | None  # actions; None unless solved
    seconds: float  # that the planner took; 0 where cached
    planner: str
    cached: bool = False  # an earlier answer for the same task: no planner ran
    queued: bool = False  # a trace of it was queued for the learner


@dataclass(frozen=True, slots=True, kw_only=True)
class VersionPublished:
    """The learner published a book version: what it trained on and how the book is used."""

    event: Literal["version"] = "version"
    version: int
    phase: int  # of the stream when it was published
    steps: int  # optimiser steps in all
    loss: float  # mean over this version's steps
    commitment: float
    learning_rate: float
    traces_new: int  # taken for this version
    traces_replayed: int
    tokens: int  # trained on for this version, padding not counted
    seconds: float  # spent in distillation steps
    codes: int  # K
    codes_used: int
    codes_dead: int
    codes_revived: int
    perplexity: float
    quantisation_error: float  # mean |M-R|^2 / mean |M|^2
    quantisation_error_new: float | None = None  # over traces of the newest phase
    quantisation_error_old: float | None = None  # over replayed traces of phases before it


@dataclass(frozen=True, slots=True, kw_only=True)
class BankState:
    """One bank (domain and sign) as counted by shared memory since the run's start."""

    domain: str
    sign: Sign
    entries: int
    unique: int  # distinct procedures
    submitted: int
    admitted: int
    duplicates: int
    retired: int
    bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class BankMeasured:
    """The state of all banks, read from shared memory every few seconds and at a phase's end."""

    event: Literal["bank"] = "bank"
    phase: int
    banks: tuple[BankState, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Probed:
    """The policy was tried on held-out tasks of a phase."""

    event: Literal["probe"] = "probe"
    phase: int  # whose held-out tasks
    after_phase: int  # -1: before training
    mode: ProbeMode
    version: int
    tasks: int
    csr: Estimate
    cgc: Estimate
    exe: Estimate | None  # None where no action was emitted
    spl: Estimate | None  # over tasks whose plan length is known; None where there is none
    spl_tasks: int | None = None  # how many those are; None in logs of before: all
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ResourcesMeasured:
    """Resident memory, in MiB."""

    event: Literal["resources"] = "resources"
    actor_mb: float  # the largest actor
    learner_mb: float
    driver_mb: float
    total_mb: float  # everything that the run started, Ray and the embedded server included


@dataclass(frozen=True, slots=True, kw_only=True)
class ActorHealth:
    """One actor process as the driver knows it."""

    actor: str
    up: bool  # it has started
    doing: str  # what it was asked; "" while it waits to be asked
    age_s: float  # since it last got further, or was asked
    host: str = ""  # where it runs; "" where that is not known (yet)


@dataclass(frozen=True, slots=True, kw_only=True)
class OverdueWait:
    """A wait that has passed its deadline and still stands."""

    who: str
    whom: str
    what: str  # is waited for, and what to do
    seconds: float
    deadline_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class HealthMeasured:
    """Who is there, what each does, and how long ago it was heard of."""

    event: Literal["health"] = "health"
    actors: tuple[ActorHealth, ...]
    learner_doing: str  # what it does, or for whom it waits
    learner_age_s: float  # since its loop last turned
    server_answer_s: float  # how long shared memory's server took to say the next two
    server_bytes: int
    server_limit_bytes: int  # 0: none
    waits: tuple[OverdueWait, ...] = ()  # past their deadline
    waits_passed: int = 0  # deadlines passed since the driver started


@dataclass(frozen=True, slots=True, kw_only=True)
class DomainCodes:
    """How often each code stood in the procedures of a domain's decisions."""

    domain: str
    tasks: int
    codes: tuple[int, ...]  # those that occurred, rising
    counts: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class CodesCounted:
    """The codes that acting used since the last such event, by domain."""

    event: Literal["codes"] = "codes"
    phase: int  # of the last of these tasks
    tasks: int  # tasks of the stream that these are
    domains: tuple[DomainCodes, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetChanged:
    """Another number of actors was asked for, or a host came, is to leave, or is gone."""

    event: Literal["fleet"] = "fleet"
    message: str
    actors: int  # asked for: in all, or with `each_host` on each host
    each_host: bool
    hosts: int  # that are there and stay


@dataclass(frozen=True, slots=True, kw_only=True)
class Alarm:
    """Something that a person should know: a stall, a process that died, a lost request."""

    event: Literal["alarm"] = "alarm"
    kind: str  # e.g. "stall", "actor_died", "learner_died", "request_overdue"
    message: str  # a sentence that names who waits for whom


@dataclass(frozen=True, slots=True, kw_only=True)
class PhaseFinished:
    """All tasks of a phase were acted and its probes are done."""

    event: Literal["phase_finished"] = "phase_finished"
    phase: int
    seconds: float  # of acting and learning, without the probes


@dataclass(frozen=True, slots=True, kw_only=True)
class Accounting:
    """The closing account of a run: every episode and every procedure is somewhere.

    Started = finished + failed + in flight, where a failed episode is one that was lost with its
    actor (not one that missed its goal). Submitted procedures = admitted + duplicates, and the
    bank as read back holds admitted - retired entries.
    """

    episodes_started: int
    episodes_finished: int
    episodes_failed: int
    episodes_in_flight: int
    episodes_doubled: int  # finished again after a lost reply; counted once
    procedures_submitted: int
    procedures_admitted: int
    procedures_duplicate: int
    procedures_retired: int
    bank_entries_read: int | None  # counted by reading the banks back; None: they were not
    plans_requested: int
    plans_answered: int
    traces_queued: int  # for the learner
    closes: bool
    problems: tuple[str, ...] = ()  # a sentence for each sum that does not close


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFinished:
    """The last event: how the run ended and its account."""

    event: Literal["run_finished"] = "run_finished"
    outcome: Literal["finished", "stopped", "failed"]  # stopped: resumable
    accounting: Accounting
    version: int


Event: TypeAlias = (
    RunStarted
    | PhaseStarted
    | EpisodeFinished
    | Planned
    | VersionPublished
    | BankMeasured
    | Probed
    | ResourcesMeasured
    | HealthMeasured
    | CodesCounted
    | FleetChanged
    | Alarm
    | PhaseFinished
    | RunFinished
)


class RunObserver(Protocol):
    """Watches a run."""

    def observe(self, event: Event, seconds: float) -> None:
        """Take an event that happened `seconds` of run time after the run's first start."""

    def close(self) -> None:
        """Flush and release what is held; called once, also after an error."""


class Observers:
    """Hands each event to every observer, in order; safe to call from several threads.

    `elapsed` is the run time that earlier starts of a resumed run took, so that `seconds` goes on
    from there. An observer that raises stops the run: a metrics log that cannot be written must
    not go unnoticed.
    """

    def __init__(
        self,
        observers: Iterable[RunObserver] = (),
        elapsed: float = 0.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._observers = tuple(observers)
        self._clock = clock
        self._origin = clock() - elapsed
        self._lock = threading.Lock()

    @property
    def seconds(self) -> float:
        """Run time so far, in seconds."""
        return self._clock() - self._origin

    def emit(self, event: Event) -> None:
        """Hand the event to every observer."""
        with self._lock:
            seconds = self.seconds
            for observer in self._observers:
                observer.observe(event, seconds)

    def close(self) -> None:
        """Close every observer, and then raise the first error that one of them raised."""
        errors: list[Exception] = []
        for observer in self._observers:
            try:
                observer.close()
            except Exception as error:  # noqa: BLE001 - raised below, once all are closed
                errors.append(error)
        if errors:
            raise errors[0]
