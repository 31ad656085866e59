"""What a node's replica of a bank takes, and how long actors wait for it (in `nesypr bench bank`).

An embedded server's bank is filled by the actors' own writes; then `READERS` actors of a node, in
one process here, open their replicas one after the other, and each asks for the best five whatever
their cosine, so that everything is summed. The first loads for all. An entry takes what the files
of the replica take, and what the memory that each of these actors holds for itself grew by. Apart,
because they do not grow with the bank: an actor's tables of the book (`book_bytes`), and what its
look-up borrows and the allocator keeps for the next (`borrowed_bytes`, given back on demand).
"""

from __future__ import annotations

import ctypes
import gc
import tempfile
import time
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from configs.schema import BankConfig, SharedMemoryConfig
from shared_memory.bank import Bank
from shared_memory.connection import call, connect
from shared_memory.node_replica import open_replica
from shared_memory.records import Decision, Episode
from shared_memory.server import EmbeddedServer

READERS = 4
_DECISIONS_AN_EPISODE = 64
_EPISODES_A_PUSH = 32
_STATUS = Path("/proc/self/status")


def replica_of_a_server(
    rows: npt.NDArray[np.uint16],
    decisions: npt.NDArray[np.uint16],
    vectors: npt.NDArray[np.float32],
    mean: npt.NDArray[np.float32],
) -> dict[str, Any]:
    """Procedures (N, n) in a server's bank, asked for with decisions (B, n) and a book.

    Bytes an entry and seconds: of the server, of the node, of the first and of a later actor.
    """
    config = SharedMemoryConfig(bank=BankConfig(max_entries=2 * len(rows), max_bytes=2**40))
    born = np.zeros(len(vectors), dtype=np.int64)
    with (
        tempfile.TemporaryDirectory(prefix="nesypr-bench-") as folder,
        EmbeddedServer(folder, fsync="no") as server,
        closing(connect(config, server.url)) as client,
        ExitStack() as stack,
    ):
        before, began = _server_bytes(client), time.perf_counter()
        _fill(Bank(client, "bench", config.bank), rows)
        filled_s = time.perf_counter() - began
        taken = _server_bytes(client) - before
        grown = book = borrowed = 0
        times: list[tuple[float, float]] = []
        for _ in range(READERS):
            replica = open_replica(client, "bench", ["bench"], config)
            stack.callback(replica.close)
            before = _held_bytes()
            replica.lookup("bench", "success", decisions, vectors, mean, born, 0, 5, -1.0)
            book, before = _held_bytes() - before, _held_bytes()
            processor, wall = time.process_time(), time.perf_counter()
            replica.refresh()
            times.append((time.process_time() - processor, time.perf_counter() - wall))
            replica.lookup("bench", "success", decisions, vectors, mean, born, 0, 5, -1.0)
            borrowed, after = _own_bytes(), _held_bytes()
            borrowed, grown = borrowed - after, grown + after - before
        entries = replica.sizes()["bench", "success"]
        return {
            "entries": entries,
            "fill_wall_s": filled_s,
            "server_bytes_an_entry": taken / entries,
            "readers": READERS,
            "node_bytes_an_entry": (replica.held_bytes() + grown) / entries,
            "book_bytes": book,
            "borrowed_bytes": borrowed,
            "replica_bytes_an_entry": replica.held_bytes() / entries,
            "load_cpu_s": times[0][0],
            "load_wall_s": times[0][1],
            "later_load_wall_s": times[-1][1],
        }


def _fill(bank: Bank, rows: npt.NDArray[np.uint16]) -> None:
    step = _DECISIONS_AN_EPISODE * _EPISODES_A_PUSH
    for start in range(0, len(rows), step):
        end = min(start + step, len(rows))
        starts = range(start, end, _DECISIONS_AN_EPISODE)
        bank.push([_episode(at, rows[at : min(at + _DECISIONS_AN_EPISODE, end)]) for at in starts])


def _episode(number: int, codes: npt.NDArray[np.uint16]) -> Episode:
    return Episode(
        episode=number,
        task_index=number,
        task_digest=f"{number:032x}",
        domain="bench",
        phase=0,
        book_version=1,
        success=True,
        conditions_met=1,
        conditions=1,
        steps=len(codes),
        decisions=tuple(
            Decision(place, row, "stack block1 block2", True, tuple(range(32)))
            for place, row in enumerate(codes)
        ),
        actor="bench",
        seconds=0.0,
        hits_success=0,
        hits_failure=0,
    )


def _own_bytes() -> int:
    """This process's memory that is not files (Linux; elsewhere 0: the files alone are counted)."""
    gc.collect()
    if not _STATUS.exists():
        return 0
    lines = _STATUS.read_text(encoding="ascii").splitlines()
    return sum(1024 * int(line.split()[1]) for line in lines if line.startswith("RssAnon:"))


def _held_bytes() -> int:
    """The same without what the allocator keeps though nothing uses it (glibc)."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        gc.collect()
        trim(0)
    return _own_bytes()


def _server_bytes(client: Any) -> int:
    return int(call(client, "INFO", "memory")["used_memory"])
