"""Heartbeats tell who was last heard of when."""

import time

import pytest
import redis

from shared_memory.connection import call
from shared_memory.errors import SharedMemoryError
from shared_memory.heartbeat import Heartbeats
from shared_memory.keys import RunKeys


def test_ages_grow_and_beats_renew(client: redis.Redis) -> None:
    heartbeats = Heartbeats(client, "run")
    assert heartbeats.read() == {}
    heartbeats.beat("actor-0", "acting", {"episodes": 3})
    heartbeats.beat("learner", "waiting for traces")
    time.sleep(0.2)
    heartbeats.beat("actor-0", "pushing", {"episodes": 4})
    read = heartbeats.read()
    assert read["actor-0"].doing == "pushing"
    assert read["actor-0"].numbers == {"episodes": 4.0}
    assert read["actor-0"].age_s + 0.19 < read["learner"].age_s < 60
    heartbeats.forget("learner")
    assert set(heartbeats.read()) == {"actor-0"}


def test_damage_and_too_much_are_refused(client: redis.Redis) -> None:
    heartbeats = Heartbeats(client, "run")
    with pytest.raises(SharedMemoryError, match="at most 64"):
        heartbeats.beat("actor-0", "x", {str(number): 1.0 for number in range(65)})
    for payload in (b"", b"12345678", b"12345678\xc1", b"12345678\x92\x01\x80"):
        call(client, "HSET", RunKeys("run").heartbeats, "actor-0", payload)
        with pytest.raises(SharedMemoryError):
            heartbeats.read()
