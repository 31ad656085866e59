"""What was tried with each procedure of a bank, action by action, and how often.

The bank counts each (codes, action) that it is given; its log tells the counts as they are after
each step, so that rows may be applied twice. Held by replicas whose policy asks for it (ours).
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from shared_memory.errors import SharedMemoryError

Tried = dict[str, "Counts"]
"""Action → how often it was given to one bank with one procedure."""

_ROW = struct.Struct(">BQIIH")
_COUNTS = struct.Struct(">IIQI")
_DIGEST_BYTES = 16


@dataclass(frozen=True, slots=True)
class Counts:
    """How often an action was submitted, and how often of these the simulator refused it."""

    times: int
    refused: int


@dataclass(frozen=True, slots=True)
class TriedRow:
    """The counts of one action with procedure `number`; 0 times where they were retired."""

    number: int
    action: str
    counts: Counts


class TriedBank(Protocol):
    """What was tried with the procedures of one bank, by the rows in which they are."""

    def __len__(self) -> int:
        """How many actions there are, of all procedures together."""

    def add(self, first: int, held: npt.NDArray[np.unsignedinteger]) -> None:
        """Procedures are in rows from `first` on now; all rows (N, n)."""

    def rows_of(self, codes: npt.NDArray[np.uint16]) -> Iterable[int]:
        """Rows that may have just these codes (n,), among them the one that has."""

    def of(self, row: int) -> Mapping[str, Counts]:
        """What was tried with a procedure."""

    def count(self, row: int, counted: TriedRow) -> None:
        """Take in the counts of an action with a procedure."""

    def forget(self, rows: npt.NDArray[np.int64], codes: npt.NDArray[np.unsignedinteger]) -> None:
        """The procedures (m, n) of these rows (m,) are forgotten."""

    def move(self, places: npt.NDArray[np.int64], held: npt.NDArray[np.unsignedinteger]) -> None:
        """What was in row `places[i]` is in row i now, nothing else is left: all rows (N, n)."""


class TriedActions:
    """The tried actions of one bank in this process's own memory. See `TriedBank`."""

    def __init__(self) -> None:
        self._actions: dict[int, Tried] = {}
        self._rows: dict[bytes, int] = {}

    def __len__(self) -> int:
        """See `TriedBank`."""
        return sum(len(actions) for actions in self._actions.values())

    def add(self, first: int, held: npt.NDArray[np.unsignedinteger]) -> None:
        """See `TriedBank`."""
        for row, each in enumerate(held[first:].astype(np.uint16), first):
            self._rows[each.tobytes()] = row

    def rows_of(self, codes: npt.NDArray[np.uint16]) -> Iterable[int]:
        """See `TriedBank`."""
        row = self._rows.get(codes.astype(np.uint16).tobytes())
        return () if row is None else (row,)

    def of(self, row: int) -> Mapping[str, Counts]:
        """See `TriedBank`."""
        return self._actions.get(row, {})

    def count(self, row: int, counted: TriedRow) -> None:
        """See `TriedBank`."""
        if counted.counts.times:
            self._actions.setdefault(row, {})[counted.action] = counted.counts
        else:
            self._actions.get(row, {}).pop(counted.action, None)

    def forget(self, rows: npt.NDArray[np.int64], codes: npt.NDArray[np.unsignedinteger]) -> None:
        """See `TriedBank`."""
        for row, each in zip(rows.tolist(), codes.astype(np.uint16), strict=True):
            self._actions.pop(row, None)
            key = each.tobytes()
            if self._rows.get(key) == row:
                del self._rows[key]

    def move(self, places: npt.NDArray[np.int64], held: npt.NDArray[np.unsignedinteger]) -> None:
        """See `TriedBank`."""
        now = {before: row for row, before in enumerate(places.tolist())}
        self._actions = {now[row]: each for row, each in self._actions.items() if row in now}
        self._rows = {key: now[row] for key, row in self._rows.items() if row in now}


def logged_rows(payload: bytes, sign: int) -> Iterator[TriedRow]:
    """The rows of one bank in a batch of the log. `SharedMemoryError` where it is damaged."""
    at = 0
    while at < len(payload):
        try:
            of, number, times, refused, length = _ROW.unpack_from(payload, at)
            at += _ROW.size + length
            action = _text(payload[at - length : at], length)
        except (struct.error, UnicodeDecodeError) as error:
            raise SharedMemoryError(
                "a batch of the bank's log is malformed: the log is damaged; start a new run"
            ) from error
        if of == sign:
            yield TriedRow(number, action, Counts(times, refused))


def held_rows(entries: Iterable[tuple[bytes, bytes]], solid_after: int) -> Iterator[TriedRow]:
    """The rows that a bank's entries (field, value) hold; those below `solid_after` times do not
    count yet. `SharedMemoryError` where one is damaged."""
    for name, value in entries:
        try:
            times, _, number, refused = _COUNTS.unpack_from(value)
            action = name[_DIGEST_BYTES:].decode()
        except (struct.error, UnicodeDecodeError) as error:
            raise SharedMemoryError("an entry's counts are damaged; start a new run") from error
        if times >= solid_after:
            yield TriedRow(number, action, Counts(times, refused))


def _text(payload: bytes, length: int) -> str:
    if len(payload) != length:
        raise struct.error("cut short")
    return payload.decode()
