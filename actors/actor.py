"""The Ray edge of an actor: a process of its own around an `ActorService`.

The process owns its connection to shared memory, its simulators and one torch thread. Requests
come one after another; `ping` and `progress` are answered beside a running request, from the
second thread of the concurrency group "watch".
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass

import ray
import torch

from actors.policy import Shuffle
from actors.rollout import Assignment
from actors.service import ActorService, ActReport, ProbeReport, resident_mb
from configs.schema import ActingConfig, RenderingConfig, SharedMemoryConfig
from shared_memory.connection import connect
from tasks.domains import get_domain
from tasks.rendering import Rendering
from tasks.simulators import SimulatorKind, make_simulator


@dataclass(frozen=True, slots=True)
class ActorSetting:
    """Everything that an actor needs to know, and no more."""

    run: str
    seed: int
    url: str
    domains: tuple[str, ...]
    simulator: SimulatorKind
    step_limit: int
    rendering: RenderingConfig
    acting: ActingConfig
    shared_memory: SharedMemoryConfig


@dataclass(frozen=True, slots=True)
class Pulse:
    """A sign of life: how often the actor has made progress, and its size."""

    process: int
    rounds: int
    resident_mb: float


@ray.remote(concurrency_groups={"watch": 1}, max_restarts=0, max_task_retries=0)
class ActorProcess:
    """An actor as the driver sees it. Never restarted by Ray: the supervisor replaces it."""

    def __init__(self, name: str, setting: ActorSetting) -> None:
        torch.set_num_threads(1)
        domains = [get_domain(domain) for domain in setting.domains]
        by_name = {domain.name: domain for domain in domains}
        self._rounds = 0
        self._service = ActorService(
            name=name,
            run=setting.run,
            seed=setting.seed,
            connection=connect(setting.shared_memory, setting.url),
            rendering=Rendering(domains, setting.rendering),
            make_simulator=lambda domain: make_simulator(by_name[domain], setting.simulator),
            step_limit=setting.step_limit,
            domains=tuple(by_name),
            acting=setting.acting,
            shared_memory=setting.shared_memory,
            on_progress=self._count,
        )

    def _count(self) -> None:
        self._rounds += 1

    def act(self, assignments: Sequence[Assignment]) -> ActReport:
        """Act the tasks; see `ActorService.act`."""
        report = self._service.act(assignments)
        self._rounds += 1
        return report

    def probe(
        self, assignments: Sequence[Assignment], restrict: bool, shuffle: Shuffle
    ) -> ProbeReport:
        """Act held-out tasks; see `ActorService.probe`."""
        report = self._service.probe(assignments, restrict, shuffle)
        self._rounds += 1
        return report

    @ray.method(concurrency_group="watch")
    def pulse(self) -> Pulse:
        """Answered beside a running request."""
        return Pulse(os.getpid(), self._rounds, resident_mb())
