"""What people ask of a run's actors while it goes on, and what its driver says of them.

Both are in one hash of the run, so that the command may be typed on any machine that reaches the
server, whichever host the driver is on, and so that what was asked for outlives a driver that dies
and holds after a resume. A wish is a state to be had, not a message: asking twice changes nothing,
and no answer can be lost.

| field            | holds                                                            |
|------------------|------------------------------------------------------------------|
| `size`           | how many actors there shall be                                   |
| `leaving:NODE`   | the host with this node number of Ray's is to be left by actors  |
| `state`          | the driver's word: what it took in, who is where, when           |
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import msgpack
import redis

from shared_memory.codec import unpack
from shared_memory.connection import AtomicScript, call, call_all
from shared_memory.errors import SharedMemoryError
from shared_memory.keys import RunKeys
from shared_memory.plain_values import text

MOST_ACTORS = 65_536
MOST_HOSTS = 4096
_LONGEST = 256
_SCHEMA = 1
_LEAVING = "leaving:"

_TELL = AtomicScript(
    """
local now = redis.call('TIME')
redis.call('HSET', KEYS[1], 'state',
  struct.pack('>I8', now[1] * 1000 + math.floor(now[2] / 1000)) .. ARGV[1])
return 1
""",
    kept=False,
)


@dataclass(frozen=True, slots=True)
class FleetSize:
    """How many actors there shall be, in all or on each host."""

    number: int
    each_host: bool = False

    @property
    def words(self) -> str:
        """As in `4 actors`."""
        actors = "actor" if self.number == 1 else "actors"
        return f"{self.number} {actors}" + (" on each host" if self.each_host else "")


@dataclass(frozen=True, slots=True)
class FleetWish:
    """What was asked for: `size` None is as configured; `leaving` are node numbers of Ray's."""

    size: FleetSize | None = None
    leaving: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class HostState:
    """A host of the cluster, as the driver sees it."""

    node: str  # Ray's number of it, anew each time that Ray starts there
    hostname: str
    address: str
    name: str  # as given to `ray start --node-name`
    leaving: bool
    actors: int  # of this run, those that leave included
    room: int  # for so many of this run's actors, those included; -1: no limit

    @property
    def words(self) -> str:
        """What a person calls it."""
        return self.hostname or self.address or self.node[:12]


@dataclass(frozen=True, slots=True)
class FleetState:
    """The driver's word on its actors; `age_s` by the server's clock."""

    size: FleetSize
    up: int
    starting: int
    going: int  # they finish what they do, and then go
    waiting: int  # wanted, but no host has room
    outcome: str  # how the run ended; "" while it goes on
    hosts: tuple[HostState, ...]
    age_s: float = 0.0


class FleetWishes:
    """The wishes of one run, and the driver's word. Raises SharedMemoryError."""

    def __init__(self, client: redis.Redis, run: str) -> None:
        self._client = client
        self._key = RunKeys(run).fleet

    def ask_size(self, size: FleetSize) -> None:
        """Ask for so many actors."""
        if not 1 <= size.number <= MOST_ACTORS:
            raise SharedMemoryError(
                f"a run has 1 to {MOST_ACTORS} actors, so {size.number} are not possible"
            )
        call(self._client, "HSET", self._key, "size", _packed([size.number, size.each_host]))

    def ask_to_leave(self, nodes: Iterable[str]) -> None:
        """Ask actors to leave these hosts and to come no more."""
        for node in nodes:
            call(self._client, "HSET", self._key, f"{_LEAVING}{node}", b"1")

    def ask_to_stay(self, nodes: Iterable[str]) -> None:
        """Take back that actors are to leave these hosts."""
        for node in nodes:
            call(self._client, "HDEL", self._key, f"{_LEAVING}{node}")

    def read(self) -> FleetWish:
        """What is asked for now."""
        return _wish(call(self._client, "HGETALL", self._key))

    def tell(self, state: FleetState) -> None:
        """The driver's word, with the server's time."""
        values = [
            [state.size.number, state.size.each_host],
            [state.up, state.starting, state.going, state.waiting],
            state.outcome,
            [_packed_host(host) for host in state.hosts[:MOST_HOSTS]],
        ]
        _TELL.run(self._client, (self._key,), (_packed(values),))

    def told(self) -> FleetState | None:
        """The driver's last word; None where there is none."""
        payload, clock = call_all(self._client, [("HGET", self._key, "state"), ("TIME",)])
        if payload is None:
            return None
        now = int(clock[0]) + int(clock[1]) / 1e6
        return _state(payload, now)

    def await_taken(self, size: FleetSize, deadline_s: float) -> FleetState | None:
        """The driver's word once it has taken in this size; None where it has not by then."""
        deadline = time.monotonic() + deadline_s
        while True:
            state = self.told()
            if state is not None and state.size == size:
                return state
            if time.monotonic() > deadline:
                return None
            time.sleep(0.2)


def _packed(values: list[Any]) -> bytes:
    packed: bytes = msgpack.packb([_SCHEMA, *values])
    return packed


def _packed_host(host: HostState) -> list[Any]:
    words = (host.node, host.hostname, host.address, host.name)
    return [*(one[:_LONGEST] for one in words), host.leaving, host.actors, host.room]


def _unpacked(payload: bytes, length: int, what: str) -> list[Any]:
    values = unpack(payload)
    if not isinstance(values, list) or len(values) != length + 1 or values[0] != _SCHEMA:
        raise _damaged(what)
    return values[1:]


def _damaged(what: str) -> SharedMemoryError:
    return SharedMemoryError(f"{what} on the server is damaged, or of another version")


def _size(values: Any, what: str) -> FleetSize:
    match values:
        case [int(number), bool(each_host)] if type(number) is int and 1 <= number <= MOST_ACTORS:
            return FleetSize(number, each_host)
    raise _damaged(what)


def _wish(fields: Mapping[bytes, bytes]) -> FleetWish:
    size, leaving = None, set[str]()
    for name, payload in fields.items():
        field = text(name, "a wish for actors")
        if field == "size":
            what = "the number of actors asked for"
            size = _size(_unpacked(payload, 2, what), what)
        elif field.startswith(_LEAVING):
            leaving.add(field.removeprefix(_LEAVING))
    return FleetWish(size, frozenset(leaving))


def _state(payload: bytes, now: float) -> FleetState:
    what = "what the driver says of its actors"
    size, counts, outcome, hosts = _unpacked(payload[8:], 4, what)
    match counts, outcome, hosts:
        case [[int(up), int(starting), int(going), int(waiting)], str(), list()] if (
            len(hosts) <= MOST_HOSTS
        ):
            return FleetState(
                size=_size(size, what),
                up=up,
                starting=starting,
                going=going,
                waiting=waiting,
                outcome=outcome,
                hosts=tuple(_host(values, what) for values in hosts),
                age_s=max(0.0, now - int.from_bytes(payload[:8], "big") / 1e3),
            )
    raise _damaged(what)


def _host(values: Any, what: str) -> HostState:
    match values:
        case [
            str(node),
            str(hostname),
            str(address),
            str(name),
            bool(leaving),
            int(actors),
            int(room),
        ]:
            return HostState(node, hostname, address, name, leaving, actors, room)
    raise _damaged(what)
