"""How a replica follows the log of a domain's banks: in order, without gaps, or all anew.

Where the log has been trimmed past what a replica knows, or the server lost its data, both banks
are read in full. Each batch of the log has a stamp, and names that of the one before it: where a
server that took over lacks the end of the log, and others have written on, the numbers go on as if
nothing had been, but the stamps differ. Who keeps the banks, and where, is the `Keeper`'s business.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt
import redis

from shared_memory.book import Codebatch, Integers
from shared_memory.codec import MAX_CODES
from shared_memory.connection import call_all
from shared_memory.errors import SharedMemoryError
from shared_memory.keys import DomainKeys
from shared_memory.log_end import END_OF_LOG, LogEnd, log_end
from shared_memory.plain_values import whole
from shared_memory.records import SIGNS, Sign
from shared_memory.replica_bank import ReplicaBank
from shared_memory.replica_load import load, standing
from shared_memory.tried import logged_rows

_BATCHES_A_READ = 200
_RELOAD_ATTEMPTS = 5
_DAMAGED_LOG = "a batch of the bank's log is malformed: the log is damaged; start a new run"


@dataclass(slots=True)
class DomainFeed:
    """Both banks of a domain, and how far they have followed its log."""

    keys: DomainKeys
    banks: dict[Sign, ReplicaBank]
    position: int = 0  # number of the log's last batch that was applied
    stamp: int = 0  # of that batch
    epoch: bytes | None = b""  # of the server's data; None: what the banks hold is not known


class Keeper(Protocol):
    """Who keeps the banks that are fed."""

    def begin(self, feed: DomainFeed) -> None:
        """Its banks are about to be changed."""

    def empty(self, feed: DomainFeed) -> Mapping[Sign, ReplicaBank]:
        """Banks to be filled in place of the feed's."""

    def done(self, feed: DomainFeed) -> None:
        """Its banks are as the log was at its position."""


@dataclass(frozen=True, slots=True)
class Followed:
    """What following came to."""

    applied: int  # batches, a reload counting as one
    reloads: int


def follow(
    client: redis.Redis, feeds: Sequence[DomainFeed], keeper: Keeper, solid: int
) -> Followed:
    """Bring all feeds to where the log is.

    Raises SharedMemoryError where the server fails or what it has is damaged.
    """
    applied = reloads = 0
    pending = list(feeds)
    while pending:
        replies = call_all(client, [command for feed in pending for command in _questions(feed)])
        again: list[DomainFeed] = []
        for feed, counters, batches in zip(pending, replies[::2], replies[1::2]):
            end = log_end(counters)
            if end.epoch == feed.epoch and _contiguous(feed, batches, end):
                if batches:
                    keeper.begin(feed)
                    for name, fields in batches:
                        _apply(feed.banks, fields)
                        feed.position, feed.stamp = _number(name), _stamp(fields, b"s")
                    keeper.done(feed)
                applied += len(batches)
                if len(batches) == _BATCHES_A_READ:
                    again.append(feed)
                continue
            reloads += 1
            if reloads > _RELOAD_ATTEMPTS * len(feeds):
                raise SharedMemoryError(
                    f"the bank of {feed.keys.name!r} changes faster than this replica can "
                    "read it: fewer actors, or a faster server, are needed"
                )
            _reload(client, feed, keeper, solid)
            applied += 1
            again.append(feed)
        pending = again
    return Followed(applied, reloads)


def _questions(feed: DomainFeed) -> tuple[tuple[str | int, ...], ...]:
    since = f"{feed.position + 1}-0"
    return (
        ("HMGET", feed.keys.counters, *END_OF_LOG),
        ("XRANGE", feed.keys.log, since, "+", "COUNT", _BATCHES_A_READ),
    )


def _contiguous(
    feed: DomainFeed, batches: Sequence[tuple[bytes, dict[bytes, bytes]]], end: LogEnd
) -> bool:
    """Whether these are the next batches of the log that was followed so far, none missing."""
    if not batches:
        return (feed.position, feed.stamp) == (end.position, end.stamp)
    numbers = [_number(name) for name, _ in batches]
    if numbers != list(range(feed.position + 1, feed.position + 1 + len(numbers))):
        return False
    return _stamp(batches[0][1], b"b") == feed.stamp


def _number(name: bytes) -> int:
    return int(name.partition(b"-")[0])


def _stamp(fields: Mapping[bytes, bytes], name: bytes) -> int:
    return whole(fields.get(name), "the stamp of a batch of the bank's log")


def _apply(banks: Mapping[Sign, ReplicaBank], fields: Mapping[bytes, bytes]) -> None:
    try:
        width = int(fields[b"w"])
        added, touched, retired = fields[b"a"], fields[b"t"], fields[b"r"]
    except (KeyError, ValueError) as error:
        raise SharedMemoryError(_DAMAGED_LOG) from error
    for code, sign in enumerate(SIGNS):
        bank = banks[sign]
        bank.add(*_added_rows(added, width, code))
        bank.touch(*_touched_rows(touched, code))
        if bank.tried is not None:
            bank.count(logged_rows(fields.get(b"o", b""), code))
        bank.remove(_retired_rows(retired, code))


def _reload(client: redis.Redis, feed: DomainFeed, keeper: Keeper, solid: int) -> None:
    """Read both banks in full."""
    at = standing(client, feed.keys)
    banks = dict(keeper.empty(feed))
    for sign, bank in banks.items():
        load(client, feed.keys, sign, bank, at, solid)
    feed.banks, feed.position, feed.stamp, feed.epoch = banks, at.last, at.stamp, at.epoch
    keeper.done(feed)


_TOUCHED_FIELDS = [("sign", "u1"), ("number", ">u8"), ("version", ">u4")]


def _rows(payload: bytes, layout: np.dtype[np.void], code: int) -> npt.NDArray[np.void]:
    if len(payload) % layout.itemsize:
        raise SharedMemoryError(_DAMAGED_LOG)
    rows = np.frombuffer(payload, dtype=layout)
    chosen: npt.NDArray[np.void] = rows[rows["sign"] == code]
    return chosen


def _added_rows(payload: bytes, width: int, code: int) -> tuple[Integers, Integers, Codebatch]:
    if not 0 <= width <= 2 * MAX_CODES or width % 2:
        raise SharedMemoryError(_DAMAGED_LOG)
    layout = np.dtype([*_TOUCHED_FIELDS, ("codes", ">u2", (width // 2,))])
    rows = _rows(payload, layout, code)
    return (
        rows["number"].astype(np.int64),
        rows["version"].astype(np.int64),
        rows["codes"].astype(np.uint16),
    )


def _touched_rows(payload: bytes, code: int) -> tuple[Integers, Integers]:
    rows = _rows(payload, np.dtype(_TOUCHED_FIELDS), code)
    return rows["number"].astype(np.int64), rows["version"].astype(np.int64)


def _retired_rows(payload: bytes, code: int) -> Integers:
    return _rows(payload, np.dtype(_TOUCHED_FIELDS[:2]), code)["number"].astype(np.int64)
