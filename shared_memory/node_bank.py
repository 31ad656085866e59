"""A bank in a node's memory: one feeder writes it, any number of processes look into it (ours).

One file a generation: numbers, last versions and codes, each with room to grow that takes no memory
until it is used. In a generation rows only come at the end, beyond what is published; a row's
version changes in one store of four bytes. Whatever else changes rows makes a new generation, so
that a look-up never sees half a row: readers keep the file that they opened until they adopt what
was published next, even if it has no name any more.
"""

from __future__ import annotations

import mmap
import os
from pathlib import Path
from typing import Any

import numpy as np

from shared_memory.book import Book, Integers, Judged, Rows, Versions
from shared_memory.errors import SharedMemoryError
from shared_memory.node_head import BankHead, TriedHead
from shared_memory.node_judged import shared_judgement
from shared_memory.node_tried import NodeTried
from shared_memory.replica_bank import ReplicaBank

_PAGE = 4096
_LEAST_ROWS = 1024
_FLAGS = os.O_CLOEXEC | os.O_NOFOLLOW


class NodeBank(ReplicaBank):
    """One bank as it was published. The feeder's may be changed; `head` is what to publish then.

    `stem` is where its files are and how their names begin. Raises FileNotFoundError where there
    is a newer generation already.
    """

    def __init__(
        self, stem: Path, head: BankHead, actions: bool = False, *, writable: bool = False
    ) -> None:
        super().__init__()
        self._stem = stem
        self._writable = writable
        self._generation = head.generation
        self._allocated = head.rows
        self._open(head)
        self._shared_tried = NodeTried(stem, head.tried, writable=writable) if actions else None
        self.tried = self._shared_tried

    def adopt(self, head: BankHead) -> None:
        """Look into what is published now."""
        if (head.generation, head.capacity) != (self._generation, self._codes.shape[0]):
            self._open(head)
        self._rows, self._live = head.rows, head.live
        if self._shared_tried is not None:
            self._shared_tried.adopt(head.tried)

    @property
    def head(self) -> BankHead:
        """This bank as it may be published."""
        return BankHead(
            generation=self._generation,
            rows=self._rows,
            live=self._live,
            capacity=self._codes.shape[0],
            chunks=self._codes.shape[1],
            code_bytes=self._codes.dtype.itemsize,
            tried=TriedHead() if self._shared_tried is None else self._shared_tried.head,
        )

    @property
    def held_bytes(self) -> int:
        """Bytes of memory that this generation's files take, for all processes together."""
        found = self._stem.parent.glob(f"{self._stem.name}.{self._generation}.*")
        return sum(512 * path.stat().st_blocks for path in found)

    def remove_outdated(self) -> None:
        """Take the names from all files of other generations."""
        for path in self._stem.parent.glob(f"{self._stem.name}.*"):
            kept = self._generation if path.suffix != ".tried" else self.head.tried.generation
            if path.name.split(".")[2] != str(kept):
                path.unlink(missing_ok=True)

    def _open(self, head: BankHead) -> None:
        dtype = np.dtype(np.uint8 if head.code_bytes == 1 else np.uint16)
        if head.capacity:
            path = self._path(head.generation)
            arrays = _mapped(path, head.capacity, head.chunks, dtype, self._writable)
            self._numbers, self._versions, self._codes = arrays
        else:
            self._numbers, self._versions = self._numbers[:0], self._versions[:0]
            self._codes = np.empty((0, head.chunks), dtype=dtype)
        self._generation = head.generation
        self._book, self._judged = None, self._judged[:0]
        self._rows, self._live = head.rows, head.live

    def _path(self, generation: int) -> Path:
        return self._stem.with_name(f"{self._stem.name}.{generation}.rows")

    def _judgement(self, book: Book) -> Judged:
        if self._book is not book or self._judged.size < self._rows:
            path = self._stem.with_name(f"{self._stem.name}.{self._generation}.{book.digest}")
            self._judged, self._book = shared_judgement(path, book, self.rows), book
        return self._judged[: self._rows]

    def reserve(self, rows: int, codes: Rows) -> None:
        """See `ReplicaBank`."""
        super().reserve(rows, codes)
        if rows > self._allocated:
            shape = self._codes.shape[0], self._codes.shape[1], self._codes.dtype
            _allocate(self._path(self._generation), *shape, self._allocated, rows)
            self._allocated = rows

    def _room(
        self, rows: int, chunks: int, dtype: np.dtype[Any]
    ) -> tuple[Integers, Versions, Rows]:
        """A new generation's file."""
        capacity = -(-2 * max(rows, 1) // _LEAST_ROWS) * _LEAST_ROWS
        self._generation += 1
        path = self._path(self._generation)
        path.unlink(missing_ok=True)  # of a feeder that died before it published this
        descriptor = os.open(path, _FLAGS | os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600)
        try:
            os.ftruncate(descriptor, _offsets(capacity, chunks, dtype)[-1])
        finally:
            os.close(descriptor)
        _allocate(path, capacity, chunks, dtype, 0, rows)
        self._allocated = rows
        return _mapped(path, capacity, chunks, dtype, writable=True)


def _offsets(capacity: int, chunks: int, dtype: np.dtype[Any]) -> tuple[int, int, int, int]:
    """Where numbers, versions and codes begin, and the file ends."""
    sizes = (8 * capacity, 4 * capacity, dtype.itemsize * chunks * capacity)
    versions, codes, end = np.cumsum([-(-size // _PAGE) * _PAGE for size in sizes]).tolist()
    return 0, versions, codes, end


def _mapped(
    path: Path, capacity: int, chunks: int, dtype: np.dtype[Any], writable: bool
) -> tuple[Integers, Versions, Rows]:
    """The file's numbers (capacity,), versions (capacity,) and codes (capacity, n)."""
    *starts, end = _offsets(capacity, chunks, dtype)
    descriptor = os.open(path, _FLAGS | (os.O_RDWR if writable else os.O_RDONLY))
    try:
        if os.fstat(descriptor).st_size != end:
            raise SharedMemoryError(
                f"{path} has {os.fstat(descriptor).st_size} bytes instead of {end}: end the "
                "processes that use it, or set shared_memory.replica to process"
            )
        access = mmap.ACCESS_WRITE if writable else mmap.ACCESS_READ
        held = mmap.mmap(descriptor, end, access=access)
    finally:
        os.close(descriptor)
    numbers = np.frombuffer(held, np.int64, capacity, starts[0])
    versions = np.frombuffer(held, np.int32, capacity, starts[1])
    codes: Rows = np.frombuffer(held, dtype, capacity * chunks, starts[2])
    return numbers, versions, codes.reshape(capacity, chunks)


def _allocate(
    path: Path, capacity: int, chunks: int, dtype: np.dtype[Any], first: int, rows: int
) -> None:
    """Memory for these rows, now: a store where there is none left would end the process."""
    starts = _offsets(capacity, chunks, dtype)
    descriptor = os.open(path, _FLAGS | os.O_RDWR)
    try:
        for start, size in zip(starts, (8, 4, dtype.itemsize * chunks), strict=False):
            if size * (rows - first):
                os.posix_fallocate(descriptor, start + size * first, size * (rows - first))
    finally:
        os.close(descriptor)
