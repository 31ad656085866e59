"""The look-up equals float64 brute force."""

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from shared_memory.errors import SharedMemoryError
from shared_memory.lookup import Book, judge, nearest_procedures


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


@settings(max_examples=150, deadline=None)
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
) -> None:
    random = np.random.default_rng(seed)
    vectors = (random.normal(size=(codes, width)) + offset).astype(np.float32)
    mean = (random.normal(size=(chunks, width)) * 0.3 + offset).astype(np.float32)
    bank = random.integers(0, codes, (rows, chunks)).astype(np.uint16)
    queries = random.integers(0, codes, (batch, chunks)).astype(np.uint16)
    born = random.integers(0, 4, codes)
    versions = random.integers(0, 4, rows)
    book = Book(vectors, mean, born)
    row_born, inverse = judge(book, bank)
    valid = row_born <= versions
    assert np.array_equal(valid, (born[bank] <= versions[:, None]).all(axis=1))
    found = nearest_procedures(
        book,
        queries,
        np.ascontiguousarray(bank.T),
        np.where(valid, inverse, np.float32(0.0)),
        nearest,
        threshold,
    )
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


def test_many_rows_in_several_blocks_and_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shared_memory.lookup._SCORES_AT_ONCE", 50_000)
    random = np.random.default_rng(0)
    vectors = random.normal(size=(64, 8)).astype(np.float32)
    mean = random.normal(size=(16, 8)).astype(np.float32)
    rows = random.integers(0, 64, (20_000, 16)).astype(np.uint16)
    queries = rows[random.integers(0, len(rows), 9)].copy()
    queries[:, 0] = 3
    book = Book(vectors, mean, np.zeros(64, dtype=np.int64))
    found = nearest_procedures(
        book, queries, np.ascontiguousarray(rows.T), judge(book, rows)[1], 5, -1.0
    )
    cosines = brute_force(vectors, mean, queries, rows)
    for neighbours, row in zip(found, cosines):
        best = np.argsort(-row)[:5]
        np.testing.assert_allclose(neighbours.similarities, row[best], atol=1e-12)
        np.testing.assert_array_equal(neighbours.codes, rows[best])


def test_a_threshold_of_one_finds_the_same_procedure() -> None:
    random = np.random.default_rng(0)
    vectors, mean = random.normal(size=(32, 8)), random.normal(size=(16, 8))
    rows = random.integers(0, 32, (200, 16)).astype(np.uint16)
    book = Book(vectors, mean, np.zeros(32, dtype=np.int64))
    found = nearest_procedures(
        book, rows, np.ascontiguousarray(rows.T), judge(book, rows)[1], 3, 1.0
    )
    assert all(neighbours.codes.tolist() == [row.tolist()] for neighbours, row in zip(found, rows))


def test_the_mean_itself_is_like_nothing() -> None:
    vectors = np.array([[1.0], [2.0]], dtype=np.float32)
    book = Book(vectors, np.array([[1.0]], dtype=np.float32), np.zeros(2, dtype=np.int64))
    rows = np.array([[0], [1]], dtype=np.uint16)
    found = nearest_procedures(book, rows, np.ascontiguousarray(rows.T), judge(book, rows)[1], 5, 0)
    assert [len(neighbours) for neighbours in found] == [0, 1]
    assert found[1].codes.tolist() == [[1]]


def test_codes_that_the_book_does_not_have() -> None:
    book = Book(
        np.eye(3, dtype=np.float32), np.zeros((2, 3), dtype=np.float32), np.zeros(3, dtype=np.int64)
    )
    rows = np.array([[0, 1], [0, 3]], dtype=np.uint16)
    born, _ = judge(book, rows)
    assert born[0] == 0
    assert born[1] > 2**40
    with pytest.raises(SharedMemoryError, match="a code is 3, but the book has 3"):
        nearest_procedures(book, rows, rows.T, judge(book, rows)[1], 1, 0.0)
    with pytest.raises(SharedMemoryError, match=r"must be \(B, 2\)"):
        nearest_procedures(book, rows[:, :1], rows.T, judge(book, rows)[1], 1, 0.0)


def test_books_with_wrong_shapes_are_refused() -> None:
    with pytest.raises(SharedMemoryError, match="same d"):
        Book(np.zeros((3, 2)), np.zeros((4, 3)), np.zeros(3, dtype=np.int64))
    with pytest.raises(SharedMemoryError, match="one version a code"):
        Book(np.zeros((3, 2)), np.zeros((4, 2)), np.zeros(4, dtype=np.int64))
