"""An actor's copy of the banks, fed from the log, and the look-up in it.

`refresh` reads what the log has since last time; where it has been trimmed past that, or the
server lost its data, the replica reloads. `lookup` never touches the server. The replica holds
each procedure (distinct codes) once, with the last version that saw it, and, where they are asked
for, the actions that were tried with it. Not for several threads.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import redis

from configs.schema import BankConfig
from shared_memory.codec import MAX_CODES
from shared_memory.connection import call, call_all, members
from shared_memory.errors import SharedMemoryError
from shared_memory.keys import DomainKeys, RunKeys
from shared_memory.lookup import (
    Book,
    Codebatch,
    Floats,
    Integers,
    Neighbours,
    judge,
    nearest_procedures,
)
from shared_memory.records import SIGNS, Sign
from shared_memory.tried import Counts, TriedActions, held_rows, logged_rows

_BATCHES_A_READ = 200
_RELOAD_ATTEMPTS = 5
_DAMAGED_LOG = "a batch of the bank's log is malformed: the log is damaged; start a new run"


_NO_NUMBERS: Integers = np.empty(0, dtype=np.int64)


class ReplicaBank:
    """One bank's procedures as arrays, sorted by number; (codes, version) of each.

    With `actions`, also what was tried with each of them.
    """

    def __init__(self, actions: bool = False) -> None:
        self.tried = TriedActions() if actions else None
        self._numbers: Integers = np.empty(0, dtype=np.int64)
        self._versions: Integers = np.empty(0, dtype=np.int64)
        self._columns: Codebatch = np.empty((0, 0), dtype=np.uint16)  # (n, capacity)
        self._rows = 0
        # What the last book said of the first so many rows:
        self._book: Book | None = None
        self._born: Integers = _NO_NUMBERS
        self._inverse: Floats = np.empty(0, dtype=np.float32)

    def __len__(self) -> int:
        return self._rows

    @property
    def columns(self) -> Codebatch:
        """Procedures, one a column (n, N)."""
        return self._columns[:, : self._rows]

    @property
    def versions(self) -> Integers:
        """Last version that saw each procedure (N,)."""
        return self._versions[: self._rows]

    @property
    def numbers(self) -> Integers:
        """The procedures' numbers, rising (N,)."""
        return self._numbers[: self._rows]

    def add(self, numbers: Integers, versions: Integers, codes: Codebatch) -> None:
        """Take in procedures (m,), (m,), (m, n); known ones only have their version raised."""
        if not numbers.size:
            return
        if self._rows and codes.shape[1] != self._columns.shape[0]:
            raise SharedMemoryError(
                f"the log has procedures of {codes.shape[1]} codes among those of "
                f"{self._columns.shape[0]}: the bank is damaged; start a new run"
            )
        known = np.isin(numbers, self.numbers)
        self.touch(numbers[known], versions[known])
        numbers, first = np.unique(numbers[~known], return_index=True)
        versions, codes = versions[~known][first], codes[~known][first]
        if not numbers.size:
            return
        if self.tried is not None:
            self.tried.add(numbers, codes)
        if self._rows and numbers[0] < self._numbers[self._rows - 1]:
            order = np.argsort(np.concatenate([self.numbers, numbers]), kind="stable")
            self._replace(
                np.concatenate([self.numbers, numbers])[order],
                np.concatenate([self.versions, versions])[order],
                np.concatenate([self.columns, codes.T], axis=1)[:, order],
            )
            return
        self._reserve(self._rows + numbers.size, codes.shape[1])
        end = self._rows + numbers.size
        self._numbers[self._rows : end] = numbers
        self._versions[self._rows : end] = versions
        self._columns[:, self._rows : end] = codes.T
        self._rows = end

    def touch(self, numbers: Integers, versions: Integers) -> None:
        """Raise the last version of known procedures; unknown ones are ignored."""
        if not numbers.size or not self._rows:
            return
        places = np.minimum(np.searchsorted(self.numbers, numbers), self._rows - 1)
        known = self.numbers[places] == numbers
        np.maximum.at(self._versions, places[known], versions[known])

    def remove(self, numbers: Integers) -> None:
        """Forget procedures; unknown ones are ignored."""
        if self.tried is not None:
            self.tried.remove(numbers)
        if not numbers.size or not self._rows:
            return
        kept = ~np.isin(self.numbers, numbers)
        if not kept.all():
            self._replace(self.numbers[kept], self.versions[kept], self.columns[:, kept])

    def lookup(
        self, book: Book, queries: Codebatch, min_version: int, nearest: int, threshold: float
    ) -> list[Neighbours]:
        """The nearest valid procedures to each query (B, n)."""
        if self._rows and self._columns.shape[0] != book.chunks:
            raise SharedMemoryError(
                f"the bank holds procedures of {self._columns.shape[0]} codes, but the book has "
                f"{book.chunks} chunks: they belong to different models"
            )
        self._judge_new_rows(book)
        valid = (self.versions >= min_version) & (self._born <= self.versions)
        inverse: Floats = np.where(valid, self._inverse, np.float32(0.0))
        columns = self.columns if self._rows else np.empty((book.chunks, 0), dtype=np.uint16)
        return nearest_procedures(book, queries, columns, inverse, nearest, threshold)

    def tried_with(
        self, queries: Codebatch, code_born: Integers, min_version: int
    ) -> list[Mapping[str, Counts]]:
        """What was tried with just these procedures (B, n); nothing where one is not valid."""
        if self.tried is None:
            raise SharedMemoryError("this replica was not told to keep the actions of its banks")
        found: list[Mapping[str, Counts]] = []
        for codes in queries:
            number = self.tried.number(codes)
            if number is None:
                found.append({})
                continue
            version = self.versions[np.searchsorted(self.numbers, number)]
            born = code_born[codes].max(initial=0)
            valid = version >= min_version and born <= version
            found.append(self.tried.of(number) if valid else {})
        return found

    def _judge_new_rows(self, book: Book) -> None:
        if self._book is not book:
            self._born, self._inverse = _NO_NUMBERS, np.empty(0, dtype=np.float32)
            self._book = book
        judged = self._born.shape[0]
        if judged < self._rows:
            born, inverse = judge(book, self.columns[:, judged:].T)
            self._born = np.concatenate([self._born, born])
            self._inverse = np.concatenate([self._inverse, inverse])

    def _reserve(self, rows: int, chunks: int) -> None:
        capacity = self._numbers.shape[0]
        if rows <= capacity and self._columns.shape[0] == chunks:
            return
        capacity = max(rows, capacity + capacity // 2, 256)
        columns = np.zeros((chunks, capacity), dtype=np.uint16)
        if self._rows:
            columns[:, : self._rows] = self.columns
        self._columns = columns
        self._numbers = _grown(self.numbers, capacity)
        self._versions = _grown(self.versions, capacity)

    def _replace(self, numbers: Integers, versions: Integers, columns: Codebatch) -> None:
        self._numbers, self._versions, self._columns = numbers, versions, columns
        self._rows = int(numbers.shape[0])
        self._book = None


def _grown(values: Integers, capacity: int) -> Integers:
    grown = np.zeros(capacity, dtype=np.int64)
    grown[: values.shape[0]] = values
    return grown


@dataclass(slots=True)
class _DomainReplica:
    keys: DomainKeys
    banks: dict[Sign, ReplicaBank]
    position: int = 0  # number of the log's last batch that was applied
    epoch: bytes = b""


class BankReplica:
    """Copies of M+ and M- of some domains of a run.

    Call `refresh` between episodes (one round trip where nothing is new). With `actions` it
    keeps what was tried with each procedure, too.
    """

    def __init__(
        self,
        client: redis.Redis,
        run: str,
        domains: Sequence[str],
        config: BankConfig,
        actions: bool = False,
    ) -> None:
        self._client = client
        self._config = config
        self._actions = actions
        keys = RunKeys(run)
        self._domains = {
            domain: _DomainReplica(keys.domain(domain), self._empty()) for domain in domains
        }
        self._book: Book | None = None
        self.reloads = 0
        """How often a domain had to be read in full."""

    def refresh(self) -> int:
        """Follow the log of all domains; returns how many of its batches were applied.

        A reload counts as one. Raises SharedMemoryError where the server fails or the log is
        damaged.
        """
        applied = attempts = 0
        pending = list(self._domains.values())
        while pending:
            replies = call_all(
                self._client,
                [
                    command
                    for replica in pending
                    for command in (
                        ("HMGET", replica.keys.counters, "log", "epoch"),
                        (
                            "XRANGE",
                            replica.keys.log,
                            f"{replica.position + 1}-0",
                            "+",
                            "COUNT",
                            _BATCHES_A_READ,
                        ),
                    )
                ],
            )
            again: list[_DomainReplica] = []
            for replica, counters, batches in zip(pending, replies[::2], replies[1::2]):
                last, epoch = int(counters[0] or 0), counters[1] or b""
                same = epoch == replica.epoch and last >= replica.position
                if same and self._apply(replica, batches, last):
                    applied += len(batches)
                    if len(batches) == _BATCHES_A_READ:
                        again.append(replica)
                    continue
                attempts += 1
                if attempts > _RELOAD_ATTEMPTS * len(self._domains):
                    raise SharedMemoryError(
                        f"the bank of {replica.keys.name!r} changes faster than this replica can "
                        "read it: fewer actors, or a faster server, are needed"
                    )
                self._reload(replica)
                applied += 1
                again.append(replica)
            pending = again
        return applied

    def lookup(
        self,
        domain: str,
        sign: Sign,
        codes: Codebatch,
        code_vectors: npt.NDArray[np.floating],
        mean: npt.NDArray[np.floating],
        code_born: npt.NDArray[np.integer],
        min_version: int,
        nearest: int,
        threshold: float,
    ) -> list[Neighbours]:
        """The nearest procedures of one bank to each decision's.

        codes (B, n) uint16, the decisions' procedures; code_vectors (K, d); mean (n, d), the
        running mean of procedures; code_born (K,), the version at which a code last changed its
        meaning. A procedure counts where its last version is at least `min_version` and none of
        its codes was born after it. Similarity is cos(R - mean, P - mean), exact; at most
        `nearest` with similarity >= `threshold` are returned for each decision, best first.
        """
        replica = self._followed(domain)
        if self._book is None or not self._book.is_same(code_vectors, mean, code_born):
            self._book = Book(code_vectors, mean, code_born)
        return replica.banks[sign].lookup(self._book, codes, min_version, nearest, threshold)

    def tried(
        self,
        domain: str,
        sign: Sign,
        codes: Codebatch,
        code_born: npt.NDArray[np.integer],
        min_version: int,
    ) -> list[Mapping[str, Counts]]:
        """Of one bank, what was tried with each of the procedures `codes` (B, n), and how often.

        The very same codes only; validity as in `lookup`.
        """
        bank = self._followed(domain).banks[sign]
        return bank.tried_with(codes, code_born.astype(np.int64), min_version)

    def _followed(self, domain: str) -> _DomainReplica:
        replica = self._domains.get(domain)
        if replica is None:
            raise SharedMemoryError(
                f"this replica does not follow the domain {domain!r} but {sorted(self._domains)}"
            )
        return replica

    def _empty(self) -> dict[Sign, ReplicaBank]:
        return {sign: ReplicaBank(self._actions) for sign in SIGNS}

    def sizes(self) -> dict[tuple[str, Sign], int]:
        """Procedures held of each domain and sign."""
        return {
            (domain, sign): len(replica.banks[sign])
            for domain, replica in self._domains.items()
            for sign in SIGNS
        }

    def position(self, domain: str) -> int:
        """Number of the last batch of the domain's log that was applied."""
        return self._domains[domain].position

    def _apply(
        self, replica: _DomainReplica, batches: list[tuple[bytes, dict[bytes, bytes]]], last: int
    ) -> bool:
        """Apply batches in order; False where one is missing."""
        for name, fields in batches:
            number = int(name.partition(b"-")[0])
            if number != replica.position + 1:
                return False
            try:
                width = int(fields[b"w"])
                added, touched, retired = fields[b"a"], fields[b"t"], fields[b"r"]
            except (KeyError, ValueError) as error:
                raise SharedMemoryError(_DAMAGED_LOG) from error
            for sign, bank in replica.banks.items():
                code = SIGNS.index(sign)
                bank.add(*_added_rows(added, width, code))
                bank.touch(*_touched_rows(touched, code))
                if bank.tried is not None:
                    bank.tried.count(logged_rows(fields.get(b"o", b""), code))
                bank.remove(_retired_rows(retired, code))
            replica.position = number
        return bool(batches) or replica.position == last

    def _reload(self, replica: _DomainReplica) -> None:
        """Read both banks in full. Batches written meanwhile are applied again: no effect."""
        self.reloads += 1
        last, epoch = call(self._client, "HMGET", replica.keys.counters, "log", "epoch")
        banks = self._empty()
        for sign, bank in banks.items():
            keys = replica.keys.sign(sign)
            bank.add(*_scanned(self._client, keys.procedures))
            if bank.tried is not None:
                counts = members(self._client, keys.counts)
                bank.tried.count(held_rows(value for _, value in counts))
        replica.banks = banks
        replica.position = int(last or 0)
        replica.epoch = epoch or b""


def _scanned(client: redis.Redis, key: str) -> tuple[Integers, Integers, Codebatch]:
    """Numbers (N,), versions (N,) and codes (N, n) of all procedures of a bank."""
    held_members = dict(members(client, key))
    codes, values = list(held_members.keys()), list(held_members.values())
    layout = np.dtype([("number", ">u8"), ("entries", ">u4"), ("version", ">u4")])
    widths = {len(one) for one in codes}
    if (
        any(len(value) != layout.itemsize for value in values)
        or len(widths) > 1
        or any(width % 2 for width in widths)
    ):
        raise SharedMemoryError(f"the bank at {key} is damaged; start a new run")
    held = np.frombuffer(b"".join(values), dtype=layout)
    return (
        held["number"].astype(np.int64),
        held["version"].astype(np.int64),
        _codes_of(b"".join(codes), len(codes)),
    )


def _codes_of(payload: bytes, rows: int) -> Codebatch:
    codes = np.frombuffer(payload, dtype=">u2").astype(np.uint16)
    return codes.reshape(rows, codes.size // rows if rows else 0)


_TOUCHED_FIELDS = [("sign", "u1"), ("number", ">u8"), ("version", ">u4")]


def _rows(payload: bytes, layout: np.dtype[np.void], code: int) -> npt.NDArray[np.void]:
    if len(payload) % layout.itemsize:
        raise SharedMemoryError(_DAMAGED_LOG)
    rows = np.frombuffer(payload, dtype=layout)
    chosen: npt.NDArray[np.void] = rows[rows["sign"] == code]
    return chosen


def _added_rows(payload: bytes, width: int, code: int) -> tuple[Integers, Integers, Codebatch]:
    if not 0 <= width <= 2 * MAX_CODES or width % 2:
        raise SharedMemoryError(_DAMAGED_LOG)
    layout = np.dtype([*_TOUCHED_FIELDS, ("codes", ">u2", (width // 2,))])
    rows = _rows(payload, layout, code)
    return (
        rows["number"].astype(np.int64),
        rows["version"].astype(np.int64),
        rows["codes"].astype(np.uint16),
    )


def _touched_rows(payload: bytes, code: int) -> tuple[Integers, Integers]:
    rows = _rows(payload, np.dtype(_TOUCHED_FIELDS), code)
    return rows["number"].astype(np.int64), rows["version"].astype(np.int64)


def _retired_rows(payload: bytes, code: int) -> Integers:
    return _rows(payload, np.dtype(_TOUCHED_FIELDS[:2]), code)["number"].astype(np.int64)
