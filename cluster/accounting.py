"""The closing account of a run: every episode and every procedure must be somewhere.

The driver's own books (who was given what, what was reported), the totals that shared memory
kept with every write, and what reading the banks back finds, are held against each other. Pure:
the caller reads, this compares.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from cluster.dispatcher import Dispatcher
from cluster.observer import Accounting
from shared_memory.bank_statistics import BankStatistics


@dataclass(frozen=True, slots=True)
class DriverBooks:
    """What the driver counted."""

    submitted: int  # episodes given out
    finished: int
    failed: int  # lost with their actor
    in_flight: int
    doubled: int
    procedures: int  # decisions of all finished episodes
    plans_answered: int
    traces_queued: int

    @classmethod
    def of(
        cls, dispatcher: Dispatcher, procedures: int, plans_answered: int, traces_queued: int
    ) -> DriverBooks:
        """The dispatcher's counts and those of the outcomes that were read."""
        return cls(
            submitted=dispatcher.submitted,
            finished=dispatcher.finished,
            failed=dispatcher.failed,
            in_flight=dispatcher.in_flight,
            doubled=dispatcher.doubled,
            procedures=procedures,
            plans_answered=plans_answered,
            traces_queued=traces_queued,
        )


@dataclass(frozen=True, slots=True)
class SharedBooks:
    """What shared memory counted with each write, and what reading it back found."""

    finished: int
    doubled: int
    submitted: int
    admitted: int
    duplicates: int
    retired: int
    requested: int
    traced: int
    entries: int
    read_back: bool  # whether the entries were read back, and not only counted
    problems: tuple[str, ...]  # of reading the banks back
    imported: int = 0  # entries that came from a bank's file
    merged: int = 0  # entries that became one with another when they were encoded anew

    @classmethod
    def of(
        cls, statistics: BankStatistics, read_back: bool, problems: tuple[str, ...]
    ) -> SharedBooks:
        """The totals of all domains and both banks."""
        return cls(
            finished=statistics.finished,
            doubled=sum(domain.doubled for domain in statistics.domains),
            submitted=sum(bank.submitted for bank in statistics.banks),
            admitted=sum(bank.admitted for bank in statistics.banks),
            duplicates=sum(bank.duplicates for bank in statistics.banks),
            retired=sum(bank.retired for bank in statistics.banks),
            imported=sum(bank.imported for bank in statistics.banks),
            merged=sum(bank.merged for bank in statistics.banks),
            requested=sum(domain.requested for domain in statistics.domains),
            traced=sum(domain.traces for domain in statistics.domains),
            entries=sum(bank.entries for bank in statistics.banks),
            read_back=read_back,
            problems=problems,
        )


def close(driver: DriverBooks, shared: SharedBooks | None, finished: bool = False) -> Accounting:
    """Compare the books; `problems` has a sentence for each sum that does not close.

    Without shared memory's books the account cannot close. In a `finished` run nothing may be
    open: every plan that was asked for is answered, every trace that was queued is told of.
    """
    if shared is None:
        nothing = SharedBooks(
            0, 0, 0, 0, 0, 0, 0, 0, 0, False, ("shared memory could not be read",)
        )
        blind = close(driver, replace(nothing, finished=driver.finished))
        return replace(blind, problems=nothing.problems)
    problems = [
        sentence
        for found, expected, sentence in (
            (
                driver.finished + driver.failed + driver.in_flight,
                driver.submitted,
                f"{driver.submitted} episodes were started, but {driver.finished} finished + "
                f"{driver.failed} failed + {driver.in_flight} in flight",
            ),
            (
                driver.finished,
                shared.finished,
                f"the driver counted {driver.finished} finished episodes, shared memory "
                f"{shared.finished}",
            ),
            (
                driver.procedures,
                shared.submitted,
                f"finished episodes had {driver.procedures} procedures, but {shared.submitted} "
                "were submitted to the banks",
            ),
            (
                shared.admitted + shared.duplicates,
                shared.submitted,
                f"{shared.submitted} procedures were submitted, but {shared.admitted} admitted + "
                f"{shared.duplicates} duplicates",
            ),
            (
                shared.admitted + shared.imported - shared.retired - shared.merged,
                shared.entries,
                f"{shared.admitted} procedures admitted + {shared.imported} imported - "
                f"{shared.retired} retired - {shared.merged} merged, but the banks hold "
                f"{shared.entries} entries",
            ),
        )
        if found != expected
    ]
    answered, queued = driver.plans_answered, driver.traces_queued
    if answered > shared.requested or (finished and answered != shared.requested):
        problems.append(f"{shared.requested} plans were asked for, but {answered} answered")
    if queued > shared.traced or (finished and queued != shared.traced):
        problems.append(
            f"{shared.traced} traces were queued for the learner, but the answers told of {queued}"
        )
    problems.extend(shared.problems)
    return Accounting(
        episodes_started=driver.submitted,
        episodes_finished=driver.finished,
        episodes_failed=driver.failed,
        episodes_in_flight=driver.in_flight,
        episodes_doubled=max(driver.doubled, shared.doubled),
        procedures_submitted=shared.submitted,
        procedures_admitted=shared.admitted,
        procedures_duplicate=shared.duplicates,
        procedures_retired=shared.retired,
        bank_entries_read=shared.entries if shared.read_back else None,
        plans_requested=shared.requested,
        plans_answered=driver.plans_answered,
        traces_queued=driver.traces_queued,
        closes=not problems,
        problems=tuple(problems),
    )


def sentence(problems: Sequence[str]) -> str:
    """The problems as one error message."""
    return "the run's account does not close: " + "; ".join(problems)
