"""What a book says of a bank's rows, computed once for all processes of a node (ours).

One file for each book and generation of a bank; it only grows, by whole rows, so that its size
tells how far it is. Who needs more adds it, alone. Actors may act with two books for a while: of
more, the oldest goes.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import time
from pathlib import Path

import numpy as np

from shared_memory.book import Book, Judged, Judgement, Rows, judgement
from shared_memory.errors import SharedMemoryError

_BOOKS = 2
_AT_ONCE = 65_536
_DEADLINE_S = 60.0
_PAUSE_S = 0.002
_FLAGS = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
SUFFIX = ".judged"


def shared_judgement(stem: Path, book: Book, rows: Rows) -> Judged:
    """What the book says of all these rows (N, n), and maybe of more: (M,), M >= N.

    `stem` names the generation and the book. Raises SharedMemoryError where there is no room, or
    past a deadline.
    """
    path = stem.with_name(stem.name + SUFFIX)
    wanted = rows.shape[0] * Judgement.itemsize
    try:
        descriptor = os.open(path, _FLAGS, 0o600)
        try:
            fresh = not os.fstat(descriptor).st_size
            if os.fstat(descriptor).st_size < wanted:
                _lock(descriptor, path)
                try:
                    _add(descriptor, book, rows)
                finally:  # a mapping keeps the descriptor, and with it the lock
                    fcntl.flock(descriptor, fcntl.LOCK_UN)
            if not wanted:
                return np.empty(0, dtype=Judgement)
            size = os.fstat(descriptor).st_size // Judgement.itemsize * Judgement.itemsize
            held = mmap.mmap(descriptor, size, access=mmap.ACCESS_READ)
        finally:
            os.close(descriptor)
        if fresh:
            _remove_oldest(path)
    except OSError as error:
        raise SharedMemoryError(
            f"{path.parent} cannot hold what look-ups share ({error.strerror}): make room there, "
            "or set shared_memory.replica to process"
        ) from error
    return np.frombuffer(held, dtype=Judgement)


def _lock(descriptor: int, path: Path) -> None:
    deadline = time.monotonic() + _DEADLINE_S
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            if time.monotonic() > deadline:
                raise SharedMemoryError(
                    f"another process has been filling {path} for {_DEADLINE_S:g} s: end it, or "
                    "set shared_memory.replica to process"
                ) from error
            time.sleep(_PAUSE_S)
        else:
            return


def _add(descriptor: int, book: Book, rows: Rows) -> None:
    """Write what is missing; who died meanwhile may have left a part of a row."""
    judged = os.fstat(descriptor).st_size // Judgement.itemsize
    for start in range(judged, rows.shape[0], _AT_ONCE):
        payload = memoryview(judgement(book, rows[start : start + _AT_ONCE]).tobytes())
        at = start * Judgement.itemsize
        while payload:
            written = os.pwrite(descriptor, payload, at)
            payload, at = payload[written:], at + written


def _remove_oldest(path: Path) -> None:
    """Take the names from all but the newest files of the same bank."""
    bank = ".".join(path.name.split(".")[:2])
    ages: list[tuple[int, Path]] = []
    for other in path.parent.glob(f"{bank}.*{SUFFIX}"):
        try:
            ages.append((other.stat().st_mtime_ns, other))
        except FileNotFoundError:
            continue  # another process was faster
    for _, oldest in sorted(ages)[:-_BOOKS]:
        oldest.unlink(missing_ok=True)
