"""The run itself: shared memory, Ray, learner and actors, and the script that they follow.

The script is a list of stages: a probe before learning, then for each phase of the stream its
tasks and a probe of all phases so far. `round` goes on by about one book version's worth of
tasks; RLlib's `training_step` and `driver.run` both call nothing but `start`, `round` and
`close`. All waiting happens in `_turn`, a quarter of a second at a time at most.
"""

from __future__ import annotations

import os
import time
import uuid
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import ray
import redis

from actors.records import ActorSetting, ActReport, Assignment, ProbeReport
from cluster import accounting, checkpoint
from cluster.checkpoint import DriverState
from cluster.dispatcher import (
    ActorLost,
    ActorReady,
    Dispatcher,
    EpisodeReported,
    Issue,
    LeaseReturned,
    StreamClosed,
    StreamOpened,
    VersionSeen,
)
from cluster.dispatcher import Event as DispatcherEvent
from cluster.fleet import ActorAnswered, ActorDown, ActorUp, Fleet, FleetEvent
from cluster.learner_link import LearnerComplaint, LearnerDown, LearnerLink, learner_setting
from cluster.observer import (
    Accounting,
    Alarm,
    BankMeasured,
    BankState,
    EpisodeFinished,
    Observers,
    PhaseFinished,
    PhaseStarted,
    Planned,
    ProbeMode,
    ResourcesMeasured,
    RunFinished,
    RunStarted,
)
from cluster.probing import Probe
from cluster.ray_session import RaySession
from cluster.reference_plans import reference_plan_lengths
from cluster.resources import resident_mb, total_resident_mb
from cluster.run_folder import RunFolder
from cluster.supervisor import Supervisor
from configs.errors import NesyprError
from configs.schema import RunConfig
from shared_memory.bank_statistics import BankStatistics, read_statistics
from shared_memory.bank_verification import verify
from shared_memory.connection import connect
from shared_memory.errors import SharedMemoryError
from shared_memory.outcomes import OutcomeLog, PlanEvent
from shared_memory.records import Episode, PlanOutcomeRecord
from shared_memory.server import EmbeddedServer
from tasks.stream import TaskStream

TURN_S = 0.25
"""The longest single wait."""
MEASURE_EVERY_S = 5.0
CHECKPOINT_EVERY_S = 5.0
START_DEADLINE_S = 300.0
DRAIN_DEADLINE_S = 60.0
STALL_GIVES_UP_AFTER = 10
"""A run in which nothing happened for so many stall times ends as failed (and can be resumed)."""

Outcome = Literal["finished", "stopped", "failed"]


class RunError(NesyprError):
    """A run cannot go on; its folder can be resumed."""


@dataclass(frozen=True, slots=True)
class Stage:
    """One step of the run's script."""

    kind: Literal["probe", "act"]
    phase: int  # -1: before any


@dataclass(frozen=True, slots=True)
class RoundReport:
    """What one round did, and where the run stands."""

    tasks: int  # finished in this round
    solved: int
    decisions: int
    seconds: float
    tasks_done: int  # in all
    tasks_in_all: int
    version: int
    phase: int
    finished: bool
    stopped: bool
    probe_csr: Mapping[str, float]  # "phase/mode" → CSR, of the probes of this round


class RunController:
    """Everything between a configuration and a finished run. Not thread-safe, except
    `request_stop`."""

    def __init__(
        self, config: RunConfig, folder: RunFolder, observers: Observers, resume: bool = False
    ) -> None:
        self.config = config
        self.folder = folder
        self.stream = TaskStream(config.stream, config.seed)
        self.dispatcher = Dispatcher(
            len(self.stream),
            config.acting.request_tasks,
            config.distillation.tasks_per_version,
            config.distillation.max_staleness,
        )
        self.script = _script(len(self.stream.phases))
        self._emit = observers.emit
        self._resume = resume
        self._complaints: tuple[str, ...] = ()
        if resume:
            self._state, self._complaints = checkpoint.read(folder)
            self._state.starts += 1
        else:
            self._state = DriverState(run=f"{folder.name}-{uuid.uuid4().hex[:8]}")
        self._origin = time.monotonic() - self._state.seconds
        self._supervisor = Supervisor(
            max(config.acting.request_deadline_s, config.distillation.request_deadline_s),
            time.monotonic(),
        )
        self._stop = False
        self._started = False
        self._server: EmbeddedServer | None = None
        self._session: RaySession | None = None
        self._client: redis.Redis | None = None
        self._log: OutcomeLog | None = None
        self._learner: LearnerLink | None = None
        self._fleet: Fleet | None = None
        self._probe: Probe | None = None
        self._happened: deque[FleetEvent] = deque()
        self._plan_lengths: dict[str, int] = {}
        self._stage_entered = False
        self._stage_began = 0.0
        self._round_tasks = 0
        self._round_solved = 0
        self._round_decisions = 0
        self._round_probes: dict[str, float] = {}
        self._measured = 0.0
        self._saved = 0.0
        self._alarms = 0

    # -- life ----------------------------------------------------------------------------------

    @property
    def finished(self) -> bool:
        """Whether the script is through."""
        return self._state.stage >= len(self.script)

    @property
    def stopping(self) -> bool:
        """Whether somebody asked the run to stop."""
        return self._stop

    @property
    def version(self) -> int:
        """The newest book version that the driver knows of; -1 before the first."""
        return self._state.version

    @property
    def processes(self) -> dict[str, int]:
        """Process numbers of the actors that are up, by name, and of the learner."""
        found = dict(self._fleet.processes) if self._fleet else {}
        if self._learner is not None and self._learner.process:
            found["learner"] = self._learner.process
        return found

    def request_stop(self) -> None:
        """Ask the run to stop at the next turn; may be called from a signal handler."""
        self._stop = True

    def start(self, meanwhile: Callable[[], object] | None = None) -> None:
        """Start or join everything, and wait until the first version is published.

        `meanwhile` is called while the processes that were started load their libraries. Raises
        NesyprError with a sentence; `close` must be called in any case.
        """
        config = self.config
        if not self._resume:
            self._save()  # from here on the run can be resumed
        if config.shared_memory.url is None:
            self._server = EmbeddedServer(
                self.folder.shared_memory, fsync=config.shared_memory.fsync
            )
            self._server.start()
            url = self._server.url
        else:
            url = config.shared_memory.url
        self._client = connect(config.shared_memory, url)
        self._log = OutcomeLog(
            self._client, self._state.run, tuple(d.name for d in self.stream.domains)
        )
        acting = config.acting
        self._session = RaySession(config.address, acting.actors * acting.cpus + 2.0)
        self._session.__enter__()
        self._learner = LearnerLink(
            learner_setting(config, self._state.run, url, self.stream, self.folder),
            config.distillation.request_deadline_s,
            self._supervisor,
        )
        self._fleet = Fleet(
            ActorSetting(
                run=self._state.run,
                seed=config.seed,
                url=url,
                domains=tuple(domain.name for domain in self.stream.domains),
                simulator=config.stream.simulator,
                step_limit=config.stream.step_limit,
                rendering=config.rendering,
                acting=acting,
                shared_memory=config.shared_memory,
            ),
            acting.actors,
            acting.cpus,
            acting.request_deadline_s,
            self._supervisor,
        )
        self._restore()
        self._save()
        if meanwhile is not None:
            meanwhile()
        self._plan_lengths = reference_plan_lengths(self.stream, config.teacher)
        self._until(
            lambda: self._state.version >= 0,
            START_DEADLINE_S,
            "the driver waits for the learner's first version",
        )
        if self._state.version < 0:
            return  # asked to stop before anything began
        self._emit(
            RunStarted(
                name=self.folder.name,
                seed=config.seed,
                resumed=self._resume,
                tasks=len(self.stream),
                parameters=self._learner.parameters,
                codes=config.model.book.codes,
                episodes_done=self.dispatcher.finished,
                version=max(0, self._state.version),
            )
        )
        self._started = True
        for complaint in self._complaints:
            self._alarm("checkpoint", complaint)

    def close(self, outcome: Outcome) -> Accounting | None:
        """Stop everything that was started, within 10 s, and account for it.

        For a finished run the teacher's backlog is waited for, and the banks are read back.
        Returns None where the run never came to have shared memory. Whatever fails on the way,
        all processes are stopped.
        """
        account: Accounting | None = None
        try:
            if self._client is not None and self._fleet is not None and self._started:
                account = self._quiesce(outcome)
        except NesyprError as error:
            if outcome != "failed":
                raise
            self._emit_failure(str(error))
        finally:
            self._stop_processes()
        return account

    # -- rounds --------------------------------------------------------------------------------

    def round(self) -> RoundReport:
        """Go on by one version's worth of tasks, a probe, or to the end of a stage."""
        began = time.monotonic()
        self._round_tasks = self._round_solved = self._round_decisions = 0
        self._round_probes = {}
        enough = self.config.distillation.tasks_per_version
        while not self.finished and not self._stop and self._round_tasks < enough:
            stage = self.script[self._state.stage]
            if not self._stage_entered:
                self._enter(stage)
            if self._through(stage):
                self._leave(stage)
                break
            self._turn(stage)
        stage = self.script[min(self._state.stage, len(self.script) - 1)]
        return RoundReport(
            tasks=self._round_tasks,
            solved=self._round_solved,
            decisions=self._round_decisions,
            seconds=time.monotonic() - began,
            tasks_done=self.dispatcher.finished,
            tasks_in_all=len(self.stream),
            version=self._state.version,
            phase=max(0, stage.phase),
            finished=self.finished,
            stopped=self._stop,
            probe_csr=dict(self._round_probes),
        )

    def _enter(self, stage: Stage) -> None:
        self._stage_entered = True
        self._stage_began = time.monotonic()
        if stage.kind == "act":
            phase = self.stream.phases[stage.phase]
            self._emit(
                PhaseStarted(phase=phase.number, name=phase.name, tasks=phase.stop - phase.start)
            )
            self._tell(StreamOpened(phase.stop))
            self._probe = None
        else:
            last = stage.phase == len(self.stream.phases) - 1
            modes: tuple[ProbeMode, ...] = ("free",)
            if stage.phase < 0:
                modes = ("free", "restricted")
            elif last:
                modes = ("free", "restricted", "exchanged")
            phases = range(len(self.stream.phases) if stage.phase < 0 else stage.phase + 1)
            self._probe = Probe.of(
                {phase: self.stream.probe(phase) for phase in phases},
                stage.phase,
                modes,
                self.config.acting.request_tasks,
            )
        self._link.allow(self._ceiling())

    def _through(self, stage: Stage) -> bool:
        if stage.kind == "probe":
            return self._probe is not None and self._probe.done
        return self.dispatcher.drained and self._state.version >= self._due(stage.phase)

    def _leave(self, stage: Stage) -> None:
        if stage.kind == "probe" and self._probe is not None:
            for event in self._probe.events(self._plan_lengths):
                self._emit(event)
                self._round_probes[f"{event.phase}/{event.mode}"] = event.csr.value
            self._probe = None
            if stage.phase >= 0:
                self._emit(PhaseFinished(phase=stage.phase, seconds=self._state.stage_seconds))
            self._state.stage_seconds = 0.0
        else:
            self._state.stage_seconds += time.monotonic() - self._stage_began
        self._state.stage += 1
        self._stage_entered = False
        self._measure()
        self._save()

    def _due(self, phase: int) -> int:
        """The version that the learner owes once the phase's tasks are acted."""
        tasks = self.stream.phases[phase].stop if phase >= 0 else 0
        versions = tasks // self.config.distillation.tasks_per_version
        return max(0, self._state.first_version) + versions

    def _ceiling(self) -> int:
        """The highest version that the learner may publish now: no episode that runs may become
        too stale, and no phase may use up the learning of later ones."""
        stage = self.script[min(self._state.stage, len(self.script) - 1)]
        due = self._due(stage.phase)
        running = self.dispatcher.version_ceiling
        return due if running is None else min(due, running)

    # -- one turn ------------------------------------------------------------------------------

    def _turn(self, stage: Stage | None = None) -> None:
        """One turn; where shared memory fails because our own server died, start that again."""
        try:
            self._turn_once(stage)
        except SharedMemoryError as error:
            if self._server is None or self._server.alive:
                raise
            self._server.start()
            self._alarm("server_died", f"the embedded server died and was started again: {error}")

    def _turn_once(self, stage: Stage | None) -> None:
        """Wait a moment for anything to happen, take it in, and send what follows from it."""
        fleet, learner = self._actors, self._link
        references = fleet.open_requests
        ready: list[Any] = []
        if references:
            ready, _ = ray.wait(references, num_returns=1, timeout=TURN_S)
        else:
            time.sleep(TURN_S)
        self._happened.extend(fleet.poll(ready))
        self._take_versions()
        self._take_outcomes()  # before leases end: what they finished is known then
        while self._happened:
            event = self._happened.popleft()
            match event:
                case ActorUp(actor):
                    self._tell(ActorReady(actor))
                case ActorAnswered(actor, ActReport() as report):
                    self._tell(LeaseReturned(actor, report.episodes))
                case ActorAnswered(actor, ProbeReport() as report):
                    if self._probe is not None:
                        self._probe.answered(actor, report)
                    self._tell(ActorReady(actor))
                case ActorDown(actor, overdue, sentence):
                    self._alarm("request_overdue" if overdue else "actor_died", sentence)
                    self._tell(ActorLost(actor))
                    if self._probe is not None:
                        self._probe.lost(actor)
        if stage is not None and self._probe is not None:
            self._give_probes(self._probe)
        learner.allow(self._ceiling())
        now = time.monotonic()
        if self._started and now - self._measured >= MEASURE_EVERY_S:
            self._measure()
        if now - self._saved >= CHECKPOINT_EVERY_S:
            self._save()
        self._watch_for_stalls(now, stage)

    def _tell(self, event: DispatcherEvent) -> None:
        """Hand an event to the dispatcher and carry out what it says."""
        for issue in self.dispatcher.handle(event):
            self._issue(issue)

    def _issue(self, issue: Issue) -> None:
        self._actors.act(
            issue.actor,
            [Assignment(episode, self.stream[task]) for episode, task in issue.episodes],
        )

    def _give_probes(self, probe: Probe) -> None:
        for actor in self.dispatcher.idle_actors:
            if actor not in probe.given:
                job = probe.next_job(actor)
                if job is None:
                    return
                self._actors.probe(actor, job.assignments, job.restrict, job.shuffle)

    def _take_versions(self) -> None:
        for event in self._link.poll():
            if isinstance(event, LearnerDown):
                self._alarm("learner_died", event.sentence)
                continue
            if isinstance(event, LearnerComplaint):
                self._alarm("checkpoint", event.sentence)
                continue
            if event.version > self._state.version:
                self._state.version = event.version
                if self._state.first_version < 0:
                    self._state.first_version = event.version
                self._supervisor.happened(time.monotonic())
                self._tell(VersionSeen(event.version - max(0, self._state.first_version)))
            if event.published is not None:
                self._emit(event.published(self._phase()))

    def _take_outcomes(self) -> None:
        """Read what shared memory tells since last time."""
        while True:
            events, self._state.cursor = self._outcomes.read(self._state.cursor)
            for event in events:
                if isinstance(event, PlanEvent):
                    self._note_plan(event.outcome)
                    continue
                episode = event.episode
                self._note_episode(episode)
                self._tell(
                    EpisodeReported(episode.episode, episode.task_index, episode.book_version)
                )
            if not events:
                return

    def _note_episode(self, episode: Episode) -> None:
        self._supervisor.happened(time.monotonic())
        self._state.procedures += len(episode.decisions)
        self._round_tasks += 1
        self._round_solved += episode.success
        self._round_decisions += len(episode.decisions)
        self._emit(
            EpisodeFinished(
                episode=episode.episode,
                task_index=episode.task_index,
                domain=episode.domain,
                phase=episode.phase,
                success=episode.success,
                conditions_met=episode.conditions_met,
                conditions=episode.conditions,
                steps=len(episode.decisions),
                accepted=sum(decision.accepted for decision in episode.decisions),
                version=episode.book_version,
                staleness=max(0, self._state.version - episode.book_version),
                seconds=episode.seconds,
                actor=episode.actor,
                hits_success=episode.hits_success,
                hits_failure=episode.hits_failure,
                decisions=len(episode.decisions),
            )
        )

    def _note_plan(self, plan: PlanOutcomeRecord) -> None:
        self._state.plans_answered += 1
        self._state.traces_distilled += plan.traced
        self._emit(
            Planned(
                task_index=plan.task_index,
                domain=plan.domain,
                phase=plan.phase,
                status=_plan_status(plan.status),
                plan_length=plan.cost if plan.status == "solved" else None,
                seconds=plan.seconds,
                planner=plan.planner,
                distilled=plan.traced,
            )
        )

    # -- watching ------------------------------------------------------------------------------

    def _until(self, true: Callable[[], bool], deadline_s: float, waits: str) -> None:
        """Take turns until it is true; raises RunError past the deadline, with who waits."""
        deadline = time.monotonic() + deadline_s
        while not true() and not self._stop:
            if time.monotonic() > deadline:
                raise RunError(f"{waits} since {deadline_s:.0f} s: see the logs in /tmp/ray")
            self._turn()

    def _watch_for_stalls(self, now: float, stage: Stage | None) -> None:
        waits: list[str] = []
        if stage is not None and stage.kind == "act":
            if self.dispatcher.drained:
                waits.append(
                    f"the driver waits for the learner to publish version "
                    f"{self._due(stage.phase)} (it has {self._state.version})"
                )
            elif self.dispatcher.idle_actors and self.dispatcher.capacity == 0:
                waits.append(
                    f"{', '.join(self.dispatcher.idle_actors)} wait for the learner to publish "
                    f"a version after {self._state.version}: acting may not run further ahead"
                )
        self._link.expected = bool(waits)
        sentence = self._supervisor.stalled(now, waits)
        if sentence is None:
            self._alarms = 0 if self._supervisor.quiet(now) < TURN_S * 4 else self._alarms
            return
        self._alarm("stall", sentence)
        self._alarms += 1
        if self._alarms >= STALL_GIVES_UP_AFTER:
            raise RunError(f"the run is stalled and was given up: {sentence}")

    def _alarm(self, kind: str, message: str) -> None:
        self._emit(Alarm(kind=kind, message=message))

    def _measure(self) -> None:
        """Tell of the banks and of memory."""
        self._measured = time.monotonic()
        self._emit(_bank_event(self._statistics(), self._phase()))
        learner_mb = resident_mb(self._link.process) if self._link.process else 0.0
        self._emit(
            ResourcesMeasured(
                actor_mb=self._actors.resident_mb,
                learner_mb=learner_mb,
                driver_mb=resident_mb(os.getpid()),
                total_mb=total_resident_mb(os.getpid()),
            )
        )

    def _statistics(self) -> BankStatistics:
        return read_statistics(
            self._connection, self._state.run, tuple(d.name for d in self.stream.domains)
        )

    def _phase(self) -> int:
        return max(0, self.script[min(self._state.stage, len(self.script) - 1)].phase)

    # -- checkpoints and the end ---------------------------------------------------------------

    def save(self) -> None:
        """Write the driver's checkpoint now, and have the learner write its own."""
        self._link.checkpoint()
        self._save()

    def _save(self) -> None:
        now = time.monotonic()
        self._saved = now
        self._state.seconds = now - self._origin
        self._state.dispatcher = self.dispatcher.state()
        state = self._state
        seconds = state.stage_seconds
        if self._stage_entered and self.script[state.stage].kind == "act":
            state.stage_seconds = seconds + now - self._stage_began
        checkpoint.write(self.folder, state)
        state.stage_seconds = seconds

    def _restore(self) -> None:
        """Go on from the checkpoint: what shared memory knows beyond it was done, too."""
        if not self._resume or self._state.dispatcher is None:
            return
        reported: list[tuple[int, int]] = []
        while True:
            events, self._state.cursor = self._outcomes.read(self._state.cursor)
            for event in events:
                if isinstance(event, PlanEvent):
                    self._note_plan(event.outcome)
                else:
                    self._note_episode(event.episode)
                    reported.append((event.episode.episode, event.episode.task_index))
            if not events:
                break
        self.dispatcher.restore(self._state.dispatcher, reported)
        self._state.version = -1  # until the learner, back from its checkpoint, says

    def _quiesce(self, outcome: Outcome) -> Accounting:
        """No more work: wait for what runs, stop the learner, read the books, say how it ended."""
        self._tell(StreamClosed())
        grace = 2.0 if outcome == "stopped" else 0.0
        deadline = time.monotonic() + grace
        while self.dispatcher.in_flight and time.monotonic() < deadline:
            self._drain_one()
        if outcome == "finished":
            self._await_plans()
        self._actors.stop()
        self._link.stop(deadline_s=4.0 if outcome == "stopped" else 30.0)
        self._take_outcomes()
        shared = self._shared_books(read_back=outcome == "finished")
        account = accounting.close(self._driver_books(), shared)
        self._save()
        final: Outcome = "failed" if outcome == "finished" and not account.closes else outcome
        self._emit(
            RunFinished(outcome=final, accounting=account, version=max(0, self._state.version))
        )
        return account

    def _emit_failure(self, problem: str) -> None:
        """The end of a run whose shared memory cannot be read any more."""
        account = accounting.close(self._driver_books(), None)
        account = replace(account, closes=False, problems=(*account.problems, problem))
        self._emit(
            RunFinished(outcome="failed", accounting=account, version=max(0, self._state.version))
        )

    def _driver_books(self) -> accounting.DriverBooks:
        return accounting.DriverBooks(
            submitted=self.dispatcher.submitted,
            finished=self.dispatcher.finished,
            failed=self.dispatcher.failed,
            in_flight=self.dispatcher.in_flight,
            doubled=self.dispatcher.doubled,
            procedures=self._state.procedures,
            plans_answered=self._state.plans_answered,
            traces_distilled=self._state.traces_distilled,
        )

    def _drain_one(self) -> None:
        """Take answers without giving out anything new."""
        references = self._actors.open_requests
        if references:
            ray.wait(references, num_returns=1, timeout=TURN_S)
        else:
            time.sleep(TURN_S)
        self._take_outcomes()

    def _await_plans(self) -> None:
        """Wait until the teacher has answered everything that it was asked."""
        deadline = time.monotonic() + DRAIN_DEADLINE_S
        while not self._stop and time.monotonic() < deadline:
            self._take_outcomes()
            asked = sum(domain.requested for domain in self._statistics().domains)
            if self._state.plans_answered >= asked:
                return
            self._take_versions()
            time.sleep(TURN_S)
        self._alarm("stall", "the driver gave up waiting for the teacher's last plans")

    def _shared_books(self, read_back: bool) -> accounting.SharedBooks:
        domains = tuple(domain.name for domain in self.stream.domains)
        problems: tuple[str, ...] = ()
        if read_back:
            verification = verify(self._connection, self._state.run, domains)
            statistics, problems = verification.statistics, verification.problems
        else:
            statistics = self._statistics()
        self._emit(_bank_event(statistics, self._phase()))
        return accounting.SharedBooks(
            finished=statistics.finished,
            doubled=sum(domain.doubled for domain in statistics.domains),
            submitted=sum(bank.submitted for bank in statistics.banks),
            admitted=sum(bank.admitted for bank in statistics.banks),
            duplicates=sum(bank.duplicates for bank in statistics.banks),
            retired=sum(bank.retired for bank in statistics.banks),
            requested=sum(domain.requested for domain in statistics.domains),
            traced=sum(domain.traces for domain in statistics.domains),
            entries_read=sum(bank.entries for bank in statistics.banks),
            problems=problems,
        )

    def _stop_processes(self) -> None:
        """Stop everything, whatever state it is in; the first error is raised at the end."""
        errors: list[Exception] = []
        steps: list[Callable[[], object]] = []
        if self._fleet is not None:
            steps.append(self._fleet.stop)
        if self._learner is not None:
            learner = self._learner
            steps.append(lambda: learner.stop(deadline_s=2.0))
        if self._session is not None:
            session = self._session
            steps.append(lambda: session.__exit__(None, None, None))
        if self._client is not None:
            steps.append(self._client.close)
        if self._server is not None:
            steps.append(self._server.stop)
        for step in steps:
            try:
                step()
            except Exception as error:  # noqa: BLE001 - raised below, once all are stopped
                errors.append(error)
        self._fleet = self._learner = self._session = self._client = self._server = None
        if errors:
            raise errors[0]

    @property
    def _actors(self) -> Fleet:
        if self._fleet is None:
            raise RunError("the run has not been started")
        return self._fleet

    @property
    def _link(self) -> LearnerLink:
        if self._learner is None:
            raise RunError("the run has not been started")
        return self._learner

    @property
    def _outcomes(self) -> OutcomeLog:
        if self._log is None:
            raise RunError("the run has not been started")
        return self._log

    @property
    def _connection(self) -> redis.Redis:
        if self._client is None:
            raise RunError("the run has not been started")
        return self._client


def _script(phases: int) -> tuple[Stage, ...]:
    stages = [Stage("probe", -1)]
    for phase in range(phases):
        stages += [Stage("act", phase), Stage("probe", phase)]
    return tuple(stages)


def _bank_event(statistics: BankStatistics, phase: int) -> BankMeasured:
    return BankMeasured(
        phase=phase,
        banks=tuple(
            BankState(
                domain=bank.domain,
                sign=bank.sign,
                entries=bank.entries,
                unique=bank.unique,
                submitted=bank.submitted,
                admitted=bank.admitted,
                duplicates=bank.duplicates,
                retired=bank.retired,
                bytes=bank.bytes,
            )
            for bank in statistics.banks
        ),
    )


def _plan_status(
    status: str,
) -> Literal["solved", "unsolvable", "timeout", "out_of_memory", "error"]:
    if status in ("solved", "unsolvable", "timeout", "out_of_memory"):
        return status  # type: ignore[return-value]
    return "error"
