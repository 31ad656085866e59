"""What people look at in a bank: memory and versions, and the procedures most used.

Reads whole banks, in pieces, and writes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import redis

from shared_memory.bank_statistics import read_counts, stored_entry, totals, unpacked
from shared_memory.codec import MAX_CODES
from shared_memory.connection import call, call_all, members
from shared_memory.keys import RunKeys, SignKeys
from shared_memory.records import SIGNS, Sign
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
            sizes = call_all(client, [("MEMORY", "USAGE", key) for key in keys.all()])
            ages = [
                call(client, command, keys.ages, 0, 0, "WITHSCORES")
                for command in ("ZRANGE", "ZREVRANGE")
            ]
            oldest, newest = (int(_score(age)) for age in ages)
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
    width = totals(call(client, "HGETALL", keys.counters))["width"]
    mine = _tallies(client, keys.sign(sign), width)
    others = _tallies(client, keys.sign(SIGNS[1 - SIGNS.index(sign)]), width)
    best = sorted(mine, key=lambda codes: (-mine[codes].times, codes))[:most]
    return tuple(
        UsedProcedure(
            domain=domain,
            sign=sign,
            codes=tuple(int.from_bytes(codes[at : at + 2]) for at in range(0, len(codes), 2)),
            times=mine[codes].times,
            last_version=mine[codes].last_version,
            actions=mine[codes].ordered(),
            replaced=others[codes].ordered() if codes in others else (),
        )
        for codes in best
    )


@dataclass(slots=True)
class _Tally:
    times: int = 0
    last_version: int = 0
    actions: list[UsedAction] = field(default_factory=list)

    def ordered(self) -> tuple[UsedAction, ...]:
        return tuple(sorted(self.actions, key=lambda each: (-each.times, each.action)))


def _tallies(client: redis.Redis, keys: SignKeys, width: int) -> dict[bytes, _Tally]:
    """What was submitted with each procedure, by its codes."""
    codes_of: dict[int, bytes] = {}
    tallies: dict[bytes, _Tally] = {}
    for codes, value in members(client, keys.procedures):
        number, _, version = unpacked(">QII", value, codes[: 2 * MAX_CODES])
        codes_of[number] = codes
        tallies[codes] = _Tally(last_version=version)
    for digest, value in members(client, keys.counts):
        counts = read_counts(value, digest)
        action, held = counts.action, None
        if counts.number is None:  # from before the bank kept actions: its record has them
            record = call(client, "HGET", keys.records, digest)
            if record is not None:
                held, action = record[:width], stored_entry(record, width).action
        else:
            held = codes_of.get(counts.number)
        tally = tallies.get(held) if held is not None else None
        if tally is None or action is None:
            continue  # written or retired meanwhile
        tally.times += counts.times
        tally.actions.append(UsedAction(action, counts.times, counts.refused))
    return tallies


def _score(reply: list[Any]) -> float:
    """The score of the one member of a ZRANGE reply, in either shape; -1 where there is none."""
    if not reply:
        return -1.0
    first = reply[0]
    return float(first[1] if isinstance(first, tuple | list) else reply[1])
