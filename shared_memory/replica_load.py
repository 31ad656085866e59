"""A bank read in full from the server: what a replica begins with, and after a gap in the log.

Procedures come from the bank's segments, strings of rows of one width that are read some at a
time; what was tried comes from its entries, one by one. What is written meanwhile may be among
them or not: the log after the position that was read first brings it, and may be applied again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import redis

from shared_memory.book import Integers, Rows
from shared_memory.codec import MAX_CODES
from shared_memory.connection import call, call_all, members
from shared_memory.errors import SharedMemoryError
from shared_memory.keys import DomainKeys, SignKeys
from shared_memory.records import SIGNS, Sign
from shared_memory.replica_bank import ReplicaBank
from shared_memory.segments import ROWS, row_layout
from shared_memory.tried import held_rows

MOST_SLOTS = 1 << 28
"""More than any server's memory holds: who claims more is not believed."""
_LATEST = 1 << 63
_SEGMENTS_A_READ = 8
_ADDED_AT_ONCE = 65_536
_BYTE = 256


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a domain's banks stand, all of one moment."""

    last: int  # number of the log's last batch
    stamp: int  # of that batch
    epoch: bytes  # of the server's data
    newest: int  # number of the youngest procedure
    width: int  # bytes of a procedure's codes
    slots: Mapping[Sign, int]  # places that were ever given to procedures


def standing(client: redis.Redis, keys: DomainKeys) -> Standing:
    """Where the banks stand now. Raises SharedMemoryError where the counters are damaged."""
    names = ("log", "stamp", "epoch", "procedure", "width", *(f"{sign}:slots" for sign in SIGNS))
    last, stamp, epoch, newest, width, *slots = call(client, "HMGET", keys.counters, *names)
    try:
        found = Standing(
            last=int(last or 0),
            stamp=int(stamp or 0),
            epoch=epoch or b"",
            newest=int(newest or 0),
            width=int(width or 0),
            slots={sign: int(count or 0) for sign, count in zip(SIGNS, slots, strict=True)},
        )
        if not 0 <= found.stamp < _LATEST:
            raise ValueError(f"a stamp of {found.stamp}")
        if not 0 <= found.width <= 2 * MAX_CODES or found.width % 2:
            raise ValueError(f"procedures of {found.width} bytes")
        if not all(0 <= count <= MOST_SLOTS for count in found.slots.values()):
            raise ValueError(f"{max(found.slots.values(), key=abs)} slots")
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
    numbers, versions, codes = _procedures(client, names, at, at.slots[sign])
    order = np.argsort(numbers, kind="stable")
    bank.reserve(order.size, codes)
    for start in range(0, order.size, _ADDED_AT_ONCE):
        part = order[start : start + _ADDED_AT_ONCE]
        bank.add(numbers[part], versions[part], codes[part])
    if bank.tried is not None:
        bank.count(held_rows(members(client, names.entries), solid))


def _procedures(
    client: redis.Redis, keys: SignKeys, at: Standing, slots: int
) -> tuple[Integers, Integers, Rows]:
    """Numbers (N,), versions (N,) and codes (N, n), in no order."""
    layout = row_layout(at.width)
    numbers: list[Integers] = [np.empty(0, dtype=np.int64)]
    versions = list(numbers)
    codes: list[Rows] = [np.empty((0, at.width // 2), dtype=np.uint8)]
    segments = -(-slots // ROWS)
    for first in range(0, segments, _SEGMENTS_A_READ):
        names = [
            keys.segment(index) for index in range(first, min(segments, first + _SEGMENTS_A_READ))
        ]
        for name, payload in zip(names, call_all(client, [("GET", name) for name in names])):
            held = _rows(payload or b"", layout, name, at.newest)
            numbers.append(held["number"].astype(np.int64))
            versions.append(held["version"].astype(np.int64))
            narrow = int(held["codes"].max(initial=0)) < _BYTE
            codes.append(held["codes"].astype(np.uint8 if narrow else np.uint16))
    return np.concatenate(numbers), np.concatenate(versions), np.concatenate(codes)


def _rows(
    payload: bytes, layout: np.dtype[np.void], name: str, newest: int
) -> npt.NDArray[np.void]:
    """The rows of a segment that hold a procedure; the log brings those after the newest."""
    if len(payload) % layout.itemsize or len(payload) > ROWS * layout.itemsize:
        raise SharedMemoryError(f"the bank at {name} is damaged; start a new run")
    rows = np.frombuffer(payload, dtype=layout)
    held: npt.NDArray[np.void] = rows[(rows["number"] > 0) & (rows["number"] <= newest)]
    return held
