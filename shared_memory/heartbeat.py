"""Heartbeats: when each actor, teacher and learner was last heard of, and what it was doing.

Ages are by the server's clock, so that machines need not agree on the time.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import msgpack
import redis

from shared_memory.codec import unpack
from shared_memory.connection import AtomicScript, call, call_all
from shared_memory.errors import SharedMemoryError
from shared_memory.keys import RunKeys
from shared_memory.plain_values import text

_MOST_NUMBERS = 64

_BEAT = AtomicScript(
    """
local now = redis.call('TIME')
redis.call('HSET', KEYS[1], ARGV[1],
  struct.pack('>I8', now[1] * 1000 + math.floor(now[2] / 1000)) .. ARGV[2])
return 1
""",
    kept=False,
)


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """The last that was heard of someone."""

    who: str
    age_s: float
    doing: str
    numbers: Mapping[str, float]


class Heartbeats:
    """The heartbeats of one run."""

    def __init__(self, client: redis.Redis, run: str) -> None:
        self._client = client
        self._key = RunKeys(run).heartbeats

    def beat(self, who: str, doing: str, numbers: Mapping[str, float] | None = None) -> None:
        """Say that `who` is alive, what it does, and up to 64 numbers worth watching."""
        values = {name: float(value) for name, value in (numbers or {}).items()}
        if len(values) > _MOST_NUMBERS:
            raise SharedMemoryError(f"a heartbeat carries at most {_MOST_NUMBERS} numbers")
        _BEAT.run(self._client, (self._key,), (who, msgpack.packb([doing, values])))

    def read(self) -> dict[str, Heartbeat]:
        """Everyone's last heartbeat, by name."""
        beats, seconds_and_micros = call_all(self._client, [("HGETALL", self._key), ("TIME",)])
        now = int(seconds_and_micros[0]) + int(seconds_and_micros[1]) / 1e6
        names = {text(who, "the name of a heartbeat"): payload for who, payload in beats.items()}
        return {who: _heartbeat(who, payload, now) for who, payload in names.items()}

    def forget(self, who: str) -> None:
        """Drop someone who has ended."""
        call(self._client, "HDEL", self._key, who)


def _heartbeat(who: str, payload: bytes, now: float) -> Heartbeat:
    values = unpack(payload[8:]) if len(payload) > 8 else None
    if (
        not isinstance(values, list)
        or len(values) != 2
        or not isinstance(values[0], str)
        or not isinstance(values[1], dict)
        or not all(isinstance(number, float) for number in values[1].values())
    ):
        raise SharedMemoryError(f"the heartbeat of {who!r} is damaged")
    age = max(0.0, now - int.from_bytes(payload[:8], "big") / 1e3)
    return Heartbeat(who, age, values[0], values[1])
