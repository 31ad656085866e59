"""From the records of shared memory, and from processes, to the events that observers get."""

from __future__ import annotations

import os

from cluster.observer import (
    ActorHealth,
    BankMeasured,
    BankState,
    EpisodeFinished,
    HealthMeasured,
    OverdueWait,
    Planned,
    PlanStatus,
    ResourcesMeasured,
)
from cluster.resources import resident_mb, total_resident_mb
from shared_memory.bank_reading import ServerMemory
from shared_memory.bank_statistics import BankStatistics
from shared_memory.records import Episode, PlanOutcomeRecord

STATUSES: dict[str, PlanStatus] = {
    "solved": "solved",
    "unsolvable": "unsolvable",
    "timeout": "timeout",
    "out_of_memory": "out_of_memory",
}


def episode_finished(episode: Episode, version: int) -> EpisodeFinished:
    """The event of an episode; `version` is the learner's now."""
    return EpisodeFinished(
        episode=episode.episode,
        task_index=episode.task_index,
        domain=episode.domain,
        phase=episode.phase,
        success=episode.success,
        conditions_met=episode.conditions_met,
        conditions=episode.conditions,
        steps=len(episode.decisions),
        accepted=sum(decision.accepted for decision in episode.decisions),
        version=episode.book_version,
        staleness=max(0, version - episode.book_version),
        seconds=episode.seconds,
        actor=episode.actor,
        hits_success=episode.hits_success,
        hits_failure=episode.hits_failure,
        decisions=len(episode.decisions),
        fault=episode.fault,
    )


def planned(plan: PlanOutcomeRecord) -> Planned:
    """The event of a teacher's answer."""
    return Planned(
        task_index=plan.task_index,
        domain=plan.domain,
        phase=plan.phase,
        status=STATUSES.get(plan.status, "error"),
        plan_length=plan.cost if plan.status == "solved" else None,
        seconds=plan.seconds,
        planner=plan.planner,
        cached=plan.cached,
        queued=plan.traced,
    )


def banks_measured(statistics: BankStatistics, phase: int) -> BankMeasured:
    """The event of the banks' state."""
    return BankMeasured(
        phase=phase,
        banks=tuple(
            BankState(
                domain=bank.domain,
                sign=bank.sign,
                entries=bank.entries,
                unique=bank.unique,
                submitted=bank.submitted,
                admitted=bank.admitted,
                duplicates=bank.duplicates,
                retired=bank.retired,
                bytes=bank.bytes,
            )
            for bank in statistics.banks
        ),
    )


def health_measured(
    actors: tuple[ActorHealth, ...],
    learner_doing: str,
    learner_age_s: float,
    server: ServerMemory,
    server_answer_s: float,
    waits: tuple[OverdueWait, ...] = (),
    waits_passed: int = 0,
) -> HealthMeasured:
    """The event of who is there and how it fares."""
    return HealthMeasured(
        actors=actors,
        learner_doing=learner_doing,
        learner_age_s=learner_age_s,
        server_answer_s=server_answer_s,
        server_bytes=server.used_bytes,
        server_limit_bytes=server.limit_bytes,
        waits=waits,
        waits_passed=waits_passed,
    )


def resources_measured(actor_mb: float, learner: int) -> ResourcesMeasured:
    """The event of memory now: the largest actor's, the learner's (process number; 0: it is not
    there), this process's, and that of everything below this process."""
    return ResourcesMeasured(
        actor_mb=actor_mb,
        learner_mb=resident_mb(learner) if learner else 0.0,
        driver_mb=resident_mb(os.getpid()),
        total_mb=total_resident_mb(os.getpid()),
    )
