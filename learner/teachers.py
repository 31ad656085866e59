"""Which planner teaches a domain: a symbolic planner for PDDL, its own teacher for other worlds.

    planner = make_planner(get_domain("blocks"), config.teacher)
    outcome = planner.plan(task, PlanLimits())

A world that is not PDDL has a module here with a function `make_teacher(domain, config)` that
returns a `Planner`; it is imported at the first need, because what it plans with may not be
installed. Its plan may have been found by acting: it is validated by replay, as every plan is.
"""

from __future__ import annotations

import importlib

from configs.schema import TeacherConfig
from learner.errors import LearnerError
from learner.fast_downward import FastDownwardPlanner, programs
from learner.noisy_planner import NoisyPlanner, noisy_name
from learner.planners import MimirPlanner, Planner
from tasks.domains import Domain
from tasks.pddl_domain import PddlDomain
from tasks.simulators import make_simulator

WORLD_TEACHERS = {
    "alfworld": "learner.alfworld_teacher",
    "textcraft": "learner.textcraft_teacher",
    "virtualhome": "learner.virtualhome_teacher",
}
"""Domain → the module whose `make_teacher(domain, config)` makes its planner."""


def planner_name(domain: str, config: TeacherConfig) -> str:
    """What statistics call the planner of a domain, without making it."""
    name = f"{domain}-teacher" if domain in WORLD_TEACHERS else config.planner
    return noisy_name(name, config.noise) if config.noise else name


def make_planner(domain: Domain, config: TeacherConfig) -> Planner:
    """The planner of a domain, with noise if it is wanted.

    Raises LearnerError where there is none or it cannot be had, and TaskError where noise is
    wanted and no simulator runs the domain.
    """
    planner = _planner(domain, config)
    if not config.noise:
        return planner
    return NoisyPlanner(planner, domain, make_simulator(domain), config.noise)


def make_reference_planner(domain: Domain, config: TeacherConfig) -> Planner:
    """The planner whose plans SPL compares with: without noise. Raises LearnerError."""
    return _planner(domain, config)


def _planner(domain: Domain, config: TeacherConfig) -> Planner:
    if domain.name in WORLD_TEACHERS:
        module = importlib.import_module(WORLD_TEACHERS[domain.name])
        made: Planner = module.make_teacher(domain, config)
        return made
    if not isinstance(domain, PddlDomain):
        raise LearnerError(
            f"nothing can teach domain '{domain.name}': it is not PDDL, and there is no teacher of "
            f"its own (they exist for {', '.join(WORLD_TEACHERS)})"
        )
    match config.planner:
        case "fd-optimal" | "fd-satisficing":
            return FastDownwardPlanner(domain, config.planner, config.memory_limit_mb)
        case "mimir-astar" | "mimir-gbfs":
            return MimirPlanner(domain, config.planner, config.canonical)


def check_teacher(config: TeacherConfig) -> None:
    """Raise LearnerError where the configured planner is not installed."""
    if config.planner in ("fd-optimal", "fd-satisficing"):
        programs()
