"""Generated problems: legal, not solved at the start, solvable, and the same for the same seed."""

from __future__ import annotations

import random
from collections import Counter

import pymimir
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from learner.planners import MimirPlanner, PlanLimits
from tasks.domains import get_domain
from tasks.errors import TaskError
from tasks.generators import GENERATORS
from tasks.pddl import holds
from tasks.silence import silent_stdout


@pytest.mark.parametrize("name", GENERATORS)
def test_problems_are_legal_and_not_yet_solved(name: str) -> None:
    domain = get_domain(name)
    for seed in range(100):
        task = domain.draw({}, seed)
        problem = domain.read_problem(task.problem, "drawn")  # checks predicates and types
        assert not all(holds(condition, problem.initial) for condition in problem.goal)
        assert domain.task(problem, "").digest == task.digest


@pytest.mark.parametrize("name", GENERATORS)
def test_problems_are_solvable(name: str) -> None:
    domain = get_domain(name)
    with silent_stdout():
        planner_domain = pymimir.Domain(domain.standard_text)
        for seed in range(15):
            problem = pymimir.Problem(planner_domain, domain.draw({}, seed).problem)
            result = pymimir.brfs(problem, problem.get_initial_state(), max_time_seconds=10)
            assert result.status == "solved"


@pytest.mark.parametrize("name", GENERATORS)
def test_a_seed_fixes_the_task(name: str) -> None:
    domain = get_domain(name)
    tasks = [domain.draw({}, seed) for seed in range(40)]
    assert tasks == [domain.draw({}, seed) for seed in range(40)]
    assert len({task.digest for task in tasks}) > 10
    assert tasks == [domain.task_from_origin(task.origin) for task in tasks]


PLANNERS = {name: MimirPlanner(get_domain(name), "mimir-gbfs") for name in GENERATORS}

COUNTED = {
    "blocks": {"blocks": "block"},
    "gripper": {"balls": "ball", "rooms": "room"},
    "ferry": {"cars": "car", "locations": "location"},
    "hanoi": {"discs": "disc", "pegs": "peg"},
    "manymiconic": {"passengers": "passenger", "floors": "floor"},
    "spannerlearning": {"nuts": "nut", "locations": "path"},
    "manylogistics": {"cities": "city", "airplanes": "airplane", "packages": "package"},
    "baking": {"dishes": "dish", "pans": "pan"},
    "onearmedgripper": {"balls": "ball", "rooms": "room"},
    "fridge": {"fridges": "fridge"},
    "doors": {"rooms": "room"},
    "visit_all": {"places": "place"},
    "depot": {"distributors": "distributor", "trucks": "truck", "crates": "crate"},
    "travel": {"states": "state", "cars": "car", "planes": "plane"},
    "minecraft": {"logs": "log", "grass": "grass", "planks": "plank", "sites": "site"},
    "glibrearrangement": {"toys": "toy", "sites": "site"},
    "hiking": {"places": "loc"},
    "meetpass": {"trains": "train"},
    "slidetile": {"columns": "column", "rows": "row"},
}
"""The pool whose objects a size counts, where there is one."""


@settings(deadline=None, max_examples=150)
@given(st.data(), st.sampled_from(list(GENERATORS)), st.integers(0, 10**6))
def test_any_sizes_are_kept_and_solvable(data: st.DataObject, name: str, seed: int) -> None:
    domain, generator = get_domain(name), GENERATORS[name]
    size = {
        parameter.name: data.draw(
            st.integers(parameter.least, max(parameter.least + 1, parameter.default[1]))
        )
        for parameter in generator.parameters
    }
    task = domain.draw({parameter: (n, n) for parameter, n in size.items()}, seed)
    problem = domain.read_problem(task.problem, "drawn")
    own_names = generator.naming.own_names
    pool_of = generator.naming.classify(problem.objects, problem.initial)
    counts = Counter(pool for name, pool in pool_of.items() if name not in own_names)
    for parameter, pool in COUNTED.get(name, {}).items():
        assert counts[pool] == size[parameter]
    if size["goals"]:
        assert len(problem.goal) <= size["goals"]
    assert not all(holds(condition, problem.initial) for condition in problem.goal)
    outcome = PLANNERS[name].plan(task, PlanLimits(seconds=20.0))
    assert outcome.status == "solved", (task.origin, outcome)


def test_hanoi_reaches_every_configuration() -> None:
    rng = random.Random(0)
    draw = GENERATORS["hanoi"].draw
    starts = {draw(rng, {"discs": 3, "pegs": 3}).initial for _ in range(500)}
    assert len(starts) == 27


@pytest.mark.parametrize(
    ("size", "message"),
    [
        ({"bricks": (2, 3)}, "has no size 'bricks': it takes blocks"),
        ({"blocks": (1, 3)}, r"cannot be \[1, 3\]: it must be \[least, most\] with 2"),
        ({"blocks": (4, 3)}, r"cannot be \[4, 3\]"),
    ],
)
def test_wrong_sizes_are_refused(size: dict[str, tuple[int, int]], message: str) -> None:
    with pytest.raises(TaskError, match=message):
        get_domain("blocks").draw(size, 0)


def test_origins_of_files_and_of_others() -> None:
    blocks = get_domain("blocks")
    for file in (*blocks.train_files, *blocks.test_files):
        task = blocks.task_from_file(file)
        assert blocks.task_from_origin(task.origin) == task
    with pytest.raises(TaskError, match="is not the origin of a task of domain 'hanoi'"):
        get_domain("hanoi").task_from_origin(blocks.draw({}, 0).origin)
    with pytest.raises(TaskError, match=r"has no problem file 'train/p9\.pddl' any more"):
        blocks.task_from_origin("file:blocks:train/p9.pddl")


def test_a_domain_without_generator_says_so() -> None:
    with pytest.raises(TaskError, match="'sokoban' has no generator: use 'source: files'"):
        get_domain("sokoban").draw({}, 0)


@pytest.mark.parametrize("name", sorted(GENERATORS))
def test_fewer_goal_conditions_are_some_of_all_and_still_to_be_reached(name: str) -> None:
    domain = get_domain(name)
    for seed in range(50):
        task = domain.draw({"goals": (1, 1)}, seed)
        problem = domain.read_problem(task.problem, "here")
        assert len(problem.goal) == 1
        assert not holds(problem.goal[0], problem.initial)
