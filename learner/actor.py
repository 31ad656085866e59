"""The Ray edge of the learner: a process of its own around a `LearnerService`.

    learner = LearnerActor.options(num_cpus=...).remote(setting, model_config, url)
    learner.start.remote()
    ray.get(learner.status.remote(), timeout=...)

The loop runs in a background thread; `status`, `versions` and `allow` answer at once, also while
it starts, distils or hangs: `LearnerStatus.age_s` tells. Ray never restarts it: the driver does,
on the same folder, and it goes on from its last checkpoint.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import ray

from configs.errors import NesyprError
from configs.schema import ModelConfig
from learner.learner import LearnerService, LearnerSetting, LearnerStatus, VersionReport
from learner.student import Student
from learner.student_plan import StudentPlan
from shared_memory.connection import connect

if TYPE_CHECKING:
    from learner.joint_student import JointStudent

_Method = TypeVar("_Method", bound=Callable[..., Any])


def _watched(method: _Method) -> _Method:
    """Answered on a thread of its own, beside `stop`."""
    decorate: Callable[[_Method], _Method] = ray.method(concurrency_group="watch")
    return decorate(method)


LearnerPhase = Literal["new", "starting", "running", "ended", "failed"]


@dataclass(frozen=True, slots=True)
class ActorStatus:
    """The process around the learner, and the learner once it is there.

    `failure` is a sentence if `phase` is "failed"; `user_error`: the failure is one of the house's
    own errors, which a restart on the same setting may not mend (a full disk, a server away).
    """

    process: int
    phase: LearnerPhase
    seconds: float  # since `start`
    resident_mb: float
    learner: LearnerStatus | None = None
    failure: str | None = None
    user_error: bool = False


@ray.remote(concurrency_groups={"watch": 1}, max_restarts=0, max_task_retries=0)
class LearnerActor:
    """A learner as the driver sees it."""

    def __init__(self, setting: LearnerSetting, model: ModelConfig, url: str) -> None:
        import torch  # in this process only: the driver imports this file, too

        torch.set_num_threads(1)
        self._setting = setting
        self._model = model
        self._url = url
        self._phase: LearnerPhase = "new"
        self._failure: BaseException | None = None
        self._service: LearnerService | None = None
        self._joint: JointStudent | None = None
        self._ceiling: int | None = 0
        self._publish: int | None = 0
        self._began = time.monotonic()
        self._thread = threading.Thread(target=self._run, name="learner", daemon=True)

    def start(self) -> None:
        """Start the loop in the background; version 0 is published once the model is made."""
        if self._phase == "new":
            self._phase = "starting"
            self._began = time.monotonic()
            self._thread.start()

    @_watched
    def status(self) -> ActorStatus:
        """How it goes; answered at once."""
        return ActorStatus(
            process=os.getpid(),
            phase=self._phase,
            seconds=time.monotonic() - self._began,
            resident_mb=_resident_mb(),
            learner=None if self._service is None else self._service.status(),
            failure=None if self._failure is None else _sentence(self._failure),
            user_error=isinstance(self._failure, NesyprError),
        )

    @_watched
    def versions(self, after: int) -> tuple[VersionReport, ...]:
        """Reports of the versions past `after`; answered at once."""
        return () if self._service is None else self._service.versions(after)

    @_watched
    def allow(self, ceiling: int | None, publish: int | None = None) -> None:
        """Allow versions up to `ceiling` (None: all; 0 until this is called); in a reproducible
        run that is what may be learned, and `publish` what may be published."""
        self._ceiling, self._publish = ceiling, publish
        if self._service is not None:
            self._service.allow(ceiling, publish)

    @_watched
    def checkpoint(self) -> None:
        """Have a checkpoint written soon."""
        if self._service is not None:
            self._service.ask_checkpoint()

    def stop(self, deadline_s: float = 10.0) -> bool:
        """Have a checkpoint written and the loop end; whether it did by the deadline."""
        deadline = time.monotonic() + deadline_s
        while self._phase == "starting" and time.monotonic() < deadline:
            time.sleep(0.02)
        if self._service is not None:
            self._service.ask_stop()
        if self._thread.ident is not None:
            self._thread.join(max(0.0, deadline - time.monotonic()))
        return not self._thread.is_alive()

    def _run(self) -> None:
        try:
            connection = connect(self._setting.shared_memory, self._url, "learner")
            service = LearnerService(
                self._setting, connection, self._make_student, self._ceiling, self._publish
            )
            self._service = service
            service.allow(self._ceiling, self._publish)  # they may have changed meanwhile
            self._phase = "running"
            service.run()
            self._close_joint()
            self._phase = "ended"
        except BaseException as error:  # noqa: BLE001 - told with the next status
            self._failure = error
            self._close_joint()
            self._phase = "failed"

    def _close_joint(self) -> None:
        """End the processes of several learners."""
        if self._joint is not None:
            self._joint.close()

    def _make_student(self) -> Student:
        setting = self._setting
        plan = StudentPlan(
            self._model, setting.domains, setting.rendering, setting.distillation, setting.seed
        )
        if setting.distillation.learners == 1:
            return plan.make()
        from learner.joint_student import JointStudent  # RLlib: 2 s and 450 MB

        self._joint = JointStudent(plan, setting.run)
        return self._joint


def _sentence(error: BaseException) -> str:
    return str(error) if isinstance(error, NesyprError) else repr(error)


def _resident_mb() -> float:
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20
