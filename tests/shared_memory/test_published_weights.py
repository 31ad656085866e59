"""Versions only rise, arrive whole, and the last three are kept."""

import random
import threading

import pytest
import redis

from configs.schema import SharedMemoryConfig
from shared_memory import weights
from shared_memory.connection import call, connect
from shared_memory.errors import SharedMemoryError
from shared_memory.keys import RunKeys
from shared_memory.server import EmbeddedServer
from shared_memory.weights import PublishedWeights


def test_publish_and_fetch(client: redis.Redis) -> None:
    published = PublishedWeights(client, "run")
    assert published.latest_version() is None
    with pytest.raises(SharedMemoryError, match="no weights have been published"):
        published.fetch()
    published.publish(0, b"zero", {"step": 0})
    published.publish(3, b"three", {"step": 75, "loss": 0.5, "final": True, "name": "x"})
    assert published.latest_version() == 3
    assert published.fetch() == (3, b"three")
    assert published.fetch(0) == (0, b"zero")
    described = published.describe()
    assert (described.version, described.bytes, described.metadata["loss"]) == (3, 5, 0.5)


def test_versions_only_rise(client: redis.Redis) -> None:
    published = PublishedWeights(client, "run")
    published.publish(5, b"five")
    published.publish(5, b"five")  # a retry
    for version in (5, 4, 0):
        with pytest.raises(SharedMemoryError, match="versions only rise"):
            published.publish(version, b"other")
    with pytest.raises(SharedMemoryError, match="a version must be"):
        published.publish(-1, b"x")
    with pytest.raises(SharedMemoryError, match="1 to"):
        published.publish(6, b"")
    assert published.fetch() == (5, b"five")


def test_parts_and_the_last_three(client: redis.Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weights, "_PART_BYTES", 1000)
    published = PublishedWeights(client, "run")
    payloads = {version: random.Random(version).randbytes(2500) for version in range(6)}
    for version, payload in payloads.items():
        published.publish(version, payload)
    assert published.describe().parts == 3
    for version in (3, 4, 5):
        assert published.fetch(version) == (version, payloads[version])
    with pytest.raises(SharedMemoryError, match="version 1 is not there: the last 3"):
        published.fetch(1)
    parts = [key for key in client.scan_iter() if b"weights:" in key]
    assert len(parts) == 9
    assert all(call(client, "TTL", key) == -1 for key in parts)


def test_damage_is_noticed(client: redis.Redis) -> None:
    published = PublishedWeights(client, "run")
    published.publish(1, b"payload")
    key = RunKeys("run").weights_part(1, published.describe().digest, 0)
    call(client, "SET", key, b"payloaD")
    with pytest.raises(SharedMemoryError, match="damaged"):
        published.fetch()
    call(client, "DEL", key)
    for version in (1, None):
        with pytest.raises(SharedMemoryError, match="parts of version 1 are gone"):
            published.fetch(version)
    for manifest in (b"\xc1", b"\x90", b"\x96\x01\x01\x01\x01\x01\x01"):
        call(client, "HSET", RunKeys("run").weights, "1", manifest)
        with pytest.raises(SharedMemoryError):
            published.fetch()


def test_what_never_was_published_expires(client: redis.Redis) -> None:
    """A learner killed between sending the parts and publishing leaves nothing for ever."""
    published = PublishedWeights(client, "run")
    published._send(RunKeys("run").weights_part(1, "ab", 0), b"part")
    assert 0 < call(client, "TTL", RunKeys("run").weights_part(1, "ab", 0)) <= 3600
    assert published.latest_version() is None


def test_readers_always_get_whole_rising_versions(
    server: EmbeddedServer, client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(weights, "_PART_BYTES", 500)
    published = PublishedWeights(client, "run")
    published.publish(1, bytes([1]) * 2000)
    stop = threading.Event()
    failures: list[str] = []
    fetched = 0

    def read() -> None:
        nonlocal fetched
        mine = connect(SharedMemoryConfig(), server.url)
        last = 0
        while not stop.is_set():
            version, payload = PublishedWeights(mine, "run").fetch()
            if version < last or payload != bytes([version % 256]) * 2000:
                failures.append(f"{version} after {last}")
            last = version
            fetched += 1
        mine.close()

    reader = threading.Thread(target=read)
    reader.start()
    for version in range(2, 120):
        published.publish(version, bytes([version % 256]) * 2000)
    stop.set()
    reader.join(30)
    assert not failures
    assert fetched > 3
