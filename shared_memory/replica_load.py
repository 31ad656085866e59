"""A bank read in full from the server: what a replica begins with, and after a gap in the log.

Procedures come from the bank's segments, strings of rows of one width that are read some at a
time; what was tried comes from its entries, one by one. What is written meanwhile may be among
them or not: the log after the position that was read first brings it, and may be applied again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import redis

from shared_memory.book import Codebatch, Integers
from shared_memory.codec import MAX_CODES
from shared_memory.connection import call, members
from shared_memory.errors import SharedMemoryError
from shared_memory.keys import DomainKeys
from shared_memory.records import SIGNS, Sign
from shared_memory.replica_bank import ReplicaBank
from shared_memory.tried import held_rows


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a domain's banks stand, all of one moment."""

    last: int  # number of the log's last batch
    epoch: bytes  # of the server's data
    newest: int  # number of the youngest procedure
    width: int  # bytes of a procedure's codes
    slots: Mapping[Sign, int]  # places that were ever given to procedures


def standing(client: redis.Redis, keys: DomainKeys) -> Standing:
    """Where the banks stand now. Raises SharedMemoryError where the counters are damaged."""
    names = ("log", "epoch", "procedure", "width", *(f"{sign}:slots" for sign in SIGNS))
    last, epoch, newest, width, *slots = call(client, "HMGET", keys.counters, *names)
    try:
        found = Standing(
            last=int(last or 0),
            epoch=epoch or b"",
            newest=int(newest or 0),
            width=int(width or 0),
            slots={sign: int(count or 0) for sign, count in zip(SIGNS, slots, strict=True)},
        )
        if not 0 <= found.width <= 2 * MAX_CODES or found.width % 2:
            raise ValueError(f"procedures of {found.width} bytes")
    except ValueError as error:
        raise SharedMemoryError(
            f"the counters of the bank {keys.name!r} are damaged ({error}); start a new run"
        ) from error
    return found


def load(
    client: redis.Redis, keys: DomainKeys, sign: Sign, bank: ReplicaBank, at: Standing, solid: int
) -> None:
    """Fill an empty bank with all procedures that it had then, as they are now.

    Entries submitted fewer than `solid` times do not count yet. Raises SharedMemoryError where the
    server fails or the bank is damaged.
    """
    names = keys.sign(sign)
    bank.add(*_scanned(client, names.procedures, at.newest))
    if bank.tried is not None:
        counts = members(client, names.counts)
        bank.count(held_rows((value for _, value in counts), solid))


def _scanned(client: redis.Redis, key: str, newest: int) -> tuple[Integers, Integers, Codebatch]:
    """Numbers (N,), versions (N,) and codes (N, n), in the order of their numbers."""
    held_members = dict(members(client, key))
    codes, values = list(held_members.keys()), list(held_members.values())
    layout = np.dtype([("number", ">u8"), ("entries", ">u4"), ("version", ">u4")])
    widths = {len(one) for one in codes}
    if (
        any(len(value) != layout.itemsize for value in values)
        or len(widths) > 1
        or any(width % 2 for width in widths)
    ):
        raise SharedMemoryError(f"the bank at {key} is damaged; start a new run")
    held = np.frombuffer(b"".join(values), dtype=layout)
    rows = np.frombuffer(b"".join(codes), dtype=">u2").astype(np.uint16)
    rows = rows.reshape(len(codes), rows.size // len(codes) if codes else 0)
    order = np.argsort(held["number"], kind="stable")
    order = order[held["number"][order] <= newest]
    return (
        held["number"].astype(np.int64)[order],
        held["version"].astype(np.int64)[order],
        rows[order],
    )
