"""The driver's end of the learner: started, asked, paced, and replaced when it dies or hangs.

The learner goes on from its last checkpoint by itself; versions only rise whatever happens.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import ray

from cluster.book_watch import BookWatch
from cluster.observer import VersionPublished
from cluster.run_folder import RunFolder
from cluster.supervisor import Supervisor
from configs.errors import NesyprError
from configs.schema import ModelConfig, RunConfig
from learner.actor import ActorStatus, LearnerActor
from learner.learner import LearnerSetting, VersionReport
from tasks.stream import TaskStream

ASK_EVERY_S = 0.5
ORDERED_ASK_EVERY_S = 0.02
"""The same where actors wait for every version."""
START_DEADLINE_S = 180.0
"""For its model and its last checkpoint, once its process answers."""
PROCESS_DEADLINE_S = 60.0
"""For its process to answer at all, or `request_deadline_s` where that is longer."""
MAX_DEATHS = 5
"""Deaths without a new version in between, after which the run gives up."""


USER_ERRORS_ENDURED = 2
"""Restarts after errors of the house, such as a server that is away for a moment."""


class LearnerLinkError(NesyprError):
    """The learner cannot be kept alive, or met an error that a restart would not mend."""


@dataclass(frozen=True, slots=True)
class LearnerPlan:
    """Everything that a learner is started with."""

    setting: LearnerSetting
    model: ModelConfig
    url: str = field(repr=False)  # it may hold a password


@dataclass(frozen=True, slots=True)
class LearnerVersion:
    """A version is out; `published` makes its event, given the phase. A version of which the
    learner kept no report (it died after publishing) has none."""

    version: int
    published: Callable[[int], VersionPublished] | None


@dataclass(frozen=True, slots=True)
class LearnerDown:
    """The learner died or was killed; its replacement is on its way."""

    sentence: str


@dataclass(frozen=True, slots=True)
class LearnerComplaint:
    """Something that a person should know, e.g. a damaged checkpoint that was passed over."""

    sentence: str
    kind: str = "checkpoint"


LearnerEvent = LearnerVersion | LearnerDown | LearnerComplaint


def learner_setting(
    config: RunConfig, run: str, url: str, stream: TaskStream, folder: RunFolder
) -> LearnerPlan:
    """What the learner of this run is started with."""
    return LearnerPlan(
        setting=LearnerSetting(
            run=run,
            seed=config.seed,
            folder=folder.checkpoints / "learner",
            domains=tuple(domain.name for domain in stream.domains),
            simulator=config.stream.simulator,
            rendering=config.rendering,
            teacher=config.teacher,
            distillation=config.distillation,
            shared_memory=config.shared_memory,
            reproducible=config.reproducible,
        ),
        model=config.model,
        url=url,
    )


class LearnerLink:
    """One learner process. `poll` never waits."""

    def __init__(
        self,
        plan: LearnerPlan,
        request_deadline_s: float,
        supervisor: Supervisor,
        cpus: float = 1.0,
        gpus: int = 0,
    ) -> None:
        self._plan = plan
        self._deadline_s = request_deadline_s
        self._supervisor = supervisor
        self._need = {"num_cpus": cpus, "num_gpus": gpus}
        ordered = plan.setting.reproducible
        self._ask_every_s = ORDERED_ASK_EVERY_S if ordered else ASK_EVERY_S
        self._wanted: tuple[int, int | None] | None = None
        self._allowed: tuple[int, int | None] | None = None
        self._reported = -1
        self._deaths = 0
        self._complaints: set[str] = set()
        self._book = BookWatch(plan.model.book, plan.setting.distillation.learning_rate)
        self._stopped = False
        self.expected = False
        """Whether somebody waits for a version: a learner that does nothing then hangs."""
        self.process = 0
        self.parameters = 0
        self.resident_mb = 0.0
        self.doing = "starts"
        self._heard = time.monotonic()
        self._start()

    @property
    def name(self) -> str:
        """How messages call it."""
        return "the learner"

    @property
    def age_s(self) -> float:
        """Seconds since the learner itself was last heard of."""
        return time.monotonic() - self._heard

    def allow(self, ceiling: int, publish: int | None = None) -> None:
        """Allow versions up to `ceiling`; in a reproducible run that is what may be learned, and
        `publish` what may be published."""
        self._wanted = (ceiling, publish)
        if self._allowed != self._wanted and not self._stopped:
            self._handle.allow.remote(ceiling, publish)
            self._allowed = self._wanted

    def checkpoint(self) -> None:
        """Have a checkpoint written soon."""
        self._handle.checkpoint.remote()

    def poll(self) -> list[LearnerEvent]:
        """What is new. Kills and replaces a learner that is past its deadline.

        Raises LearnerLinkError where it keeps dying, or failed with an error of the house.
        """
        now = time.monotonic()
        if self._request is not None:
            ready, _ = ray.wait([self._request], timeout=0)
            if ready:
                return self._collect(now)
            late = [one for one in self._supervisor.overdue(now) if one.worker == self.name]
            return [self._replace(late[0].sentence)] if late else []
        if now - self._asked >= self._ask_every_s:
            self._ask(now)
        return []

    def stop(self, deadline_s: float) -> None:
        """Have it write its checkpoint and end; kill it where it has not by the deadline."""
        if self._stopped:
            return
        self._stopped = True
        self._supervisor.closed(self.name)
        request = self._handle.stop.remote(deadline_s)
        ray.wait([request], timeout=deadline_s + 0.5)
        ray.kill(self._handle, no_restart=True)

    def _start(self) -> None:
        plan = self._plan
        remote: Any = LearnerActor  # a remote class; mypy sees the plain one
        self._handle: Any = remote.options(**self._need).remote(plan.setting, plan.model, plan.url)
        self._handle.start.remote()
        self._allowed = None
        self._up = False
        self._request: Any = None
        self._wanted_status: Any = None
        if self._wanted is not None:
            self.allow(*self._wanted)
        self._ask(time.monotonic())

    def _ask(self, now: float) -> None:
        self._asked = now
        # In this order: every version that the status knows of is among the reports.
        self._wanted_status = self._handle.status.remote()
        self._request = self._handle.versions.remote(self._reported)
        least = 0.0 if self._up else PROCESS_DEADLINE_S
        deadline = max(least, self._deadline_s)
        self._supervisor.asked(self.name, "say how it goes", deadline, now)

    def _collect(self, now: float) -> list[LearnerEvent]:
        request, self._request = self._request, None
        self._supervisor.closed(self.name)
        try:
            status: ActorStatus = ray.get(self._wanted_status, timeout=10.0)
            reports: tuple[VersionReport, ...] = ray.get(request, timeout=10.0)
        except (ray.exceptions.RayError, TimeoutError) as error:
            text = str(error).strip()
            reason = text.splitlines()[0] if text else type(error).__name__
            return [self._replace(f"the learner died: {reason}")]
        self.process, self.resident_mb = status.process, status.resident_mb
        events: list[LearnerEvent] = []
        for report in reports:
            self._deaths = 0
            self._reported = max(self._reported, report.version)
            events.append(LearnerVersion(report.version, _published(report)))
            broken = self._book.take(report.version, report.round)
            if broken is not None:
                events.append(LearnerComplaint(broken, "book_broken"))
        if status.phase in ("failed", "ended"):
            reason = status.failure or "its loop ended"
            if status.user_error and self._deaths >= USER_ERRORS_ENDURED:
                raise LearnerLinkError(f"the learner failed: {reason}")
            return [*events, self._replace(f"the learner failed: {reason}")]
        if status.learner is None:
            if status.seconds > START_DEADLINE_S:
                return [self._replace(f"the learner is starting since {status.seconds:.0f} s")]
            return events
        learner = status.learner
        self._up = True
        self._heard = now - learner.age_s
        self.parameters, self.doing = learner.parameters, learner.doing
        events += [
            LearnerComplaint(sentence)
            for sentence in learner.complaints
            if sentence not in self._complaints
        ]
        self._complaints.update(learner.complaints)
        if learner.version > self._reported:
            self._reported = learner.version
            events.append(LearnerVersion(learner.version, None))
        hangs = learner.age_s > self._deadline_s
        idles = self.expected and learner.progress_age_s > self._deadline_s
        if hangs or idles:
            silent = learner.age_s if hangs else learner.progress_age_s
            return [
                *events,
                self._replace(
                    f"the driver waits for the learner, which got no further for {silent:.0f} s "
                    f"(it {learner.doing}): it is killed and goes on from its checkpoint"
                ),
            ]
        return events

    def _replace(self, sentence: str) -> LearnerDown:
        self._deaths += 1
        if self._deaths > MAX_DEATHS:
            raise LearnerLinkError(
                f"the learner died {self._deaths} times without a new version, the last time: "
                f"{sentence}; see the logs in /tmp/ray/session_latest/logs"
            )
        ray.kill(self._handle, no_restart=True)
        self._supervisor.closed(self.name)
        self.process = 0
        self._start()
        return LearnerDown(sentence)


def _published(report: VersionReport) -> Callable[[int], VersionPublished]:
    made = report.round

    def event(phase: int) -> VersionPublished:
        return VersionPublished(
            version=report.version,
            phase=phase,
            steps=made.steps,
            loss=made.loss,
            commitment=made.commitment,
            learning_rate=made.learning_rate,
            traces_new=report.traces_new,
            traces_replayed=report.traces_replayed,
            tokens=made.tokens,
            seconds=made.seconds,
            codes=made.codes,
            codes_used=made.codes_used,
            codes_dead=made.codes_dead,
            codes_revived=made.codes_revived,
            perplexity=made.perplexity,
            quantisation_error=made.quantisation_error,
            quantisation_error_new=made.quantisation_error_new,
            quantisation_error_old=made.quantisation_error_old,
        )

    return event
