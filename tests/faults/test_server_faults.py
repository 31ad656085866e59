"""The server dies, is full, or is away, and writers die, while processes push to the banks.

`-m slow` for the full counts: 20 kills of the server, 20 of writers, 30 s without it.
"""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from ingest import RUN, Ingest, Pushing, episode_of
from lossy_way import LossyWay

from configs.schema import BankConfig, SharedMemoryConfig
from shared_memory.bank import Bank
from shared_memory.connection import call, connect
from shared_memory.errors import ServerFullError
from shared_memory.replica import BankReplica
from shared_memory.server import EmbeddedServer
from shared_memory.server_clients import ServerClient

pytestmark = pytest.mark.timeout(300)

StartIngest = Callable[..., Ingest]


@pytest.fixture
def embedded(tmp_path: Path) -> Iterator[EmbeddedServer]:
    with EmbeddedServer(tmp_path / "server", "everysec") as server:
        yield server


def client_of(server: EmbeddedServer) -> closing[ServerClient]:
    return closing(connect(SharedMemoryConfig(), server.url))


def kill(server: EmbeddedServer) -> None:
    assert server.pid is not None
    os.kill(server.pid, signal.SIGKILL)
    deadline = time.monotonic() + 10.0
    while server.alive and time.monotonic() < deadline:
        time.sleep(0.005)
    assert not server.alive


@pytest.mark.parametrize("kills", [2, pytest.param(20, marks=pytest.mark.slow)])
def test_kill_9_of_the_server_during_ingest(
    embedded: EmbeddedServer, ingest: StartIngest, kills: int
) -> None:
    chance = random.Random(kills)
    writers = ingest(embedded.url, pushing=Pushing(pause_s=0.0))
    writers.until_more(20)
    for _ in range(kills):
        time.sleep(chance.uniform(0.0, 0.5))
        kill(embedded)
        embedded.start()
        writers.until_more(20)
    writers.stop()
    with client_of(embedded) as client:
        found = writers.account(client)
    assert found.clean, found
    assert found.counted == found.acknowledged
    print(found)  # noqa: T201 - the figures, with -s


@pytest.mark.parametrize("replies", [30, pytest.param(1000, marks=pytest.mark.slow)])
def test_lost_replies(
    embedded: EmbeddedServer, ingest: StartIngest, tmp_path: Path, replies: int
) -> None:
    way = LossyWay(tmp_path, embedded.url.removeprefix("unix://"), loss=0.0, seed=replies)
    writers = ingest(way.url, pushing=Pushing(pause_s=0.0))
    writers.until_more(3)
    way.loss = 0.3
    deadline = time.monotonic() + 200.0
    while way.lost < replies and time.monotonic() < deadline:
        writers.until_more(1)
    way.loss = 0.0
    writers.stop()
    way.close()
    with client_of(embedded) as client:
        found = writers.account(client)
    assert way.lost >= replies
    assert found.clean, found
    assert found.counted == found.acknowledged
    print(way.lost, "replies lost:", found)  # noqa: T201 - the figures, with -s


@pytest.mark.parametrize("kills", [2, pytest.param(20, marks=pytest.mark.slow)])
def test_writers_killed_within_a_batch(
    embedded: EmbeddedServer, ingest: StartIngest, kills: int
) -> None:
    chance = random.Random(kills)
    # Batches of 2 MB, so that most of the time one is on its way.
    pushing = Pushing(pause_s=0.0, decisions=40, tokens=2500)
    writers = ingest(embedded.url, 2, pushing)
    writers.until_more(2)
    for number in range(kills):
        time.sleep(chance.uniform(0.0, 0.1))
        writers.kill(number % 2)
        writers.until_more(1)
    writers.stop()
    with client_of(embedded) as client:
        found = writers.account(client)
    assert found.clean, found
    assert 0 <= found.counted - found.acknowledged <= kills * 5  # done, and not yet noted


def test_a_full_server_holds_writers_back_and_serves_readers(
    embedded: EmbeddedServer, ingest: StartIngest
) -> None:
    with client_of(embedded) as client:
        writers = ingest(embedded.url, 2, Pushing(deadline_s=60.0))
        writers.until_more(10)
        used = int(call(client, "INFO", "memory")["used_memory"])
        call(
            client, "CONFIG", "SET", "maxmemory", used // 2
        )  # what clients gave back is not enough
        time.sleep(0.5)
        before = len(writers.acknowledged())
        bank = Bank(client, RUN, BankConfig(), deadline_s=0.5)
        began = time.monotonic()
        with pytest.raises(ServerFullError, match=r"memory limit.*waited 0.5 s"):
            bank.push([episode_of(2**26, Pushing())])
        assert 0.5 <= time.monotonic() - began < 5.0
        replica = BankReplica(client, RUN, ("blocks",), BankConfig())
        replica.refresh()
        assert sum(replica.sizes().values()) > 0
        assert bank.statistics().finished == bank.verify().statistics.finished
        assert len(writers.acknowledged()) == before
        call(client, "CONFIG", "SET", "maxmemory", 0)
        writers.until_more(10)
        writers.stop()
        found = writers.account(client)
    assert found.clean, found
    assert found.counted == found.acknowledged


@pytest.mark.parametrize("away_s", [3.0, pytest.param(30.0, marks=pytest.mark.slow)])
def test_a_server_that_is_away_and_comes_back(
    embedded: EmbeddedServer, ingest: StartIngest, away_s: float
) -> None:
    writers = ingest(embedded.url)
    writers.until_more(20)
    kill(embedded)
    time.sleep(away_s)
    embedded.start()
    writers.until_more(20)
    writers.stop()
    with client_of(embedded) as client:
        found = writers.account(client)
    assert found.clean, found
    assert found.counted == found.acknowledged
    assert away_s < found.longest_gap_s < away_s + 10.0
