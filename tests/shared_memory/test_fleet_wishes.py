"""What is asked of a run's actors, and what its driver says of them, through a real server."""

from __future__ import annotations

import threading

import pytest
import redis

from shared_memory.connection import call
from shared_memory.errors import SharedMemoryError
from shared_memory.fleet_wishes import (
    MOST_ACTORS,
    FleetSize,
    FleetState,
    FleetWish,
    FleetWishes,
    HostState,
)
from shared_memory.keys import RunKeys

HOST = HostState("ab12cd34", "east", "10.0.0.2", "east-1", False, 2, -1)
STATE = FleetState(FleetSize(2), 2, 0, 0, 1, "", (HOST,))


def test_a_number_and_hosts_that_leave(client: redis.Redis) -> None:
    wishes = FleetWishes(client, "run")
    assert wishes.read() == FleetWish()
    wishes.ask_size(FleetSize(4))
    wishes.ask_to_leave(["aa", "bb"])
    wishes.ask_to_leave(["bb"])
    assert wishes.read() == FleetWish(FleetSize(4), frozenset({"aa", "bb"}))
    wishes.ask_size(FleetSize(2, each_host=True))
    wishes.ask_to_stay(["aa", "cc"])
    assert wishes.read() == FleetWish(FleetSize(2, each_host=True), frozenset({"bb"}))
    assert FleetWishes(client, "another").read() == FleetWish()


def test_the_drivers_word_and_its_age(client: redis.Redis) -> None:
    wishes = FleetWishes(client, "run")
    assert wishes.told() is None
    wishes.tell(STATE)
    told = wishes.told()
    assert told is not None
    assert 0.0 <= told.age_s < 60.0
    assert (told.size, told.up, told.waiting, told.hosts) == (FleetSize(2), 2, 1, (HOST,))
    assert wishes.read() == FleetWish()  # a state is no wish


def test_waiting_until_the_driver_has_taken_a_number_in(client: redis.Redis) -> None:
    wishes = FleetWishes(client, "run")
    wishes.tell(STATE)
    assert wishes.await_taken(FleetSize(3), 0.3) is None
    later = threading.Timer(0.3, wishes.tell, [FleetState(FleetSize(3), 2, 1, 0, 0, "", (HOST,))])
    later.start()
    taken = wishes.await_taken(FleetSize(3), 30.0)
    later.join()
    assert taken is not None
    assert taken.starting == 1


def test_numbers_that_cannot_be_are_refused(client: redis.Redis) -> None:
    wishes = FleetWishes(client, "run")
    for number in (0, -1, MOST_ACTORS + 1):
        with pytest.raises(SharedMemoryError, match=rf"so {number} are not possible"):
            wishes.ask_size(FleetSize(number))


@pytest.mark.parametrize(
    "payload",
    [b"", b"\xc1", b"\x93\x01\x00\xc2", b"\x93\x01\xc3\xc2", b"\x93\x02\x04\xc2", b"\x92\x01\x04"],
)
def test_damage_is_refused(client: redis.Redis, payload: bytes) -> None:
    wishes = FleetWishes(client, "run")
    call(client, "HSET", RunKeys("run").fleet, "size", payload)
    with pytest.raises(SharedMemoryError):
        wishes.read()
    call(client, "HSET", RunKeys("run").fleet, "state", b"12345678" + payload)
    with pytest.raises(SharedMemoryError):
        wishes.told()
