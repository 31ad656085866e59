"""From a run's events to its summary.

`SummaryBuilder` is an observer; fed with the lines of `metrics.jsonl` it makes the same summary
again, which is how a resumed run goes on counting and how `nesypr report` works after a crash.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from cluster.machine import hardware, library_versions
from cluster.measures import continual_figures, measure, pooled
from cluster.observer import (
    Accounting,
    Alarm,
    BankMeasured,
    EpisodeFinished,
    Event,
    PhaseFinished,
    PhaseStarted,
    Planned,
    Probed,
    ProbeMode,
    ResourcesMeasured,
    RunFinished,
    RunStarted,
    Sign,
    VersionPublished,
)
from cluster.summary import (
    BankFigures,
    Banks,
    BookFigures,
    Figures,
    Measures,
    Memory,
    PhaseSummary,
    PlannerFigures,
    ProbeFigures,
    ProbeResult,
    Rates,
    SmallLM,
    Staleness,
    Summary,
)
from tasks.metrics import Attempt

SUMS = (
    "episodes",
    "decisions",
    "hits_success",
    "hits_failure",
    "staleness_sum",
    "tokens",
    "distilling_s",
    "planning_s",
    "plans_cached",
)
"""The numbers of a `Tally` that simply add up over phases."""


@dataclass(slots=True)
class Tally:
    """What one phase's events add up to; tallies of several phases can be joined."""

    episodes: int = 0
    decisions: int = 0
    hits_success: int = 0
    hits_failure: int = 0
    staleness_max: int = 0
    staleness_sum: int = 0
    tokens: int = 0
    distilling_s: float = 0.0
    planning_s: float = 0.0
    plans_cached: int = 0
    plans: dict[str, int] = field(default_factory=dict)  # status -> answers
    attempts: list[tuple[int, Attempt]] = field(default_factory=list)  # (task index, attempt)
    started_s: float | None = None
    last_s: float = 0.0
    phase_s: float | None = None
    book: VersionPublished | None = None
    banks: BankMeasured | None = None

    def episode(self, event: EpisodeFinished, seconds: float) -> None:
        """Count an episode of the stream."""
        self.count(
            event.decisions,
            event.hits_success,
            event.hits_failure,
            event.staleness,
            event.seconds,
            seconds,
        )
        attempt = Attempt(
            success=event.success,
            conditions_met=event.conditions_met,
            conditions=event.conditions,
            emitted=event.steps,
            accepted=event.accepted,
        )
        self.attempts.append((event.task_index, attempt))

    def count(
        self,
        decisions: int,
        hits_success: int,
        hits_failure: int,
        staleness: int,
        took_s: float,
        seconds: float,
    ) -> None:
        """Count an episode that took `took_s` and ended at `seconds`; the attempt is not kept."""
        self.episodes += 1
        self.decisions += decisions
        self.hits_success += hits_success
        self.hits_failure += hits_failure
        self.staleness_max = max(self.staleness_max, staleness)
        self.staleness_sum += staleness
        self.last_s = seconds
        if self.started_s is None:
            self.started_s = max(0.0, seconds - took_s)

    def plan(self, status: str, cached: bool, seconds: float) -> None:
        """Count an answer of the teacher."""
        self.plans[status] = self.plans.get(status, 0) + 1
        self.plans_cached += cached
        self.planning_s += seconds

    def version(self, event: VersionPublished) -> None:
        """Count a published version."""
        if event.steps:  # not the untrained version 0
            self.book = event
        self.tokens += event.tokens
        self.distilling_s += event.seconds

    @property
    def seconds(self) -> float:
        """Seconds of acting and learning: as the driver says, or up to the last episode."""
        if self.phase_s is not None:
            return self.phase_s
        return max(0.0, self.last_s - self.started_s) if self.started_s is not None else 0.0

    @staticmethod
    def joined(tallies: Iterable[Tally]) -> Tally:
        """The tally of several phases together; book and banks are the last ones."""
        whole = Tally(phase_s=0.0)
        for one in tallies:
            for name in SUMS:
                setattr(whole, name, getattr(whole, name) + getattr(one, name))
            whole.staleness_max = max(whole.staleness_max, one.staleness_max)
            for status, count in one.plans.items():
                whole.plans[status] = whole.plans.get(status, 0) + count
            whole.attempts += one.attempts
            whole.phase_s = (whole.phase_s or 0.0) + one.seconds
            whole.book = one.book or whole.book
            whole.banks = one.banks or whole.banks
        return whole


class SummaryBuilder:
    """The observer that counts everything of which `summary.json` tells."""

    def __init__(self) -> None:
        self._starts: list[RunStarted] = []
        self._phases: dict[int, PhaseStarted] = {}
        self._finished: set[int] = set()
        self._tallies: dict[int, Tally] = {}
        self._probes: dict[tuple[int, int, ProbeMode], Probed] = {}
        self._plan_lengths: dict[int, int] = {}
        self._episodes: set[int] = set()
        self._planned: set[int] = set()
        self._versions: set[int] = set()
        self._memory: Memory | None = None  # the most of each so far
        self._alarms: deque[Alarm] = deque(maxlen=100)
        self._alarms_raised = 0
        self._ended: RunFinished | None = None
        self._version = 0
        self._seconds = 0.0

    @property
    def seconds(self) -> float:
        """The run's seconds at the last event."""
        return self._seconds

    @property
    def tasks_done(self) -> int:
        """Episodes of the stream that were counted."""
        return len(self._episodes)

    def close(self) -> None:
        """Nothing is held."""

    def observe(self, event: Event, seconds: float) -> None:
        """Count the event; an episode, plan or version that is told again counts once."""
        self._seconds = max(self._seconds, seconds)
        match event:
            case EpisodeFinished():
                if event.episode not in self._episodes:
                    self._episodes.add(event.episode)
                    self.tally(event.phase).episode(event, seconds)
            case Planned():
                if event.task_index not in self._planned:
                    self._planned.add(event.task_index)
                    self.tally(event.phase).plan(event.status, event.cached, event.seconds)
                    if event.plan_length is not None:
                        self._plan_lengths[event.task_index] = event.plan_length
            case VersionPublished():
                self._version = max(self._version, event.version)
                if event.version not in self._versions:
                    self._versions.add(event.version)
                    self.tally(event.phase).version(event)
            case BankMeasured():
                self.tally(event.phase).banks = event
            case Probed():
                self._probes[event.phase, event.after_phase, event.mode] = event
            case ResourcesMeasured():
                self._memory = _largest(self._memory, event)
            case Alarm():
                self._alarms.append(event)
                self._alarms_raised += 1
            case RunStarted():
                self._starts.append(event)
                self._ended = None
                self._version = max(self._version, event.version)
            case PhaseStarted():
                self._phases[event.phase] = event
                self.tally(event.phase)
            case PhaseFinished():
                self._finished.add(event.phase)
                self.tally(event.phase).phase_s = event.seconds
            case RunFinished():
                self._ended = event
                self._version = max(self._version, event.version)

    def build(self, started: float) -> Summary | None:
        """The summary so far; None before the first `RunStarted`. `started` is Unix time."""
        if not self._starts:
            return None
        first = self._starts[0]
        phases = sorted(self._tallies)
        whole = Tally.joined(self._tallies[phase] for phase in phases)
        return Summary(
            name=first.name,
            outcome=self._ended.outcome if self._ended else "unfinished",
            seed=first.seed,
            tasks=first.tasks,
            tasks_done=whole.episodes,
            version=self._version,
            seconds=self._seconds,
            starts=len(self._starts),
            started=datetime.fromtimestamp(started, UTC).isoformat(timespec="seconds"),
            model=SmallLM(parameters=first.parameters, codes=first.codes),
            whole=self._figures(whole, self._final_probes()),
            phases=tuple(self._phase(phase) for phase in phases),
            probes=tuple(
                ProbeResult(
                    phase=probe.phase,
                    after_phase=probe.after_phase,
                    mode=probe.mode,
                    version=probe.version,
                    measures=pooled([probe]),
                )
                for probe in self._probes.values()
            ),
            continual=continual_figures(self._probes.values()),
            accounting=self._accounting(),
            memory=self._memory,
            alarms=tuple(self._alarms),
            alarms_raised=self._alarms_raised,
            hardware=hardware(),
            versions=library_versions(),
        )

    def _accounting(self) -> Accounting | None:
        return self._ended.accounting if self._ended else None

    def tally(self, phase: int) -> Tally:
        """What was counted of a phase so far."""
        return self._tallies.setdefault(phase, Tally())

    def _phase(self, phase: int) -> PhaseSummary:
        figures = self._figures(self._tallies[phase], self._probe_figures([phase], phase))
        started = self._phases.get(phase)
        return PhaseSummary(
            phase=phase,
            name=started.name if started else str(phase),
            finished=phase in self._finished,
            probe_at_end=self._probe_figures([phase], self._last_probed()),
            **{name: getattr(figures, name) for name in Figures.model_fields},
        )

    def _last_probed(self) -> int:
        """The last phase after which something was probed."""
        return max((after for _, after, _ in self._probes if after >= 0), default=0)

    def _final_probes(self) -> ProbeFigures:
        """All phases' held-out tasks, after the last phase that was probed."""
        last = self._last_probed()
        phases = sorted({phase for phase, after, _ in self._probes if after == last})
        return self._probe_figures(phases, last)

    def _probe_figures(self, phases: Sequence[int], after: int) -> ProbeFigures:
        def found(after_phase: int, mode: ProbeMode) -> Measures | None:
            keys = [(phase, after_phase, mode) for phase in phases]
            probes = [self._probes[key] for key in keys if key in self._probes]
            return pooled(probes) if probes and len(probes) == len(keys) else None

        free, exchanged = found(after, "free"), found(after, "exchanged")
        silent = found(after, "silent")
        return ProbeFigures(
            free=free,
            restricted=found(after, "restricted"),
            exchanged=exchanged,
            silent=silent,
            untrained=found(-1, "free"),
            untrained_restricted=found(-1, "restricted"),
            memory_reliance=free.csr.value - exchanged.csr.value if free and exchanged else None,
            bank_effect=free.csr.value - silent.csr.value if free and silent else None,
        )

    def _figures(self, tally: Tally, probe: ProbeFigures) -> Figures:
        seconds, plans = tally.seconds, tally.plans
        return Figures(
            stream=self._stream(tally),
            probe=probe,
            banks=_banks(tally),
            book=_book(tally.book),
            staleness=Staleness(max=tally.staleness_max, mean=tally.staleness_sum / tally.episodes)
            if tally.episodes
            else None,
            rates=Rates(
                seconds=seconds,
                episodes_per_s=tally.episodes / seconds if seconds else None,
                decisions_per_s=tally.decisions / seconds if seconds else None,
                distilled_tokens_per_s=(
                    tally.tokens / tally.distilling_s if tally.distilling_s else None
                ),
                distilled_tokens=tally.tokens,
            ),
            planner=PlannerFigures(
                calls=sum(plans.values()) - tally.plans_cached,
                cached=tally.plans_cached,
                solved=plans.get("solved", 0),
                unsolvable=plans.get("unsolvable", 0),
                timed_out=plans.get("timeout", 0),
                out_of_memory=plans.get("out_of_memory", 0),
                errors=plans.get("error", 0),
                seconds=tally.planning_s,
            ),
        )

    def _stream(self, tally: Tally) -> Measures | None:
        if not tally.attempts:
            return None
        lengths = self._plan_lengths
        return measure(
            [replace(one, plan_length=lengths.get(task)) for task, one in tally.attempts]
        )


def _banks(tally: Tally) -> Banks | None:
    if tally.banks is None:
        return None
    measured = tally.banks.banks

    def one(sign: Sign, hits: int) -> BankFigures:
        banks = [bank for bank in measured if bank.sign == sign]
        return BankFigures(
            entries=sum(bank.entries for bank in banks),
            unique=sum(bank.unique for bank in banks),
            submitted=sum(bank.submitted for bank in banks),
            admitted=sum(bank.admitted for bank in banks),
            duplicates=sum(bank.duplicates for bank in banks),
            retired=sum(bank.retired for bank in banks),
            bytes=sum(bank.bytes for bank in banks),
            hit_rate=hits / tally.decisions if tally.decisions else None,
        )

    return Banks(
        success=one("success", tally.hits_success), failure=one("failure", tally.hits_failure)
    )


def _book(event: VersionPublished | None) -> BookFigures | None:
    if event is None:
        return None
    return BookFigures(
        version=event.version,
        codes=event.codes,
        codes_used=event.codes_used,
        codes_dead=event.codes_dead,
        perplexity=event.perplexity,
        quantisation_error=event.quantisation_error,
        loss=event.loss,
    )


def _largest(so_far: Memory | None, now: ResourcesMeasured) -> Memory:
    if so_far is None:
        so_far = Memory(actor_mb=0.0, learner_mb=0.0, driver_mb=0.0, total_mb=0.0)
    return Memory(
        actor_mb=max(so_far.actor_mb, now.actor_mb),
        learner_mb=max(so_far.learner_mb, now.learner_mb),
        driver_mb=max(so_far.driver_mb, now.driver_mb),
        total_mb=max(so_far.total_mb, now.total_mb),
    )
