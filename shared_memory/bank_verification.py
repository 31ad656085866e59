"""The closing account: re-read all banks and compare with what was counted.

No counter is trusted: each entry is read again, its digest, counts and version are checked, all
is recounted, and every difference is named. Meant for the end of a run; while actors still
write, differences are to be expected.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import redis

from shared_memory.bank_statistics import (
    BankStatistics,
    SignStatistics,
    read_counts,
    read_statistics,
    stored_entry,
    totals,
    unpacked,
)
from shared_memory.codec import entry_digest
from shared_memory.connection import call, members
from shared_memory.errors import SharedMemoryError
from shared_memory.keys import DomainKeys, RunKeys, SignKeys

_MOST_PROBLEMS = 20


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
        self._keys: SignKeys = keys.sign(bank.sign)
        counters = call(client, "HGETALL", keys.counters)
        self._totals = totals(counters)
        self._policy = counters.get(b"retirement", b"oldest").decode()
        self._counts: dict[bytes, tuple[int, int]] = {}  # digest -> (times, last version)
        self._entries: Counter[bytes] = Counter()  # codes -> entries
        self._latest: dict[bytes, int] = {}  # codes -> last version
        self._records = 0
        self._bytes = 0

    def problems(self) -> Iterator[str]:
        """Everything that does not agree."""
        place = f"{self._bank.domain} {self._bank.sign}: "
        for read in (
            self._read_counts,
            self._read_records,
            self._read_procedures,
            self._read_ages,
            self._read_order,
            self._compare_totals,
        ):
            for problem in read():
                yield place + problem

    def _read_counts(self) -> Iterator[str]:
        for digest, value in members(self._client, self._keys.counts):
            try:
                counts = read_counts(value, digest)
            except SharedMemoryError as error:
                yield str(error)
                continue
            self._counts[digest] = (counts.times, counts.version)

    def _read_records(self) -> Iterator[str]:
        width = self._totals["width"]
        for digest, record in members(self._client, self._keys.records):
            self._records += 1
            self._bytes += len(record)
            codes = record[:width]
            try:
                entry = stored_entry(record, width)
            except SharedMemoryError as error:
                yield f"entry {digest.hex()}: {error}"
                continue
            if entry_digest(codes, entry.action) != digest:
                yield f"entry {digest.hex()} does not have the content of its digest"
            if entry.success != (self._bank.sign == "success") or (
                entry.domain != self._bank.domain
            ):
                yield f"entry {digest.hex()} belongs to another bank"
            if digest not in self._counts:
                yield f"entry {digest.hex()} has no counts"
                continue
            self._entries[codes] += 1
            self._latest[codes] = max(self._latest.get(codes, 0), self._counts[digest][1])

    def _read_procedures(self) -> Iterator[str]:
        missing = set(self._entries)
        for codes, value in members(self._client, self._keys.procedures):
            self._bytes += len(codes)
            missing.discard(codes)
            try:
                _, entries, version = unpacked(">QII", value, codes)
            except SharedMemoryError as error:
                yield str(error)
                continue
            if entries != self._entries[codes] or version < self._latest.get(codes, 0):
                yield f"procedure {codes.hex()} disagrees with its entries"
        if missing:
            yield f"{len(missing)} procedures of entries are missing"

    def _read_ages(self) -> Iterator[str]:
        for digest, version in members(self._client, self._keys.ages, "ZSCAN"):
            if digest not in self._counts or self._counts[digest][1] != int(float(version)):
                yield f"entry {digest.hex()} is filed under a wrong version"

    def _read_order(self) -> Iterator[str]:
        """Every entry stands in the order of what goes first, where that is not by age."""
        filed = {digest for digest, _ in members(self._client, self._keys.order, "ZSCAN")}
        wrong = len(filed ^ set(self._counts)) if self._policy != "oldest" else 0
        if wrong:
            yield f"{wrong} entries stand wrongly in the order of {self._policy}"

    def _compare_totals(self) -> Iterator[str]:
        bank = self._bank
        submissions = sum(times for times, _ in self._counts.values())
        submissions += self._totals[f"{bank.sign}:retired_submissions"]
        given = bank.submitted + self._totals[f"{bank.sign}:imported_submissions"]
        for what, found, expected in (
            ("entries with counts", len(self._counts), bank.entries),
            ("entries with records", self._records, bank.entries),
            ("entries filed by version", self._filed(), bank.entries),
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

    def _filed(self) -> int:
        return int(call(self._client, "ZCARD", self._keys.ages))
