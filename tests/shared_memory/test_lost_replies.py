"""Replies get lost on the way: everything is done once all the same."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis
from lossy_way import LossyWay

from configs.schema import BankConfig, SharedMemoryConfig
from shared_memory.bank import Bank
from shared_memory.connection import connect
from shared_memory.outcomes import EpisodeEvent, OutcomeLog, PlanEvent
from shared_memory.queues import PlanQueue, TraceQueue
from shared_memory.records import Episode, PlanOutcomeRecord, PlanRequest, Trace
from shared_memory.server import EmbeddedServer
from shared_memory.weights import PublishedWeights


@pytest.fixture
def lossy(
    server: EmbeddedServer, client: redis.Redis, tmp_path: Path
) -> Iterator[tuple[redis.Redis, LossyWay]]:
    way = LossyWay(tmp_path, server.url.removeprefix("unix://"), loss=0.0, seed=0)
    unsure = connect(SharedMemoryConfig(patience_s=60.0), way.url)
    way.loss = 0.4
    yield unsure, way
    unsure.close()
    way.close()


def test_pushes(
    lossy: tuple[redis.Redis, LossyWay],
    client: redis.Redis,
    make_episode: Callable[..., Episode],
    make_request: Callable[..., PlanRequest],
) -> None:
    unsure, way = lossy
    bank = Bank(unsure, "run", BankConfig())
    for start in range(0, 80, 4):
        episodes = [make_episode(start + place, codes=3) for place in range(4)]
        bank.push(episodes, [make_request(start)])
    assert way.lost > 3
    sure = Bank(client, "run", BankConfig())
    assert sure.statistics().finished == 80
    assert sure.statistics().total("success").submitted == 80 * 4
    assert sure.verify().problems == ()
    events, _ = OutcomeLog(client, "run", ["blocks"]).read({})
    counted = [event.episode.episode for event in events if isinstance(event, EpisodeEvent)]
    assert sorted(counted) == [*range(80)]
    assert PlanQueue(client, "run", ["blocks"]).backlog() == 20


def test_work(
    lossy: tuple[redis.Redis, LossyWay],
    client: redis.Redis,
    make_request: Callable[..., PlanRequest],
) -> None:
    unsure, way = lossy
    Bank(client, "run", BankConfig()).push([], [make_request(number) for number in range(40)])
    plans = PlanQueue(unsure, "run", ["blocks"], reclaim_s=0.05)
    while plans.backlog():
        for ticket, request in plans.take("teacher", 4, block_s=0.1):
            index, digest, domain = request.task_index, request.task_digest, request.domain
            plans.complete(
                ticket,
                PlanOutcomeRecord(index, digest, domain, 0, "astar", "solved", 1, 0.1, True, True),
                Trace(index, digest, domain, 0, "astar", "prompt", ("",), ("act",)),
            )
    events, _ = OutcomeLog(client, "run", ["blocks"]).read({})
    indices = sorted(event.outcome.task_index for event in events if isinstance(event, PlanEvent))
    assert indices == [*range(40)]
    traces = TraceQueue(unsure, "run", ["blocks"], reclaim_s=0.05)
    learned: list[int] = []
    while traces.backlog():
        for ticket, trace in traces.take("learner", 8, block_s=0.1):
            if trace.task_index not in learned:  # its acknowledgement may be repeated
                learned.append(trace.task_index)
            traces.ack([ticket])
    assert sorted(learned) == [*range(40)]
    assert way.lost > 3


def test_requests_and_versions(
    lossy: tuple[redis.Redis, LossyWay],
    client: redis.Redis,
    make_request: Callable[..., PlanRequest],
) -> None:
    unsure, way = lossy
    bank = Bank(unsure, "run", BankConfig())
    published = PublishedWeights(unsure, "run")
    for number in range(20):
        bank.push([], [make_request(number), make_request(100 + number)])
        published.publish(number, b"weights" * number + b"x")
    assert way.lost > 3
    assert PlanQueue(client, "run", ["blocks"]).backlog() == 40
    assert PublishedWeights(client, "run").fetch() == (19, b"weights" * 19 + b"x")
