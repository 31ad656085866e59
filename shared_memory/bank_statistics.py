"""What the banks hold: totals by the counters that every write keeps, and the entries."""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import redis

from shared_memory.codec import decode, pack_codes
from shared_memory.connection import call, call_all, members
from shared_memory.errors import SharedMemoryError
from shared_memory.keys import DomainKeys, RunKeys
from shared_memory.plain_values import text, whole
from shared_memory.records import SIGNS, BankEntry, Sign


@dataclass(frozen=True, slots=True)
class SignStatistics:
    """One bank (a domain's M+ or M-). submitted = admitted + duplicates; entries = admitted +
    imported - retired - merged."""

    domain: str
    sign: Sign
    entries: int
    unique: int  # distinct procedures (codes) among the entries
    submitted: int
    admitted: int
    duplicates: int
    retired: int
    bytes: int  # of records and procedures, without the server's own overhead
    imported: int = 0  # entries that came from a file, without an episode of this run
    reencoded: int = 0  # times that a newer book gave an entry other codes
    merged: int = 0  # of these, entries that became one with another


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
            imported=sum(bank.imported for bank in banks),
            reencoded=sum(bank.reencoded for bank in banks),
            merged=sum(bank.merged for bank in banks),
        )

    @property
    def finished(self) -> int:
        """Episodes counted."""
        return sum(domain.finished for domain in self.domains)


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
        counters = totals(next(replies))
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
    width = totals(call(client, "HGETALL", domain_keys.counters))["width"]
    for digest, record in members(client, keys.records):
        counts = call(client, "HGET", keys.counts, digest)
        if counts is None:
            raise SharedMemoryError(f"{sign} entry {digest.hex()} of {domain!r} has no counts")
        found = read_counts(counts, digest)
        yield digest, HeldEntry(stored_entry(record, width), found.times, found.version)


@dataclass(frozen=True, slots=True)
class EntryCounts:
    """An entry's counts as the bank keeps them. Entries from before the bank kept actions have
    neither number, refusals nor action."""

    times: int
    version: int
    number: int | None  # its procedure's
    refused: int
    action: str | None


def read_counts(value: bytes, digest: bytes) -> EntryCounts:
    """The counts that a bank keeps under an entry's digest; raises SharedMemoryError."""
    if len(value) == 8:
        times, version = unpacked(">II", value, digest)
        return EntryCounts(times, version, None, 0, None)
    times, version, number, refused = unpacked(">IIQI", value[:20], digest)
    try:
        return EntryCounts(times, version, number, refused, value[20:].decode())
    except UnicodeDecodeError as error:
        raise SharedMemoryError(f"entry {digest.hex()} has damaged counts: {error}") from error


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
        imported=counters[f"{sign}:imported"],
        reencoded=counters[f"{sign}:reencoded"],
        merged=counters[f"{sign}:merged"],
    )


def totals(reply: dict[bytes, bytes]) -> Counter[str]:
    """The ledger of a domain by name; what is not there is 0."""
    words = (b"epoch", b"retirement")
    return Counter(
        {
            text(name, "the name of a counter"): whole(value, "a bank's counter")
            for name, value in reply.items()
            if name not in words
        }
    )


def stored_entry(record: bytes, width: int) -> BankEntry:
    """The entry of a bank's record: its codes in `width` bytes, then the record itself."""
    entry = decode(BankEntry, record[width:])
    if pack_codes(entry.codes) != record[:width]:
        raise SharedMemoryError("the record does not start with its codes")
    return entry


def unpacked(layout: str, value: bytes, digest: bytes) -> tuple[int, ...]:
    """The numbers of a value of the bank's hashes; raises SharedMemoryError."""
    try:
        return struct.unpack(layout, value)
    except struct.error as error:
        raise SharedMemoryError(f"entry {digest.hex()} has damaged counts: {error}") from error
