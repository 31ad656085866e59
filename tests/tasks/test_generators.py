"""Generated problems: legal, not solved at the start, solvable, and the same for the same seed."""

from __future__ import annotations

import random

import pymimir
import pytest

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


def test_sizes_are_kept() -> None:
    domain = get_domain("ferry")
    for seed in range(20):
        task = domain.draw({"cars": (2, 3), "locations": (4, 4)}, seed)
        problem = domain.read_problem(task.problem, "drawn")
        assert sum(atom[0] == "location" for atom in problem.initial) == 4
        assert sum(atom[0] == "car" for atom in problem.initial) in (2, 3)


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
        assert not problem.initial.issuperset(problem.goal)
