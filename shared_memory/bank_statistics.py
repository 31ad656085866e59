"""What the banks hold: totals by the counters that every write keeps, and the entries."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import redis

from shared_memory.bank_entry import read_entries
from shared_memory.connection import call, call_all, members
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
    bytes: int  # of entries, procedures and origins, without the server's own overhead
    imported: int = 0  # entries that came from a file, without an episode of this run
    reencoded: int = 0  # times that a newer book gave an entry other codes
    merged: int = 0  # of these, entries that became one with another
    solid: int = 0  # entries that count in look-ups: submitted often enough


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
    dropped: int = 0  # finished episodes that were not written, since they came too late


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
            solid=sum(bank.solid for bank in banks),
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
            commands.append(("HLEN", domain_keys.sign(sign).entries))
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
                dropped=counters["dropped"],
            )
        )
    return BankStatistics(tuple(banks), tuple(ledgers))


def held_entries(
    client: redis.Redis, run: str, domain: str, sign: Sign
) -> Iterator[tuple[bytes, HeldEntry]]:
    """(key, entry) of everything in one bank, in no order; reads all of it."""
    keys = RunKeys(run).domain(domain)
    pairs = members(client, keys.sign(sign).entries)
    for read in read_entries(client, keys, sign, pairs, bank_width(client, keys)):
        yield read.key, HeldEntry(read.entry, read.value.times, read.value.version)


def bank_width(client: redis.Redis, keys: DomainKeys) -> int:
    """Bytes of a procedure's codes in a domain's banks; 0 where there is none yet."""
    return totals(call(client, "HGETALL", keys.counters))["width"]


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
        solid=counters[f"{sign}:solid"],
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
