"""What is published of a domain's banks in a node's memory: how far, and in which files (ours).

One small file a domain, replaced as a whole: who reads it sees the state before a change or
after, never between; one that is cut short or damaged fails its checksum. `busy` is set while banks
are being changed in place: who finds it without a feeder at work knows that one died, and reloads.
"""

from __future__ import annotations

import os
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path

from shared_memory.codec import MAX_CODES
from shared_memory.errors import SharedMemoryError
from shared_memory.log_end import LogEnd
from shared_memory.records import SIGNS, Sign

_LONGEST_EPOCH = 64
_HEAD = struct.Struct(f"<8sQq?B{_LONGEST_EPOCH}s")
_BANK = struct.Struct("<QQQQIB")
_TRIED = struct.Struct("<QQQQ")
_CHECK = struct.Struct("<I")
_NAME = b"nesypr-2"
_MOST_ROWS = 2**40


@dataclass(frozen=True, slots=True)
class TriedHead:
    """Where what was tried is: places of the index, bytes of actions in use, and room for more."""

    generation: int = 0
    places: int = 0
    used: int = 0
    capacity: int = 0


@dataclass(frozen=True, slots=True)
class BankHead:
    """One bank: its file's generation, rows in use, and what there is room for."""

    generation: int = 0
    rows: int = 0
    live: int = 0
    capacity: int = 0
    chunks: int = 0
    code_bytes: int = 1
    tried: TriedHead = TriedHead()

    @property
    def generations(self) -> tuple[int, int]:
        """Of the bank's file, and of what was tried."""
        return self.generation, self.tried.generation

    def emptied(self) -> BankHead:
        """Nothing, in generations after these."""
        return BankHead(self.generation + 1, tried=TriedHead(self.tried.generation + 1))


@dataclass(frozen=True, slots=True)
class DomainHead:
    """Both banks of a domain as of a batch of its log; of an epoch of the server's data."""

    position: int = 0
    stamp: int = 0
    epoch: bytes = b""
    busy: bool = False
    success: BankHead = BankHead()
    failure: BankHead = BankHead()

    @property
    def end(self) -> LogEnd:
        """As of where the log was followed to."""
        return LogEnd(self.position, self.stamp, self.epoch)

    def bank(self, sign: Sign) -> BankHead:
        """M+ or M-."""
        return self.success if sign == "success" else self.failure


def read_head(path: Path) -> DomainHead:
    """What is published; nothing yet where there is no file. `SharedMemoryError` where damaged."""
    try:
        payload = path.read_bytes()
    except FileNotFoundError:
        return DomainHead()
    size = _HEAD.size + 2 * (_BANK.size + _TRIED.size)
    if len(payload) != size + _CHECK.size or _check(payload[:size]) != payload[size:]:
        raise _damaged(path)
    name, position, stamp, busy, length, epoch = _HEAD.unpack_from(payload)
    if name != _NAME or length > _LONGEST_EPOCH:
        raise _damaged(path)
    banks: dict[Sign, BankHead] = {}
    at = _HEAD.size
    for sign in SIGNS:
        generation, rows, live, capacity, chunks, code_bytes = _BANK.unpack_from(payload, at)
        tried = TriedHead(*_TRIED.unpack_from(payload, at + _BANK.size))
        banks[sign] = head = BankHead(generation, rows, live, capacity, chunks, code_bytes, tried)
        at += _BANK.size + _TRIED.size
        if (
            not head.live <= head.rows <= head.capacity <= _MOST_ROWS
            or head.chunks > MAX_CODES
            or head.code_bytes not in (1, 2)
            or not tried.used <= tried.capacity <= _MOST_ROWS
            or tried.places > _MOST_ROWS
        ):
            raise _damaged(path)
    return DomainHead(position, stamp, epoch[:length], busy, **banks)


def write_head(path: Path, head: DomainHead) -> None:
    """Publish. Only the feeder does."""
    if len(head.epoch) > _LONGEST_EPOCH:
        raise SharedMemoryError(
            f"the epoch of a bank has {len(head.epoch)} bytes: its counters are damaged; start a "
            "new run"
        )
    payload = _HEAD.pack(_NAME, head.position, head.stamp, head.busy, len(head.epoch), head.epoch)
    for sign in SIGNS:
        bank = head.bank(sign)
        payload += _BANK.pack(
            *(bank.generation, bank.rows, bank.live, bank.capacity),
            *(bank.chunks, bank.code_bytes),
        )
        tried = bank.tried
        payload += _TRIED.pack(tried.generation, tried.places, tried.used, tried.capacity)
    beside = path.with_suffix(".new")
    beside.write_bytes(payload + _check(payload))
    os.replace(beside, path)


def _check(payload: bytes) -> bytes:
    return _CHECK.pack(zlib.crc32(payload))


def _damaged(path: Path) -> SharedMemoryError:
    return SharedMemoryError(
        f"{path} is damaged: end the processes that use it, or set shared_memory.replica to process"
    )
