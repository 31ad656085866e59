"""A finished episode in the words of those who take it: the banks, the teacher, the driver."""

from __future__ import annotations

from actors.records import ProbeOutcome
from actors.rollout import FinishedEpisode
from shared_memory.records import Episode, PlanRequest


def bank_episode(finished: FinishedEpisode, version: int, actor: str) -> Episode:
    """A finished episode as the banks take it."""
    task = finished.task
    return Episode(
        episode=finished.episode,
        task_index=task.index,
        task_digest=task.digest,
        domain=task.domain,
        phase=task.phase,
        book_version=version,
        success=finished.success,
        conditions_met=finished.conditions_met,
        conditions=finished.conditions,
        steps=finished.steps,
        decisions=finished.decisions,
        actor=actor,
        seconds=finished.seconds,
        hits_success=finished.hits_success,
        hits_failure=finished.hits_failure,
        fault=finished.fault,
        near=finished.near,
        alone=finished.alone,
    )


def plan_request(finished: FinishedEpisode) -> PlanRequest:
    """What the teacher is asked about its task."""
    task = finished.task
    return PlanRequest(
        task_index=task.index,
        task_digest=task.digest,
        domain=task.domain,
        phase=task.phase,
        problem=task.problem,
        origin=task.origin,
        failed=not finished.success,
    )


def probe_outcome(finished: FinishedEpisode) -> ProbeOutcome:
    """A held-out task's episode as it is reported."""
    return ProbeOutcome(
        digest=finished.task.digest,
        domain=finished.task.domain,
        phase=finished.task.phase,
        success=finished.success,
        conditions_met=finished.conditions_met,
        conditions=finished.conditions,
        steps=len(finished.decisions),
        accepted=sum(decision.accepted for decision in finished.decisions),
        hits_success=finished.hits_success,
        hits_failure=finished.hits_failure,
        ending=finished.ending,
        fault=finished.fault,
    )
