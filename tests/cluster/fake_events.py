"""A made-up run as events, for tests of what watches a run."""

from __future__ import annotations

import random
from collections.abc import Iterator

from cluster.observer import (
    Accounting,
    Alarm,
    BankMeasured,
    BankState,
    EpisodeFinished,
    Estimate,
    Event,
    PhaseFinished,
    PhaseStarted,
    Planned,
    Probed,
    ResourcesMeasured,
    RunFinished,
    RunStarted,
    VersionPublished,
)

PHASES = ("blocks", "gripper")
TASKS = 60
DECISIONS = 5


def accounting(closes: bool = True) -> Accounting:
    """A closing account, or one that does not close."""
    return Accounting(
        episodes_started=120,
        episodes_finished=120 if closes else 119,
        episodes_failed=0,
        episodes_in_flight=0,
        episodes_doubled=0,
        procedures_submitted=600,
        procedures_admitted=400,
        procedures_duplicate=200,
        procedures_retired=0,
        bank_entries_read=400,
        plans_requested=120,
        plans_answered=120,
        traces_queued=60,
        closes=closes,
        problems=() if closes else ("1 episode was started but never finished",),
    )


def estimate(value: float) -> Estimate:
    """A value with an interval around it."""
    return Estimate(value=value, low=max(0.0, value - 0.1), high=min(1.0, value + 0.1))


def probe(phase: int, after: int, mode: str, csr: float) -> Probed:
    """A probe of 50 tasks."""
    return Probed(
        phase=phase,
        after_phase=after,
        mode=mode,  # type: ignore[arg-type]
        version=after + 1,
        tasks=50,
        csr=estimate(csr),
        cgc=estimate(csr),
        exe=estimate(0.9),
        spl=estimate(csr * 0.9),
        seconds=1.0,
    )


def fake_run(name: str = "fake", outcome: str = "finished") -> Iterator[tuple[float, Event]]:
    """(seconds, event) of a run of two phases whose CSR rises."""
    rng = random.Random(0)
    seconds, episode = 0.0, 0
    yield (
        seconds,
        RunStarted(
            name=name,
            seed=0,
            resumed=False,
            tasks=TASKS * len(PHASES),
            parameters=700_000,
            codes=256,
        ),
    )
    for phase in range(len(PHASES)):
        yield seconds, probe(phase, -1, "free", 0.02)
        yield seconds, probe(phase, -1, "restricted", 0.3)
    for phase, domain in enumerate(PHASES):
        yield seconds, PhaseStarted(phase=phase, name=domain, tasks=TASKS)
        began = seconds
        for done in range(1, TASKS + 1):
            seconds += 0.1
            success = rng.random() < done / TASKS
            yield (
                seconds,
                EpisodeFinished(
                    episode=episode,
                    task_index=episode,
                    domain=domain,
                    phase=phase,
                    success=success,
                    conditions_met=2 if success else 1,
                    conditions=2,
                    steps=DECISIONS,
                    accepted=DECISIONS if success else 3,
                    version=done // 20,
                    staleness=done % 3,
                    seconds=0.5,
                    actor="actor-0",
                    hits_success=2,
                    hits_failure=1,
                    decisions=DECISIONS,
                ),
            )
            yield (
                seconds,
                Planned(
                    task_index=episode,
                    domain=domain,
                    phase=phase,
                    status="timeout" if done == 1 else "solved",
                    plan_length=None if done == 1 else 4,
                    seconds=0.0 if done == 2 else 0.01,
                    planner="mimir-astar",
                    cached=done == 2,
                    queued=not success,
                ),
            )
            episode += 1
            if done % 20 == 0:
                yield seconds, _version(phase, done)
                yield seconds, _banks(phase, episode)
        yield seconds, PhaseFinished(phase=phase, seconds=seconds - began)
        for probed in range(phase + 1):
            for mode, csr in (
                ("free", 0.7),
                ("restricted", 0.9),
                ("exchanged", 0.4),
                ("silent", 0.6),
            ):
                yield seconds, probe(probed, phase, mode, csr)
    yield (
        seconds,
        ResourcesMeasured(actor_mb=500.0, learner_mb=700.0, driver_mb=600.0, total_mb=2500.0),
    )
    yield seconds, Alarm(kind="actor_died", message="actor-0 <died> & was started again")
    yield (
        seconds,
        RunFinished(outcome=outcome, accounting=accounting(), version=6),  # type: ignore[arg-type]
    )


def _version(phase: int, done: int) -> VersionPublished:
    version = 3 * phase + done // 20
    return VersionPublished(
        version=version,
        phase=phase,
        steps=25 * version,
        loss=2.0 / version,
        commitment=0.1,
        learning_rate=1e-3,
        traces_new=20,
        traces_replayed=20,
        tokens=4000,
        seconds=1.0,
        codes=256,
        codes_used=10 * version,
        codes_dead=5,
        codes_revived=1,
        perplexity=8.0 * version,
        quantisation_error=0.4 / version,
    )


def _banks(phase: int, episodes: int) -> BankMeasured:
    return BankMeasured(
        phase=phase,
        banks=tuple(
            BankState(
                domain=domain,
                sign=sign,  # type: ignore[arg-type]
                entries=episodes * 2,
                unique=episodes,
                submitted=episodes * 3,
                admitted=episodes * 2,
                duplicates=episodes,
                retired=0,
                bytes=episodes * 64,
            )
            for domain in PHASES[: phase + 1]
            for sign in ("success", "failure")
        ),
    )
