"""The run itself: what happens is taken in, and what follows from it is sent out.

It follows the script (`cluster.script`): a probe before learning, then for each phase of the
stream its tasks and a probe of all phases so far and the next. `round` goes on by about one book
version's worth of tasks; RLlib's `training_step` and `driver.run` both call nothing but `start`,
`round` and `close`. All waiting happens in `_turn`, a quarter of a second at a time at most.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from typing import Any

import ray

from actors.records import ActReport, Assignment, ProbeReport
from cluster import checkpoint
from cluster.cast import REAL_ACTORS, Cast
from cluster.checkpoint import DriverState
from cluster.closing import Closing, Outcome, blind_account
from cluster.dispatcher import (
    Dispatcher,
    EpisodeReported,
    GiveUp,
    StreamClosed,
    StreamOpened,
    VersionSeen,
)
from cluster.dispatching import Dispatching
from cluster.episode_log import EpisodeLog
from cluster.faults import Faults
from cluster.fleet import Fleet
from cluster.fleet_events import ActorAnswered, ActorDown
from cluster.learner_link import LearnerComplaint, LearnerDown, LearnerLink
from cluster.observer import (
    Accounting,
    Alarm,
    Observers,
    PhaseFinished,
    PhaseStarted,
    RunFinished,
    RunStarted,
)
from cluster.outcome_intake import OutcomeIntake
from cluster.pacing import Pace
from cluster.probing import Probe
from cluster.processes import Processes
from cluster.reference_plans import reference_plan_lengths
from cluster.rounds import RoundReport, RoundTally
from cluster.run_folder import RunFolder
from cluster.run_watch import RunWatch
from cluster.script import Script, Stage
from cluster.server_watch import waited_sentence
from cluster.steering import Steering, configured_size
from cluster.supervisor import Supervisor
from configs.errors import NesyprError
from configs.schema import RunConfig
from shared_memory.bank import Bank
from shared_memory.errors import SharedMemoryError
from tasks.stream import TaskStream

TURN_S = 0.25
"""The longest single wait."""
ORDERED_TURN_S = 0.02
"""The same in a reproducible run while nobody acts: actors wait for the learner."""
CHECKPOINT_EVERY_S = 5.0
"""Banks and memory are measured before each: events that were kept back are then written, too."""
START_DEADLINE_S = 300.0
STALL_GIVES_UP_AFTER = 10
"""A run in which nothing happened for so many stall times ends as failed (and can be resumed)."""


class RunError(NesyprError):
    """A run cannot go on; its folder can be resumed."""


class RunController:
    """Everything between a configuration and a finished run. Not thread-safe, except
    `request_stop`."""

    def __init__(
        self,
        config: RunConfig,
        folder: RunFolder,
        observers: Observers,
        resume: bool = False,
        cast: Cast = REAL_ACTORS,
    ) -> None:
        self.config = config
        self._cast = cast
        self.folder = folder
        self.stream = TaskStream(config.stream, config.seed)
        self.dispatcher = Dispatcher(
            len(self.stream),
            config.acting.request_tasks,
            config.distillation.tasks_per_version,
            config.distillation.max_staleness,
        )
        self.script = Script(len(self.stream.phases), memory=self.config.model.memory.use != "none")
        self._domains = tuple(domain.name for domain in self.stream.domains)
        self._emit = observers.emit
        self._resume = resume
        self._complaints: tuple[str, ...] = ()
        self._told_version = -1
        if resume:
            self._state, self._complaints = checkpoint.read(folder)
            checkpoint.check_sources(self._state, self.stream.sources)
            self._state.starts += 1
            self._told_version = self._state.version
        else:
            run = f"{folder.name}-{uuid.uuid4().hex[:8]}"
            self._state = DriverState(run=run, sources=self.stream.sources)
        self._pace = Pace(
            config.distillation,
            self.stream.phases,
            self.dispatcher,
            self._state,
            config.teacher.max_backlog,
            config.reproducible,
        )
        self._origin = time.monotonic() - self._state.seconds
        self._supervisor = Supervisor(
            max(config.acting.request_deadline_s, config.distillation.request_deadline_s),
            time.monotonic(),
        )
        self._stop = False
        self._started = False
        self._processes: Processes | None = None
        self._probe: Probe | None = None
        self._dispatching: Dispatching | None = None
        self._plan_lengths: dict[str, int] = {}
        self._stage_entered = False
        self._stage_began = 0.0
        self._intake = OutcomeIntake(
            self._state,
            observers.emit,
            EpisodeLog.of(config, self.stream, folder),
            note_plans=config.reproducible,
        )
        self._faults = Faults(self.stream, observers.emit)
        self._watch = RunWatch(
            self._state,
            self._domains,
            self._supervisor,
            self._pace,
            config.distillation.request_deadline_s,
            observers.emit,
        )
        self._steering: Steering | None = None
        self._round_probes: dict[str, float] = {}
        self._saved = 0.0

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
        if self._processes is None:
            return {}
        learner = {"learner": self._link.process} if self._link.process else {}
        return {**self._actors.processes, **learner}

    def request_stop(self) -> None:
        """Ask the run to stop at the next turn; may be called from a signal handler."""
        self._stop = True

    def start(self, meanwhile: Callable[[], object] | None = None) -> None:
        """Start or join everything, and wait until the first version is published.

        `meanwhile` is called while the processes that were started load their libraries. Raises
        NesyprError with a sentence; `close` must be called in any case.
        """
        if not self._resume:
            self._save()  # from here on the run can be resumed
        self._processes = Processes(
            self.config, self._state.run, self.stream, self.folder, self._supervisor, self._cast
        )
        self._dispatching = Dispatching(
            self._processes.fleet, self.dispatcher, self._assigned, self._give_up
        )
        self._steering = Steering(
            self._processes.wishes,
            self._processes.fleet,
            configured_size(self.config.acting),
            self._emit,
        )
        self._restore()
        self._save()
        if meanwhile is not None:
            meanwhile()
        self._plan_lengths = reference_plan_lengths(self.stream, self.config.teacher)
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
                seed=self.config.seed,
                resumed=self._resume,
                tasks=len(self.stream),
                parameters=self._link.parameters,
                codes=self.config.model.book.codes,
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
            if self._processes is not None and self._started:
                account = self._end(outcome)
        except NesyprError as error:
            if outcome != "failed":
                raise
            account = blind_account(self.dispatcher, self._state, str(error))
            self._tell_end("failed", account)
        finally:
            if self._processes is not None:
                processes, self._processes = self._processes, None
                processes.stop()
        return account

    # -- rounds --------------------------------------------------------------------------------

    def round(self) -> RoundReport:
        """Go on by one version's worth of tasks, a probe, or to the end of a stage."""
        began = time.monotonic()
        tally = self._intake.tally = RoundTally()
        self._round_probes = {}
        enough = self.config.distillation.tasks_per_version
        while not self.finished and not self._stop and tally.tasks < enough:
            stage = self.script.at(self._state.stage)
            if not self._stage_entered:
                self._enter(stage)
            if self._through(stage):
                self._leave(stage)
                break
            self._turn(stage)
        stage = self.script.at(self._state.stage)
        return RoundReport(
            tasks=tally.tasks,
            solved=tally.solved,
            decisions=tally.decisions,
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
            self._given.tell(StreamOpened(self._pace.limit(stage)))
            self._probe = None
        else:
            self._probe = Probe.of(
                {phase: self.stream.probe(phase) for phase in self.script.probe_phases(stage)},
                stage.phase,
                self.script.probe_modes(stage),
                self.config.acting.request_tasks,
            )
        self._link.allow(*self._pace.versions(stage))

    def _through(self, stage: Stage) -> bool:
        if stage.kind == "probe":
            return self._probe is not None and self._probe.done
        return self._pace.acted(stage)

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
        self._intake.flush()
        self._measure()
        self._save()

    # -- one turn ------------------------------------------------------------------------------

    def _turn(self, stage: Stage | None = None) -> None:
        """One turn; where shared memory fails because our own server died, start that again."""
        try:
            self._turn_once(stage)
        except SharedMemoryError as error:
            if not self._running.revive_server():
                raise
            self._alarm("server_died", f"the embedded server died and was started again: {error}")

    def _turn_once(self, stage: Stage | None) -> None:
        """Wait a moment for anything to happen, take it in, and send what follows from it."""
        fleet, learner = self._actors, self._link
        references = fleet.open_requests
        ready: list[Any] = []
        if references:
            ready, _ = ray.wait(references, num_returns=1, timeout=TURN_S)
            if ready:  # and all others that are: a turn costs the same for many actors
                ready, _ = ray.wait(references, num_returns=len(references), timeout=0)
        else:
            time.sleep(ORDERED_TURN_S if self.config.reproducible else TURN_S)
        self._given.poll(ready)
        self._take_versions()
        asked = time.monotonic()
        self._take_outcomes()  # before leases end: what they finished is known then
        self._watch.server_answered(time.monotonic() - asked)
        for event in self._given.happened():
            match event:
                case ActorAnswered(actor, ActReport() as report):
                    if report.waited_s:
                        self._alarm("memory", waited_sentence(actor, report.waited_s))
                case ActorAnswered(actor, ProbeReport() as report):
                    if self._probe is not None:
                        self._probe.answered(actor, report)
                    self._faults.tell_of_probes(report.outcomes)
                case ActorDown(actor, overdue, sentence):
                    self._alarm("request_overdue" if overdue else "actor_died", sentence)
                    if self._probe is not None:
                        self._faults.tell_of_probes(self._probe.lost(actor))
        if stage is not None and self._probe is not None:
            self._give_probes(self._probe)
        going_on = self.script.at(self._state.stage)
        if stage is not None and stage.kind == "act":
            self._given.tell(StreamOpened(self._pace.limit(stage)))
        learner.allow(*self._pace.versions(going_on))
        now = time.monotonic()
        if now - self._saved >= CHECKPOINT_EVERY_S:
            if self._started:
                self._measure()
            self._save()
        if self._steering is not None:
            self._steering.look(now)
        stalled = self._watch.look(self._running, stage, now)
        if stalled is not None and self._supervisor.stalls >= STALL_GIVES_UP_AFTER:
            raise RunError(f"the run is stalled and was given up: {stalled}")

    def _assigned(self, episode: int, task: int) -> Assignment:
        return Assignment(episode, self.stream[task], task)

    def _give_up(self, given_up: GiveUp) -> None:
        bank = Bank(self._running.client, self._state.run, self.config.shared_memory.bank)
        self._faults.write_down(given_up, bank)

    def _give_probes(self, probe: Probe) -> None:
        for actor in self.dispatcher.idle_actors:
            if actor not in probe.given:
                job = probe.next_job(actor)
                if job is None:
                    return
                self._actors.probe(actor, job.assignments, job.restrict, job.shuffle, job.banks)

    def _take_versions(self) -> None:
        for event in self._link.poll():
            if isinstance(event, LearnerDown):
                self._alarm("learner_died", event.sentence)
                continue
            if isinstance(event, LearnerComplaint):
                self._alarm(event.kind, event.sentence)
                continue
            if event.version > self._state.version:
                self._state.version = event.version
                self._supervisor.happened(time.monotonic())
                self._given.tell(VersionSeen(event.version))
            if event.published is not None and event.version > self._told_version:
                self._told_version = event.version
                self._emit(event.published(self._phase()))

    def _take_outcomes(self) -> None:
        """Read what shared memory tells since last time."""
        answered = self._state.plans_answered
        for episode in self._intake.read(self._running.outcomes):
            self._faults.tell(episode)
            self._supervisor.happened(time.monotonic())
            self._given.tell(
                EpisodeReported(episode.episode, episode.task_index, episode.book_version)
            )
        if self._state.plans_answered > answered:
            self._supervisor.happened(time.monotonic())

    # -- watching ------------------------------------------------------------------------------

    def _until(self, true: Callable[[], bool], deadline_s: float, waits: str) -> None:
        """Take turns until it is true; raises RunError past the deadline, with who waits."""
        deadline = time.monotonic() + deadline_s
        while not true() and not self._stop:
            if time.monotonic() > deadline:
                raise RunError(f"{waits} since {deadline_s:.0f} s: see the logs in /tmp/ray")
            self._turn()

    def _alarm(self, kind: str, message: str) -> None:
        self._emit(Alarm(kind=kind, message=message))

    def _measure(self) -> None:
        """Tell of the banks and of memory."""
        self._watch.measure(self._running, self._phase())

    def _phase(self) -> int:
        return max(0, self.script.at(self._state.stage).phase)

    # -- checkpoints and the end ---------------------------------------------------------------

    def save(self) -> None:
        """Write the driver's checkpoint now, to be copied, and have the learner write its own.

        A copy may go on from here long after; on a server that is not in the run's folder, and so
        not in the copy, the events since then are kept from now on.
        """
        self._link.checkpoint()
        self._state.copied |= self.config.shared_memory.url is not None
        self._save()

    def _save(self) -> None:
        now = time.monotonic()
        self._saved = now
        self._state.seconds = now - self._origin
        self._state.dispatcher = self.dispatcher.state()
        state = self._state
        seconds = state.stage_seconds
        if self._stage_entered and self.script.at(state.stage).kind == "act":
            state.stage_seconds = seconds + now - self._stage_began
        checkpoint.write(self.folder, state)
        state.stage_seconds = seconds
        if self._processes is not None:
            self._intake.checkpointed(self._processes.outcomes)

    def _restore(self) -> None:
        """Go on from the checkpoint: what shared memory knows beyond it was done, too."""
        if not self._resume or self._state.dispatcher is None:
            return
        known = self._state.dispatcher
        reported = [
            (episode.episode, episode.task_index)
            for episode in self._intake.read(self._running.outcomes)
        ]
        self.dispatcher.restore(known, reported)
        self._state.version = -1  # until the learner, back from its checkpoint, says

    def _end(self, outcome: Outcome) -> Accounting:
        """No more work: wait for what runs, stop it, read the books, say how it ended."""
        self._given.tell(StreamClosed())
        closing = Closing(
            self._running,
            self.dispatcher,
            self._state,
            self._domains,
            self.config.teacher,
            take_outcomes=self._take_outcomes,
            watch_learner=self._take_versions,
            stopping=lambda: self._stop,
            emit=self._emit,
        )
        outcome = closing.quiesce(outcome)
        account = closing.account(outcome, self._phase())
        self._intake.flush()
        self._save()
        if self._steering is not None:
            self._steering.end(outcome)
        unsound = outcome == "finished" and not account.closes
        self._tell_end("failed" if unsound else outcome, account)
        return account

    def _tell_end(self, outcome: Outcome, account: Accounting) -> None:
        version = max(0, self._state.version)
        self._emit(RunFinished(outcome=outcome, accounting=account, version=version))

    @property
    def _running(self) -> Processes:
        if self._processes is None:
            raise RunError("the run has not been started, or was closed")
        return self._processes

    @property
    def _given(self) -> Dispatching:
        if self._dispatching is None:
            raise RunError("the run has not been started")
        return self._dispatching

    @property
    def _actors(self) -> Fleet:
        return self._running.fleet

    @property
    def _link(self) -> LearnerLink:
        return self._running.learner
