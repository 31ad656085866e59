"""What the banks hold: totals by counters, and the closing account that re-reads everything.

`read_statistics` reads the counters that every write keeps. `verify` trusts none of them: it
re-reads each entry, checks its digest, counts and version, recounts, and names every difference.
"""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import redis

from shared_memory.codec import decode, entry_digest, pack_codes
from shared_memory.connection import call, call_all
from shared_memory.errors import SharedMemoryError
from shared_memory.keys import DomainKeys, RunKeys
from shared_memory.records import SIGNS, BankEntry, Sign

_SCAN = 1000
_MOST_PROBLEMS = 20


@dataclass(frozen=True, slots=True)
class SignStatistics:
    """One bank (a domain's M+ or M-). submitted = admitted + duplicates; entries = admitted -
    retired."""

    domain: str
    sign: Sign
    entries: int
    unique: int  # distinct procedures (codes) among the entries
    submitted: int
    admitted: int
    duplicates: int
    retired: int
    bytes: int  # of records and procedures, without the server's own overhead


@dataclass(frozen=True, slots=True)
class DomainStatistics:
    """The ledger of one domain."""

    domain: str
    finished: int
    succeeded: int
    doubled: int  # episodes that came again, without effect
    requested: int  # tasks for which a plan was asked
    outcomes: int  # events written for the driver
    traces: int  # traces put in the learner's queue with their plan request


@dataclass(frozen=True, slots=True)
class BankStatistics:
    """All banks of a run."""

    banks: tuple[SignStatistics, ...]
    domains: tuple[DomainStatistics, ...]

    def total(self, sign: Sign) -> SignStatistics:
        """M+ or M- summed over the domains (its `domain` is "")."""
        banks = [bank for bank in self.banks if bank.sign == sign]
        return SignStatistics(
            domain="",
            sign=sign,
            entries=sum(bank.entries for bank in banks),
            unique=sum(bank.unique for bank in banks),
            submitted=sum(bank.submitted for bank in banks),
            admitted=sum(bank.admitted for bank in banks),
            duplicates=sum(bank.duplicates for bank in banks),
            retired=sum(bank.retired for bank in banks),
            bytes=sum(bank.bytes for bank in banks),
        )

    @property
    def finished(self) -> int:
        """Episodes counted."""
        return sum(domain.finished for domain in self.domains)


@dataclass(frozen=True, slots=True)
class BankVerification:
    """What re-reading all banks found. `problems` is empty where everything agrees."""

    statistics: BankStatistics
    problems: tuple[str, ...]

    @property
    def closed(self) -> bool:
        """Whether the account closes."""
        return not self.problems


@dataclass(frozen=True, slots=True)
class HeldEntry:
    """An entry as the bank holds it: the record, how often it was submitted, when last seen."""

    entry: BankEntry
    times: int
    last_version: int


def read_statistics(client: redis.Redis, run: str, domains: tuple[str, ...]) -> BankStatistics:
    """The totals of these domains, from the counters. One round trip."""
    keys = [RunKeys(run).domain(domain) for domain in domains]
    commands: list[tuple[str, str]] = []
    for domain_keys in keys:
        commands.append(("HGETALL", domain_keys.counters))
        for sign in SIGNS:
            commands.append(("HLEN", domain_keys.sign(sign).counts))
            commands.append(("HLEN", domain_keys.sign(sign).procedures))
    replies = iter(call_all(client, commands))
    banks: list[SignStatistics] = []
    ledgers: list[DomainStatistics] = []
    for domain_keys in keys:
        counters = _counters(next(replies))
        for sign in SIGNS:
            banks.append(
                _sign_statistics(domain_keys, sign, counters, next(replies), next(replies))
            )
        ledgers.append(
            DomainStatistics(
                domain=domain_keys.name,
                finished=counters["finished"],
                succeeded=counters["succeeded"],
                doubled=counters["doubled"],
                requested=counters["requested"],
                outcomes=counters["outcomes"],
                traces=counters["traces"],
            )
        )
    return BankStatistics(tuple(banks), tuple(ledgers))


def held_entries(
    client: redis.Redis, run: str, domain: str, sign: Sign
) -> Iterator[tuple[bytes, HeldEntry]]:
    """(digest, entry) of everything in one bank, in no order; reads all of it."""
    domain_keys = RunKeys(run).domain(domain)
    keys = domain_keys.sign(sign)
    width = _counters(call(client, "HGETALL", domain_keys.counters))["width"]
    for digest, record in _scan(client, keys.records):
        counts = call(client, "HGET", keys.counts, digest)
        if counts is None:
            raise SharedMemoryError(f"{sign} entry {digest.hex()} of {domain!r} has no counts")
        times, version = _unpacked(">II", counts, digest)
        yield digest, HeldEntry(_entry(record, width), times, version)


def verify(client: redis.Redis, run: str, domains: tuple[str, ...]) -> BankVerification:
    """Re-read all banks and say what they hold and what does not agree.

    Meant for the end of a run: while actors still write, differences are to be expected.
    """
    problems: list[str] = []
    statistics = read_statistics(client, run, domains)
    for bank in statistics.banks:
        keys = RunKeys(run).domain(bank.domain)
        problems.extend(_verify_bank(client, keys, bank))
    for ledger in statistics.domains:
        keys = RunKeys(run).domain(ledger.domain)
        counted = int(call(client, "BITCOUNT", keys.episodes))
        if counted != ledger.finished:
            problems.append(
                f"{ledger.domain}: {counted} episode numbers are marked, but "
                f"{ledger.finished} episodes counted"
            )
    return BankVerification(statistics, tuple(problems[:_MOST_PROBLEMS]))


def _verify_bank(client: redis.Redis, keys: DomainKeys, bank: SignStatistics) -> Iterator[str]:
    place = f"{bank.domain} {bank.sign}"
    sign_keys = keys.sign(bank.sign)
    counters = _counters(call(client, "HGETALL", keys.counters))
    width = counters["width"]
    counts: dict[bytes, tuple[int, int]] = {}
    for digest, value in _scan(client, sign_keys.counts):
        times, version = _unpacked(">II", value, digest)
        counts[digest] = (times, version)
    by_codes: Counter[bytes] = Counter()
    latest: dict[bytes, int] = {}
    held_bytes = 0
    records = 0
    for digest, record in _scan(client, sign_keys.records):
        records += 1
        held_bytes += len(record)
        try:
            entry = _entry(record, width)
        except SharedMemoryError as error:
            yield f"{place}: entry {digest.hex()}: {error}"
            continue
        codes = record[:width]
        if entry_digest(codes, entry.action) != digest:
            yield f"{place}: entry {digest.hex()} does not have the content of its digest"
        if entry.success != (bank.sign == "success") or entry.domain != bank.domain:
            yield f"{place}: entry {digest.hex()} belongs to another bank"
        if digest not in counts:
            yield f"{place}: entry {digest.hex()} has no counts"
            continue
        by_codes[codes] += 1
        latest[codes] = max(latest.get(codes, 0), counts[digest][1])
    for codes, value in _scan(client, sign_keys.procedures):
        held_bytes += len(codes)
        _, entries, version = _unpacked(">QII", value, codes)
        if entries != by_codes.pop(codes, 0) or version != latest.get(codes):
            yield f"{place}: procedure {codes.hex()} disagrees with its entries"
    if by_codes:
        yield f"{place}: {len(by_codes)} procedures of entries are missing"
    for digest, score in _scan(client, sign_keys.ages, "ZSCAN"):
        if digest not in counts or counts[digest][1] != int(float(score)):
            yield f"{place}: entry {digest.hex()} is filed under a wrong version"
    times_submitted = sum(times for times, _ in counts.values())
    times_submitted += counters[f"{bank.sign}:retired_submissions"]
    ages = int(call(client, "ZCARD", sign_keys.ages))
    for found, expected, what in (
        (len(counts), bank.entries, "entries with counts"),
        (records, bank.entries, "entries with records"),
        (ages, bank.entries, "entries filed by version"),
        (bank.admitted - bank.retired, bank.entries, "admitted - retired"),
        (bank.admitted + bank.duplicates, bank.submitted, "admitted + duplicates"),
        (times_submitted, bank.submitted, "submissions of entries, retired ones included"),
        (held_bytes, bank.bytes, "bytes"),
    ):
        if found != expected:
            yield f"{place}: {what} are {found}, but should be {expected}"


def _sign_statistics(
    keys: DomainKeys, sign: Sign, counters: Counter[str], entries: int, unique: int
) -> SignStatistics:
    return SignStatistics(
        domain=keys.name,
        sign=sign,
        entries=int(entries),
        unique=int(unique),
        submitted=counters[f"{sign}:submitted"],
        admitted=counters[f"{sign}:admitted"],
        duplicates=counters[f"{sign}:duplicates"],
        retired=counters[f"{sign}:retired"],
        bytes=counters[f"{sign}:bytes"],
    )


def _counters(reply: dict[bytes, bytes]) -> Counter[str]:
    return Counter({name.decode(): int(value) for name, value in reply.items() if name != b"epoch"})


def _scan(client: redis.Redis, key: str, command: str = "HSCAN") -> Iterator[tuple[bytes, bytes]]:
    """All members of a hash or sorted set, each once."""
    seen: set[bytes] = set()
    cursor: int | bytes = 0
    while True:
        cursor, members = call(client, command, key, cursor, "COUNT", _SCAN)
        for member, value in members.items() if isinstance(members, dict) else members:
            if member not in seen:
                seen.add(member)
                yield member, value
        if int(cursor) == 0:
            return


def _entry(record: bytes, width: int) -> BankEntry:
    """The entry of a bank's record: its codes in `width` bytes, then the record itself."""
    entry = decode(BankEntry, record[width:])
    if pack_codes(entry.codes) != record[:width]:
        raise SharedMemoryError("the record does not start with its codes")
    return entry


def _unpacked(layout: str, value: bytes, digest: bytes) -> tuple[int, ...]:
    try:
        return struct.unpack(layout, value)
    except struct.error as error:
        raise SharedMemoryError(f"entry {digest.hex()} has damaged counts: {error}") from error
