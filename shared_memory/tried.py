"""What was tried with each procedure of a bank, action by action, and how often.

The bank counts each (codes, action) that it is given; its log tells the counts as they are after
each step, so that rows may be applied twice. Held by replicas whose policy asks for it (ours).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from shared_memory.errors import SharedMemoryError

Tried = dict[str, "Counts"]
"""Action → how often it was given to one bank with one procedure."""

_ROW = struct.Struct(">BQIIH")
_COUNTS = struct.Struct(">IIQI")


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


class TriedActions:
    """The tried actions of one bank, by the number and the codes of their procedures."""

    def __init__(self) -> None:
        self._actions: dict[int, Tried] = {}
        self._numbers: dict[bytes, int] = {}
        self._codes: dict[int, bytes] = {}

    def __len__(self) -> int:
        return sum(len(actions) for actions in self._actions.values())

    def number(self, codes: npt.NDArray[np.uint16]) -> int | None:
        """The number of the procedure that has just these codes (n,)."""
        return self._numbers.get(codes.tobytes())

    def of(self, number: int) -> Tried:
        """What was tried with a procedure."""
        return self._actions.get(number, {})

    def add(self, numbers: npt.NDArray[np.int64], codes: npt.NDArray[np.uint16]) -> None:
        """New procedures (m,), (m, n)."""
        for number, each in zip(numbers.tolist(), codes, strict=True):
            self._codes[number] = key = each.tobytes()
            self._numbers[key] = number

    def count(self, rows: Iterator[TriedRow]) -> None:
        """Take in counts; those of unknown procedures are ignored."""
        for row in rows:
            if row.number not in self._codes:
                continue
            if row.counts.times:
                self._actions.setdefault(row.number, {})[row.action] = row.counts
            else:
                self._actions.get(row.number, {}).pop(row.action, None)

    def remove(self, numbers: npt.NDArray[np.int64]) -> None:
        """Forget procedures; unknown ones are ignored."""
        for number in numbers.tolist():
            self._actions.pop(number, None)
            codes = self._codes.pop(number, None)
            if codes is not None and self._numbers.get(codes) == number:
                del self._numbers[codes]


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


def held_rows(values: Iterator[bytes]) -> Iterator[TriedRow]:
    """The rows that a bank's counts hold; none of entries from before it kept actions."""
    for value in values:
        if len(value) <= 8:
            continue
        try:
            times, _, number, refused = _COUNTS.unpack_from(value)
            action = value[_COUNTS.size :].decode()
        except (struct.error, UnicodeDecodeError) as error:
            raise SharedMemoryError("an entry's counts are damaged; start a new run") from error
        yield TriedRow(number, action, Counts(times, refused))


def _text(payload: bytes, length: int) -> str:
    if len(payload) != length:
        raise struct.error("cut short")
    return payload.decode()
