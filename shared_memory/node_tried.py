"""What was tried with the procedures of a bank, in a node's memory: one writes, all look (ours).

An index finds the rows that may have given codes: a place, a hash of the codes, and the places
after it up to an empty one hold row + 1. Each row has a chain of records in a heap, one an action:
the offset of the next, the counts, the action. A record is written before the chain begins with
it; counts change in one store of eight bytes; a retired action stays with 0 times. Where the index
or the heap is full, or too many procedures were forgotten, a new generation takes what is left.
"""

from __future__ import annotations

import dataclasses
import mmap
import os
import struct
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt

from shared_memory.book import Integers, Rows
from shared_memory.codec import MAX_CODES
from shared_memory.errors import SharedMemoryError
from shared_memory.node_head import TriedHead
from shared_memory.tried import Counts, Tried, TriedRow

_RECORD = struct.Struct("<QIIH")  # next record's offset (0: none), times, refused, action's bytes
_COUNTS = struct.Struct("<II")
_COUNTS_AT = 8
_ALIGNED = 8
_MIXER = np.uint64(0x9E3779B97F4A7C15)
_LEAST_PLACES = 1024
_LEAST_HEAP = 1 << 16
_STEP = 1 << 16  # bytes of the heap that get memory at once
_FLAGS = os.O_CLOEXEC | os.O_NOFOLLOW
_MULTIPLIERS = np.random.default_rng(0).integers(1, 2**63, MAX_CODES, dtype=np.uint64) | 1
_HASHED_AT_ONCE = 8192


class NodeTried:
    """The tried actions of one bank as they were published. See `tried.TriedBank`.

    The feeder's may be changed; `head` is what to publish then. Raises FileNotFoundError where
    there is a newer generation already.
    """

    def __init__(self, stem: Path, head: TriedHead, *, writable: bool = False) -> None:
        self._stem = stem
        self._writable = writable
        self._index: npt.NDArray[np.int32] = np.empty(0, dtype=np.int32)  # (places,)
        self._first: Integers = np.empty(0, dtype=np.int64)  # (places / 2,): where chains begin
        self._heap = memoryview(b"")
        self._allocated = head.used
        self._head = head
        self._open(head)

    def __len__(self) -> int:
        """See `TriedBank`."""
        return sum(len(self.of(row)) for row in np.flatnonzero(self._first).tolist())

    @property
    def head(self) -> TriedHead:
        """This as it may be published."""
        return self._head

    def adopt(self, head: TriedHead) -> None:
        """Look into what is published now."""
        if head.generation != self._head.generation:
            self._open(head)
        self._head = head

    def add(self, first: int, held: Rows) -> None:
        """See `TriedBank`."""
        if held.shape[0] > self._first.size:
            self._grow(held.shape[0], self._head.capacity)
            first = 0  # all of them: the index is new
        self._insert(first, held)

    def rows_of(self, codes: npt.NDArray[np.uint16]) -> Iterable[int]:
        """See `TriedBank`."""
        if not self._index.size:
            return
        place = int(_places(codes[None], self._index.size)[0])
        for _ in range(self._index.size):
            row = int(self._index[place]) - 1
            if row < 0:
                return
            yield row
            place = (place + 1) % self._index.size

    def of(self, row: int) -> Mapping[str, Counts]:
        """See `TriedBank`."""
        found: Tried = {}
        for _, times, refused, action in self._chain(row):
            if times:
                found[action] = Counts(times, refused)
        return found

    def count(self, row: int, counted: TriedRow) -> None:
        """See `TriedBank`."""
        counts = _COUNTS.pack(counted.counts.times, counted.counts.refused)
        for at, _, _, action in self._chain(row):
            if action == counted.action:
                self._heap[at + _COUNTS_AT : at + _COUNTS_AT + _COUNTS.size] = counts
                return
        if counted.counts.times:
            self._first[row] = self._append(int(self._first[row]), counts, counted.action.encode())

    def forget(self, rows: Integers, codes: Rows) -> None:
        """See `TriedBank`."""
        self._first[rows] = 0

    def move(self, places: Integers, held: Rows) -> None:
        """See `TriedBank`."""
        kept = [
            TriedRow(row, action, counts)
            for row, before in enumerate(places.tolist())
            for action, counts in self.of(before).items()
        ]
        self._create(places.size, self._head.used)
        self._insert(0, held)
        for each in kept:
            self.count(each.number, each)

    def _chain(self, row: int) -> Iterator[tuple[int, int, int, str]]:
        """Of each action: where its record is, times, refused, action."""
        at = int(self._first[row]) if row < self._first.size else 0
        while at:
            if at % _ALIGNED or at + _RECORD.size > len(self._heap):
                raise SharedMemoryError(
                    f"{self._path} is damaged: end the processes that use it, or set "
                    "shared_memory.replica to process"
                )
            following, times, refused, length = _RECORD.unpack_from(self._heap, at)
            text = bytes(self._heap[at + _RECORD.size : at + _RECORD.size + length])
            yield at, times, refused, text.decode(errors="replace")
            if following >= at:  # chains lead back, to older records
                return
            at = following

    def _append(self, following: int, counts: bytes, action: bytes) -> int:
        """A record in the heap: where."""
        size = -(-(_RECORD.size + len(action)) // _ALIGNED) * _ALIGNED
        at = max(self._head.used, _ALIGNED)
        if at + size > self._head.capacity:
            first, index = self._first, self._index
            self._grow(first.size, 2 * (at + size))
            self._index[:] = index
        if at + size > self._allocated:
            self._allocate(at, min(max(size, _STEP), self._head.capacity - at))
        times, refused = _COUNTS.unpack(counts)
        _RECORD.pack_into(self._heap, at, following, times, refused, len(action))
        self._heap[at + _RECORD.size : at + _RECORD.size + len(action)] = action
        self._head = dataclasses.replace(self._head, used=at + size)
        return at

    def _insert(self, first: int, held: Rows) -> None:
        """Put rows from `first` on into the index."""
        for start in range(first, held.shape[0], _HASHED_AT_ONCE):
            rows = np.arange(start, min(start + _HASHED_AT_ONCE, held.shape[0]))
            places = _places(held[rows], self._index.size)
            while rows.size:
                taken = self._index[places] != 0
                _, chosen = np.unique(places, return_index=True)
                chosen = chosen[~taken[chosen]]
                self._index[places[chosen]] = rows[chosen] + 1
                left = np.ones(rows.size, dtype=np.bool_)
                left[chosen] = False
                rows, places = rows[left], (places[left] + taken[left]) % self._index.size

    def _grow(self, rows: int, capacity: int) -> None:
        """A new generation with the same chains, and an empty index."""
        first, heap, used = self._first, self._heap, self._head.used
        self._create(rows, max(capacity, used))
        self._first[: first.size] = first
        self._allocate(0, max(used, 1))
        self._heap[:used] = heap[:used]
        self._head = dataclasses.replace(self._head, used=used)

    def _create(self, rows: int, capacity: int) -> None:
        """A new generation, without anything."""
        places = max(_LEAST_PLACES, 1 << (2 * rows - 1).bit_length())
        if rows == self._first.size:
            places = self._index.size
        capacity = max(_LEAST_HEAP, 2 * capacity)
        head = TriedHead(self._head.generation + 1, places, 0, capacity)
        path = _path(self._stem, head.generation)
        path.unlink(missing_ok=True)  # of a feeder that died before it published this
        descriptor = os.open(path, _FLAGS | os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600)
        try:
            os.ftruncate(descriptor, 8 * places + capacity)
            os.posix_fallocate(descriptor, 0, 8 * places)
        finally:
            os.close(descriptor)
        self._allocated = 0
        self._open(head)

    def _allocate(self, at: int, size: int) -> None:
        """Memory for this part of the heap, now: a store without would end the process."""
        descriptor = os.open(self._path, _FLAGS | os.O_RDWR)
        try:
            os.posix_fallocate(descriptor, 8 * self._head.places + at, size)
        finally:
            os.close(descriptor)
        self._allocated = at + size

    @property
    def _path(self) -> Path:
        return _path(self._stem, self._head.generation)

    def _open(self, head: TriedHead) -> None:
        self._head = head
        if not head.places:
            self._index, self._first = self._index[:0], self._first[:0]
            self._heap = memoryview(b"")
            return
        path, size = _path(self._stem, head.generation), 8 * head.places + head.capacity
        descriptor = os.open(path, _FLAGS | (os.O_RDWR if self._writable else os.O_RDONLY))
        try:
            if os.fstat(descriptor).st_size != size:
                raise SharedMemoryError(
                    f"{path} has {os.fstat(descriptor).st_size} bytes instead of {size}: end the "
                    "processes that use it, or set shared_memory.replica to process"
                )
            access = mmap.ACCESS_WRITE if self._writable else mmap.ACCESS_READ
            held = mmap.mmap(descriptor, size, access=access)
        finally:
            os.close(descriptor)
        self._index = np.frombuffer(held, np.int32, head.places)
        self._first = np.frombuffer(held, np.int64, head.places // 2, 4 * head.places)
        self._heap = memoryview(held)[8 * head.places :]


def _path(stem: Path, generation: int) -> Path:
    return stem.with_name(f"{stem.name}.{generation}.tried")


def _places(codes: Rows, places: int) -> Integers:
    """Where the index of so many places (a power of 2) has, or gets, procedures (m, n): (m,)."""
    mixed = (codes.astype(np.uint64) + np.uint64(1)) * _MULTIPLIERS[: codes.shape[1]]
    mixed = mixed.sum(axis=1, dtype=np.uint64)
    mixed ^= mixed >> np.uint64(32)
    mixed *= _MIXER
    places_of: Integers = (mixed >> np.uint64(65 - places.bit_length())).astype(np.int64)
    return places_of
