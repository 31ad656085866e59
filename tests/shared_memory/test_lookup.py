"""The look-up equals float64 brute force."""

from itertools import pairwise

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from shared_memory import faiss_scan, lookup
from shared_memory.book import NEVER, Book, Questions, judgement
from shared_memory.errors import SharedMemoryError
from shared_memory.lookup import Inquiry, Neighbours, search
from shared_memory.pruning import TELLING, Head
from shared_memory.records import SIGNS, Sign
from shared_memory.replica import search_banks
from shared_memory.replica_bank import ReplicaBank


def bank_of(
    rows: npt.NDArray[np.uint16], versions: npt.NDArray[np.int64] | None = None
) -> ReplicaBank:
    bank = ReplicaBank()
    numbers = np.arange(len(rows), dtype=np.int64)
    bank.add(numbers, np.zeros_like(numbers) if versions is None else versions, rows)
    return bank


def brute_force(
    vectors: npt.NDArray[np.float32],
    mean: npt.NDArray[np.float32],
    queries: npt.NDArray[np.uint16],
    rows: npt.NDArray[np.uint16],
) -> npt.NDArray[np.float64]:
    """Centred cosines (B, N), NaN where a side has no length."""
    centred_queries = (vectors[queries].astype(np.float64) - mean).reshape(len(queries), mean.size)
    centred_rows = (vectors[rows].astype(np.float64) - mean).reshape(len(rows), mean.size)
    lengths = np.linalg.norm(centred_queries, axis=1)[:, None] * np.linalg.norm(
        centred_rows, axis=1
    )
    with np.errstate(invalid="ignore", divide="ignore"):
        cosines: npt.NDArray[np.float64] = centred_queries @ centred_rows.T / lengths
    return cosines


@settings(max_examples=100, deadline=None)
@given(
    seed=some.integers(0, 10_000),
    rows=some.integers(0, 60),
    chunks=some.integers(1, 7),
    codes=some.integers(2, 9),
    width=some.integers(1, 5),
    batch=some.integers(0, 5),
    nearest=some.integers(0, 6),
    threshold=some.sampled_from([-1.0, 0.0, 0.5, 0.95, 1.0]),
    offset=some.sampled_from([0.0, 1.0, 100.0]),
    pruned=some.booleans(),
)
def test_equals_brute_force(
    seed: int,
    rows: int,
    chunks: int,
    codes: int,
    width: int,
    batch: int,
    nearest: int,
    threshold: float,
    offset: float,
    pruned: bool,
) -> None:
    random = np.random.default_rng(seed)
    vectors = (random.normal(size=(codes, width)) + offset).astype(np.float32)
    mean = (random.normal(size=(chunks, width)) * 0.3 + offset).astype(np.float32)
    bank = random.integers(0, codes, (rows, chunks)).astype(np.uint16)
    queries = random.integers(0, codes, (batch, chunks)).astype(np.uint16)
    born = random.integers(0, 4, codes)
    versions = random.integers(0, 4, rows)
    book = Book(vectors, mean, born)
    valid = judgement(book, bank)["born"] <= versions
    assert np.array_equal(valid, (born[bank] <= versions[:, None]).all(axis=1))
    with pytest.MonkeyPatch.context() as patch:
        if pruned:
            patch.setattr(lookup, "_FEWEST_TO_PRUNE", 1)
        found = bank_of(bank, versions).lookup(book, queries, 0, nearest, threshold)
    assert len(found) == batch
    cosines = brute_force(vectors, mean, queries, bank)
    for neighbours, row in zip(found, cosines):
        comparable = row[valid & np.isfinite(row)]
        expected = np.sort(comparable[comparable >= threshold])[::-1][:nearest]
        sure = np.sum(comparable >= threshold + 1e-9)
        assert min(nearest, sure) <= len(neighbours) <= nearest
        shared = min(len(expected), len(neighbours))
        np.testing.assert_allclose(neighbours.similarities[:shared], expected[:shared], atol=1e-6)
        assert (neighbours.similarities >= threshold).all()
        assert (np.diff(neighbours.similarities) <= 0).all()
        again = brute_force(vectors, mean, queries[:1], neighbours.codes)
        assert again.shape == (1, len(neighbours))
    for query, neighbours in zip(queries, found):
        own = brute_force(vectors, mean, query[None], neighbours.codes)[0]
        np.testing.assert_allclose(neighbours.similarities, own, atol=1e-6)


def procedures(
    seed: int, rows: int, chunks: int, width: int, near: float, low: bool
) -> tuple[Book, npt.NDArray[np.uint16], tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]]:
    """Families of alike procedures over a book whose codes may have close neighbours."""
    random = np.random.default_rng(seed)
    vectors = random.normal(size=(40, width)).astype(np.float32)
    if low:  # codes that differ little, as those of a trained book do
        vectors[20:] = vectors[:20] + 0.2 * random.normal(size=(20, width)).astype(np.float32)
    mean = (0.2 * random.normal(size=(chunks, width))).astype(np.float32)
    parents = random.integers(0, 40, (12, chunks))
    codes = parents[random.integers(0, 12, rows)]
    changed = random.random(codes.shape) < near * random.random((rows, 1))
    codes = np.where(changed, random.integers(0, 40, codes.shape), codes).astype(np.uint16)
    return Book(vectors, mean, np.zeros(40, dtype=np.int64)), codes, (vectors, mean)


@settings(max_examples=40, deadline=None)
@given(
    seed=some.integers(0, 10_000),
    chunks=some.sampled_from([2, 16, 30]),
    width=some.integers(1, 9),
    near=some.sampled_from([0.2, 1.0]),
    low=some.booleans(),
    threshold=some.sampled_from([0.5, 0.8, 0.95, 0.99, 1.0]),
    asked=some.sampled_from([1, 9]),
    telling=some.sampled_from(TELLING),
)
def test_early_bounds_lose_nothing(
    seed: int,
    chunks: int,
    width: int,
    near: float,
    low: bool,
    threshold: float,
    asked: int,
    telling: float,
) -> None:
    book, rows, (vectors, mean) = procedures(seed, 700, chunks, width, near, low)
    queries = rows[:asked]
    cosines = brute_force(vectors, mean, queries, rows)
    questions = Questions.of(book, queries)
    which = np.arange(questions.asked.size)
    head = Head.of(book, questions, which, threshold, telling)
    if head is None:
        return
    row, question = head.survivors(rows)
    left = np.zeros((len(queries), len(rows)), dtype=bool)
    left[questions.asked[question], row] = True
    judged = questions.asked[head.questions]
    assert left[judged][cosines[judged] >= threshold].all()


def test_early_bounds_refute_nearly_all() -> None:
    random = np.random.default_rng(0)
    vectors = random.normal(size=(256, 32)).astype(np.float32)
    book = Book(vectors, np.zeros((64, 32), dtype=np.float32), np.zeros(256, dtype=np.int64))
    rows = random.integers(0, 256, (20_000, 64)).astype(np.uint16)
    head = Head.of(book, Questions.of(book, rows[:8]), np.arange(8), 0.95)
    assert head is not None
    assert head.chunks.size <= 12
    row, question = head.survivors(rows)
    assert {(place, place) for place in range(8)} <= set(zip(row.tolist(), question.tolist()))
    assert len(row) < 100
    assert Head.of(book, Questions.of(book, rows[:8]), np.arange(8), 0.2) is None


@settings(max_examples=12, deadline=None)
@given(
    seed=some.integers(0, 10_000),
    threshold=some.sampled_from([-1.0, 0.3, 0.95]),
    batch=some.sampled_from([1, 20, 70]),
    sizes=some.lists(some.integers(0, 3000), min_size=1, max_size=4),
)
def test_a_batch_over_many_banks_is_as_one_bank_at_a_time(
    seed: int, threshold: float, batch: int, sizes: list[int]
) -> None:
    random = np.random.default_rng(seed)
    book, rows, (vectors, mean) = procedures(seed, sum(sizes), 8, 6, 0.5, True)
    ends = np.cumsum([0, *sizes])
    parts = [rows[first:end] for first, end in pairwise(ends)]
    queries = random.integers(0, 40, (batch, 8)).astype(np.uint16)
    queries[::2] = rows[random.integers(0, len(rows), len(queries[::2]))] if len(rows) else 0
    asked = random.integers(0, len(sizes), batch)
    banks = [bank_of(part) for part in parts]
    inquiries = [
        Inquiry(bank, np.flatnonzero(asked == place), answer)
        for place, bank in enumerate(banks)
        for answer in (0, 1)
    ]
    found = search(book, queries, inquiries, 2, 0, 5, threshold)
    assert [len(answer) for answer in found] == [batch, batch]
    for query, place, one, other in list(zip(queries, asked, *found))[::3]:
        alone = banks[place].lookup(book, query[None], 0, 5, threshold)[0]
        for each in (one, other):
            np.testing.assert_allclose(each.similarities, alone.similarities, atol=1e-12)
        row = np.sort(brute_force(vectors, mean, query[None], parts[place])[0])[::-1]
        expected = row[row >= threshold][:5]
        np.testing.assert_allclose(one.similarities[: len(expected)], expected, atol=1e-6)


def test_several_banks_for_one_answer() -> None:
    book, rows, (vectors, mean) = procedures(3, 3000, 8, 6, 0.5, False)
    everyone = np.arange(20)
    inquiries = [Inquiry(bank_of(part), everyone) for part in (rows[:500], rows[500:])]
    found = search(book, rows[:20], inquiries, 1, 0, 7, 0.2)[0]
    cosines = -np.sort(-brute_force(vectors, mean, rows[:20], rows), axis=1)[:, :7]
    for neighbours, row in zip(found, cosines):
        np.testing.assert_allclose(neighbours.similarities, row[row >= 0.2], atol=1e-12)


def test_many_rows_in_several_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lookup, "_FLOATS_A_BLOCK", 1 << 13)
    random = np.random.default_rng(0)
    vectors = random.normal(size=(64, 8)).astype(np.float32)
    mean = random.normal(size=(16, 8)).astype(np.float32)
    rows = random.integers(0, 64, (20_000, 16)).astype(np.uint16)
    queries = rows[random.integers(0, len(rows), 9)].copy()
    queries[:, 0] = 3
    book = Book(vectors, mean, np.zeros(64, dtype=np.int64))
    cosines = brute_force(vectors, mean, queries, rows)
    for threshold in (-1.0, 0.9):
        found = bank_of(rows).lookup(book, queries, 0, 5, threshold)
        for neighbours, row in zip(found, cosines):
            best = np.argsort(-row)[:5]
            best = best[row[best] >= threshold]
            np.testing.assert_allclose(neighbours.similarities, row[best], atol=1e-12)
            np.testing.assert_array_equal(neighbours.codes, rows[best])


def test_a_threshold_of_one_finds_the_same_procedure() -> None:
    random = np.random.default_rng(0)
    vectors, mean = random.normal(size=(32, 8)), random.normal(size=(16, 8))
    rows = random.integers(0, 32, (2000, 16)).astype(np.uint16)
    book = Book(vectors, mean, np.zeros(32, dtype=np.int64))
    found = bank_of(rows).lookup(book, rows, 0, 3, 1.0)
    assert all(neighbours.codes.tolist() == [row.tolist()] for neighbours, row in zip(found, rows))


def test_the_mean_itself_is_like_nothing() -> None:
    vectors = np.array([[1.0], [2.0]], dtype=np.float32)
    book = Book(vectors, np.array([[1.0]], dtype=np.float32), np.zeros(2, dtype=np.int64))
    rows = np.array([[0], [1]], dtype=np.uint16)
    found = bank_of(rows).lookup(book, rows, 0, 5, 0)
    assert [len(neighbours) for neighbours in found] == [0, 1]
    assert found[1].codes.tolist() == [[1]]


def test_codes_that_the_book_does_not_have() -> None:
    book = Book(
        np.eye(3, dtype=np.float32), np.zeros((2, 3), dtype=np.float32), np.zeros(3, dtype=np.int64)
    )
    rows = np.array([[0, 1], [0, 3]], dtype=np.uint16)
    born = judgement(book, rows)["born"]
    assert born[0] == 0
    assert born[1] == NEVER
    found: list[Neighbours] = bank_of(rows).lookup(book, rows[:1], 0, 2, -1.0)
    assert found[0].codes.tolist() == [[0, 1]]
    with pytest.raises(SharedMemoryError, match="a code is 3, but the book has 3"):
        bank_of(rows).lookup(book, rows, 0, 1, 0.0)
    with pytest.raises(SharedMemoryError, match=r"must be \(B, 2\)"):
        bank_of(rows).lookup(book, rows[:, :1], 0, 1, 0.0)


def test_codes_of_more_than_a_byte() -> None:
    random = np.random.default_rng(0)
    vectors = random.normal(size=(300, 4)).astype(np.float32)
    book = Book(vectors, np.zeros((6, 4), dtype=np.float32), np.zeros(300, dtype=np.int64))
    rows = random.integers(0, 300, (50, 6)).astype(np.uint16)
    rows[:25] %= 256
    bank = ReplicaBank()
    bank.add(np.arange(25), np.zeros(25, dtype=np.int64), rows[:25])
    assert bank.rows.dtype == np.uint8
    bank.add(np.arange(25, 50), np.zeros(25, dtype=np.int64), rows[25:])
    assert np.array_equal(bank.rows, rows)
    found = bank.lookup(book, rows, 0, 1, 0.999)
    assert [near.codes[0].tolist() for near in found] == rows.tolist()


def test_books_with_wrong_shapes_are_refused() -> None:
    with pytest.raises(SharedMemoryError, match="same d"):
        Book(np.zeros((3, 2)), np.zeros((4, 3)), np.zeros(3, dtype=np.int64))
    with pytest.raises(SharedMemoryError, match="one version a code"):
        Book(np.zeros((3, 2)), np.zeros((4, 2)), np.zeros(4, dtype=np.int64))


@settings(max_examples=40, deadline=None)
@given(
    seed=some.integers(0, 10_000),
    rows=some.integers(1, 3000),
    chunks=some.sampled_from([1, 8, 20]),
    nearest=some.integers(1, 9),
    threshold=some.sampled_from([-1.0, 0.0, 0.5, 0.95]),
    uneven=some.booleans(),
)
def test_faiss_answers_the_same(
    seed: int, rows: int, chunks: int, nearest: int, threshold: float, uneven: bool
) -> None:
    pytest.importorskip("faiss", reason="faiss is an extra that is not installed")
    book, codes, (vectors, mean) = procedures(seed, rows, chunks, 6, 0.7, True)
    if uneven:  # lengths differ by orders of magnitude
        vectors = vectors * np.geomspace(0.01, 10, len(vectors), dtype=np.float32)[:, None]
        book = Book(vectors, mean, np.arange(40) // 30)
    bank = bank_of(codes)
    ours, theirs = (
        bank.lookup(book, codes[:20], 0, nearest, threshold, scanner)
        for scanner in ("numpy", "faiss")
    )
    for one, other in zip(ours, theirs):
        np.testing.assert_allclose(one.similarities, other.similarities, atol=1e-9)


def test_faiss_is_asked_for_only_where_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(SharedMemoryError, match=r"pip install 'nesypr\[faiss\]'"):
        faiss_scan.require_faiss()


@settings(max_examples=40, deadline=None)
@given(
    seed=some.integers(0, 10_000),
    sizes=some.lists(some.integers(0, 400), min_size=1, max_size=5),
    threshold=some.sampled_from([-1.0, 0.3, 0.95]),
    nearest=some.integers(1, 6),
    pruned=some.booleans(),
)
def test_all_domains_are_searched_as_one_bank(
    seed: int, sizes: list[int], threshold: float, nearest: int, pruned: bool
) -> None:
    random = np.random.default_rng(seed)
    book, rows, (vectors, mean) = procedures(seed, sum(sizes), 16, 6, 0.5, True)
    ends = np.cumsum([0, *sizes])
    banks: dict[str, dict[Sign, ReplicaBank]] = {
        str(place): {"success": bank_of(rows[first:end]), "failure": bank_of(rows[:0])}
        for place, (first, end) in enumerate(pairwise(ends))
    }
    queries = random.integers(0, 40, (7, 16)).astype(np.uint16)
    queries[::2] = rows[random.integers(0, len(rows), 4)] if len(rows) else 0
    domains = [str(place) for place in random.integers(0, len(sizes), 7)]
    with pytest.MonkeyPatch.context() as patch:
        if pruned:
            patch.setattr(lookup, "_FEWEST_TO_PRUNE", 1)
        found = search_banks(
            *(banks, book, domains, SIGNS, queries, 0, nearest, threshold), scope="all"
        )
    assert [len(near) for near in found["failure"]] == [0] * 7
    cosines = -np.sort(-brute_force(vectors, mean, queries, rows), axis=1)
    for neighbours, row, query in zip(found["success"], cosines, queries):
        expected = row[row >= threshold][:nearest]
        np.testing.assert_allclose(neighbours.similarities, expected, atol=1e-9)
        own = brute_force(vectors, mean, query[None], neighbours.codes)[0]
        np.testing.assert_allclose(neighbours.similarities, own, atol=1e-9)
