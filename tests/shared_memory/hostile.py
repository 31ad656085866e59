"""Bytes as a hostile or broken writer would leave them on a server: mutations of true ones."""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from typing import Any

import redis

_OF_THE_SERVER = re.compile(rb"^\d+-\d+$|^nesypr:\{")
"""Numbers of a stream's entries, and keys."""
BOMBS = (
    *(b"\xdd\xff\xff\xff\xff", b"\xdf\xff\xff\xff\xff", b"\xdb\xff\xff\xff\xff"),
    *(b"\xc6\xff\xff\xff\xff", b"\xc9\xff\xff\xff\xff\x05", b"\x91" * 2000, b"\x81\x91" * 500),
    *(b"\xcb\x7f\xf8\x00\x00\x00\x00\x00\x00", b"\xd4\x05x", b"\xc1", b"\xc0", b"", b"-1"),
    *(b"9" * 30, b"\xff" * 8, b"nan", b"1e400", b"\xed\xa0\x80", b"0x10", b" 7 ", b"1_000"),
    # 70,000 zero bytes deflated, in the place of packed tokens
    b"\x04x\x01\xed\xc11\x01\x00\x00\x00\xc2\xa0\xf5Om\x0b/\xa0",
)
"""Lengths that are not there, depth, numbers that are none, and inflation."""


def mutated(chance: random.Random, true: bytes, others: Sequence[bytes] = ()) -> bytes:
    """The bytes with one to four things wrong."""
    found = bytearray(true)
    for _ in range(chance.choice((1, 1, 1, 2, 4))):
        place = chance.randrange(len(found) + 1)
        kind = chance.randrange(8)
        if kind == 0:
            found[place:] = b""
        elif kind == 1:
            found[place:place] = chance.choice(BOMBS)
        elif kind == 2:
            found = bytearray(chance.choice(BOMBS))
        elif kind == 3 and others:
            other = chance.choice(others)
            found[place:] = other[chance.randrange(len(other) + 1) :]
        elif kind == 4:
            found[place : place + chance.randrange(1, 9)] = chance.randbytes(chance.randrange(9))
        elif place < len(found):
            found[place] = chance.choice((found[place] ^ (1 << chance.randrange(8)), 0, 255, 128))
    return bytes(found)


class HostileClient(redis.Redis):
    """Answers reads as a real server does, but with some of the values' bytes changed.

    The shape of replies is the server's own, whoever wrote what is in them; so it stays. Scripts
    are not run. Replies are asked for once and kept.
    """

    def __init__(self, real: redis.Redis, chance: random.Random, changed: int) -> None:
        super().__init__(connection_pool=real.connection_pool)
        self._real = real
        self._chance = chance
        self._kept: dict[tuple[Any, ...], Any] = {}
        self._changed = changed
        self.asked = 0

    def execute_command(self, *command: Any, **options: Any) -> Any:
        self.asked += 1
        if command[0] in ("EVALSHA", "EVAL"):
            return 1
        if command not in self._kept:
            if len(self._kept) > 5000:  # hostile numbers lead to ever new questions
                self._kept.clear()
            try:
                self._kept[command] = self._real.execute_command(*command)  # type: ignore[no-untyped-call]
            except redis.ResponseError as error:
                self._kept[command] = error
        reply = self._kept[command]
        if isinstance(reply, Exception):
            raise reply
        leaves = _count(reply)
        places = {self._chance.randrange(leaves) for _ in range(self._changed)} if leaves else set()
        return _changed(reply, places, self._chance, [0])

    def close(self) -> None:
        """It is asked again: its connections are the real client's."""

    def pipeline(self, transaction: bool = True, shard_hint: Any = None) -> Any:
        return _Together(self)


class _Together:
    def __init__(self, client: HostileClient) -> None:
        self._client = client
        self._commands: list[tuple[Any, ...]] = []

    def __enter__(self) -> _Together:
        return self

    def __exit__(self, *_: object) -> None:
        self._commands = []

    def execute_command(self, *command: Any) -> None:
        self._commands.append(command)

    def execute(self, raise_on_error: bool = True) -> list[Any]:
        commands, self._commands = self._commands, []
        return [self._client.execute_command(*command) for command in commands]


def _count(reply: Any) -> int:
    """How many byte strings of a reply are whatever somebody wrote."""
    if isinstance(reply, bytes):
        return 0 if _OF_THE_SERVER.match(reply) else 1
    if isinstance(reply, dict):
        return sum(_count(key) + _count(value) for key, value in reply.items())
    return sum(map(_count, reply)) if isinstance(reply, list | tuple | set) else 0


def _changed(reply: Any, places: set[int], chance: random.Random, at: list[int]) -> Any:
    """The reply with the byte strings at these places mutated."""
    if isinstance(reply, bytes):
        if _OF_THE_SERVER.match(reply):
            return reply
        at[0] += 1
        return mutated(chance, reply) if at[0] - 1 in places else reply
    if isinstance(reply, dict):
        return {
            _changed(key, places, chance, at): _changed(value, places, chance, at)
            for key, value in reply.items()
        }
    if isinstance(reply, list | tuple | set):
        return type(reply)(_changed(value, places, chance, at) for value in reply)
    return reply
