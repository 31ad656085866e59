"""What runs in a child process of the teacher: plan, validate, render, one request at a time.

    python -m learner.teacher_process SETTING     (started by `learner.teacher` only)

Frames come on standard input and go to what was standard output; file descriptor 1 itself goes
nowhere, because Mimir prints. The process lowers its priority, limits its own address space, and
is ended by an alarm soon after a request's time limit even if the parent is gone.
"""

from __future__ import annotations

import os
import resource
import signal
import sys
from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict

from configs.errors import NesyprError
from configs.schema import RenderingConfig, TeacherConfig
from learner.frames import FrameBuffer, pack_frame
from learner.planners import PlanLimits, Planner, PlanOutcome
from learner.teachers import make_planner
from learner.traces import task_of, teach
from shared_memory.codec import decode, encode
from shared_memory.records import PlanRequest, Trace
from tasks.domains import get_domain
from tasks.rendering import Rendering
from tasks.simulators import SimulatorKind, make_simulator
from tasks.task import Simulator

NICENESS = 5
ALARM_AFTER_S = 3
"""Seconds past the time limit after which the process ends by itself."""


class TeacherSetting(BaseModel):
    """All that a teacher process needs to know."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    domains: tuple[str, ...]
    simulator: SimulatorKind
    rendering: RenderingConfig
    teacher: TeacherConfig


@dataclass(frozen=True, slots=True)
class _Desk:
    planner: Planner
    simulator: Simulator


class Teacher:
    """Plans for tasks of the setting's domains; one planner and simulator a domain, reused."""

    def __init__(self, setting: TeacherSetting) -> None:
        self._setting = setting
        self._limits = PlanLimits(seconds=setting.teacher.time_limit_s)
        self._rendering = Rendering(
            [get_domain(name) for name in setting.domains], setting.rendering
        )
        self._desks: dict[str, _Desk] = {}

    def answer(self, request: PlanRequest) -> tuple[PlanOutcome, Trace | None]:
        """Plan for the request's task. What the task does wrong comes back as an "error"."""
        try:
            desk = self._desk(request.domain)
            return teach(
                task_of(request), desk.planner, desk.simulator, self._rendering, self._limits
            )
        except MemoryError:
            return PlanOutcome("out_of_memory"), None
        except NesyprError as error:
            return PlanOutcome("error", reason=str(error)), None

    def _desk(self, name: str) -> _Desk:
        if name not in self._desks:
            domain = get_domain(name)
            self._desks[name] = _Desk(
                make_planner(domain, self._setting.teacher),
                make_simulator(domain, self._setting.simulator),
            )
        return self._desks[name]


def serve(setting: TeacherSetting, requests: int, replies: int) -> None:
    """Answer requests from one file descriptor on another until the first is closed."""
    teacher = Teacher(setting)
    buffer = FrameBuffer()
    _write(replies, pack_frame(["ready"]))
    alarm = int(setting.teacher.time_limit_s + ALARM_AFTER_S) + 1
    while data := os.read(requests, 1 << 16):
        for payload in buffer.feed(data):
            signal.alarm(alarm)
            outcome, trace = teacher.answer(decode(PlanRequest, payload))
            signal.alarm(0)
            encoded = None if trace is None else encode(trace)
            reply = [
                outcome.status,
                [list(action) for action in outcome.plan],
                outcome.optimal,
                outcome.seconds,
                outcome.reason,
                encoded,
            ]
            _write(replies, pack_frame(reply))


def limit_memory(megabytes: int) -> None:
    """Limit this process's address space; past it, allocations fail."""
    limit = megabytes * 2**20
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _write(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def main() -> None:
    """Entry point of the child process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    replies = os.dup(1)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.nice(NICENESS)
    setting = TeacherSetting.model_validate_json(sys.argv[1])
    limit_memory(setting.teacher.memory_limit_mb)
    serve(setting, 0, replies)


if __name__ == "__main__":
    main()
