"""Noise: random actions in between, a plan that solves all the same, and the same one always."""

from __future__ import annotations

from typing import cast

import pytest

from configs.schema import RenderingConfig, TeacherConfig
from learner.noisy_planner import NoisyPlanner, task_from_here
from learner.planners import MimirPlanner, PlanLimits
from learner.teachers import make_planner, make_reference_planner, planner_name
from learner.traces import teach
from tasks.domains import Domain, get_domain, get_pddl_domain
from tasks.rendering import Rendering
from tasks.simulators import make_simulator

NOISY = TeacherConfig(noise=0.3)
NOW_AND_THEN = TeacherConfig(noise=0.1)


@pytest.mark.parametrize("name", ["gripper", "fridge"])  # the second has derived predicates
def test_noisy_plans_solve_and_are_longer(name: str) -> None:
    domain = get_domain(name)
    simulator = make_simulator(domain)
    rendering = Rendering([domain], RenderingConfig(observation="prompt", objects_per_type=12))
    noisy, clean = make_planner(domain, NOISY), make_reference_planner(domain, NOISY)
    assert noisy.name == planner_name(name, NOISY) == "mimir-astar+noise0.3"
    lengths = []
    for seed in range(6):
        task = domain.draw({}, seed)
        best = clean.plan(task, PlanLimits())
        outcome, trace = teach(task, noisy, simulator, rendering, PlanLimits())
        assert outcome.status == "solved"
        assert outcome.cost >= best.cost
        lengths.append((outcome.cost, best.cost))
        if trace is not None:
            assert trace.teacher == "mimir-astar+noise0.3"
            assert len(trace.actions) == outcome.cost
    assert sum(cost for cost, _ in lengths) > 1.1 * sum(best for _, best in lengths)


def test_the_same_task_gets_the_same_noise_and_some_stay_clean() -> None:
    domain = get_domain("blocks")
    first, second = make_planner(domain, NOW_AND_THEN), make_planner(domain, NOW_AND_THEN)
    clean = make_reference_planner(domain, NOW_AND_THEN)
    found = []
    for seed in range(8):
        task = domain.draw({"blocks": (3, 3)}, seed)
        outcome = first.plan(task, PlanLimits())
        assert outcome.plan == second.plan(task, PlanLimits()).plan
        best = clean.plan(task, PlanLimits())
        assert outcome.optimal == (outcome.plan == best.plan)
        found.append(outcome.optimal)
    assert set(found) == {True, False}


def test_a_share_of_the_actions_is_random() -> None:
    domain = get_pddl_domain("gripper")
    noisy = make_planner(domain, TeacherConfig(noise=0.25))
    planner = MimirPlanner(domain)
    simulator = make_simulator(domain)
    wrong = emitted = 0
    for seed in range(8):
        task = domain.draw({"balls": (3, 3)}, seed)
        simulator.reset(task)
        left = planner.plan(task, PlanLimits()).cost
        for action in noisy.plan(task, PlanLimits()).plan:
            assert simulator.step(action)
            after = planner.plan(task_from_here(task, domain, simulator), PlanLimits()).cost
            wrong += after != left - 1
            emitted += 1
            left = after
        assert simulator.solved
    assert 0.1 < wrong / emitted < 0.35


def test_a_world_that_is_not_pddl_goes_on_with_the_plan_it_has() -> None:
    domain = get_pddl_domain("minecraft")
    simulator = make_simulator(domain)
    planner = MimirPlanner(domain)
    noisy = NoisyPlanner(planner, cast(Domain, object()), make_simulator(domain), 0.5)
    longer = 0
    for seed in range(4):
        task = domain.draw({}, seed)
        outcome = noisy.plan(task, PlanLimits())
        simulator.reset(task)
        assert all(simulator.step(action) for action in outcome.plan)
        assert simulator.solved
        longer += outcome.cost > planner.plan(task, PlanLimits()).cost
    assert longer > 0
