"""The Ray edge of an actor: a process of its own around an `ActorService`.

The process owns its connection to shared memory, its simulators and one torch thread. Requests
come one after another; `pulse` is answered beside a running request, by a thread of its own, and
from the first moment on: it tells that Ray has found the actor a host, while `start` loads what
acting needs (torch, transformers), which is never imported where an actor is started from.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

import ray

from actors.errors import ActingError
from actors.gauges import ActorGauges
from actors.process_memory import resident_mb
from actors.records import ActorSetting, ActReport, Assignment, ProbeReport, Pulse, Shuffle
from shared_memory.connection import connect
from tasks.domains import get_domain
from tasks.rendering import Rendering
from tasks.simulators import make_simulator

if TYPE_CHECKING:
    import torch

    from actors.rounds import Inference
    from actors.service import ActorService


@ray.remote(concurrency_groups={"watch": 1}, max_restarts=0, max_task_retries=0)
class ActorProcess:
    """An actor as the driver sees it. Never restarted by Ray: the supervisor replaces it."""

    def __init__(self, name: str, setting: ActorSetting) -> None:
        self._name = name
        self._setting = setting
        self._node = ray.get_runtime_context().get_node_id()
        self._rounds = 0
        self._service: ActorService | None = None
        self._gauges = ActorGauges(setting.run, name)

    def start(self) -> Pulse:
        """Load what acting needs; the first request, once."""
        import torch

        from actors.service import ActorService

        torch.set_num_threads(1)
        setting = self._setting
        domains = [get_domain(domain) for domain in setting.domains]
        by_name = {domain.name: domain for domain in domains}
        self._service = ActorService(
            name=self._name,
            run=setting.run,
            seed=setting.seed,
            connection=connect(setting.shared_memory, setting.url, "actor"),
            rendering=Rendering(domains, setting.rendering),
            make_simulator=lambda domain: make_simulator(by_name[domain], setting.simulator),
            step_limit=setting.step_limit,
            domains=tuple(by_name),
            acting=setting.acting,
            shared_memory=setting.shared_memory,
            on_progress=self._count,
            episodes_every=setting.episodes_every,
            reproducible=setting.reproducible,
            max_staleness=setting.max_staleness,
            device=_device(setting),
        )
        return self._pulse()

    def _ready(self) -> ActorService:
        if self._service is None:
            raise ActingError(f"{self._name} was asked to act before it was started")
        return self._service

    def _pulse(self) -> Pulse:
        return Pulse(os.getpid(), self._rounds, resident_mb(), self._node)

    def _count(self) -> None:
        self._rounds += 1

    def act(
        self, assignments: Sequence[Assignment], inference: Inference | None = None
    ) -> ActReport:
        """Act the tasks; see `ActorService.act`."""
        report = self._ready().act(assignments, inference)
        self._rounds += 1
        self._gauges.take(report)
        return report

    def probe(
        self,
        assignments: Sequence[Assignment],
        restrict: bool,
        shuffle: Shuffle,
        banks: bool,
        inference: Inference | None = None,
    ) -> ProbeReport:
        """Act held-out tasks; see `ActorService.probe`."""
        report = self._ready().probe(assignments, restrict, shuffle, banks, inference)
        self._rounds += 1
        return report

    @ray.method(concurrency_group="watch")
    def pulse(self) -> Pulse:
        """Answered beside a running request."""
        return self._pulse()

    @ray.method(concurrency_group="watch")
    def leave(self) -> None:
        """Give up what the node's actors share, before the end; answered beside a request."""
        if self._service is not None:
            self._service.close()


def _device(setting: ActorSetting) -> torch.device:
    """Of the actor's own model; a GPU is for the model alone, where another process has it."""
    from actors.device import acting_device

    own = setting.acting.inference == "own"
    return acting_device(setting.acting.gpus if own else 0.0, ray.get_gpu_ids())
