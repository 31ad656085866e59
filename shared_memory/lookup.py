"""The nearest procedures of banks, exactly: centred cosine by table look-ups, numpy only.

A batch of decisions is asked of any number of banks at once: a table of what each code adds to
the cosine is made for each decision (product quantisation's asymmetric distance; exact here,
because both sides are quantised), candidates are found bank by bank, by early bounds where the
threshold allows (`pruning`) or by float32 sums over all rows, and all of them together are scored
in float64. Where faiss is installed it may do the sums over all rows instead (`faiss_scan`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal, Protocol

import numpy as np

from shared_memory import faiss_scan
from shared_memory.book import (
    Book,
    Codebatch,
    Doubles,
    Floats,
    Integers,
    Questions,
    Rows,
    Versions,
)
from shared_memory.pruning import TELLING, Head, Pairs, true_places

Scanner = Literal["numpy", "faiss"]
"""What sums over all rows where early bounds say too little; the answers are the same."""
_ROUNDING = 1e-12  # of float64 sums: a procedure's cosine with itself is 1
_MARGIN = 1e-4
"""More than float32 sums can be wrong by; within it, candidates are scored in float64."""
_DECISIONS_AT_ONCE = 64
_SCORED_AT_ONCE = 16_384
_FLOATS_A_BLOCK = 1 << 17
_GROUPS = 64
_FEWEST_TO_PRUNE = 8192
_FUTILE = 0.06
"""Where a head leaves a larger share of the rows, summing all chunks of all rows is as cheap."""


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


class Searched(Protocol):
    """A bank as the look-up sees it."""

    @property
    def rows(self) -> Rows:
        """Procedures (N, n)."""

    @property
    def versions(self) -> Versions:
        """Last version that saw each procedure (N,)."""

    def inverse_lengths(self, book: Book, min_version: int) -> Floats:
        """1 / length of each procedure (N,); 0 for those that must not be found."""


@dataclass(frozen=True, slots=True)
class Inquiry:
    """Decisions (rows of the batch, rising) that ask one bank; `answer`: which list gets it."""

    bank: Searched
    decisions: Integers
    answer: int = 0


def search(
    book: Book,
    codes: Codebatch,
    inquiries: Sequence[Inquiry],
    answers: int,
    min_version: int,
    nearest: int,
    threshold: float,
    scanner: Scanner = "numpy",
) -> list[list[Neighbours]]:
    """For each answer and decision (B, n) the best of the banks that it asked, best first.

    Only procedures whose last version is at least `min_version` and none of whose codes was born
    after it, with cosine >= threshold; of equal ones the first of the first bank. Raises
    SharedMemoryError where codes are not of this book.
    """
    min_version = max(min_version, 0)  # below 0 is what a bank has forgotten
    found: list[list[Neighbours]] = [[] for _ in range(answers)]
    for start in range(0, codes.shape[0], _DECISIONS_AT_ONCE):
        part = codes[start : start + _DECISIONS_AT_ONCE]
        questions = Questions.of(book, part)
        place = np.full(part.shape[0], -1)
        place[questions.asked] = np.arange(questions.asked.size)
        gathered: list[_Gathered] = []
        for inquiry in inquiries:
            inside = (inquiry.decisions >= start) & (inquiry.decisions < start + part.shape[0])
            which = place[inquiry.decisions[inside] - start]
            which = which[which >= 0]
            if not which.size or nearest < 1 or not inquiry.bank.rows.shape[0]:
                continue
            row, question = _candidates(
                book, questions, which, inquiry.bank, min_version, nearest, threshold, scanner
            )
            gathered.append(
                _Gathered(
                    inquiry.bank.rows[row],
                    inquiry.bank.versions[row],
                    question,
                    inquiry.answer * part.shape[0] + questions.asked[question],
                )
            )
        ranked = _ranked(
            book, questions, gathered, answers * part.shape[0], min_version, nearest, threshold
        )
        for answer in range(answers):
            found[answer] += ranked[answer * part.shape[0] : (answer + 1) * part.shape[0]]
    return found


@dataclass(frozen=True, slots=True)
class _Gathered:
    """Candidates of one bank: their codes and versions, who asks, and where the answer goes."""

    codes: Rows  # (c, n)
    versions: Versions  # (c,)
    question: Integers  # (c,)
    slot: Integers  # (c,)


def _candidates(
    book: Book,
    questions: Questions,
    which: Integers,
    bank: Searched,
    min_version: int,
    nearest: int,
    threshold: float,
    scanner: Scanner,
) -> Pairs:
    """Pairs (row, question) among which are the exact answers of these questions."""
    rows = bank.rows
    pairs: list[Pairs] = []
    for telling in TELLING if rows.shape[0] >= _FEWEST_TO_PRUNE else ():
        unheard: list[Integers] = []
        while which.size:
            head = Head.of(book, questions, which, threshold, telling)
            if head is None:
                break
            which = np.setdiff1d(which, head.questions)
            unheard.append(_refuted(head, rows, nearest, pairs))
        which = np.concatenate([which, *unheard])
    if which.size:
        inverse = bank.inverse_lengths(book, min_version)
        if scanner == "faiss":
            some, which = faiss_scan.scan(
                book, questions, which, rows, inverse, nearest, threshold, _MARGIN
            )
            pairs.append(some)
    if which.size:
        pairs.append(_scanned(questions, which, rows, inverse, nearest, threshold))
    return np.concatenate([row for row, _ in pairs]), np.concatenate([asks for _, asks in pairs])


def _refuted(head: Head, rows: Rows, nearest: int, pairs: list[Pairs]) -> Integers:
    """Add what a head leaves to `pairs`; the questions that must be asked otherwise.

    Whether a head is of use to a question, the first block tells.
    """
    start, size, questions = 0, head.block_rows(), head.questions
    while start < rows.shape[0] and head.questions.size:
        row, question = head.survivors(rows[start : start + size])
        if not start:
            left = np.bincount(question, minlength=int(questions.max()) + 1)[questions]
            telling = left <= max(nearest, _FUTILE * min(size, rows.shape[0]))
            if not telling.all():
                head = head.only(telling)
                kept = np.isin(question, head.questions)
                row, question = row[kept], question[kept]
        pairs.append((row + start, question))
        start += size
    return np.setdiff1d(questions, head.questions)


def _scanned(
    questions: Questions,
    which: Integers,
    rows: Rows,
    inverse: Floats,
    nearest: int,
    threshold: float,
) -> Pairs:
    """Candidates by float32 sums over all chunks of all rows, block by block in the cache."""
    tables = questions.tables[:, which].astype(np.float32).transpose(0, 2, 1)
    tables = np.ascontiguousarray(tables)  # (n, K, Q)
    size = max(1024, _FLOATS_A_BLOCK // which.size)
    best = np.full((which.size, nearest), -np.inf, dtype=np.float32)
    kept: list[tuple[Integers, Integers, Floats]] = []
    least = np.full((which.size, 1), threshold - _MARGIN, dtype=np.float32)
    for start in range(0, rows.shape[0], size):
        scores = np.ascontiguousarray(_sums(tables, rows[start : start + size]).T)  # (Q, b)
        weights = inverse[start : start + size]
        scores *= weights
        if not weights.all():
            scores[:, weights == 0.0] = -np.inf
        places = true_places(scores >= least)
        if places.size > nearest * which.size:
            best = np.concatenate([best, _maxima(scores, nearest)], axis=1)
            best = np.partition(best, -nearest, axis=1)[:, -nearest:]
            least = np.maximum(least, best[:, :1] - 2 * _MARGIN)
            places = true_places(scores >= least)
        asks, row = np.divmod(places, scores.shape[1])
        kept.append((row + start, asks, scores.reshape(-1)[places]))
    row, asks, score = (np.concatenate(parts) for parts in zip(*kept))
    good = score >= least[asks, 0]
    return row[good], which[asks[good]]


def _maxima(scores: Floats, nearest: int) -> Floats:
    """The best scores of groups of rows: the k best of them are no better than the k best."""
    groups = max(_GROUPS, nearest)
    size = scores.shape[1] // groups
    if size < 2:
        return scores
    whole = scores[:, : groups * size].reshape(-1, size, groups).max(axis=1)
    maxima: Floats = np.concatenate([whole, scores[:, groups * size :]], axis=1)
    return maxima


def _sums(tables: Floats, rows: Rows) -> Floats:
    """(b, Q): the sum over chunks j of tables[j, rows[:, j]]."""
    if tables.shape[2] == 1:  # plain vectors are faster than rows of one
        tables = np.ascontiguousarray(tables[:, :, 0])
    shape = (rows.shape[0], *tables.shape[2:])
    sums, term = np.empty(shape, dtype=np.float32), np.empty(shape, dtype=np.float32)
    for chunk in range(rows.shape[1]):
        codes = rows[:, chunk].astype(np.intp)
        tables[chunk].take(codes, axis=0, out=term if chunk else sums, mode="clip")
        if chunk:
            sums += term
    return sums.reshape(rows.shape[0], -1)


def _ranked(
    book: Book,
    questions: Questions,
    gathered: Sequence[_Gathered],
    slots: int,
    min_version: int,
    nearest: int,
    threshold: float,
) -> list[Neighbours]:
    """For each slot the best of its candidates, all scored in float64."""
    if not gathered:
        return [Neighbours(np.empty((0, book.chunks), dtype=np.uint16), np.empty(0))] * slots
    codes = np.concatenate([each.codes for each in gathered])
    versions = np.concatenate([each.versions for each in gathered])
    question = np.concatenate([each.question for each in gathered])
    slot = np.concatenate([each.slot for each in gathered])
    similarity = np.empty(slot.size)
    good = versions >= min_version
    for start in range(0, slot.size, _SCORED_AT_ONCE):
        part = slice(start, start + _SCORED_AT_ONCE)
        similarity[part] = _exact(book, questions, question[part], codes[part])
        passing = good[part]
        passing &= similarity[part] >= threshold
        passing[passing] = book.judge(codes[part][passing])[0] <= versions[part][passing]
    codes, slot, similarity = codes[good].astype(np.uint16), slot[good], similarity[good]
    order = np.lexsort((-similarity, slot))  # stable: of equal ones the first
    codes, similarity = codes[order], similarity[order]
    ends = np.searchsorted(slot[order], np.arange(slots + 1)).tolist()
    return [
        Neighbours(
            codes[first : min(first + nearest, end)], similarity[first : min(first + nearest, end)]
        )
        for first, end in pairwise(ends)
    ]


def _exact(book: Book, questions: Questions, question: Integers, codes: Rows) -> Doubles:
    """Cosines (c,) of questions with procedures (c, n); -inf for those that are like nothing."""
    safe = np.minimum(codes, book.codes - 1)
    chunk = np.arange(book.chunks) * book.codes
    place = safe + (chunk * questions.asked.size + (question * book.codes)[:, None])
    similarities: Doubles = questions.tables.reshape(-1).take(place).sum(axis=1)
    lengths = np.sqrt(book.squares.reshape(-1).take(safe + chunk).sum(axis=1))
    with_length = lengths > 0.0
    np.divide(similarities, lengths, out=similarities, where=with_length)
    similarities[~with_length] = -np.inf
    similarities[similarities > 1.0 - _ROUNDING] = 1.0
    return similarities
