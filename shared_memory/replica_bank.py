"""One bank's procedures: what a replica holds of M+ or M- of one domain.

Row by row, so that a candidate's codes are one piece of memory; a byte a code while all codes are
below 256. Rows only come at the end, in the order of their numbers; a forgotten one stays until
an eighth of all are, with a version that is never valid. With 64 chunks an entry takes 64 bytes of
codes, 8 of its number, 4 of its last version, and 8 more for what the book says of it once all
rows had to be summed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from shared_memory.book import (
    NEVER,
    Book,
    Codebatch,
    Floats,
    Integers,
    Judged,
    Judgement,
    Rows,
    Versions,
    judgement,
)
from shared_memory.errors import SharedMemoryError
from shared_memory.lookup import Inquiry, Neighbours, Scanner, search
from shared_memory.tried import Counts, TriedActions, TriedBank, TriedRow

FORGOTTEN = -1
"""In place of a version; all versions are at least 0."""
_BYTE = 256
_FEWEST = 256  # rows that there is room for
_FEW = 1024  # forgotten rows that are no burden
_MOVED_AT_ONCE = 65_536


class ReplicaBank:
    """Procedures sorted by number, with the last version that saw each.

    With `actions`, also what was tried with each of them. This one's memory is the process's own.
    """

    def __init__(self, actions: bool = False) -> None:
        self.tried: TriedBank | None = TriedActions() if actions else None
        self._numbers: Integers = np.empty(0, dtype=np.int64)  # (capacity,)
        self._versions: Versions = np.empty(0, dtype=np.int32)
        self._codes: Rows = np.empty((0, 0), dtype=np.uint8)  # (capacity, n)
        self._rows = 0
        self._live = 0
        # What the last book said of the first so many rows:
        self._book: Book | None = None
        self._judged: Judged = np.empty(0, dtype=Judgement)

    def __len__(self) -> int:
        """Procedures that are not forgotten."""
        return self._live

    @property
    def rows(self) -> Rows:
        """Procedures (N, n), the forgotten ones among them."""
        return self._codes[: self._rows]

    @property
    def versions(self) -> Versions:
        """Last version that saw each procedure (N,); `FORGOTTEN` for forgotten ones."""
        return self._versions[: self._rows]

    @property
    def numbers(self) -> Integers:
        """The procedures' numbers, rising (N,)."""
        return self._numbers[: self._rows]

    @property
    def held_bytes(self) -> int:
        """Bytes of memory that the arrays take, with the room that they keep to grow."""
        arrays = (self._numbers, self._versions, self._codes, self._judged)
        return sum(array.nbytes for array in arrays)

    def add(self, numbers: Integers, versions: Integers, codes: Rows) -> None:
        """Take in procedures (m,), (m,), (m, n); known ones only have their version raised.

        Raises SharedMemoryError where new ones do not have higher numbers than all before.
        """
        if not numbers.size:
            return
        known = self._places(numbers) >= 0
        self.touch(numbers[known], versions[known])
        numbers, versions, codes = numbers[~known], versions[~known], codes[~known]
        before, end = self._rows, self._rows + numbers.size
        if before and numbers.size and codes.shape[1] != self._codes.shape[1]:
            raise SharedMemoryError(
                f"the log has procedures of {codes.shape[1]} codes among those of "
                f"{self._codes.shape[1]}: the bank is damaged; start a new run"
            )
        if (np.diff(numbers, prepend=self._numbers[before - 1 : before]) <= 0).any():
            raise SharedMemoryError(
                "the log adds procedures with numbers that were given before: the bank is damaged; "
                "start a new run"
            )
        if not numbers.size:
            return
        self.reserve(end, codes)
        self._numbers[before:end] = numbers
        self._versions[before:end] = np.minimum(versions, NEVER - 1)
        self._codes[before:end] = codes
        self._rows = end
        self._live += numbers.size
        if self.tried is not None:
            self.tried.add(before, self.rows)

    def touch(self, numbers: Integers, versions: Integers) -> None:
        """Raise the last version of known procedures; unknown ones are ignored."""
        places = self._places(numbers)
        known = places >= 0
        known[known] = self._versions[places[known]] != FORGOTTEN
        raised = np.minimum(versions[known], NEVER - 1).astype(np.int32)
        np.maximum.at(self._versions, places[known], raised)

    def remove(self, numbers: Integers) -> None:
        """Forget procedures; unknown ones are ignored."""
        places = self._places(numbers)
        places = np.unique(places[places >= 0])
        places = places[self._versions[places] != FORGOTTEN]
        if self.tried is not None:
            self.tried.forget(places, self._codes[places])
        self._versions[places] = FORGOTTEN
        self._live -= places.size
        self._tidy()

    def count(self, rows: Iterable[TriedRow]) -> None:
        """Take in how often actions were tried; those of unknown procedures are ignored."""
        counted = list(rows)
        if self.tried is None or not counted:
            return
        places = self._places(np.array([row.number for row in counted]))
        for place, row in zip(places.tolist(), counted, strict=True):
            if place >= 0 and self._versions[place] != FORGOTTEN:
                self.tried.count(place, row)

    def lookup(
        self,
        book: Book,
        queries: Codebatch,
        min_version: int,
        nearest: int,
        threshold: float,
        scanner: Scanner = "numpy",
    ) -> list[Neighbours]:
        """The nearest valid procedures to each query (B, n)."""
        inquiry = Inquiry(self, np.arange(queries.shape[0]))
        return search(book, queries, [inquiry], 1, min_version, nearest, threshold, scanner)[0]

    def inverse_lengths(self, book: Book, min_version: int) -> Floats:
        """1 / length of each procedure (N,) with this book; 0 for those that are not valid."""
        judged, versions = self._judgement(book), self.versions
        valid = (versions >= max(min_version, 0)) & (judged["born"] <= versions)
        inverse: Floats = np.where(valid, judged["inverse"], np.float32(0.0))
        return inverse

    def tried_with(
        self, queries: Codebatch, code_born: Integers, min_version: int
    ) -> list[Mapping[str, Counts]]:
        """What was tried with just these procedures (B, n); nothing where one is not valid."""
        if self.tried is None:
            raise SharedMemoryError("this replica was not told to keep the actions of its banks")
        found: list[Mapping[str, Counts]] = []
        for codes in queries:
            row = self._row_of(codes)
            if row is None:
                found.append({})
                continue
            version = self._versions[row]
            born = code_born[codes].max(initial=0)
            valid = version >= max(min_version, 0) and born <= version
            found.append(self.tried.of(row) if valid else {})
        return found

    def _judgement(self, book: Book) -> Judged:
        """What the book says of each row (N,)."""
        if self._book is not book:
            self._book, self._judged = book, self._judged[:0]
        judged = self._judged.size
        if judged < self._rows:
            self._judged = np.concatenate([self._judged, judgement(book, self.rows[judged:])])
        return self._judged

    def _row_of(self, codes: Codebatch) -> int | None:
        """The row that has just these codes (n,) and is not forgotten."""
        if self.tried is None:
            return None
        for row in self.tried.rows_of(codes):
            same = row < self._rows and np.array_equal(self._codes[row], codes)
            if same and self._versions[row] != FORGOTTEN:
                return row
        return None

    def _places(self, numbers: Integers) -> Integers:
        """The rows of these numbers (m,); -1 for unknown ones."""
        if not self._rows:
            return np.full(numbers.shape, -1, dtype=np.int64)
        places = np.minimum(np.searchsorted(self.numbers, numbers), self._rows - 1)
        return np.where(self.numbers[places] == numbers, places, -1)

    def _tidy(self) -> None:
        """Where too many rows are forgotten, keep the others only."""
        if self._rows - self._live > max(_FEW, self._rows // 8):
            places = np.flatnonzero(self.versions != FORGOTTEN)
            self._move(places, places.size, self._codes.dtype)
            self._rows = places.size
            self._judged = self._judged[:0]
            if self.tried is not None:
                self.tried.move(places, self.rows)

    def reserve(self, rows: int, codes: Rows) -> None:
        """Room for so many rows, with codes as large as these."""
        wide = self._codes.dtype == np.uint16 or int(codes.max(initial=0)) >= _BYTE
        dtype = np.dtype(np.uint16 if wide else np.uint8)
        if not self._rows and self._codes.shape[1] != codes.shape[1]:
            self._codes = np.empty((0, codes.shape[1]), dtype=dtype)
        if rows > self._codes.shape[0] or dtype != self._codes.dtype:
            self._move(np.arange(self._rows), rows, dtype)

    def _move(self, places: Integers, rows: int, dtype: np.dtype[Any]) -> None:
        """The rows at these places, in this order, to where there is room for `rows` of them."""
        held = self._numbers, self._versions, self._codes
        moved = self._room(rows, self._codes.shape[1], dtype)
        for start in range(0, places.size, _MOVED_AT_ONCE):
            part = places[start : start + _MOVED_AT_ONCE]
            moved[0][start : start + part.size] = held[0][part]
            moved[1][start : start + part.size] = held[1][part]
            moved[2][start : start + part.size] = held[2][part]
        self._numbers, self._versions, self._codes = moved

    def _room(
        self, rows: int, chunks: int, dtype: np.dtype[Any]
    ) -> tuple[Integers, Versions, Rows]:
        """Numbers, versions and codes of at least so many rows, to be filled."""
        capacity = self._codes.shape[0]
        if rows > capacity:  # what is first read in full is held as it is
            rows = max(rows, capacity + capacity // 8, _FEWEST)
        return (
            np.zeros(rows, dtype=np.int64),
            np.zeros(rows, dtype=np.int32),
            np.zeros((rows, chunks), dtype=dtype),
        )
