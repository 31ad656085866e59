"""A world for learner tests: a student that learns nothing, tasks, episodes pushed as actors do."""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import redis

from configs.schema import (
    BankConfig,
    DistillationConfig,
    RenderingConfig,
    SharedMemoryConfig,
    TeacherConfig,
)
from learner.learner import LearnerSetting
from learner.student import RoundStatistics
from shared_memory.bank import Bank
from shared_memory.records import PlanRequest, Trace
from tasks.domains import get_domain

RUN = "learner-test"
DOMAINS = ("blocks", "hanoi")
SIZES = {"blocks": {"blocks": (3, 4)}, "hanoi": {"discs": (3, 3)}}


class ParrotStudent:
    """Remembers the indices of every task that it was taught."""

    parameters = 3

    def __init__(self, step_s: float = 0.0) -> None:
        self.steps = 0
        self.window = 0
        self.taught = []
        self.decisions: list[list[int]] = []
        self.step_s = step_s

    def step(self, traces: Sequence[Trace]) -> Sequence[float]:
        assert traces
        time.sleep(self.step_s)
        self.steps += 1
        self.window += 1
        self.taught.append(sorted(trace.task_index for trace in traces))
        self.decisions.append([len(trace.actions) for trace in traces])
        return [0.5] * len(traces)

    def round_statistics(self) -> RoundStatistics:
        window, self.window = self.window, 0
        return RoundStatistics(steps=self.steps, loss=1.0 / (1 + self.steps), tokens=10 * window)

    def weights(self, version: int) -> bytes:
        return json.dumps({"version": version, "steps": self.steps}).encode()

    def files(self) -> Mapping[str, bytes]:
        return {"student.json": json.dumps([self.steps, self.window]).encode()}

    def restore(self, files: Mapping[str, bytes]) -> None:
        self.steps, self.window = json.loads(files["student.json"])

    def adopt(self, payload: bytes, steps: int) -> None:
        assert json.loads(payload)["steps"] == steps
        self.steps, self.window = steps, 0


def setting(folder: Path, observation: Any = "none", **distillation: Any) -> LearnerSetting:
    quick = {"steps_per_version": 2, "min_new_traces": 4, "max_wait_s": 0.3, "batch_traces": 8}
    return LearnerSetting(
        run=RUN,
        seed=1,
        folder=folder,
        domains=DOMAINS,
        simulator="auto",
        rendering=RenderingConfig(observation=observation),
        teacher=TeacherConfig(time_limit_s=5.0),
        distillation=DistillationConfig(**(quick | distillation)),
        shared_memory=SharedMemoryConfig(bank=BankConfig(max_version_lag=4)),
    )


def requests(count: int, first: int = 0, failed: bool = True) -> list[PlanRequest]:
    made = []
    for number in range(count):
        index = first + number
        domain = DOMAINS[index % len(DOMAINS)]
        task = get_domain(domain).draw(SIZES[domain], index)
        made.append(
            PlanRequest(index, task.digest, domain, 0, task.problem, task.origin, failed)
        )  # fmt: skip
    return made


def push(client: redis.Redis, plan_requests: Sequence[PlanRequest]) -> None:
    Bank(client, RUN, BankConfig()).push([], plan_requests)


def wait_for(true: Callable[[], object], deadline_s: float = 60.0) -> None:
    deadline = time.monotonic() + deadline_s
    while not true():
        assert time.monotonic() < deadline, "it did not come true in time"
        time.sleep(0.02)
