"""Banks that a model fills by acting, on a server of their own: what bank arms of a study ask.

The actors' own service does it all, so that a study asks the banks as a run does.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import redis

from actors.records import Assignment, ProbeOutcome
from actors.service import ActorService
from cluster.study_steps import Banks, Planned
from configs.schema import RunConfig
from shared_memory.bank import Bank
from shared_memory.connection import connect
from shared_memory.server import EmbeddedServer
from shared_memory.weights import PublishedWeights
from tasks.rendering import Rendering
from tasks.simulators import make_simulator
from tasks.task import Task

RUN = "study"
VERSION = 1


class ActedBanks:
    """M+ and M- of one model, whose weights stay as they are."""

    def __init__(
        self, client: redis.Redis, payload: bytes, planned: Planned, config: RunConfig
    ) -> None:
        self._client = client
        self._planned = planned
        self._config = config
        PublishedWeights(client, RUN).publish(VERSION, payload)

    def fill(self, tasks: int) -> None:
        """Act, without asking any bank, on so many tasks of each domain's part of the stream."""
        actor = self._actor("none")
        for phase in self._planned.stream.phases:
            numbers = range(phase.start, min(phase.start + tasks, phase.stop))
            actor.act([Assignment(number, self._planned.stream[number]) for number in numbers])

    def probe(self, banks: Banks, tasks: Sequence[Task]) -> tuple[ProbeOutcome, ...]:
        """Try held-out tasks with these banks; nothing is written."""
        return self._actor(banks).probe([Assignment(-1, task) for task in tasks], False).outcomes

    def sizes(self) -> dict[str, int]:
        """Distinct procedures in each bank, of all domains."""
        statistics = Bank(self._client, RUN, self._config.shared_memory.bank).statistics()
        return {
            "success": statistics.total("success").unique,
            "failure": statistics.total("failure").unique,
        }

    def _actor(self, banks: Banks) -> ActorService:
        domains = self._planned.stream.domains
        by_name = {domain.name: domain for domain in domains}
        return ActorService(
            name=f"study-{banks}",
            run=RUN,
            seed=self._planned.seed,
            connection=self._client,
            rendering=Rendering(domains, self._config.rendering),
            make_simulator=lambda domain: make_simulator(by_name[domain]),
            step_limit=self._config.stream.step_limit,
            domains=tuple(by_name),
            acting=self._config.acting.model_copy(
                update={"banks": banks, "episodes": 64, "inference": "own"}
            ),
            shared_memory=self._config.shared_memory,
        )


@contextmanager
def acted_banks(payload: bytes, planned: Planned, config: RunConfig) -> Iterator[ActedBanks]:
    """Empty banks of a model, on an embedded server that ends with them."""
    with (
        tempfile.TemporaryDirectory(prefix="nesypr-study-") as folder,
        EmbeddedServer(folder, fsync="no") as server,
    ):
        client = connect(config.shared_memory, server.url)
        try:
            yield ActedBanks(client, payload, planned, config)
        finally:
            client.close()
