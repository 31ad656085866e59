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
from shared_memory.book import Book, Codebatch, Integers
from shared_memory.codec import MAX_CODES
from shared_memory.connection import call, call_all, members
from shared_memory.errors import SharedMemoryError
from shared_memory.faiss_scan import require_faiss
from shared_memory.keys import DomainKeys, RunKeys
from shared_memory.lookup import Inquiry, Neighbours, Scanner, search
from shared_memory.records import SIGNS, Sign
from shared_memory.replica_bank import ReplicaBank
from shared_memory.tried import Counts, held_rows, logged_rows

_BATCHES_A_READ = 200
_RELOAD_ATTEMPTS = 5
_DAMAGED_LOG = "a batch of the bank's log is malformed: the log is damaged; start a new run"


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
        if config.lookup == "faiss":
            require_faiss()
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
        found = self.lookup_batch(
            [domain] * codes.shape[0],
            [sign],
            codes,
            code_vectors,
            mean,
            code_born,
            min_version,
            nearest,
            threshold,
        )
        return found[sign]

    def lookup_batch(
        self,
        domains: Sequence[str],
        signs: Sequence[Sign],
        codes: Codebatch,
        code_vectors: npt.NDArray[np.floating],
        mean: npt.NDArray[np.floating],
        code_born: npt.NDArray[np.integer],
        min_version: int,
        nearest: int,
        threshold: float,
    ) -> dict[Sign, list[Neighbours]]:
        """As `lookup`, for decisions of several domains (B,) and the banks of several signs."""
        for domain in dict.fromkeys(domains):
            self._followed(domain)
        if self._book is None or not self._book.is_same(code_vectors, mean, code_born):
            self._book = Book(code_vectors, mean, code_born)
        banks = {name: replica.banks for name, replica in self._domains.items()}
        return search_banks(
            banks,
            self._book,
            domains,
            signs,
            codes,
            min_version,
            nearest,
            threshold,
            self._config.lookup,
        )

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

    def held_bytes(self) -> int:
        """Bytes of memory that the banks' arrays take in this process."""
        return sum(
            bank.held_bytes for replica in self._domains.values() for bank in replica.banks.values()
        )

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


def search_banks(
    banks: Mapping[str, Mapping[Sign, ReplicaBank]],
    book: Book,
    domains: Sequence[str],
    signs: Sequence[Sign],
    codes: Codebatch,
    min_version: int,
    nearest: int,
    threshold: float,
    scanner: Scanner = "numpy",
) -> dict[Sign, list[Neighbours]]:
    """For each sign and decision (B, n) the nearest procedures of its own domain's bank."""
    names = np.asarray(domains)
    inquiries = [
        Inquiry(bank, np.flatnonzero(names == name), answer)
        for name in dict.fromkeys(domains)
        for answer, sign in enumerate(signs)
        if len(bank := banks[name][sign])
    ]
    for inquiry in inquiries:
        if inquiry.bank.rows.shape[1] != book.chunks:
            raise SharedMemoryError(
                f"the bank holds procedures of {inquiry.bank.rows.shape[1]} codes, but the book "
                f"has {book.chunks} chunks: they belong to different models"
            )
    found = search(book, codes, inquiries, len(signs), min_version, nearest, threshold, scanner)
    return dict(zip(signs, found, strict=True))


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
