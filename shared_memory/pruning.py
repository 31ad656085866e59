"""Early bounds on the cosine: which procedures of a bank can pass the threshold at all (ours).

Of unit vectors q and p with cos(q, p) >= t, any part of the chunks (the head) with the share e of
q's squared length satisfies

    <q, p>_head >= sqrt(t^2 - (1 - e)) * |p|_head    where t > 0 and e > 1 - t^2,

since what the rest can add is bounded by its lengths (Cauchy-Schwarz), maximised over how p may
divide its length. So a few chunks refute nearly all procedures: at t = 0.95 a head must hold a
tenth of q's length to say anything, and a sixth of it says enough.

The head's sums are made of bytes, rounded up, for all questions of a batch at once: nothing that
passes is lost (recall 1), and what stays is scored exactly by the caller.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from shared_memory.book import Book, Integers, Questions, Rows

_SLACK = 1e-9
"""The threshold is lowered by this, so that float64 rounding loses nothing."""
TELLING = (0.2, 0.7)
"""A head is long enough where its bound on its own squared cosine is at least this: enough for
codes that are unlike each other, and for the alike codes of a trained book."""
_LONGEST = 0.6
"""Above this share of the chunks, summing all of them is as cheap."""
_MOST_QUESTIONS = 0.85
"""Questions with other chunks that matter get a head of their own."""
_LEVELS = 256
_BYTES_A_BLOCK = 1 << 18
_FEWEST, _MOST = 4096, 32_768  # rows of a block

Bytes = npt.NDArray[np.uint8]
Pairs = tuple[Integers, Integers]
"""Rows of a bank (c,) and questions (c,): candidates to be scored exactly."""


@dataclass(frozen=True, slots=True)
class Head:
    """The chunks that refute, and what they need to refute these questions."""

    book: Book
    chunks: Integers  # (H,)
    questions: Integers  # (Q,)
    tables: Bytes  # (H, K, Q): sums rounded up, in units of each question
    squares: Bytes  # (H, K): sums tell the level of a procedure's length in the head
    least: Bytes  # (256, Q): by this level, rounded down, the least sum that passes
    space: _Space

    @classmethod
    def of(
        cls,
        book: Book,
        questions: Questions,
        which: Integers,
        threshold: float,
        telling: float = TELLING[0],
    ) -> Head | None:
        """The shortest telling head for most of these questions; None where there is none."""
        lost = 1.0 - (threshold - _SLACK) ** 2
        if threshold <= _SLACK or lost >= 1.0 or not which.size:
            return None
        energies = questions.energies[which]  # (Q, n)
        order = np.argsort(-energies.mean(axis=0), kind="stable")
        held = np.cumsum(energies[:, order], axis=1)  # (Q, n)
        tells = held * (1.0 - telling) >= lost
        enough = np.flatnonzero(tells.mean(axis=0) >= _MOST_QUESTIONS)
        if not enough.size or enough[0] + 1 > max(1.0, _LONGEST * book.chunks):
            return None
        length = int(enough[0]) + 1
        able = tells[:, length - 1]
        chunks, which = order[:length], which[able]
        needed = np.sqrt(held[able, length - 1] - lost)  # (Q,)
        raw = questions.tables[chunks[:, None], which] / needed[:, None]  # (H, Q, K)
        lowest = raw.min(axis=2, keepdims=True)
        unit = (raw - lowest).max(axis=2).sum(axis=0) / (_LEVELS - 1 - length)  # (Q,)
        unit = np.where(unit > 0.0, unit, 1.0)
        tables = np.ceil((raw - lowest) / unit[:, None]).astype(np.uint8)
        squares = book.squares[chunks]  # (H, K)
        shortest = squares.min(axis=1, keepdims=True)
        step = float((squares - shortest).max(axis=1).sum()) / (_LEVELS - 1)
        levels = np.floor((squares - shortest) / (step if step > 0.0 else 1.0) * (1.0 - _SLACK))
        lengths = np.sqrt(shortest.sum() + step * np.arange(_LEVELS))  # (256,)
        least = np.floor((lengths[:, None] - lowest.sum(axis=(0, 2))) / unit - _SLACK)
        return cls(
            book,
            chunks,
            which,
            np.ascontiguousarray(tables.transpose(0, 2, 1)),
            levels.astype(np.uint8),
            np.clip(least, 0, _LEVELS - 1).astype(np.uint8),
            _Space(),
        )

    def only(self, kept: npt.NDArray[np.bool_]) -> Head:
        """The same for some of the questions (Q,)."""
        return replace(
            self,
            questions=self.questions[kept],
            tables=np.ascontiguousarray(self.tables[:, :, kept]),
            least=np.ascontiguousarray(self.least[:, kept]),
        )

    def survivors(self, rows: Rows) -> Pairs:
        """The pairs (row, question) of a block of rows that this head cannot refute."""
        asked = self.questions.size
        if asked == 1:
            sums, level = self._sums_of_one(rows)
            row = np.flatnonzero(sums >= self.least[:, 0].take(level))
            return row, np.broadcast_to(self.questions, row.shape)
        space = self.space
        if space.sums.shape[0] < rows.shape[0] or space.sums.shape[1] != asked:
            space.resize(rows.shape[0], asked)
        sums, term = space.sums[: rows.shape[0]], space.term[: rows.shape[0]]
        level = np.zeros(rows.shape[0], dtype=np.uint8)
        for place, chunk in enumerate(self.chunks):
            codes = rows[:, chunk].astype(np.intp)
            self.tables[place].take(codes, axis=0, out=term if place else sums, mode="clip")
            if place:
                sums += term
            level += self.squares[place].take(codes, mode="clip")
        self.least.take(level.astype(np.intp), axis=0, out=term, mode="clip")
        passes = np.greater_equal(sums, term, out=space.passes[: rows.shape[0]])
        row, question = np.divmod(true_places(passes), asked)
        return row, self.questions[question]

    def _sums_of_one(self, rows: Rows) -> tuple[Bytes, Bytes]:
        """Sums and levels (b,) for the only question, as the two bytes of one sum."""
        tables = self.tables[:, :, 0].astype(np.uint16) << 8 | self.squares  # (H, K)
        both = np.zeros(rows.shape[0], dtype=np.uint16)
        for place, chunk in enumerate(self.chunks):
            both += tables[place].take(rows[:, chunk].astype(np.intp), mode="clip")
        return (both >> 8).astype(np.uint8), both.astype(np.uint8)

    def block_rows(self) -> int:
        """How many rows at once keep the sums in the processor's cache."""
        return min(max(_BYTES_A_BLOCK // max(1, self.questions.size), _FEWEST), _MOST)


class _Space:
    """Arrays that the blocks of a bank share: fresh ones would cost as much as the sums."""

    def __init__(self) -> None:
        self.resize(0, 0)

    def resize(self, rows: int, questions: int) -> None:
        """Make room for sums of so many rows and questions."""
        self.sums = np.empty((rows, questions), dtype=np.uint8)
        self.term = np.empty_like(self.sums)
        self.passes = np.empty(self.sums.shape, dtype=np.bool_)


def true_places(flags: npt.NDArray[np.bool_]) -> Integers:
    """`np.flatnonzero` of contiguous flags of which few are set: eight at a time."""
    flags = flags.reshape(-1)
    whole = flags.size - flags.size % 8
    words = np.flatnonzero(flags[:whole].view(np.uint64) != 0)
    word, bit = np.nonzero(flags[:whole].reshape(-1, 8)[words])
    return np.concatenate([words[word] * 8 + bit, whole + np.flatnonzero(flags[whole:])])
