"""One bank's procedures in this process: what a replica holds of M+ or M- of one domain.

Row by row, so that a candidate's codes are one piece of memory; a byte a code while all codes are
below 256. With 64 chunks an entry takes 64 bytes of codes, 8 of its number, 4 of its last version,
and 12 more for what the book says of it once all rows had to be summed.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from shared_memory.book import Book, Codebatch, Floats, Integers, Rows, Versions, judge
from shared_memory.errors import SharedMemoryError
from shared_memory.lookup import Inquiry, Neighbours, Scanner, search
from shared_memory.tried import Counts, TriedActions

_BYTE = 256


class ReplicaBank:
    """Procedures sorted by number, with the last version that saw each.

    With `actions`, also what was tried with each of them.
    """

    def __init__(self, actions: bool = False) -> None:
        self.tried = TriedActions() if actions else None
        self._numbers: Integers = np.empty(0, dtype=np.int64)
        self._versions: Versions = np.empty(0, dtype=np.uint32)
        self._codes: Rows = np.empty((0, 0), dtype=np.uint8)  # (capacity, n)
        self._rows = 0
        # What the last book said of the first so many rows:
        self._book: Book | None = None
        self._born: Integers = np.empty(0, dtype=np.int64)
        self._inverse: Floats = np.empty(0, dtype=np.float32)

    def __len__(self) -> int:
        return self._rows

    @property
    def rows(self) -> Rows:
        """Procedures (N, n)."""
        return self._codes[: self._rows]

    @property
    def versions(self) -> Versions:
        """Last version that saw each procedure (N,)."""
        return self._versions[: self._rows]

    @property
    def held_bytes(self) -> int:
        """Bytes of memory that the arrays take, with the room that they keep to grow."""
        arrays = (self._numbers, self._versions, self._codes, self._born, self._inverse)
        return sum(array.nbytes for array in arrays)

    @property
    def numbers(self) -> Integers:
        """The procedures' numbers, rising (N,)."""
        return self._numbers[: self._rows]

    def add(self, numbers: Integers, versions: Integers, codes: Codebatch) -> None:
        """Take in procedures (m,), (m,), (m, n); known ones only have their version raised."""
        if not numbers.size:
            return
        if self._rows and codes.shape[1] != self._codes.shape[1]:
            raise SharedMemoryError(
                f"the log has procedures of {codes.shape[1]} codes among those of "
                f"{self._codes.shape[1]}: the bank is damaged; start a new run"
            )
        known = np.isin(numbers, self.numbers)
        self.touch(numbers[known], versions[known])
        numbers, first = np.unique(numbers[~known], return_index=True)
        versions, codes = versions[~known][first], codes[~known][first]
        if not numbers.size:
            return
        if self.tried is not None:
            self.tried.add(numbers, codes)
        before = self._rows
        self._reserve(before + numbers.size, codes)
        self._rows = end = before + numbers.size
        self._numbers[before:end] = numbers
        self._versions[before:end] = versions
        self._codes[before:end] = codes
        if before and numbers[0] < self._numbers[before - 1]:
            self._keep(np.argsort(self.numbers, kind="stable"))

    def touch(self, numbers: Integers, versions: Integers) -> None:
        """Raise the last version of known procedures; unknown ones are ignored."""
        if not numbers.size or not self._rows:
            return
        places = np.minimum(np.searchsorted(self.numbers, numbers), self._rows - 1)
        known = self.numbers[places] == numbers
        np.maximum.at(self._versions, places[known], versions[known].astype(np.uint32))

    def remove(self, numbers: Integers) -> None:
        """Forget procedures; unknown ones are ignored."""
        if self.tried is not None:
            self.tried.remove(numbers)
        if not numbers.size or not self._rows:
            return
        kept = np.isin(self.numbers, numbers, invert=True)
        if not kept.all():
            self._keep(np.flatnonzero(kept))

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
        self._judge_new_rows(book)
        valid = (self.versions >= min_version) & (self._born <= self.versions)
        inverse: Floats = np.where(valid, self._inverse, np.float32(0.0))
        return inverse

    def tried_with(
        self, queries: Codebatch, code_born: Integers, min_version: int
    ) -> list[Mapping[str, Counts]]:
        """What was tried with just these procedures (B, n); nothing where one is not valid."""
        if self.tried is None:
            raise SharedMemoryError("this replica was not told to keep the actions of its banks")
        found: list[Mapping[str, Counts]] = []
        for codes in queries:
            number = self.tried.number(codes)
            if number is None:
                found.append({})
                continue
            version = self.versions[np.searchsorted(self.numbers, number)]
            born = code_born[codes].max(initial=0)
            valid = version >= min_version and born <= version
            found.append(self.tried.of(number) if valid else {})
        return found

    def _judge_new_rows(self, book: Book) -> None:
        if self._book is not book:
            self._forget_judgement()
            self._book = book
        judged = self._born.shape[0]
        if judged < self._rows:
            born, inverse = judge(book, self.rows[judged:])
            self._born = np.concatenate([self._born, born])
            self._inverse = np.concatenate([self._inverse, inverse])

    def _forget_judgement(self) -> None:
        self._book = None
        self._born = np.empty(0, dtype=np.int64)
        self._inverse = np.empty(0, dtype=np.float32)

    def _reserve(self, rows: int, codes: Codebatch) -> None:
        """Room for so many rows, with codes as large as these."""
        wide = self._codes.dtype == np.uint16 or int(codes.max(initial=0)) >= _BYTE
        dtype = np.dtype(np.uint16 if wide else np.uint8)
        capacity = self._numbers.shape[0]
        if rows <= capacity and self._codes.dtype == dtype:
            return
        if rows > capacity:  # what is first read in full is held as it is
            capacity = max(rows, capacity + capacity // 8, 256)
        grown = np.zeros((capacity, codes.shape[1]), dtype=dtype)
        if self._rows:
            grown[: self._rows] = self.rows
        self._codes = grown
        numbers = np.zeros(capacity, dtype=np.int64)
        numbers[: self._rows] = self.numbers
        versions = np.zeros(capacity, dtype=np.uint32)
        versions[: self._rows] = self.versions
        self._numbers, self._versions = numbers, versions

    def _keep(self, places: Integers) -> None:
        """Only these rows, in this order."""
        self._numbers, self._versions = self._numbers[places], self._versions[places]
        self._codes = self._codes[places]
        self._rows = int(places.size)
        self._forget_judgement()
