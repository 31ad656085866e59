"""Sums over all rows of a bank by faiss, where it is installed (the extra `faiss`).

faiss's product quantiser ranks by inner product with the procedures as they are; the cosine also
divides by their lengths. What faiss did not return has no larger inner product than the last that
it did, so its cosine is at most that over the shortest length: enough are fetched for this bound
to fall below what is wanted, or the question is handed back. It reads the bank's rows in place.
"""

from __future__ import annotations

import importlib.util
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np

from shared_memory.book import Book, Floats, Integers, Questions, Rows
from shared_memory.errors import SharedMemoryError
from shared_memory.pruning import Pairs

_CODES = 256
_FEWEST = 64
_MORE = 8
_LARGEST_SHARE = 1 / 16
_quantisers: WeakKeyDictionary[Book, Any] = WeakKeyDictionary()


def require_faiss() -> None:
    """Raise SharedMemoryError where faiss is not installed."""
    if importlib.util.find_spec("faiss") is None:
        raise SharedMemoryError(
            "shared_memory.bank.lookup is faiss, which is not installed: "
            "pip install 'nesypr[faiss]', or set it to numpy"
        )


def scan(
    book: Book,
    questions: Questions,
    which: Integers,
    rows: Rows,
    inverse: Floats,
    nearest: int,
    threshold: float,
    margin: float,
) -> tuple[Pairs, Integers]:
    """Candidates (row, question), and the questions to which faiss cannot answer for sure."""
    nothing = np.empty(0, dtype=np.int64)
    if rows.dtype != np.uint8 or book.codes > _CODES or not rows.shape[0]:
        return (nothing, nothing), which
    longest = float(inverse.max())
    if longest <= 0.0:
        return (nothing, nothing), nothing
    found: list[Pairs] = []
    fetched = max(_FEWEST, _MORE * nearest)
    while which.size and fetched <= max(_FEWEST, _LARGEST_SHARE * rows.shape[0]):
        products, row = _best(book, questions, which, rows, min(fetched, rows.shape[0]))
        weights = inverse[row]
        cosines = np.where(weights > 0.0, products * weights, -np.inf)
        kth = np.full(which.size, -np.inf)
        if cosines.shape[1] >= nearest:
            kth = np.partition(cosines, -nearest, axis=1)[:, -nearest]
        least = np.maximum(kth, threshold) - 2 * margin  # (Q,)
        last = products[:, -1]
        unseen = np.where(last > 0.0, last * longest, 0.0)  # what is not fetched is below
        sure = (unseen < least) | (row.shape[1] == rows.shape[0])
        asks, place = np.nonzero((cosines >= least[:, None]) & sure[:, None])
        found.append((row[asks, place], which[asks]))
        which = which[~sure]
        fetched *= _MORE
    if not found:
        return (nothing, nothing), which
    return (
        np.concatenate([row for row, _ in found]),
        np.concatenate([asks for _, asks in found]),
    ), which


def _best(
    book: Book, questions: Questions, which: Integers, rows: Rows, fetched: int
) -> tuple[Floats, Integers]:
    """The largest inner products (Q, k) and their rows (Q, k), largest first."""
    import faiss

    quantiser = _quantisers.get(book)
    if quantiser is None:
        width = book.width
        quantiser = faiss.ProductQuantizer(book.chunks * width, book.chunks, 8)
        centroids = np.zeros((book.chunks, _CODES, width), dtype=np.float32)
        centroids[:, : book.codes] = book.centred
        faiss.copy_array_to_vector(centroids.ravel(), quantiser.centroids)
        _quantisers[book] = quantiser
    asked = np.ascontiguousarray(
        questions.directions[:, which].transpose(1, 0, 2).reshape(which.size, -1), dtype=np.float32
    )
    products = np.empty((which.size, fetched), dtype=np.float32)
    row = np.empty((which.size, fetched), dtype=np.int64)
    heap = faiss.float_minheap_array_t()
    heap.nh, heap.k = which.size, fetched
    heap.val, heap.ids = faiss.swig_ptr(products), faiss.swig_ptr(row)
    quantiser.search_ip(
        faiss.swig_ptr(asked),
        which.size,
        faiss.swig_ptr(np.ascontiguousarray(rows)),
        rows.shape[0],
        heap,
    )
    return products, row
