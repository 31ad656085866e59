"""`nesypr bench bank`: the look-up in a bank against its peers, and what a replica takes.

64 chunks, K = 256, d = 32. Half of a bank's procedures are random; the others differ from one of
a thousand parents in at most a fifth of their chunks, so that decisions have true neighbours. All
answer the same decisions (procedures of the bank with 3 % of their codes changed) with the best
five, in turn in one process on one thread, several times; figures are medians.

- "at υ" asks for procedures with cosine ≥ 0.95, as acting does; "top 5" for the best five whatever
  their cosine, as the peers always do.
- `faiss.IndexPQ` gets the book as its centroids and ranks by inner product, not by cosine: it is
  the bare sum of tables. The float32 product has all procedures written out, normalised (skipped
  above `MOST_WRITTEN_OUT` procedures); hnswlib (skipped above `MOST_GRAPH`) is approximate. Peers
  that are not installed are left out.
- Times are the process's CPU milliseconds a decision; `wall` beside them is what a clock said, and
  is worth only what the machine's load (`load`) lets it be.
- Recall is the share of what float64 brute force finds at υ that the look-up finds.
- "all domains" divides the same bank among `DOMAINS` domains, and a decision asks them all at once.
- A replica on a node: see `bench_replica`; writing: see `bench_ingest`.
"""

from __future__ import annotations

import importlib
import os
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from cluster.bench_ingest import measure_ingest
from cluster.bench_replica import replica_of_a_server
from shared_memory.book import Book
from shared_memory.lookup import Neighbours, Scanner
from shared_memory.records import SIGNS, Sign
from shared_memory.replica import search_banks
from shared_memory.replica_bank import ReplicaBank

CHUNKS, CODES, WIDTH = 64, 256, 32
SIZES = (10_000, 100_000, 1_000_000)
BATCH = 64
NEAREST = 5
THRESHOLD = 0.95
RUNS = 5
MOST_WRITTEN_OUT = 100_000
MOST_GRAPH = 10_000
MOST_ON_SERVER = 1_000_000
DOMAINS = 8
SIZES_VARIABLE = "NESYPR_BENCH_BANK_SIZES"
_BRUTE_FORCE_ROWS = 4096


@dataclass(frozen=True, slots=True)
class _World:
    """A book, procedures (N, n) of a bank, and the decisions' procedures (B, n)."""

    vectors: npt.NDArray[np.float32]
    mean: npt.NDArray[np.float32]
    book: Book
    rows: npt.NDArray[np.uint16]
    decisions: npt.NDArray[np.uint16]


def bench_bank() -> dict[str, Any]:
    """Look-ups at the sizes of `SIZES` (or of $NESYPR_BENCH_BANK_SIZES, by commas)."""
    given = os.environ.get(SIZES_VARIABLE)
    sizes = tuple(int(float(size)) for size in given.split(",")) if given else SIZES
    rows: list[dict[str, Any]] = []
    for size in sizes:
        rows += look_ups(_world(size))
    return {
        "load": list(os.getloadavg()),
        "threads": 1,
        "milliseconds_a_decision": rows,
        "replica_of_a_server": [_on_server(min(max(sizes), MOST_ON_SERVER))],
        "ingest": measure_ingest(),
    }


def look_ups(world: _World) -> list[dict[str, Any]]:
    """A row for each way to look up: its name, entries, batch and milliseconds."""
    bank = ReplicaBank()
    numbers = np.arange(len(world.rows), dtype=np.int64)
    bank.add(numbers, np.zeros_like(numbers), world.rows)
    ways: dict[str, Callable[[npt.NDArray[np.uint16]], Any]] = {}

    def ours(threshold: float, scanner: Scanner) -> Callable[[npt.NDArray[np.uint16]], Any]:
        return lambda codes: bank.lookup(world.book, codes, 0, NEAREST, threshold, scanner)

    ways["ours at υ"] = ours(THRESHOLD, "numpy")
    ways["ours at υ, all domains"] = _in_all_domains(world)
    ways["ours, top 5, numpy"] = ours(-1.0, "numpy")
    index = _faiss_index(world)
    if index is not None:
        ways["ours, top 5, faiss"] = ours(-1.0, "faiss")
        ways["faiss.IndexPQ alone"] = lambda codes: index.search(
            _written_out(world, codes), NEAREST
        )
    if len(world.rows) <= MOST_WRITTEN_OUT:
        everything = _normalised(_written_out(world, world.rows))
        ways["float32 product"] = lambda codes: _best(_written_out(world, codes) @ everything.T)
    graph = _graph(world)
    if graph is not None:
        ways["hnswlib"] = lambda codes: graph.knn_query(_written_out(world, codes), NEAREST)
    results: list[dict[str, Any]] = []
    for batch in (BATCH, 1):
        asked = world.decisions[:batch]
        times = _in_turn({name: partial(way, asked) for name, way in ways.items()})
        for name, (processor, wall) in times.items():
            row: dict[str, Any] = {"way": name, "entries": len(world.rows), "batch": batch}
            row |= {"ms": processor / batch, "wall_ms": wall / batch}
            if batch == BATCH and name.startswith("ours at υ"):
                row["recall"] = _recall(world, asked, ways[name](asked))
                row["bytes_an_entry"] = bank.held_bytes / len(world.rows)
            results.append(row)
    return results


def _in_all_domains(world: _World) -> Callable[[npt.NDArray[np.uint16]], Any]:
    """The same procedures in the banks of several domains, which every decision asks."""
    banks: dict[str, dict[Sign, ReplicaBank]] = {}
    for place in range(DOMAINS):
        rows = world.rows[place::DOMAINS]
        banks[str(place)] = {sign: ReplicaBank() for sign in SIGNS}
        numbers = np.arange(len(rows), dtype=np.int64)
        banks[str(place)]["success"].add(numbers, np.zeros_like(numbers), rows)

    def look_up(codes: npt.NDArray[np.uint16]) -> list[Neighbours]:
        names, signs = ["0"] * len(codes), list[Sign](["success"])
        found = search_banks(
            banks, world.book, names, signs, codes, 0, NEAREST, THRESHOLD, scope="all"
        )
        return found["success"]

    return look_up


def _on_server(size: int) -> dict[str, Any]:
    world = _world(size)
    return replica_of_a_server(world.rows, world.decisions, world.vectors, world.mean)


def _world(size: int) -> _World:
    random = np.random.default_rng(0)
    vectors = random.normal(size=(CODES, WIDTH)).astype(np.float32)
    mean = (0.1 * random.normal(size=(CHUNKS, WIDTH))).astype(np.float32)
    rows = random.integers(0, CODES, (size, CHUNKS), dtype=np.uint16)
    parents = random.integers(0, CODES, (1000, CHUNKS), dtype=np.uint16)
    alike = rows[: size // 2]
    kept = random.random(alike.shape) > 0.2 * random.random((len(alike), 1))
    alike[kept] = parents[random.integers(0, 1000, len(alike))][kept]
    random.shuffle(rows)
    decisions = rows[random.integers(0, size, BATCH)]
    changed = random.random(decisions.shape) < 0.03
    decisions[changed] = random.integers(0, CODES, int(changed.sum()), dtype=np.uint16)
    book = Book(vectors, mean, np.zeros(CODES, dtype=np.int64))
    return _World(vectors, mean, book, rows, decisions)


def _in_turn(ways: dict[str, Callable[[], object]]) -> dict[str, tuple[float, float]]:
    """Median (CPU, wall) milliseconds of each."""
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
    for run in range(RUNS + 1):
        for name, way in ways.items():
            processor, wall = time.process_time(), time.perf_counter()
            way()
            if run:  # the first one warms up
                took = time.process_time() - processor, time.perf_counter() - wall
                times[name].append((1000 * took[0], 1000 * took[1]))
    return {
        name: (
            statistics.median(processor for processor, _ in taken),
            statistics.median(wall for _, wall in taken),
        )
        for name, taken in times.items()
    }


def _written_out(world: _World, codes: npt.NDArray[np.uint16]) -> npt.NDArray[np.float32]:
    """Centred procedures (B, n·d)."""
    return (world.vectors[codes] - world.mean).reshape(len(codes), -1)


def _normalised(vectors: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors


def _best(products: npt.NDArray[np.float32]) -> npt.NDArray[np.int64]:
    return np.argpartition(products, -NEAREST, axis=1)[:, -NEAREST:]


def _faiss_index(world: _World) -> Any | None:
    try:
        import faiss
    except ImportError:
        return None
    faiss.omp_set_num_threads(1)
    index = faiss.IndexPQ(CHUNKS * WIDTH, CHUNKS, 8, faiss.METRIC_INNER_PRODUCT)
    faiss.copy_array_to_vector(world.book.centred.ravel(), index.pq.centroids)
    index.is_trained = True
    index.add_sa_codes(world.rows.astype(np.uint8))
    return index


def _graph(world: _World) -> Any | None:
    try:
        hnswlib: Any = importlib.import_module("hnswlib")
    except ImportError:
        return None
    if len(world.rows) > MOST_GRAPH:
        return None
    graph = hnswlib.Index(space="cosine", dim=CHUNKS * WIDTH)
    graph.init_index(max_elements=len(world.rows), ef_construction=100, M=16)
    graph.set_num_threads(1)
    graph.add_items(_written_out(world, world.rows))
    graph.set_ef(50)
    return graph


def _recall(world: _World, asked: npt.NDArray[np.uint16], found: list[Neighbours]) -> float:
    """Of the best five at υ by float64 brute force, the share with an equal among the found."""
    queries = (world.vectors[asked].astype(np.float64) - world.mean).reshape(len(asked), -1)
    queries /= np.linalg.norm(queries, axis=1, keepdims=True)
    best = np.full((len(asked), NEAREST), -np.inf)
    for start in range(0, len(world.rows), _BRUTE_FORCE_ROWS):
        part = world.vectors[world.rows[start : start + _BRUTE_FORCE_ROWS]].astype(np.float64)
        part = (part - world.mean).reshape(len(part), -1)
        part /= np.linalg.norm(part, axis=1, keepdims=True)
        best = np.sort(np.concatenate([best, queries @ part.T], axis=1), axis=1)[:, -NEAREST:]
    wanted = got = 0
    for row, near in zip(best[:, ::-1], found, strict=True):
        true = row[row >= THRESHOLD]
        wanted += len(true)
        held = near.similarities[: len(true)]
        got += int(np.sum(np.abs(true[: len(held)] - held) < 1e-6))
    return got / wanted if wanted else 1.0
