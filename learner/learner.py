"""The learner: traces in, versions out, one loop of its own.

It takes the teacher's traces, keeps them in a reservoir, distils batches of new and replayed ones
into a student, publishes versions that only rise, retires what the banks hold from versions too
old (or encodes it again), and writes checkpoints. What to do next is the schedule's decision; this
file carries it out.

Traces are acknowledged only once a checkpoint holds them, so that a learner that is killed gets
again what came after its last checkpoint; a checkpoint names the traces that it holds, so that one
whose acknowledgement was lost is not learned twice. Weights that were published after the last
checkpoint are taken back from shared memory: versions never fall, in number or in content.
"""

from __future__ import annotations

import math
import threading
import time
import uuid
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import redis

from configs.schema import DistillationConfig, RenderingConfig, SharedMemoryConfig, TeacherConfig
from learner import schedule
from learner.checkpoint import CheckpointFolder
from learner.curriculum import single
from learner.errors import LearnerError
from learner.learner_state import FILE as STATE_FILE
from learner.learner_state import LearnerState
from learner.ordered_schedule import OrderedSchedule
from learner.reencoding import Reencoding, pass_over
from learner.schedule import Schedule
from learner.student import RoundStatistics, Student
from learner.teacher import SimulatorKind, TeacherPool, TeacherStatistics
from learner.teaching import Teaching
from learner.trace_intake import TraceIntake
from shared_memory.bank import Bank
from shared_memory.bank_reencoding import BankReencoding
from shared_memory.errors import ServerFullError, TooFewCopiesError
from shared_memory.heartbeat import Heartbeats
from shared_memory.queues import PlanQueue
from shared_memory.weights import PublishedWeights

HEARTBEAT_EVERY_S = 2.0
RETIRE_DEADLINE_S = 2.0
RETIRE_ALL_DEADLINE_S = 600.0
"""In a reproducible run, where what is retired must not depend on how long it takes."""
_RESERVOIR_FILE = "reservoir.msgpack"


@dataclass(frozen=True, slots=True)
class LearnerSetting:
    """All that a learner needs to know besides its student."""

    run: str
    seed: int
    folder: Path  # for checkpoints
    domains: tuple[str, ...]
    simulator: SimulatorKind
    rendering: RenderingConfig
    teacher: TeacherConfig
    distillation: DistillationConfig
    shared_memory: SharedMemoryConfig
    reproducible: bool = False


@dataclass(frozen=True, slots=True)
class VersionReport:
    """What a published version was made of."""

    version: int
    traces_new: int  # new traces in the version's batches
    traces_replayed: int  # single decisions, where they are drawn one by one
    round: RoundStatistics


@dataclass(frozen=True, slots=True)
class LearnerStatus:
    """A look at the learner from outside; made without waiting for anything."""

    version: int  # the last published; -1 before the first
    steps: int
    parameters: int
    doing: str  # what it does, or for whom it waits
    age_s: float  # since the loop last turned; large: it hangs
    progress_age_s: float  # since it last distilled, published or took a trace
    traces_taken: int
    traces_held: int  # in the reservoir; single decisions, where they are drawn one by one
    teacher: TeacherStatistics
    teacher_age_s: float
    complaints: tuple[str, ...]  # e.g. of checkpoints that were refused


class LearnerService:
    """Owns the student, the reservoir and the teacher. `run` is the loop; all else may be called
    from other threads.

    Made anew on the folder of a learner that ended or was killed, it goes on from the last good
    checkpoint.
    """

    def __init__(
        self,
        setting: LearnerSetting,
        connection: redis.Redis,
        make_student: Callable[[], Student],
        ceiling: int | None = None,
        publish: int | None = None,
        reencode: Callable[[BankReencoding, Sequence[str], int, bytes], Reencoding] = pass_over,
    ) -> None:
        self._setting = setting
        run, memory = setting.run, setting.shared_memory
        self._bank = Bank(connection, run, memory.bank)
        self._stale_entries = BankReencoding(connection, run, memory.bank)
        self._reencode = reencode
        self._reencoding: Reencoding | None = None
        self._weights = PublishedWeights(connection, run)
        self._heartbeats = Heartbeats(connection, run)
        consumer = f"learner-{uuid.uuid4().hex[:8]}"
        self._intake = TraceIntake(
            connection,
            run,
            setting.domains,
            consumer,
            setting.distillation,
            setting.seed,
            single=single(setting.rendering, setting.distillation),
            ordered=setting.reproducible,
        )
        self._pool = TeacherPool(
            setting.domains, setting.rendering, setting.teacher, setting.simulator
        )
        self._teaching = Teaching(
            self._pool,
            PlanQueue(connection, run, setting.domains, reclaim_s=_plan_reclaim_s(setting.teacher)),
            setting.teacher,
            consumer,
            inherited=PlanQueue(connection, run, setting.domains, reclaim_s=0.0),
        )
        self._checkpoints = CheckpointFolder(setting.folder)
        self._learned: RoundStatistics | None = None  # of a round that is not published yet
        self._complaints: list[str] = []
        self._reports: deque[VersionReport] = deque(maxlen=256)
        self._round_new = 0
        self._round_replayed = 0
        self._steps = 0
        self._mail: deque[schedule.Event] = deque()
        self._wake = threading.Event()
        self._doing = "starts"
        self._last_turn = self._last_progress = time.monotonic()
        self._last_beat = -math.inf
        self._student = make_student()
        self._schedule = self._take_up(self._recover(), ceiling, publish)
        self._arrived(self._intake.inherit())

    def _take_up(
        self, state: LearnerState, ceiling: int | None, publish: int | None
    ) -> Schedule | OrderedSchedule:
        """The schedule from where the checkpoint and the published weights leave off."""
        setting, memory = self._setting, self._setting.shared_memory
        version, round_steps = state.version, state.round_steps
        published = self._weights.latest_version()
        if published is not None and published > version:
            if setting.reproducible and self._has_published(version + 1, published):
                self._tell_of(published)
            else:
                self._adopt(published)
            version = published
            round_steps = self._round_new = self._round_replayed = 0
            self._learned = None
        if setting.reproducible:
            return OrderedSchedule(
                setting.distillation,
                memory.bank.version_lag,
                version=version,
                held=len(self._intake.reservoir),
                saved=self._learned is not None,
                ceiling=ceiling,
                publish=publish,
            )
        return Schedule(
            setting.distillation,
            memory.bank.version_lag,
            time.monotonic(),
            version=version,
            held=len(self._intake.reservoir),
            new=len(self._intake.new),
            round_steps=round_steps,
            ceiling=ceiling,
            reencode_s=memory.bank.reencode_s if memory.bank.on_new_version == "reencode" else 0.0,
        )

    # -- from other threads ---------------------------------------------------------------------

    def allow(self, ceiling: int | None, publish: int | None = None) -> None:
        """Allow versions up to `ceiling` (None: all); in a reproducible run that is what may be
        learned, and `publish` what may be published."""
        self._post(schedule.Allowed(ceiling, publish))

    def ask_checkpoint(self) -> None:
        """Have a checkpoint written soon."""
        self._post(schedule.CheckpointAsked())

    def ask_stop(self) -> None:
        """Have `run` write a checkpoint and return soon."""
        self._post(schedule.StopAsked())

    @property
    def version(self) -> int:
        """The last published version; -1 before the first."""
        return self._schedule.version

    def status(self) -> LearnerStatus:
        """A look at the learner; returns at once."""
        now = time.monotonic()
        return LearnerStatus(
            version=self._schedule.version,
            steps=self._steps,
            parameters=self._student.parameters,
            doing=self._doing,
            age_s=now - self._last_turn,
            progress_age_s=now - self._last_progress,
            traces_taken=self._intake.taken,
            traces_held=len(self._intake.reservoir),
            teacher=self._teaching.statistics,
            teacher_age_s=now - self._teaching.last_turn,
            complaints=tuple(self._complaints),
        )

    def versions(self, after: int) -> tuple[VersionReport, ...]:
        """Reports of the versions past `after`, oldest first (the last 256 are kept)."""
        return tuple(report for report in tuple(self._reports) if report.version > after)

    # -- the loop -------------------------------------------------------------------------------

    def run(self) -> None:
        """Learn until `ask_stop`; a checkpoint is written before it returns.

        Raises what ended it: SharedMemoryError where the server stays away, LearnerError where
        the teacher or the disk fails.
        """
        self._teaching.start()
        try:
            while self._turn():
                pass
        finally:
            self._doing = "has ended"
            ended = self._teaching.stop()
            self._complaints += [] if ended else ["the teacher's thread did not end within 5 s"]

    def _turn(self) -> bool:
        """Take in what came, do one thing; False once all is done."""
        while self._mail:
            self._schedule.handle(self._mail.popleft(), time.monotonic())
        if self._teaching.failure is not None:
            raise LearnerError(
                f"the teacher failed: {self._teaching.failure}"
            ) from self._teaching.failure
        self._arrived(self._intake.take())
        instruction = self._schedule.next(time.monotonic())
        going = self._carry_out(instruction)
        self._last_turn = time.monotonic()
        if not isinstance(instruction, schedule.Wait):
            self._last_progress = self._last_turn
        self._beat()
        return going

    def _carry_out(self, instruction: schedule.Instruction) -> bool:
        match instruction:
            case schedule.Begin(version):
                self._doing = f"takes up the traces of version {version}"
                self._arrived(self._intake.take_up(version))
                self._handle(schedule.Begun())
            case schedule.Distil():
                self._doing = "distils"
                self._distil()
            case schedule.Publish(version):
                self._doing = f"publishes version {version}"
                self._publish(version)
            case schedule.Retire(min_version):
                self._doing = f"retires bank entries before version {min_version}"
                ordered = self._setting.reproducible
                deadline_s = RETIRE_ALL_DEADLINE_S if ordered else RETIRE_DEADLINE_S
                try:
                    self._bank.retire(min_version, deadline_s=deadline_s)
                except (ServerFullError, TooFewCopiesError) as error:
                    self._put_off("retiring bank entries", error)
                self._handle(schedule.Retired())
            case schedule.Reencode(seconds):
                self._doing = "encodes bank entries again"
                self._go_on_reencoding(seconds)
            case schedule.Checkpoint():
                self._doing = "writes a checkpoint"
                self._write_checkpoint()
            case schedule.Wait(seconds, why):
                self._doing = why
                self._wake.wait(seconds)
                self._wake.clear()
            case schedule.Stop():
                return False
        return True

    def _arrived(self, count: int) -> None:
        if count:
            self._last_progress = time.monotonic()
            self._handle(schedule.TracesArrived(count))

    def _distil(self) -> None:
        """One step on new traces and replayed ones, in the configured shares."""
        batch = self._intake.draw()
        self._intake.learned(batch, self._student.step(batch.traces))
        self._round_new += batch.new
        self._round_replayed += len(batch.places)
        self._steps += 1
        self._handle(schedule.StepDone(batch.new))

    def _publish(self, version: int) -> None:
        statistics = self._learned or self._student.round_statistics()
        payload = self._student.weights(version)
        self._weights.publish(version, payload, _metadata(statistics))
        if self._setting.shared_memory.bank.on_new_version == "reencode":
            self._reencoding = self._reencode(
                self._stale_entries, self._setting.domains, version, payload
            )
        self._learned = statistics
        self._tell_of(version)
        self._handle(schedule.Published(version))

    def _tell_of(self, version: int) -> None:
        """Keep the report of a version that was published; the next round's counts begin."""
        statistics = self._learned or self._student.round_statistics()
        self._reports.append(
            VersionReport(version, self._round_new, self._round_replayed, statistics)
        )
        self._round_new = self._round_replayed = 0
        self._learned = None

    def _go_on_reencoding(self, seconds: float) -> None:
        began = time.monotonic()
        try:
            going = self._reencoding is not None and self._reencoding.go_on(seconds)
        except (ServerFullError, TooFewCopiesError) as error:
            self._put_off("encoding bank entries again", error)
            going = False
        if not going:
            self._reencoding = None
        self._handle(schedule.Reencoded(time.monotonic() - began, not going))

    def _put_off(self, chore: str, error: ServerFullError | TooFewCopiesError) -> None:
        """Banks can wait for a server that cannot write now; learning goes on."""
        sentence = f"{chore} for version {self._schedule.version} is put off: {error}"
        if sentence not in self._complaints:
            self._complaints.append(sentence)

    # -- checkpoints ----------------------------------------------------------------------------

    def _write_checkpoint(self) -> None:
        began = time.monotonic()
        held = self._intake.tickets
        if self._setting.reproducible:
            self._learned = self._student.round_statistics()
        state = LearnerState(
            run=self._setting.run,
            version=self._schedule.version,
            round_steps=self._schedule.round_steps,
            round_new=self._round_new,
            round_replayed=self._round_replayed,
            steps=self._steps,
            traces_taken=self._intake.taken,
            new=self._intake.new,
            tickets=held,
            learned=self._learned,
        )
        files = {
            **self._student.files(),
            _RESERVOIR_FILE: self._intake.reservoir.state(),
            STATE_FILE: state.pack(),
        }
        self._checkpoints.write(files)
        self._intake.acknowledge(held)
        self._handle(schedule.Checkpointed(time.monotonic() - began))

    def _recover(self) -> LearnerState:
        """Load the last good checkpoint; its counters, or fresh ones where there is none."""
        stored = self._checkpoints.latest(self._complaints.append)
        if stored is None:
            return LearnerState(self._setting.run)
        try:
            state = LearnerState.unpack(stored.files[STATE_FILE])
            if state.run != self._setting.run:
                raise LearnerError(
                    f"it belongs to run {state.run!r}, not to {self._setting.run!r}: use another "
                    "folder"
                )
            self._intake.restore(stored.files[_RESERVOIR_FILE], state.new, state.traces_taken)
            self._student.restore(stored.files)
        except KeyError as error:
            raise LearnerError(f"checkpoint {stored.path} has no file {error}") from error
        except LearnerError as error:
            raise LearnerError(f"checkpoint {stored.path} cannot be used: {error}") from error
        self._learned = state.learned
        self._round_new, self._round_replayed = state.round_new, state.round_replayed
        self._steps = state.steps
        self._intake.acknowledge(state.tickets)
        return state

    def _has_published(self, learned: int, published: int) -> bool:
        """Whether the latest version is the very one that the checkpoint holds as learned.

        Where it is not, a checkpoint was lost: the run goes on from the published weights, and
        what it learns is no longer what it would have been.
        """
        known = learned == published and (published == 0 or self._learned is not None)
        if known and self._weights.holds(published, self._student.weights(published)):
            return True
        self._complaints.append(
            f"version {published} is published, and no checkpoint holds it: the learner goes on "
            "from its weights alone, so that from here on the run is not what it would have been"
        )
        return False

    def _adopt(self, version: int) -> None:
        """Go on from the published weights, which are newer than the last checkpoint.

        So nothing that actors have seen is taken back, and no code changes its meaning unnoticed.
        """
        _, payload = self._weights.fetch(version)
        steps = int(self._weights.describe(version).metadata.get("steps", 0))
        self._steps = max(self._steps, steps)
        self._student.adopt(payload, steps)

    # -- small things ---------------------------------------------------------------------------

    def _handle(self, event: schedule.Event) -> None:
        self._schedule.handle(event, time.monotonic())

    def _post(self, event: schedule.Event) -> None:
        self._mail.append(event)
        self._wake.set()

    def _beat(self) -> None:
        now = time.monotonic()
        if now - self._last_beat >= HEARTBEAT_EVERY_S:
            self._last_beat = now
            numbers = {
                "version": self._schedule.version,
                "steps": self._steps,
                "traces_taken": self._intake.taken,
                "traces_held": len(self._intake.reservoir),
                **{k: float(v) for k, v in asdict(self._teaching.statistics).items()},
            }
            try:
                self._heartbeats.beat("learner", self._doing, numbers)
            except ServerFullError as error:
                self._put_off("telling the server how it goes", error)


def _plan_reclaim_s(config: TeacherConfig) -> float:
    """Longer than one teacher can take for all the requests that it holds."""
    return 60.0 + 16 * config.time_limit_s


def _metadata(statistics: RoundStatistics) -> dict[str, str | int | float | bool]:
    return {
        name: value if math.isfinite(value) else str(value)
        for name, value in asdict(statistics).items()
        if value is not None
    }
