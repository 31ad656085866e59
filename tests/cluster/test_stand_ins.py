"""Stand-ins do what actors do to shared memory: push, ask for plans, refresh and report."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from actors.records import ActorSetting, Assignment
from cluster.stand_ins import Pace, StandIn
from configs.schema import (
    ActingConfig,
    DomainShare,
    PhaseConfig,
    RenderingConfig,
    SharedMemoryConfig,
    StreamConfig,
)
from shared_memory.bank import Bank
from shared_memory.connection import connect
from shared_memory.replica import BankReplica
from shared_memory.server import EmbeddedServer
from shared_memory.weights import PublishedWeights
from tasks.stream import TaskStream

MEMORY = SharedMemoryConfig(replica="process")
PACE = Pace(round_s=0.01, decisions=(2, 4))


@pytest.fixture
def server(tmp_path: Path) -> Iterator[EmbeddedServer]:
    with EmbeddedServer(tmp_path / "server", "everysec") as started:
        yield started


def setting(url: str) -> ActorSetting:
    return ActorSetting(
        run="fleet",
        seed=0,
        url=url,
        domains=("blocks",),
        simulator="auto",
        step_limit=8,
        rendering=RenderingConfig(),
        acting=ActingConfig(),
        shared_memory=MEMORY,
    )


def assignments(first: int, count: int) -> list[Assignment]:
    share = DomainShare(name="blocks", source="files")
    phase = PhaseConfig(name="all", tasks=64, domains=(share,))
    stream = TaskStream(StreamConfig(phases=(phase,), probe_tasks=1), seed=0)
    return [Assignment(first + place, stream[place]) for place in range(count)]


def test_a_stand_in_acts_as_an_actor_does(server: EmbeddedServer) -> None:
    with closing(connect(MEMORY, server.url)) as client:
        PublishedWeights(client, "fleet").publish(3, b"weights")
        replica = BankReplica(client, "fleet", ("blocks",), MEMORY.bank)
        refreshes: list[int] = []
        made = StandIn(
            "actor-0", setting(server.url), PACE, lambda: refreshes.append(replica.refresh())
        )
        began = time.monotonic()
        report = made.act(assignments(0, 40))
        assert time.monotonic() - began >= PACE.decisions[0] * PACE.round_s
        assert report.version == 3
        assert sorted(report.episodes) == list(range(40))
        assert report.doubled == 0
        assert report.times.episodes == 40
        assert made.rounds <= PACE.decisions[1]
        statistics = Bank(client, "fleet", MEMORY.bank).statistics()
        assert statistics.finished == 40
        submitted = sum(bank.submitted for bank in statistics.banks)
        assert submitted == report.times.decisions
        assert sum(bank.duplicates for bank in statistics.banks) < submitted
        assert sum(domain.requested for domain in statistics.domains) == 40
        made.act(assignments(40, 8))
        assert len(refreshes) == 2
        assert refreshes[1] > 0
        assert Bank(client, "fleet", MEMORY.bank).verify().problems == ()


def test_probes_of_a_stand_in_write_nothing(server: EmbeddedServer) -> None:
    with closing(connect(MEMORY, server.url)) as client:
        made = StandIn("actor-0", setting(server.url), PACE, lambda: None)
        report = made.probe(assignments(-1, 1))
        assert [outcome.success for outcome in report.outcomes] == [True]
        assert report.version == -1
        assert Bank(client, "fleet", MEMORY.bank).statistics().finished == 0
