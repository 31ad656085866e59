"""The closing account: re-read all banks and compare with what was counted.

No counter is trusted: each entry is read again with its codes and its origin, digests, counts and
versions are checked, all is recounted, and every difference is named. Meant for the end of a run;
while actors still write, differences are to be expected. Where the published book is given, entries
are compared with its codes and generations, too.
"""

from __future__ import annotations

from dataclasses import dataclass

import redis

from shared_memory.bank_generations import GenerationCounts, PublishedBook
from shared_memory.bank_recount import BankRecount
from shared_memory.bank_statistics import BankStatistics, read_statistics
from shared_memory.connection import call
from shared_memory.keys import RunKeys

_MOST_PROBLEMS = 20


@dataclass(frozen=True, slots=True)
class BankVerification:
    """What re-recount all banks found. `problems` (at most 20) is empty where all agrees;
    `generations` is none where no book was given."""

    statistics: BankStatistics
    problems: tuple[str, ...]
    generations: GenerationCounts | None = None

    @property
    def closed(self) -> bool:
        """Whether the account closes."""
        return not self.problems


def verify(
    client: redis.Redis, run: str, domains: tuple[str, ...], book: PublishedBook | None = None
) -> BankVerification:
    """Re-read the banks of these domains and say what they hold and what does not agree."""
    statistics = read_statistics(client, run, domains)
    problems: list[str] = []
    generations = GenerationCounts()

    def found(problem: str) -> None:
        if len(problems) < _MOST_PROBLEMS:
            problems.append(problem)

    for bank in statistics.banks:
        recount = BankRecount(client, RunKeys(run).domain(bank.domain), bank, book)
        for problem in recount.problems():
            found(problem)
        generations += recount.generations
    for ledger in statistics.domains:
        keys = RunKeys(run).domain(ledger.domain)
        marked = int(call(client, "BITCOUNT", keys.episodes))
        if marked != ledger.finished:
            found(
                f"{ledger.domain}: {marked} episode numbers are marked, but {ledger.finished} "
                "episodes counted"
            )
    return BankVerification(statistics, tuple(problems), None if book is None else generations)
