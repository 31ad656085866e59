"""Probes: the policy on held-out tasks, and what they add up to.

The jobs of a probe are handed to whatever actors are free; a job whose actor dies is handed out
again, after the second its tasks one by one, and a task that costs a third is given up.

Free: as in acting. Restricted: only admissible actions. Exchanged: every decision uses the
procedure of another task of the same domain (memory reliance; ours). Silent: free, without the
banks (what they change; ours).
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from actors.records import Assignment, ProbeOutcome, ProbeReport, Shuffle
from cluster.dispatcher import GIVEN_UP_AFTER, SUSPECTED_AFTER
from cluster.faults import probe_given_up
from cluster.measures import measure
from cluster.observer import Probed, ProbeMode
from tasks.metrics import Attempt
from tasks.task import Task

PROBE = -1
"""The episode number of every probe: it is never counted and never written to a bank."""


@dataclass(frozen=True, slots=True)
class ProbeJob:
    """One request to an actor."""

    mode: ProbeMode
    tasks: tuple[Task, ...]
    losses: int = 0  # actors that were lost with it

    @property
    def assignments(self) -> tuple[Assignment, ...]:
        """The tasks as an actor takes them."""
        return tuple(Assignment(PROBE, task) for task in self.tasks)

    @property
    def restrict(self) -> bool:
        """Whether only admissible actions may be answered."""
        return self.mode == "restricted"

    @property
    def shuffle(self) -> Shuffle:
        """Whose procedures are used."""
        return "domain" if self.mode == "exchanged" else "none"

    @property
    def banks(self) -> bool:
        """Whether the banks are consulted."""
        return self.mode != "silent"


@dataclass(slots=True)
class Probe:
    """One round of probes: some phases' held-out tasks in some modes, after a phase."""

    after_phase: int
    phases: Sequence[int]
    modes: Sequence[ProbeMode]
    waiting: deque[ProbeJob] = field(default_factory=deque)
    given: dict[str, ProbeJob] = field(default_factory=dict)  # actor → its job
    outcomes: dict[tuple[int, ProbeMode], list[ProbeOutcome]] = field(default_factory=dict)
    version: int = 0
    began: float = field(default_factory=time.monotonic)

    @classmethod
    def of(
        cls,
        tasks: Mapping[int, Sequence[Task]],
        after_phase: int,
        modes: Sequence[ProbeMode],
        request_tasks: int,
    ) -> Probe:
        """Probe `tasks` (phase → its held-out tasks), in requests of `request_tasks`."""
        probe = cls(after_phase, tuple(tasks), tuple(modes))
        for mode in modes:
            for held_out in tasks.values():
                # Tasks of one domain go together: an exchange needs others of the domain.
                ordered = sorted(held_out, key=lambda task: task.domain)
                for start in range(0, len(ordered), request_tasks):
                    probe.waiting.append(
                        ProbeJob(mode, tuple(ordered[start : start + request_tasks]))
                    )
        return probe

    @property
    def done(self) -> bool:
        """Whether every job was answered."""
        return not self.waiting and not self.given

    def next_job(self, actor: str) -> ProbeJob | None:
        """A job for a free actor, or None if none waits."""
        if not self.waiting:
            return None
        job = self.waiting.popleft()
        self.given[actor] = job
        return job

    def answered(self, actor: str, report: ProbeReport) -> None:
        """Take an actor's answer."""
        job = self.given.pop(actor, None)
        if job is None:
            return  # handed out again meanwhile
        self.version = max(self.version, report.version)
        for outcome in report.outcomes:
            self.outcomes.setdefault((outcome.phase, job.mode), []).append(outcome)

    def lost(self, actor: str) -> tuple[ProbeOutcome, ...]:
        """The actor is gone: its job waits again, first in line. Returns what is given up."""
        job = self.given.pop(actor, None)
        if job is None:
            return ()
        losses = job.losses + 1
        if losses >= GIVEN_UP_AFTER and len(job.tasks) == 1:
            outcome = probe_given_up(job.tasks[0], losses)
            self.outcomes.setdefault((outcome.phase, job.mode), []).append(outcome)
            return (outcome,)
        parts = [(task,) for task in job.tasks] if losses >= SUSPECTED_AFTER else [job.tasks]
        self.waiting.extendleft(ProbeJob(job.mode, part, losses) for part in reversed(parts))
        return ()

    def events(self, plan_lengths: Mapping[str, int]) -> list[Probed]:
        """One event for each phase and mode; `plan_lengths` by task digest."""
        seconds = time.monotonic() - self.began
        share = seconds / max(1, len(self.outcomes))
        return [
            probed(outcomes, phase, self.after_phase, mode, self.version, share, plan_lengths)
            for (phase, mode), outcomes in sorted(self.outcomes.items())
        ]


def probed(
    outcomes: Sequence[ProbeOutcome],
    phase: int,
    after_phase: int,
    mode: ProbeMode,
    version: int,
    seconds: float,
    plan_lengths: Mapping[str, int],
) -> Probed:
    """CSR, CGC, Exe and SPL of some held-out tasks; SPL rests on those whose plan length is
    known."""
    attempts = [
        Attempt(
            success=outcome.success,
            conditions_met=outcome.conditions_met,
            conditions=outcome.conditions,
            emitted=outcome.steps,
            accepted=outcome.accepted,
            plan_length=plan_lengths.get(outcome.digest),
        )
        for outcome in outcomes
    ]
    found = measure(attempts)
    return Probed(
        phase=phase,
        after_phase=after_phase,
        mode=mode,
        version=version,
        tasks=len(outcomes),
        csr=found.csr,
        cgc=found.cgc,
        exe=found.exe,
        spl=found.spl,
        spl_tasks=found.spl_tasks,
        seconds=seconds,
    )
