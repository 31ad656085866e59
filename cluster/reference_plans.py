"""Plan lengths of held-out tasks, which SPL compares with; the driver plans for them itself.

Held-out tasks never go to the teacher: nothing of them may reach the learner.
"""

from __future__ import annotations

import time

from configs.schema import TeacherConfig
from learner.errors import LearnerError
from learner.planners import PlanLimits, Planner
from learner.teachers import make_reference_planner
from tasks.stream import TaskStream

BUDGET_S = 20.0
"""Time for all held-out tasks together; where it ends, SPL is not known (and not reported)."""
LONGEST_S = 2.0


def reference_plan_lengths(stream: TaskStream, config: TeacherConfig) -> dict[str, int]:
    """Task digest → number of actions of the planner's plan, where one was found in time."""
    deadline = time.monotonic() + BUDGET_S
    lengths: dict[str, int] = {}
    planners: dict[str, Planner | None] = {}
    for domain in stream.domains:
        try:
            planners[domain.name] = make_reference_planner(domain, config)
        except LearnerError:
            planners[domain.name] = None  # it cannot read this domain: no reference
    for phase in stream.phases:
        for task in stream.probe(phase.number):
            left = deadline - time.monotonic()
            planner = planners[task.domain]
            if planner is None or left <= 0.0 or task.digest in lengths:
                continue
            outcome = planner.plan(task, PlanLimits(min(LONGEST_S, config.time_limit_s, left)))
            if outcome.status == "solved":
                lengths[task.digest] = outcome.cost
    return lengths
