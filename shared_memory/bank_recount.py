"""One bank read in full and recounted, for the closing account.

Kept of an entry are its key and last version, of a procedure its 24 bytes, of an origin how long it
is; segments and records are dropped as they are read.
"""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import redis

from shared_memory.bank_entry import (
    ENTRY,
    KEPT,
    PROCEDURE,
    ROW_HEAD,
    EntryValue,
    ProcedureValue,
    action_of,
    named,
    read_entry_value,
    read_procedure_value,
    row_place,
)
from shared_memory.bank_generations import BEYOND, GenerationCounts, PublishedBook
from shared_memory.bank_policy import policy_of
from shared_memory.bank_statistics import SignStatistics, totals
from shared_memory.codec import DIGEST_BYTES, codes_digest, decode, unpack_codes
from shared_memory.connection import call, scanned
from shared_memory.errors import SharedMemoryError
from shared_memory.keys import DomainKeys
from shared_memory.plain_values import whole
from shared_memory.records import EntryOrigin

_OLDEST_FIRST = 2**32
"""A place in the order of ages is the version times this, and then a running number."""
_ORIGINS_A_READ = 200
_HELD = np.dtype(
    [("number", ">u8"), ("entries", ">u4"), ("version", ">u4"), ("slot", ">u4"), ("solid", ">u4")]
)
"""`PROCEDURE`, for many at once."""


class BankRecount:
    """One bank: `problems` reads it, and then `generations` says what a book makes of it."""

    def __init__(
        self,
        client: redis.Redis,
        keys: DomainKeys,
        bank: SignStatistics,
        book: PublishedBook | None,
    ) -> None:
        self._client = client
        self._bank = bank
        self._book = book
        self._keys = keys.sign(bank.sign)
        counters = call(client, "HGETALL", keys.counters)
        self._totals = totals(counters)
        self._policy = policy_of(counters, keys.name)
        self._width = self._totals["width"]
        self._rows: dict[bytes, int] = {}  # digest of codes -> place in what follows
        self._held: npt.NDArray[np.void] = np.empty(0, dtype=_HELD)
        self._coded = bytearray()  # 1 where the row has the codes of the digest
        self._born: npt.NDArray[np.int64] = np.empty(0, dtype=np.int64)  # of the youngest code
        self._lengths: dict[bytes, int] = {}  # digest of an origin -> its tokens
        self._entries: dict[bytes, int] = {}  # key -> place in the versions
        self._versions = array("Q")
        self._used: Counter[bytes] = Counter()  # origins
        self._submissions = 0
        self._bytes = 0
        self.generations = GenerationCounts()

    def problems(self) -> Iterator[str]:
        """Everything that does not agree."""
        place = f"{self._bank.domain} {self._bank.sign}: "
        for read in (
            self._read_procedures,
            self._read_slots,
            self._read_free_slots,
            self._read_origins,
            self._read_entries,
            self._compare_origins,
            self._read_ages,
            self._read_order,
            self._compare_totals,
            self._compare_generations,
        ):
            for problem in read():
                yield place + problem

    def _read_procedures(self) -> Iterator[str]:
        values = bytearray()
        for digest, value in scanned(self._client, self._keys.procedures):
            if digest in self._rows:
                continue
            try:
                read_procedure_value(digest, value)
            except SharedMemoryError as error:
                yield str(error)
                continue
            self._rows[digest] = len(self._rows)
            values += value
        self._held = np.frombuffer(values, dtype=_HELD)
        self._coded = bytearray(len(self._rows))
        self._born = np.zeros(len(self._rows), dtype=np.int64)
        self._bytes += len(self._rows) * (
            DIGEST_BYTES + PROCEDURE.size + ROW_HEAD.size + self._width
        )
        numbers = self._held["number"][self._held["number"] > 0]
        if np.unique(numbers).size != numbers.size:
            yield "several procedures have the same number"

    def _procedure(self, row: int) -> ProcedureValue:
        return ProcedureValue(*self._held[row].item())

    def _read_slots(self) -> Iterator[str]:
        """Every procedure has a row of its own with its codes."""
        digests = list(self._rows)
        size = ROW_HEAD.size + self._width
        index, segment = -1, b""
        for row in np.argsort(self._held["slot"], kind="stable").tolist():
            held, digest = self._procedure(row), digests[row]
            at, first = row_place(held.slot, self._width)
            if at != index:
                index, segment = at, call(self._client, "GET", self._keys.segment(at)) or b""
            bytes_held = segment[first : first + size]
            head, codes = bytes_held[: ROW_HEAD.size], bytes_held[ROW_HEAD.size :]
            if head != ROW_HEAD.pack(held.number if held.solid else 0, held.version):
                yield f"procedure {digest.hex()} disagrees with its row"
            if codes_digest(codes) != digest:
                yield f"procedure {digest.hex()} does not have the codes of its digest"
                continue
            try:
                indices = unpack_codes(codes)
            except SharedMemoryError as error:
                yield f"procedure {digest.hex()}: {error}"
                continue
            self._coded[row] = 1
            if self._book is not None:
                self._born[row] = self._book.youngest(indices)

    def _read_free_slots(self) -> Iterator[str]:
        """Every slot is either free or one procedure's."""
        try:
            free = [
                whole(slot, "a free slot")
                for slot in call(self._client, "LRANGE", self._keys.free, 0, -1)
            ]
        except SharedMemoryError as error:
            yield str(error)
            return
        mine = self._held["slot"].astype(np.int64)
        slots = np.sort(np.concatenate([np.array(free, dtype=np.int64), mine]))
        if (
            slots.size != self._totals[f"{self._bank.sign}:slots"]
            or (slots != np.arange(slots.size)).any()
        ):
            yield "the slots are not each free or one procedure's"

    def _read_origins(self) -> Iterator[str]:
        for digest, record in scanned(self._client, self._keys.origins, count=_ORIGINS_A_READ):
            if digest in self._lengths:
                continue
            self._bytes += len(digest) + len(record)
            try:
                origin = decode(EntryOrigin, record)
            except SharedMemoryError as error:
                yield f"origin {digest.hex()}: {error}"
                continue
            self._lengths[digest] = len(origin.tokens)
            if origin.success != (self._bank.sign == "success") or (
                origin.domain != self._bank.domain
            ):
                yield f"origin {digest.hex()} belongs to another bank"

    def _read_entries(self) -> Iterator[str]:
        """Every entry has codes and an origin, and procedures agree with their entries."""
        entries, solid, latest = (np.zeros(len(self._rows), dtype=np.int64) for _ in range(3))
        least, all_solid = self._policy.solid_after, 0
        for key, value in scanned(self._client, self._keys.entries):
            if key in self._entries:
                continue
            self._bytes += len(key) + ENTRY.size
            try:
                entry = read_entry_value(key, value)
            except SharedMemoryError as error:
                yield str(error)
                continue
            self._entries[key] = len(self._versions)
            self._versions.append(entry.version)
            self._used[entry.origin] += 1
            self._submissions += entry.times
            all_solid += entry.times >= least
            row = self._rows.get(key[:DIGEST_BYTES])
            if row is not None:
                entries[row] += 1
                latest[row] = max(latest[row], entry.version)
                if entry.times >= least:
                    solid[row] += 1
                    if entry.number != int(self._held["number"][row]):
                        yield f"entry {named(key)} has another number than its procedure"
            yield from self._with_its_parts(key, entry, row)
        held = self._held
        wrong = (entries != held["entries"]) | (solid != held["solid"]) | (held["version"] < latest)
        if wrong.any():
            digests = list(self._rows)
            for row in np.flatnonzero(wrong).tolist():
                yield f"procedure {digests[row].hex()} disagrees with its entries"
        if all_solid != self._bank.solid:
            yield f"solid entries are {all_solid}, but should be {self._bank.solid}"

    def _with_its_parts(self, key: bytes, entry: EntryValue, row: int | None) -> Iterator[str]:
        tokens = self._lengths.get(entry.origin)
        if row is None or not self._coded[row] or tokens is None:
            what = "origin" if row is not None and self._coded[row] else "codes"
            yield f"entry {named(key)} has no {what}"
            return
        if entry.length and entry.start + entry.length > tokens:
            yield f"entry {named(key)} has a prompt beyond its origin's tokens"
        try:
            action_of(key)
        except SharedMemoryError as error:
            yield str(error)
        if self._book is not None:
            born = int(self._born[row])
            self.generations += GenerationCounts(
                outdated=entry.version < born < BEYOND,
                beyond=born == BEYOND,
                ahead=entry.version > self._book.version,
            )

    def _compare_origins(self) -> Iterator[str]:
        used = self._used
        kept = dict(scanned(self._client, self._keys.kept))
        self._bytes += KEPT.size * len(kept)
        wrong = used.keys() ^ kept.keys() | self._lengths.keys() ^ kept.keys()
        wrong |= {
            digest
            for digest, value in kept.items()
            if len(value) != KEPT.size or KEPT.unpack(value)[0] != used[digest]
        }
        if wrong:
            yield f"{len(wrong)} origins disagree with the entries that come from them"

    def _read_ages(self) -> Iterator[str]:
        filed = bytearray(len(self._entries))
        strays = 0
        for key, place in scanned(self._client, self._keys.ages, "ZSCAN"):
            at = self._entries.get(key)
            if at is None:
                strays += 1
                yield f"entry {named(key)} is filed under a wrong version"
            elif not filed[at]:
                filed[at] = 1
                if float(place) // _OLDEST_FIRST != self._versions[at]:
                    yield f"entry {named(key)} is filed under a wrong version"
        if strays + sum(filed) != self._bank.entries:
            yield (
                f"entries filed by version are {strays + sum(filed)}, but should be "
                f"{self._bank.entries}"
            )

    def _read_order(self) -> Iterator[str]:
        """Every entry stands in the order of what goes first, where that is not by age."""
        if self._policy.retirement == "oldest":
            return
        filed = bytearray(len(self._entries))
        strays = 0
        for key, _ in scanned(self._client, self._keys.order, "ZSCAN"):
            at = self._entries.get(key)
            if at is None:
                strays += 1
            else:
                filed[at] = 1
        wrong = strays + len(filed) - sum(filed)
        if wrong:
            yield f"{wrong} entries stand wrongly in the order of {self._policy.retirement}"

    def _compare_totals(self) -> Iterator[str]:
        bank = self._bank
        submissions = self._submissions + self._totals[f"{bank.sign}:retired_submissions"]
        given = bank.submitted + self._totals[f"{bank.sign}:imported_submissions"]
        for what, found, expected in (
            ("entries", len(self._entries), bank.entries),
            (
                "admitted + imported - retired - merged",
                bank.admitted + bank.imported - bank.retired - bank.merged,
                bank.entries,
            ),
            ("admitted + duplicates", bank.admitted + bank.duplicates, bank.submitted),
            ("submissions of all entries, retired too,", submissions, given),
            ("bytes", self._bytes, bank.bytes),
        ):
            if found != expected:
                yield f"{what} are {found}, but should be {expected}"

    def _compare_generations(self) -> Iterator[str]:
        """No entry can be of a book that is not out yet, but where a file's were taken in."""
        if self._book is None or self._totals[f"{self._bank.sign}:imported_submissions"]:
            return
        found = self.generations
        if found.beyond:
            yield (
                f"{found.beyond} entries have codes that the published book does not have (it has "
                f"{self._book.born.size})"
            )
        if found.ahead:
            yield (
                f"{found.ahead} entries were last seen with a version that is not published (the "
                f"latest is {self._book.version})"
            )
