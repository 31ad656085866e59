"""The driver reads every event once, and is told where it cannot."""

import json
import threading
import time
from collections.abc import Callable

import pytest
import redis

from configs.schema import BankConfig, SharedMemoryConfig
from shared_memory.bank import Bank
from shared_memory.connection import call, connect
from shared_memory.errors import SharedMemoryError
from shared_memory.keys import RunKeys
from shared_memory.outcomes import EpisodeEvent, OutcomeLog
from shared_memory.records import Episode
from shared_memory.server import EmbeddedServer

EpisodeMaker = Callable[..., Episode]
DOMAINS = ("blocks", "ferry")


def test_reads_on_from_its_cursor(client: redis.Redis, make_episode: EpisodeMaker) -> None:
    bank, log = Bank(client, "run", BankConfig()), OutcomeLog(client, "run", DOMAINS)
    assert log.read({}) == ([], {"blocks": 0, "ferry": 0})
    bank.push([make_episode(number, domain=DOMAINS[number % 2]) for number in range(10)])
    seen = []
    cursor: dict[str, int] = {}
    for _ in range(4):
        events, cursor = log.read(json.loads(json.dumps(cursor)), count=2)
        assert len(events) <= 4
        seen += events
    assert cursor == log.last() == {"blocks": 5, "ferry": 5}
    episodes = [event.episode for event in seen if isinstance(event, EpisodeEvent)]
    assert sorted(episode.episode for episode in episodes) == [*range(10)]
    for event in seen:
        assert isinstance(event, EpisodeEvent)
        assert event.admitted + event.duplicates == len(event.episode.decisions)
        assert all(decision.prompt_tokens == () for decision in event.episode.decisions)
        assert event.episode.decisions[0].codes.tolist() == (
            make_episode(event.episode.episode).decisions[0].codes.tolist()
        )


def test_trimming_keeps_what_is_unread(client: redis.Redis, make_episode: EpisodeMaker) -> None:
    bank, log = Bank(client, "run", BankConfig()), OutcomeLog(client, "run", DOMAINS)
    bank.push([make_episode(number) for number in range(300)])
    _, cursor = log.read({}, count=250)
    log.trim(cursor)
    assert call(client, "XLEN", RunKeys("run").domain("blocks").outcomes) < 300
    rest, after = log.read(cursor)
    assert len(rest) == 50
    assert after["blocks"] == 300
    with pytest.raises(SharedMemoryError, match=r"events 1 to \d+ of 'blocks' are gone"):
        log.read({})


def test_lost_events_are_told(client: redis.Redis, make_episode: EpisodeMaker) -> None:
    bank, log = Bank(client, "run", BankConfig()), OutcomeLog(client, "run", DOMAINS)
    bank.push([make_episode(number) for number in range(3)])
    with pytest.raises(SharedMemoryError, match="ends at event 3, before the cursor 7"):
        log.read({"blocks": 7})
    call(client, "XTRIM", RunKeys("run").domain("blocks").outcomes, "MAXLEN", 0)
    with pytest.raises(SharedMemoryError, match="events 1 to 3 of 'blocks' are gone"):
        log.read({})


@pytest.mark.parametrize(
    "fields",
    [
        {"other": b"x"},
        {"k": b"episode", "p": b"x", "a": b"1", "d": b"two"},
        {"k": b"episode", "p": b"\xc1", "a": b"1", "d": b"2"},
        {"k": b"plan", "p": b"\xc1"},
    ],
)
def test_hostile_events_are_told(client: redis.Redis, fields: dict[str, bytes]) -> None:
    keys = RunKeys("run").domain("blocks")
    call(client, "HSET", keys.counters, "outcomes", 1)
    call(client, "XADD", keys.outcomes, "1-0", *(part for pair in fields.items() for part in pair))
    with pytest.raises(SharedMemoryError):
        OutcomeLog(client, "run", DOMAINS).read({})


def test_waits_for_events(
    server: EmbeddedServer, client: redis.Redis, make_episode: EpisodeMaker
) -> None:
    log = OutcomeLog(client, "run", DOMAINS)
    start = time.monotonic()
    assert log.read({}, wait_s=0.2)[0] == []
    assert 0.15 < time.monotonic() - start < 5.0

    def push() -> None:
        mine = connect(SharedMemoryConfig(), server.url)
        Bank(mine, "run", BankConfig()).push([make_episode(1)])
        mine.close()

    timer = threading.Timer(0.1, push)
    timer.start()
    assert len(log.read({}, wait_s=10.0)[0]) == 1
    timer.join()
