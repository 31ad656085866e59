"""What people look at in a bank: memory and versions, and the procedures most used.

Reads whole banks, in pieces, and writes nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from heapq import nsmallest
from typing import Any

import redis

from shared_memory.bank_entry import action_of, read_codes, read_entry_value
from shared_memory.bank_statistics import bank_width
from shared_memory.codec import DIGEST_BYTES, unpack_codes
from shared_memory.connection import call, call_all, members, scanned
from shared_memory.errors import SharedMemoryError
from shared_memory.keys import RunKeys, SignKeys
from shared_memory.records import SIGNS, Sign
from shared_memory.segments import ROWS
from shared_memory.server_clients import ServerClient


@dataclass(frozen=True, slots=True)
class BankMemory:
    """What one bank takes of the server, and how old its entries are."""

    domain: str
    sign: Sign
    server_bytes: int  # by the server's own estimate, overhead included
    oldest_version: int  # of last submission; -1 where the bank is empty
    newest_version: int


@dataclass(frozen=True, slots=True)
class ServerMemory:
    """The server's memory; a limit of 0 is none."""

    used_bytes: int
    limit_bytes: int
    peak_bytes: int


@dataclass(frozen=True, slots=True)
class UsedAction:
    """How often an action was submitted with a procedure, and how often refused of these."""

    action: str
    times: int
    refused: int


@dataclass(frozen=True, slots=True)
class UsedProcedure:
    """A procedure of one bank: its actions, most often submitted first, and those that the other
    bank has for it (of M+: what failed where it stood, and was replaced)."""

    domain: str
    sign: Sign
    codes: tuple[int, ...]
    times: int
    last_version: int
    actions: tuple[UsedAction, ...]
    replaced: tuple[UsedAction, ...]


def bank_memory(client: redis.Redis, run: str, domains: tuple[str, ...]) -> tuple[BankMemory, ...]:
    """Memory and ages of all banks of these domains."""
    found: list[BankMemory] = []
    for domain in domains:
        for sign in SIGNS:
            keys = RunKeys(run).domain(domain).sign(sign)
            # Every slot is one procedure's or free: so many there are, whatever counters claim.
            slots = sum(call_all(client, [("HLEN", keys.procedures), ("LLEN", keys.free)]))
            segments = [keys.segment(index) for index in range(-(-slots // ROWS))]
            sizes = call_all(
                client, [("MEMORY", "USAGE", key) for key in (*keys.whole(), *segments)]
            )
            ages = [
                call(client, command, keys.ages, 0, 0, "WITHSCORES")
                for command in ("ZRANGE", "ZREVRANGE")
            ]
            oldest, newest = map(_version, ages)
            taken = sum(int(size or 0) for size in sizes)
            found.append(BankMemory(domain, sign, taken, oldest, newest))
    return tuple(found)


def server_memory(client: redis.Redis) -> ServerMemory:
    """What the server as a whole takes; of a Cluster, its fullest node."""
    nodes = client.nodes() if isinstance(client, ServerClient) else (client,)
    found = [call(node, "INFO", "memory") for node in nodes]
    names = ("used_memory", "maxmemory", "used_memory_peak")
    taken = [ServerMemory(*(int(one.get(name, 0)) for name in names)) for one in found]
    return max(taken, key=lambda one: one.used_bytes / (one.limit_bytes or 2**62))


def most_used(
    client: redis.Redis, run: str, domain: str, sign: Sign, most: int
) -> tuple[UsedProcedure, ...]:
    """The `most` procedures of a bank that were submitted most often."""
    keys = RunKeys(run).domain(domain)
    times: Counter[bytes] = Counter()
    for key, value in members(client, keys.sign(sign).entries):
        times[key[:DIGEST_BYTES]] += read_entry_value(key, value).times
    best = nsmallest(most, times, key=lambda digest: (-times[digest], digest))
    mine = _tallies(client, keys.sign(sign), best)
    others = _tallies(client, keys.sign(SIGNS[1 - SIGNS.index(sign)]), best)
    codes = read_codes(client, keys.sign(sign), best, bank_width(client, keys))
    return tuple(
        UsedProcedure(
            domain=domain,
            sign=sign,
            codes=tuple(unpack_codes(codes[digest]).tolist()),
            times=mine[digest].times,
            last_version=mine[digest].last_version,
            actions=mine[digest].ordered(),
            replaced=others[digest].ordered(),
        )
        for digest in best
        if digest in codes  # not retired meanwhile
    )


@dataclass(slots=True)
class _Tally:
    times: int = 0
    last_version: int = 0
    actions: list[UsedAction] = field(default_factory=list)

    def ordered(self) -> tuple[UsedAction, ...]:
        return tuple(sorted(self.actions, key=lambda each: (-each.times, each.action)))


def _tallies(client: redis.Redis, keys: SignKeys, digests: Sequence[bytes]) -> dict[bytes, _Tally]:
    """What was submitted with these procedures, by the digest of their codes."""
    tallies = {digest: _Tally() for digest in digests}
    seen: set[bytes] = set()
    for key, value in scanned(client, keys.entries):
        tally = tallies.get(key[:DIGEST_BYTES])
        if tally is None or key in seen:
            continue
        seen.add(key)
        held = read_entry_value(key, value)
        tally.times += held.times
        tally.last_version = max(tally.last_version, held.version)
        tally.actions.append(UsedAction(action_of(key), held.times, held.refused))
    return tallies


def _version(reply: list[Any]) -> int:
    """Of the one member of a ZRANGE reply, in either shape; -1 where there is none."""
    if not reply:
        return -1
    first = reply[0]
    try:
        score = float(first[1] if isinstance(first, tuple | list) else reply[1])
    except ValueError:
        score = -1.0
    if not 0 <= score < 2**64:
        raise SharedMemoryError("an entry is filed under no version on the server: it is damaged")
    return int(score // 2**32)
