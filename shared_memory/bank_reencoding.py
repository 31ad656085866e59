"""Entries follow the book: what a newer version makes of the prompts that entries were made from.

An entry keeps the prompt tokens of its decision. Encoded again by a newer version, they give the
codes that mean the same in the newer book: the entry moves there with its counts, or becomes one
with the entry that is there already (whose counts it takes over, though that one's prompt might
have moved on); where the codes are the same, it counts as seen with that version. Each batch is
one step of the server, and may be repeated. Entries of a version may only be written once it is
published, so that whoever sees them can fetch it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import redis

from configs.schema import BankConfig
from shared_memory.bank import refuse_unfit, step_arguments, step_keys
from shared_memory.bank_entry import read_entries
from shared_memory.bank_scripts import REENCODE
from shared_memory.bank_statistics import bank_width
from shared_memory.codec import entry_key, pack_codes
from shared_memory.connection import call, push_back
from shared_memory.keys import RunKeys
from shared_memory.records import SIGNS, BankEntry, Codes, Sign


@dataclass(frozen=True, slots=True)
class StaleEntry:
    """An entry that was not seen with the newest version yet."""

    domain: str
    sign: Sign
    key: bytes
    entry: BankEntry


@dataclass(frozen=True, slots=True)
class Reencoded:
    """What became of entries; the rest were gone, or seen with the version meanwhile."""

    same: int = 0
    moved: int = 0
    merged: int = 0  # of those that moved

    def __add__(self, other: Reencoded) -> Reencoded:
        return Reencoded(
            self.same + other.same, self.moved + other.moved, self.merged + other.merged
        )


class BankReencoding:
    """Finds and moves the entries of a run that a newer book version has not seen."""

    def __init__(
        self, client: redis.Redis, run: str, config: BankConfig, *, deadline_s: float = 10.0
    ) -> None:
        self._client = client
        self._keys = RunKeys(run)
        self._config = config
        self._deadline_s = deadline_s

    def stale(
        self, domain: str, sign: Sign, version: int, count: int, skip: int = 0
    ) -> list[StaleEntry]:
        """At most `count` entries of a bank that were last seen before `version`, longest ago
        first, without the first `skip`."""
        keys = self._keys.domain(domain)
        held = keys.sign(sign)
        names = call(
            self._client,
            *("ZRANGEBYSCORE", held.ages, "-inf", f"({version * 2**32}"),
            *("LIMIT", skip, count),
        )
        if not names:
            return []
        values = call(self._client, "HMGET", held.entries, *names)
        pairs = [pair for pair in zip(names, values, strict=True) if pair[1] is not None]
        width = bank_width(self._client, keys)
        return [
            StaleEntry(domain, sign, read.key, read.entry)
            for read in read_entries(self._client, keys, sign, pairs, width)
        ]

    def write(self, stale: Sequence[StaleEntry], codes: Sequence[Codes], version: int) -> Reencoded:
        """Say which codes (n,) a version gives to the prompts of entries of one bank.

        Raises SharedMemoryError, and ServerFullError past the deadline.
        """
        if not stale:
            return Reencoded()
        keys = self._keys.domain(stale[0].domain)
        sign = SIGNS.index(stale[0].sign) + 1
        width = 2 * len(codes[0])
        arguments = [*step_arguments(width, self._config), sign, version, len(stale)]
        for each, new in zip(stale, codes, strict=True):
            packed = pack_codes(new)
            arguments.extend((each.key, entry_key(packed, each.entry.action), packed))
        reply = push_back(
            lambda: REENCODE.run(self._client, step_keys(keys), arguments), self._deadline_s
        )
        refuse_unfit(reply, keys, width, self._config)
        return Reencoded(*(int(number) for number in reply))
