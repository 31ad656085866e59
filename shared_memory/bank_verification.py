"""The closing account: re-read all banks and compare with what was counted.

No counter is trusted: each entry is read again with its codes and its origin, digests, counts and
versions are checked, all is recounted, and every difference is named. Meant for the end of a run;
while actors still write, differences are to be expected.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import redis

from shared_memory.bank_entry import (
    ENTRY,
    KEPT,
    PROCEDURE,
    ROW_HEAD,
    EntryValue,
    ProcedureValue,
    assembled,
    named,
    read_entry_value,
    read_procedure_value,
    row_place,
)
from shared_memory.bank_statistics import BankStatistics, SignStatistics, read_statistics, totals
from shared_memory.codec import DIGEST_BYTES, codes_digest, decode
from shared_memory.connection import call, members
from shared_memory.errors import SharedMemoryError
from shared_memory.keys import DomainKeys, RunKeys
from shared_memory.plain_values import text
from shared_memory.records import EntryOrigin

_MOST_PROBLEMS = 20
_OLDEST_FIRST = 2**32
"""A place in the order of ages is the version times this, and then a running number."""


@dataclass(frozen=True, slots=True)
class BankVerification:
    """What re-reading all banks found. `problems` (at most 20) is empty where all agrees."""

    statistics: BankStatistics
    problems: tuple[str, ...]

    @property
    def closed(self) -> bool:
        """Whether the account closes."""
        return not self.problems


def verify(client: redis.Redis, run: str, domains: tuple[str, ...]) -> BankVerification:
    """Re-read the banks of these domains and say what they hold and what does not agree."""
    statistics = read_statistics(client, run, domains)
    problems: list[str] = []
    for bank in statistics.banks:
        problems.extend(_BankReading(client, RunKeys(run).domain(bank.domain), bank).problems())
    for ledger in statistics.domains:
        keys = RunKeys(run).domain(ledger.domain)
        marked = int(call(client, "BITCOUNT", keys.episodes))
        if marked != ledger.finished:
            problems.append(
                f"{ledger.domain}: {marked} episode numbers are marked, but {ledger.finished} "
                "episodes counted"
            )
    return BankVerification(statistics, tuple(problems[:_MOST_PROBLEMS]))


class _BankReading:
    """One bank, read in full."""

    def __init__(self, client: redis.Redis, keys: DomainKeys, bank: SignStatistics) -> None:
        self._client = client
        self._bank = bank
        self._keys = keys.sign(bank.sign)
        counters = call(client, "HGETALL", keys.counters)
        self._totals = totals(counters)
        self._policy = text(counters.get(b"retirement", b"oldest"), "the bank's retirement")
        self._width = self._totals["width"]
        self._codes: dict[bytes, bytes] = {}  # digest -> codes
        self._procedures: dict[bytes, ProcedureValue] = {}
        self._origins: dict[bytes, EntryOrigin] = {}
        self._entries: dict[bytes, EntryValue] = {}
        self._bytes = 0

    def problems(self) -> Iterator[str]:
        """Everything that does not agree."""
        place = f"{self._bank.domain} {self._bank.sign}: "
        for read in (
            self._read_procedures,
            self._read_slots,
            self._read_origins,
            self._read_entries,
            self._compare_procedures,
            self._compare_origins,
            self._read_ages,
            self._read_order,
            self._compare_totals,
        ):
            for problem in read():
                yield place + problem

    def _read_procedures(self) -> Iterator[str]:
        for digest, value in members(self._client, self._keys.procedures):
            try:
                self._procedures[digest] = read_procedure_value(digest, value)
            except SharedMemoryError as error:
                yield str(error)

    def _read_slots(self) -> Iterator[str]:
        """Every procedure has a row of its own with its codes; all other slots are free."""
        segments: dict[int, bytes] = {}
        size = ROW_HEAD.size + self._width
        for digest, held in self._procedures.items():
            index, first = row_place(held.slot, self._width)
            if index not in segments:
                segments[index] = call(self._client, "GET", self._keys.segment(index)) or b""
            row = segments[index][first : first + size]
            head, codes = row[: ROW_HEAD.size], row[ROW_HEAD.size :]
            if head != ROW_HEAD.pack(held.number if held.solid else 0, held.version):
                yield f"procedure {digest.hex()} disagrees with its row"
            if codes_digest(codes) != digest:
                yield f"procedure {digest.hex()} does not have the codes of its digest"
                continue
            self._codes[digest] = codes
        free = [int(slot) for slot in call(self._client, "LRANGE", self._keys.free, 0, -1)]
        taken = sorted([*free, *(held.slot for held in self._procedures.values())])
        if taken != [*range(self._totals[f"{self._bank.sign}:slots"])]:
            yield "the slots are not each free or one procedure's"
        numbers = [held.number for held in self._procedures.values() if held.number]
        if len(set(numbers)) != len(numbers):
            yield "several procedures have the same number"

    def _read_origins(self) -> Iterator[str]:
        for digest, record in members(self._client, self._keys.origins):
            self._bytes += len(digest) + len(record)
            try:
                origin = decode(EntryOrigin, record)
            except SharedMemoryError as error:
                yield f"origin {digest.hex()}: {error}"
                continue
            self._origins[digest] = origin
            if origin.success != (self._bank.sign == "success") or (
                origin.domain != self._bank.domain
            ):
                yield f"origin {digest.hex()} belongs to another bank"

    def _read_entries(self) -> Iterator[str]:
        for key, value in members(self._client, self._keys.entries):
            self._bytes += len(key) + ENTRY.size
            try:
                entry = self._entries[key] = read_entry_value(key, value)
            except SharedMemoryError as error:
                yield str(error)
                continue
            codes = self._codes.get(key[:DIGEST_BYTES])
            origin = self._origins.get(entry.origin)
            if codes is None or origin is None:
                yield f"entry {named(key)} has no {'codes' if codes is None else 'origin'}"
                continue
            try:
                assembled(key, entry, origin, codes)
            except SharedMemoryError as error:
                yield str(error)

    def _compare_procedures(self) -> Iterator[str]:
        entries, solid, latest = Counter[bytes](), Counter[bytes](), Counter[bytes]()
        least = max(1, self._totals["solid_after"])
        for key, entry in self._entries.items():
            digest = key[:DIGEST_BYTES]
            entries[digest] += 1
            latest[digest] = max(latest[digest], entry.version)
            if entry.times >= least:
                solid[digest] += 1
                held = self._procedures.get(digest)
                if held is not None and entry.number != held.number:
                    yield f"entry {named(key)} has another number than its procedure"
        for digest, held in self._procedures.items():
            self._bytes += DIGEST_BYTES + PROCEDURE.size + ROW_HEAD.size + self._width
            found = entries[digest], solid[digest]
            if found != (held.entries, held.solid) or held.version < latest[digest]:
                yield f"procedure {digest.hex()} disagrees with its entries"
        if sum(solid.values()) != self._bank.solid:
            yield f"solid entries are {sum(solid.values())}, but should be {self._bank.solid}"

    def _compare_origins(self) -> Iterator[str]:
        used = Counter(entry.origin for entry in self._entries.values())
        kept = dict(members(self._client, self._keys.kept))
        self._bytes += KEPT.size * len(kept)
        wrong = used.keys() ^ kept.keys() | self._origins.keys() ^ kept.keys()
        wrong |= {
            digest
            for digest, value in kept.items()
            if len(value) != KEPT.size or KEPT.unpack(value)[0] != used[digest]
        }
        if wrong:
            yield f"{len(wrong)} origins disagree with the entries that come from them"

    def _read_ages(self) -> Iterator[str]:
        filed = 0
        for key, place in members(self._client, self._keys.ages, "ZSCAN"):
            filed += 1
            held = self._entries.get(key)
            if held is None or held.version != int(float(place)) // _OLDEST_FIRST:
                yield f"entry {named(key)} is filed under a wrong version"
        if filed != self._bank.entries:
            yield f"entries filed by version are {filed}, but should be {self._bank.entries}"

    def _read_order(self) -> Iterator[str]:
        """Every entry stands in the order of what goes first, where that is not by age."""
        filed = {key for key, _ in members(self._client, self._keys.order, "ZSCAN")}
        wrong = len(filed ^ self._entries.keys()) if self._policy != "oldest" else 0
        if wrong:
            yield f"{wrong} entries stand wrongly in the order of {self._policy}"

    def _compare_totals(self) -> Iterator[str]:
        bank = self._bank
        submissions = sum(entry.times for entry in self._entries.values())
        submissions += self._totals[f"{bank.sign}:retired_submissions"]
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
