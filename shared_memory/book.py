"""A procedure-book as the look-up needs it, and what it says of procedures.

A procedure is n codes; centred on the running mean m (ours), chunk j of it is C[code] - m_j. What
a code adds to an inner product or to a squared length depends on its chunk and itself only, so
that both are sums of n table entries, whatever the width d.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from shared_memory.errors import SharedMemoryError

Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
Codebatch = npt.NDArray[np.uint16]
Versions = npt.NDArray[np.int32]
Judged = npt.NDArray[np.void]
"""What a book says of procedures (N,), see `Judgement`."""
Rows = npt.NDArray[np.unsignedinteger]
"""Procedures of a bank (N, n); bytes where all codes are below 256."""

NEVER = int(np.iinfo(np.int32).max)
"""Above every version."""
Judgement = np.dtype([("born", "<i4"), ("inverse", "<f4")])
"""When the youngest code of a procedure was born, and 1 / its length (0 where it has none)."""
_JUDGED_AT_ONCE = 16_384


class Book:
    """Code vectors (K, d), mean (n, d), and `born` (K,): when a code last changed its meaning."""

    def __init__(
        self,
        code_vectors: npt.NDArray[np.floating],
        mean: npt.NDArray[np.floating],
        born: npt.NDArray[np.integer],
    ) -> None:
        if code_vectors.ndim != 2 or mean.ndim != 2 or code_vectors.shape[1] != mean.shape[1]:
            raise SharedMemoryError(
                f"code vectors must be (K, d) and their mean (n, d) with the same d, but they are "
                f"{code_vectors.shape} and {mean.shape}"
            )
        if born.shape != code_vectors.shape[:1]:
            raise SharedMemoryError(
                f"code_born must have one version a code, ({code_vectors.shape[0]},), but is "
                f"{born.shape}"
            )
        self.given = (code_vectors.copy(), mean.copy(), born.copy())
        middle = code_vectors.astype(np.float64).mean(axis=0)  # taken off both: less is cancelled
        self._vectors: Doubles = code_vectors - middle  # (K, d)
        self._mean: Doubles = mean - middle  # (n, d)
        self._columns: Doubles = np.append(self._vectors, np.ones((self.codes, 1)), axis=1).T
        self.squares: Doubles = np.stack(  # (n, K)
            [np.square(self._vectors - centre).sum(axis=1) for centre in self._mean]
        )
        self.born: Integers = born.astype(np.int64)
        self._chunk = np.arange(self.chunks)
        self._digest = ""

    @property
    def digest(self) -> str:
        """The same for books of the same values in all processes, and for no others."""
        if not self._digest:
            digest = hashlib.blake2b(digest_size=16)
            for array in self.given:
                digest.update(f"{array.dtype.str}{array.shape}".encode())
                digest.update(array.tobytes())
            self._digest = digest.hexdigest()
        return self._digest

    @property
    def codes(self) -> int:
        """K."""
        return int(self._vectors.shape[0])

    @property
    def chunks(self) -> int:
        """n."""
        return int(self._mean.shape[0])

    @property
    def width(self) -> int:
        """d."""
        return int(self._mean.shape[1])

    @property
    def centred(self) -> Floats:
        """C[k] - m_j (n, K, d), made anew: n times as large as the book."""
        return (self._vectors - self._mean[:, None]).astype(np.float32)

    def tables(self, codes: Codebatch, lengths: Doubles) -> tuple[Doubles, Doubles]:
        """Of procedures (Q, n) of these lengths: directions (n, Q, d) and tables (n, Q, K).

        <u, C[k] - m_j> = <u, C[k]> - <u, m_j>: one product with the book for all chunks.
        """
        rows = np.empty((self.chunks, codes.shape[0], self.width + 1))
        directions = rows[:, :, : self.width]
        np.subtract(self._vectors[codes.T], self._mean[:, None], out=directions)
        directions /= lengths[:, None]
        np.negative((directions @ self._mean[:, :, None])[:, :, 0], out=rows[:, :, self.width])
        tables = rows.reshape(-1, self.width + 1) @ self._columns
        return directions, tables.reshape(self.chunks, codes.shape[0], self.codes)

    def is_same(
        self,
        code_vectors: npt.NDArray[np.floating],
        mean: npt.NDArray[np.floating],
        born: npt.NDArray[np.integer],
    ) -> bool:
        """Whether these arrays have the values that this book was made of."""
        return all(
            np.array_equal(mine, theirs)
            for mine, theirs in zip(self.given, (code_vectors, mean, born))
        )

    def lengths(self, codes: Rows) -> Doubles:
        """Lengths (B,) of centred procedures (B, n) whose codes exist."""
        lengths: Doubles = np.sqrt(self.squares[self._chunk, codes].sum(axis=1))
        return lengths

    def judge(self, codes: Rows) -> tuple[Integers, Doubles]:
        """Of procedures (B, n): when they were born (B,), and their lengths (B,).

        One last seen with version v is valid where born <= v: none of its codes has changed its
        meaning since. One with codes that the book does not have is never valid.
        """
        if not codes.shape[0]:
            return np.empty(0, dtype=np.int64), np.empty(0)
        exists = codes.max(axis=1, initial=0) < self.codes
        if exists.all():
            return self.born[codes].max(axis=1, initial=0), self.lengths(codes)
        safe: Rows = np.where(exists[:, None], codes, 0).astype(codes.dtype)
        return np.where(exists, self.born[safe].max(axis=1, initial=0), NEVER), self.lengths(safe)


def judgement(book: Book, codes: Rows) -> Judged:
    """What a book says of procedures (N, n) of a bank, as `Judgement` (N,).

    One that is exactly the mean has no length: it is like nothing.
    """
    judged = np.zeros(codes.shape[0], dtype=Judgement)
    for start in range(0, codes.shape[0], _JUDGED_AT_ONCE):
        part = judged[start : start + _JUDGED_AT_ONCE]
        part["born"], lengths = book.judge(codes[start : start + _JUDGED_AT_ONCE])
        np.divide(1.0, lengths, out=part["inverse"], where=lengths > 0.0, casting="unsafe")
    return judged


@dataclass(frozen=True, slots=True)
class Questions:
    """A batch of decisions' procedures, made ready once to be asked of any bank.

    `tables[j, q, k]` is what code k in chunk j adds to the cosine with question q, but for the
    length of the other side; `directions[j, q]` is the question's chunk as part of a unit vector,
    and `energies[q, j]` the square of its length. Questions without a length are not among them:
    `asked` (Q,) tells the row of each.
    """

    codes: Codebatch  # (B, n), as given
    asked: Integers  # (Q,)
    directions: Doubles  # (n, Q, d)
    tables: Doubles  # (n, Q, K)
    energies: Doubles  # (Q, n)

    @classmethod
    def of(cls, book: Book, codes: Codebatch) -> Questions:
        """Procedures (B, n). Raises SharedMemoryError where they are not of this book."""
        if codes.ndim != 2 or codes.shape[1] != book.chunks:
            raise SharedMemoryError(
                f"codes must be (B, {book.chunks}) for this book, but are {codes.shape}"
            )
        if codes.size and int(codes.max()) >= book.codes:
            raise SharedMemoryError(f"a code is {int(codes.max())}, but the book has {book.codes}")
        squares = book.squares[np.arange(book.chunks), codes]  # (B, n)
        asked = np.flatnonzero(squares.sum(axis=1) > 0.0)
        lengths = np.sqrt(squares[asked].sum(axis=1))
        directions, tables = book.tables(codes[asked], lengths)
        return cls(codes, asked, directions, tables, squares[asked] / np.square(lengths)[:, None])
