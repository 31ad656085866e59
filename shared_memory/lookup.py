"""The nearest procedures of a bank, exactly: centred cosine by table look-ups, numpy only.

A procedure is n codes, so the inner product of two centred procedures is a sum of n table
entries: <R - m, P - m> = sum_j <C[R_j] - m_j, C[P_j] - m_j>. For each decision a table (n, K) is
made; a bank of N procedures then costs N·n look-ups, whatever the width d (product quantisation's
asymmetric distance; exact here because both sides are quantised). The few best by float32 sums
are scored again in float64. Centring on the running mean is ours.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from shared_memory.errors import SharedMemoryError

Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
Codebatch = npt.NDArray[np.uint16]

_NEVER = np.iinfo(np.int64).max
_SCORES_AT_ONCE = 8_000_000
_ROWS_A_BLOCK = 8192
_ROUNDING = 1e-12  # of float64 sums: a procedure's cosine with itself is 1
_MARGIN = 1e-4
"""More than float32 sums can be wrong by; within it, candidates are scored in float64."""


@dataclass(frozen=True, slots=True)
class Neighbours:
    """The procedures of a bank nearest to one decision's, best first.

    codes (m, n) uint16; similarities (m,) float64, centred cosines, none below the threshold;
    0 <= m <= k.
    """

    codes: Codebatch
    similarities: Doubles

    def __len__(self) -> int:
        return int(self.similarities.shape[0])


class Book:
    """A procedure-book as the look-up needs it: code vectors (K, d), mean (n, d), born (K,).

    `born[c]` is the version at which code c last changed its meaning.
    """

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
        self._vectors: Doubles = code_vectors.astype(np.float64)
        self._mean: Doubles = mean.astype(np.float64)
        self._squares: Doubles = np.empty((mean.shape[0], code_vectors.shape[0]))  # (n, K)
        for chunk, centre in enumerate(self._mean):
            self._squares[chunk] = np.square(self._vectors - centre).sum(axis=1)
        self.born: Integers = born.astype(np.int64)

    @property
    def codes(self) -> int:
        """K."""
        return int(self.born.shape[0])

    @property
    def chunks(self) -> int:
        """n."""
        return int(self._mean.shape[0])

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

    def vectors(self, codes: Codebatch) -> Doubles:
        """Centred procedures (B, n, d) of codes (B, n)."""
        return self._vectors[codes] - self._mean

    def norms(self, codes: Codebatch) -> Doubles:
        """Lengths (B,) of centred procedures (B, n)."""
        lengths: Doubles = np.sqrt(self._squares[np.arange(self.chunks), codes].sum(axis=1))
        return lengths

    def tables(self, directions: Doubles) -> Floats:
        """(n, K, Q): what code k in chunk j adds to the product with direction q of (Q, n, d)."""
        tables = np.empty((self.chunks, self.codes, directions.shape[0]), dtype=np.float32)
        for chunk, centre in enumerate(self._mean):
            tables[chunk] = (self._vectors - centre) @ directions[:, chunk].T
        return tables


def judge(book: Book, codes: Codebatch) -> tuple[Integers, Floats]:
    """What a book says of procedures (N, n): born (N,) and 1 / length (N,).

    A procedure last seen with version v is valid where born <= v: none of its codes has changed
    its meaning since. One with codes that the book does not have is never valid; the length of
    one that is exactly the mean is 0, and so is its 1 / length: it is like nothing.
    """
    exists = codes.max(axis=1, initial=0) < book.codes
    safe = np.where(exists[:, None], codes, 0).astype(np.uint16)
    born = np.where(exists, book.born[safe].max(axis=1, initial=0), _NEVER)
    lengths = book.norms(safe)
    inverse = np.zeros(codes.shape[0], dtype=np.float32)
    np.divide(1.0, lengths, out=inverse, where=lengths > 0.0, casting="unsafe")
    return born, inverse


def nearest_procedures(
    book: Book,
    queries: Codebatch,
    columns: Codebatch,
    inverse_lengths: Floats,
    nearest: int,
    threshold: float,
) -> list[Neighbours]:
    """For each query (B, n) the best procedures of a bank with cosine >= threshold.

    `columns` (n, N) are the bank's procedures, one a column; `inverse_lengths` (N,) is 0 for
    procedures that must not be found. Ties go to the procedure that came first.
    """
    if queries.ndim != 2 or queries.shape[1] != book.chunks:
        raise SharedMemoryError(
            f"codes must be (B, {book.chunks}) for this book, but are {queries.shape}"
        )
    if queries.size and int(queries.max()) >= book.codes:
        raise SharedMemoryError(f"a code is {int(queries.max())}, but the book has {book.codes}")
    batch, rows = queries.shape[0], columns.shape[1]
    found = [_nothing(book.chunks) for _ in range(batch)]
    if not batch or not inverse_lengths.any() or nearest < 1:
        return found
    vectors = book.vectors(queries)  # (B, n, d)
    lengths = np.sqrt(np.einsum("bnd,bnd->b", vectors, vectors))
    with_length = np.flatnonzero(lengths > 0.0)
    if not with_length.size:
        return found
    directions = vectors[with_length] / lengths[with_length, None, None]
    together = max(1, _SCORES_AT_ONCE // max(rows, book.chunks * book.codes))
    for first in range(0, with_length.size, together):
        part = directions[first : first + together]
        scores = np.empty((rows, part.shape[0]), dtype=np.float32)
        _sum_tables(book.tables(part), columns, scores)
        scores *= inverse_lengths[:, None]
        scores[inverse_lengths == 0.0] = -np.inf
        for place, column in enumerate(np.ascontiguousarray(scores.T), start=first):
            candidates = _candidates(column, nearest, threshold)
            if candidates.size:
                found[with_length[place]] = _exact(
                    book, directions[place], columns[:, candidates].T, nearest, threshold
                )
    return found


def _nothing(chunks: int) -> Neighbours:
    return Neighbours(np.empty((0, chunks), dtype=np.uint16), np.empty(0))


def _sum_tables(tables: Floats, columns: Codebatch, scores: Floats) -> None:
    """scores[i] = sum over chunks j of tables[j, columns[j, i]], block by block in the cache."""
    chunks, rows = columns.shape
    block_rows = max(64, _ROWS_A_BLOCK // max(1, tables.shape[2] // 8))
    if tables.shape[2] == 1:  # plain vectors are faster than rows of one
        tables, scores = np.ascontiguousarray(tables[:, :, 0]), scores[:, 0]
    part = np.empty((min(rows, block_rows), *scores.shape[1:]), dtype=np.float32)
    for start in range(0, rows, block_rows):
        block = scores[start : start + block_rows]
        term = part[: block.shape[0]]
        np.take(tables[0], columns[0, start : start + block_rows], axis=0, out=block, mode="clip")
        for chunk in range(1, chunks):
            np.take(
                tables[chunk],
                columns[chunk, start : start + block_rows],
                axis=0,
                out=term,
                mode="clip",
            )
            block += term


def _candidates(scores: Floats, nearest: int, threshold: float) -> Integers:
    """Rows that may be among the exact best: those near or above the k-th and the threshold."""
    passing = np.flatnonzero(scores >= threshold - _MARGIN)
    if passing.size > nearest:
        values = scores[passing]
        kth = np.partition(values, values.size - nearest)[values.size - nearest]
        passing = passing[values >= kth - 2 * _MARGIN]
    return passing


def _exact(
    book: Book, direction: Doubles, procedures: Codebatch, nearest: int, threshold: float
) -> Neighbours:
    vectors = book.vectors(procedures)  # (c, n, d)
    similarities = np.einsum("cnd,nd->c", vectors, direction)
    similarities /= np.sqrt(np.einsum("cnd,cnd->c", vectors, vectors))
    similarities[similarities > 1.0 - _ROUNDING] = 1.0
    order = np.argsort(-similarities, kind="stable")
    order = order[similarities[order] >= threshold][:nearest]
    return Neighbours(np.ascontiguousarray(procedures[order]), similarities[order])
