import itertools
from collections.abc import Callable, Sequence

import pytest

from learner.planners import MimirPlanner, PlanLimits
from tasks.domains import get_domain
from tasks.simulators import make_simulator
from tasks.task import Action, Simulator, Task

SIZES = {
    "blocks": {"blocks": (2, 4)},
    "gripper": {"balls": (1, 3)},
    "ferry": {"cars": (1, 2), "locations": (2, 3)},
    "hanoi": {"discs": (1, 3)},
}


def shortest(simulator: Simulator, task: Task, limit: int = 30_000) -> int:
    """The length of a shortest plan, by breadth-first search in the simulator itself."""
    simulator.reset(task)
    if simulator.solved:
        return 0
    seen = {simulator.atoms}
    layer = [()]
    for depth in itertools.count(1):
        following = []
        for path in layer:
            simulator.reset(task)
            for action in path:
                assert simulator.step(action)
            for action in simulator.applicable_actions():
                simulator.reset(task)
                for earlier in path:
                    simulator.step(earlier)
                simulator.step(action)
                if simulator.solved:
                    return depth
                if simulator.atoms not in seen:
                    seen.add(simulator.atoms)
                    following.append((*path, action))
        assert following, "no plan exists"
        assert len(seen) < limit
        layer = following
    raise AssertionError


@pytest.mark.parametrize("name", SIZES)
def test_canonical_plans_are_shortest_and_solve_the_task(name: str) -> None:
    domain = get_domain(name)
    planner = MimirPlanner(domain)
    simulator = make_simulator(domain)
    for seed in range(6):
        task = domain.draw(SIZES[name], seed)
        outcome = planner.plan(task, PlanLimits())
        assert outcome.status == "solved"
        assert outcome.optimal
        simulator.reset(task)
        assert all(simulator.step(action) for action in outcome.plan)
        assert simulator.solved
        assert outcome.cost == shortest(simulator, task)


def test_ties_break_by_action_and_then_by_the_order_of_objects() -> None:
    domain = get_domain("gripper")
    planner = MimirPlanner(domain)
    task = domain.draw({"balls": (3, 3)}, 5)
    objects = [
        "room1", "room2", "room3", "right", "left", "ball3", "ball2", "ball1",
    ]  # fmt: skip
    swapped = [*objects[:3], "left", "right", *objects[5:]]
    right = planner.plan(task, PlanLimits(), lambda _: objects)
    left = planner.plan(task, PlanLimits(), lambda _: swapped)
    again = planner.plan(task, PlanLimits(), lambda _: objects)
    assert right.plan == again.plan
    assert right.cost == left.cost
    picks = [action for action in right.plan if action[0] == "pick"]
    assert picks[0][3] == "right"
    assert next(action for action in left.plan if action[0] == "pick")[3] == "left"


def test_the_order_may_change_with_every_action() -> None:
    """It is asked for with the plan so far, and what it says later changes nothing before."""
    domain = get_domain("gripper")
    planner = MimirPlanner(domain)
    task = domain.draw({"balls": (3, 3)}, 5)
    objects = ["room1", "room2", "room3", "right", "left", "ball3", "ball2", "ball1"]
    asked: list[tuple[Action, ...]] = []

    def order(turn: int) -> Callable[[Sequence[Action]], list[str]]:
        def present(plan: Sequence[Action]) -> list[str]:
            asked.append(tuple(plan))
            return objects if len(plan) < turn else objects[::-1]

        return present

    same = planner.plan(task, PlanLimits(), order(99))
    assert asked == [same.plan[:step] for step in range(same.cost)]
    changed = [planner.plan(task, PlanLimits(), order(turn)) for turn in range(same.cost)]
    assert {one.cost for one in changed} == {same.cost}
    for turn, one in enumerate(changed):
        assert one.plan[:turn] == same.plan[:turn]
    assert len({one.plan for one in changed}) > 2


def test_too_many_states_fall_back_to_astar_which_claims_no_optimality() -> None:
    domain = get_domain("blocks")
    task = domain.draw({"blocks": (4, 4)}, 0)
    outcome = MimirPlanner(domain).plan(task, PlanLimits(states=10))
    assert outcome.status == "solved"
    assert not outcome.optimal


def test_gbfs_solves_and_claims_no_optimality() -> None:
    domain = get_domain("ferry")
    task = domain.draw({"cars": (3, 3), "locations": (4, 4)}, 0)
    outcome = MimirPlanner(domain, "mimir-gbfs").plan(task, PlanLimits())
    assert outcome.status == "solved"
    assert not outcome.optimal


def test_unsolvable_timed_out_and_unreadable_tasks_are_told_apart() -> None:
    domain = get_domain("hanoi")
    planner = MimirPlanner(domain)
    impossible = (
        "(define (problem p) (:domain hanoi) (:objects p1 p2 d1 d2)"
        "(:init (clear p2) (clear d1) (on d1 d2) (on d2 p1) (smaller p1 d1) (smaller p1 d2)"
        "(smaller p2 d1) (smaller p2 d2) (smaller d2 d1)) (:goal (and (on d2 d1))))"
    )
    for canonical in (True, False):
        outcome = MimirPlanner(domain, canonical=canonical).plan(
            Task("hanoi", impossible, "0" * 32, "here"), PlanLimits()
        )
        assert outcome.status == "unsolvable"
        assert outcome.plan == ()
    large = get_domain("blocks").draw({"blocks": (20, 20)}, 0)
    late = MimirPlanner(get_domain("blocks")).plan(large, PlanLimits(seconds=0.05))
    assert late.status == "timeout"
    broken = planner.plan(Task("hanoi", "(define (problem", "0" * 32, "here"), PlanLimits())
    assert broken.status == "error"
    assert "Mimir cannot plan" in broken.reason


def test_mimir_prints_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    domain = get_domain("gripper")
    MimirPlanner(domain).plan(domain.draw({"balls": (2, 2)}, 0), PlanLimits())
    assert capfd.readouterr().out == ""
